//! One partition in one transaction: created, filled, attached, looked at, committed.
//!
//! Whoever waits for us waits no longer than `disposal.lock_timeout`: from the moment the first lock that traffic can
//! feel is asked for, every statement gets what is left of that time, for waiting as well as for working, and a
//! transaction that does not make it is rolled back and tried again with less to do.
//!
//! Without a default partition ATTACH takes SHARE UPDATE EXCLUSIVE on the parent, which no reader or writer feels.
//! With one it takes ACCESS EXCLUSIVE on that partition, to look for rows it should not hold any more; then the parent
//! is locked as well, and first. Otherwise a statement that was planned before, and waits for the default partition,
//! would go on without the new one: it would miss the rows that moved there, or fail to insert.

use std::time::{Duration, Instant};

use eidos_core::fence::ForeignStep;
use eidos_disposal::bounds::Bounds;
use eidos_disposal::catalogue::{Relation, quoted};
use sqlx::{AssertSqlSafe, PgConnection};

use super::name::{self, Place};
use super::parent::{DefaultPartition, Parent};
use super::rights;
use crate::domain::tiling::{Piece, Span};
use eidos_disposal::DisposalError;

/// The constraint that spares ATTACH the reading of the new partition's rows. Removed again: the bound says the same.
const BOUNDS_CHECK: &str = "eidos_partition_bounds";

/// What a partition takes over from its parent. Indexes, foreign keys and triggers come with ATTACH; an identity
/// belongs to the parent alone; statistics objects are not inherited by partitions.
const LIKE_OPTIONS: &str = "INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE \
     INCLUDING COMPRESSION INCLUDING COMMENTS";

const TABLESPACE: &str = "\
    SELECT quote_ident(s.spcname) FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace \
    WHERE c.oid = $1::bigint::oid";

const ATTACHED_AS: &str = "\
    SELECT i.inhparent::bigint, pg_get_expr(c.relpartbound, c.oid), i.inhdetachpending \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_inherits i ON i.inhrelid = c.oid \
    WHERE n.nspname = $1 AND c.relname = $2";

/// What one transaction made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) relation: Relation,
    pub(super) rows_moved: u64,
    /// How long traffic could feel us.
    pub(super) held: Duration,
}

/// One transaction under way.
pub(super) struct Transaction<'a> {
    pub(super) parent: &'a Parent,
    pub(super) piece: Piece,
    /// Whether rows of the default partition move.
    pub(super) drain: bool,
    /// The longest anybody may wait for us.
    pub(super) patience: Duration,
}

impl Transaction<'_> {
    /// Does all of it, or nothing.
    pub(super) async fn run(&self, mut step: ForeignStep) -> Result<Made, DisposalError> {
        let conn = step.conn();
        set(conn, "lock_timeout", self.patience).await?;
        let place = name::place(conn, self.parent, &self.piece).await?;
        let relation = self.build(conn, &place).await?;
        let asked = Instant::now();
        let rows_moved = match &self.parent.default {
            Some(default) => self.through_default(conn, default, &relation, asked).await?,
            None => 0,
        };
        self.attach(conn, &relation, asked).await?;
        verify(conn, self.parent, &relation, self.piece.span).await?;
        step.commit().await?;
        Ok(Made {
            relation,
            rows_moved,
            held: asked.elapsed(),
        })
    }

    /// The new table beside its siblings-to-be: nobody sees it yet.
    async fn build(&self, conn: &mut PgConnection, place: &Place) -> Result<Relation, DisposalError> {
        let (key, span) = (quoted(&self.parent.key), self.piece.span);
        let relation = match place {
            Place::Free(relation) => {
                let tablespace: Option<String> = sqlx::query_scalar(TABLESPACE)
                    .bind(i64::from(self.parent.oid))
                    .fetch_optional(&mut *conn)
                    .await
                    .map_err(DisposalError::sql("read a parent's tablespace"))?;
                let tablespace = tablespace.map_or_else(String::new, |name| format!(" TABLESPACE {name}"));
                let create = format!(
                    "CREATE TABLE {relation} (LIKE {} {LIKE_OPTIONS}){tablespace}",
                    self.parent.relation
                );
                execute(conn, "create a partition's table", create).await?;
                relation
            }
            Place::Leftover(relation) => {
                // Locked before it is looked at again: it was empty a moment ago.
                let lock = format!("LOCK TABLE ONLY {relation} IN ACCESS EXCLUSIVE MODE");
                execute(conn, "lock a table that was left behind", lock).await?;
                name::place(conn, self.parent, &self.piece).await?;
                let uncheck = format!("ALTER TABLE {relation} DROP CONSTRAINT IF EXISTS {BOUNDS_CHECK}");
                execute(conn, "remove a check that was left behind", uncheck).await?;
                relation
            }
        };
        let check = format!(
            "ALTER TABLE {relation} ADD CONSTRAINT {BOUNDS_CHECK} CHECK ({key} IS NOT NULL AND {key} >= {} AND {key} < {})",
            span.lower_ms, span.upper_ms
        );
        execute(conn, "check a partition's bounds", check).await?;
        rights::copy(conn, self.parent, relation).await?;
        Ok(relation.clone())
    }

    /// Parent first, as every query does; then the rows.
    async fn through_default(
        &self,
        conn: &mut PgConnection,
        default: &DefaultPartition,
        relation: &Relation,
        asked: Instant,
    ) -> Result<u64, DisposalError> {
        for table in [&self.parent.relation, &default.relation] {
            self.within(conn, asked).await?;
            let lock = format!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE");
            execute(conn, "lock a partitioned table", lock).await?;
        }
        if !self.drain {
            return Ok(0);
        }
        self.within(conn, asked).await?;
        let key = quoted(&self.parent.key);
        let columns: Vec<String> = self.parent.columns.iter().map(|name| quoted(name)).collect();
        let columns = columns.join(", ");
        let (deleted, inserted): (i64, i64) = sqlx::query_as(AssertSqlSafe(format!(
            "WITH moved AS (DELETE FROM ONLY {} WHERE {key} >= $1 AND {key} < $2 RETURNING {columns}), \
                  put AS (INSERT INTO {relation} ({columns}) SELECT {columns} FROM moved RETURNING 1) \
             SELECT (SELECT count(*) FROM moved), (SELECT count(*) FROM put)",
            default.relation
        )))
        .bind(self.piece.span.lower_ms)
        .bind(self.piece.span.upper_ms)
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql("move rows out of the default partition"))?;
        if deleted != inserted {
            return Err(DisposalError::refused(
                "layout",
                format!(
                    "{deleted} rows left {} and {inserted} arrived in {relation}: nothing was moved",
                    default.relation
                ),
            ));
        }
        Ok(inserted.unsigned_abs())
    }

    async fn attach(
        &self,
        conn: &mut PgConnection,
        relation: &Relation,
        asked: Instant,
    ) -> Result<(), DisposalError> {
        let (parent, span) = (&self.parent.relation, self.piece.span);
        self.within(conn, asked).await?;
        let attach = format!(
            "ALTER TABLE {parent} ATTACH PARTITION {relation} FOR VALUES FROM ({}) TO ({})",
            span.lower_ms, span.upper_ms
        );
        execute(conn, "attach a partition", attach).await?;
        self.within(conn, asked).await?;
        let uncheck = format!("ALTER TABLE {relation} DROP CONSTRAINT {BOUNDS_CHECK}");
        execute(conn, "remove a check that the bound has replaced", uncheck).await
    }

    /// Gives the next statement what is left of our time, for locks and for work.
    async fn within(&self, conn: &mut PgConnection, asked: Instant) -> Result<(), DisposalError> {
        let left = self.patience.saturating_sub(asked.elapsed());
        // Waiting may take half of it, or nothing would be left to work in.
        set(conn, "lock_timeout", (self.patience / 2).min(left)).await?;
        set(conn, "statement_timeout", left).await
    }
}

/// Whether the catalogue says what was meant: CREATE and ATTACH are believed only then.
async fn verify(
    conn: &mut PgConnection,
    parent: &Parent,
    relation: &Relation,
    span: Span,
) -> Result<(), DisposalError> {
    let found: Option<(i64, Option<String>, bool)> = sqlx::query_as(ATTACHED_AS)
        .bind(&relation.schema)
        .bind(&relation.name)
        .fetch_optional(conn)
        .await
        .map_err(DisposalError::sql("look at a new partition"))?;
    let bounds = found
        .as_ref()
        .filter(|(attached_to, _, pending)| *attached_to == i64::from(parent.oid) && !pending)
        .and_then(|(_, bound, _)| Bounds::parse(bound.as_deref()?).ok());
    let expected = (Some(span.lower_ms), Some(span.upper_ms));
    match bounds {
        Some(bounds) if (bounds.lower, bounds.upper) == expected => Ok(()),
        _ => Err(DisposalError::refused(
            "layout",
            format!(
                "{relation} should be attached to {} for {span} and the catalogue says {found:?}: nothing was created",
                parent.relation
            ),
        )),
    }
}

async fn set(conn: &mut PgConnection, setting: &str, limit: Duration) -> Result<(), DisposalError> {
    // 0 would mean no limit.
    let set = format!("SET LOCAL {setting} = {}", limit.as_millis().max(1));
    execute(conn, "limit a transaction", set).await
}

/// Statements are made of names the catalogue gave and we quoted, of numbers and of constants.
async fn execute(conn: &mut PgConnection, doing: &'static str, sql: String) -> Result<(), DisposalError> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(conn)
        .await
        .map_err(DisposalError::sql(doing))?;
    Ok(())
}
