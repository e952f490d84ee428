//! [`NewPartition`]: a table like its parent, attached to it for a stretch of time.
//!
//! Whoever makes a partition makes it here (`partition-manage`, the archive's months, a restore), so that each has what
//! its parent has: columns, defaults, storage, tablespace, checks and comments; owner, grants and policies; replica
//! identity. Indexes, foreign keys and triggers come with ATTACH; an identity belongs to the parent alone; statistics
//! objects are not inherited by partitions.
//!
//! It is built beside its siblings-to-be, where nobody sees it, and attached in the same transaction. Without a default
//! partition ATTACH takes SHARE UPDATE EXCLUSIVE on the parent, which no reader or writer feels. With one, the parent
//! and it are locked first, in this order ([`create`]).

use eidos_core::fence::ForeignFence;
use eidos_runtime::JobContext;
use sqlx::PgConnection;

use crate::DisposalError;
use crate::bounds::Bounds;
use crate::catalogue::{Relation, TableShape, quoted};
use crate::partition::locks::{Attempts, Patience, execute};
use crate::settings::DisposalSettings;

mod rights;

/// The constraint that spares ATTACH the reading of the new partition's rows. Removed again: the bound says the same.
const BOUNDS_CHECK: &str = "eidos_partition_bounds";

const LIKE_OPTIONS: &str = "INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE \
     INCLUDING COMPRESSION INCLUDING COMMENTS";

/// Both quoted. A partitioned table has an access method since PostgreSQL 17.
const STORAGE: &str = "\
    SELECT (SELECT quote_ident(m.amname) FROM pg_am m WHERE m.oid = c.relam), \
           (SELECT quote_ident(s.spcname) FROM pg_tablespace s WHERE s.oid = c.reltablespace) \
    FROM pg_class c WHERE c.oid = $1::bigint::oid";

/// What the catalogue says of a partition that was attached: to what, for what, whether for good; and of its parent how rows
/// are identified for replication, with the partition's part of the index, if it is by one, and whether row security binds
/// the owner.
const ATTACHED_AS: &str = "\
    SELECT i.inhparent::bigint, pg_get_expr(c.relpartbound, c.oid), i.inhdetachpending, p.relreplident::text, ( \
        SELECT quote_ident(x.relname) FROM pg_index d JOIN pg_inherits h ON h.inhparent = d.indexrelid \
        JOIN pg_index y ON y.indexrelid = h.inhrelid AND y.indrelid = c.oid JOIN pg_class x ON x.oid = y.indexrelid \
        WHERE d.indrelid = p.oid AND d.indisreplident), p.relforcerowsecurity \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_inherits i ON i.inhrelid = c.oid \
    JOIN pg_class p ON p.oid = i.inhparent WHERE n.nspname = $1 AND c.relname = $2";

type Attached = (i64, Option<String>, bool, String, Option<String>, bool);

/// A partition to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewPartition<'a> {
    /// The partitioned table.
    pub parent: &'a Relation,
    /// Its identity.
    pub parent_oid: u32,
    /// Its key's column, unquoted.
    pub key: &'a str,
    /// The partition.
    pub relation: &'a Relation,
    /// `[lower, upper)`, epoch ms.
    pub bounds_ms: (i64, i64),
}

impl NewPartition<'_> {
    /// Makes its table.
    ///
    /// # Errors
    /// [`DisposalError::Sql`].
    pub async fn create_table(&self, conn: &mut PgConnection) -> Result<(), DisposalError> {
        let (method, tablespace): (Option<String>, Option<String>) = sqlx::query_as(STORAGE)
            .bind(i64::from(self.parent_oid))
            .fetch_one(&mut *conn)
            .await
            .map_err(DisposalError::sql("read a parent's storage"))?;
        let method = method.map_or_else(String::new, |name| format!(" USING {name}"));
        let tablespace = tablespace.map_or_else(String::new, |name| format!(" TABLESPACE {name}"));
        let create = format!(
            "CREATE TABLE {} (LIKE {} {LIKE_OPTIONS}){method}{tablespace}",
            self.relation, self.parent
        );
        execute(conn, "create a partition's table", create).await
    }

    /// Removes what an attempt of another program may have left on the table.
    ///
    /// # Errors
    /// [`DisposalError::Sql`].
    pub async fn uncheck(&self, conn: &mut PgConnection) -> Result<(), DisposalError> {
        let uncheck = format!(
            "ALTER TABLE {} DROP CONSTRAINT IF EXISTS {BOUNDS_CHECK}",
            self.relation
        );
        execute(conn, "remove a check that was left behind", uncheck).await
    }

    /// Everything that can be had before it is attached: its bounds as a check, grants, policies, owner.
    ///
    /// # Errors
    /// [`DisposalError::Sql`].
    pub async fn prepare(&self, conn: &mut PgConnection) -> Result<(), DisposalError> {
        let (key, (lower, upper)) = (quoted(self.key), self.bounds_ms);
        let check = format!(
            "ALTER TABLE {} ADD CONSTRAINT {BOUNDS_CHECK} CHECK ({key} IS NOT NULL AND {key} >= {lower} AND {key} < {upper})",
            self.relation
        );
        execute(conn, "check a partition's bounds", check).await?;
        rights::copy(conn, self).await?;
        Ok(())
    }

    /// Attaches it and removes the check that the bound replaces: two statements, each with what it does.
    #[must_use]
    pub fn attach_sql(&self) -> [(&'static str, String); 2] {
        let (parent, relation, (lower, upper)) = (self.parent, self.relation, self.bounds_ms);
        [
            (
                "attach a partition",
                format!(
                    "ALTER TABLE {parent} ATTACH PARTITION {relation} FOR VALUES FROM ({lower}) TO ({upper})"
                ),
            ),
            (
                "remove a check that the bound has replaced",
                format!("ALTER TABLE {relation} DROP CONSTRAINT {BOUNDS_CHECK}"),
            ),
        ]
    }

    /// What is only possible once it is attached, and the proof that it is: CREATE and ATTACH are believed only where the
    /// catalogue says what was meant.
    ///
    /// # Errors
    /// [`DisposalError::Refused`] (`layout`) where it does not; [`DisposalError::Sql`].
    pub async fn finish(&self, conn: &mut PgConnection) -> Result<(), DisposalError> {
        let (identity, index, is_forced) = self.verify(conn).await?;
        let mut rest = Vec::new();
        if is_forced {
            // Last of all: rows had still to be moved in.
            rest.push("FORCE ROW LEVEL SECURITY".to_owned());
        }
        match (identity.as_str(), index) {
            ("f", _) => rest.push("REPLICA IDENTITY FULL".to_owned()),
            ("n", _) => rest.push("REPLICA IDENTITY NOTHING".to_owned()),
            ("i", Some(index)) => rest.push(format!("REPLICA IDENTITY USING INDEX {index}")),
            _ => {}
        }
        if rest.is_empty() {
            return Ok(());
        }
        let alter = format!("ALTER TABLE {} {}", self.relation, rest.join(", "));
        execute(conn, "give a partition what its parent has", alter).await
    }

    async fn verify(&self, conn: &mut PgConnection) -> Result<(String, Option<String>, bool), DisposalError> {
        let found: Option<Attached> = sqlx::query_as(ATTACHED_AS)
            .bind(&self.relation.schema)
            .bind(&self.relation.name)
            .fetch_optional(conn)
            .await
            .map_err(DisposalError::sql("look at a new partition"))?;
        let (lower, upper) = self.bounds_ms;
        let is_as_meant = |(attached_to, bound, is_pending, ..): &Attached| {
            let bounds = bound.as_deref().and_then(|bound| Bounds::parse(bound).ok());
            *attached_to == i64::from(self.parent_oid)
                && !is_pending
                && bounds.and_then(|bounds| bounds.finite()) == Some((lower, upper))
        };
        match found {
            Some(found) if is_as_meant(&found) => Ok((found.3, found.4, found.5)),
            _ => Err(DisposalError::refused(
                "layout",
                format!(
                    "{} should be attached to {} for [{lower}, {upper}) and the catalogue says {found:?}: nothing was \
                     created",
                    self.relation, self.parent
                ),
            )),
        }
    }
}

/// Makes an empty partition of `parent` in a transaction of its own, as often tried as `disposal.lock_attempts` says.
///
/// # Errors
/// [`DisposalError::Refused`] where rows of its time sit in the default partition, the name is taken, or another partition
/// covers a part of it; [`DisposalError::Busy`]; [`DisposalError::Sql`].
pub async fn create(
    ctx: &JobContext,
    fence: &ForeignFence,
    settings: &DisposalSettings,
    parent: &TableShape,
    relation: &Relation,
    bounds_ms: (i64, i64),
) -> Result<(), DisposalError> {
    let Some(layout) = &parent.partitioning else {
        return Err(DisposalError::refused(
            "partitioning",
            format!(
                "{} is not partitioned, so it has no partitions",
                parent.relation.plain()
            ),
        ));
    };
    let new = NewPartition {
        parent: &parent.relation,
        parent_oid: parent.oid,
        key: &layout.key_column,
        relation,
        bounds_ms,
    };
    let default = layout.default.as_ref().map(|default| &default.relation);
    let mut attempts = Attempts::new(ctx, settings, format!("create {}", relation.plain()));
    while let Err(failure) = new.try_create(fence, settings, default).await {
        attempts.again_after(in_the_place(&new, failure)).await?;
    }
    Ok(())
}

impl NewPartition<'_> {
    async fn try_create(
        &self,
        fence: &ForeignFence,
        settings: &DisposalSettings,
        default: Option<&Relation>,
    ) -> Result<(), DisposalError> {
        let mut step = fence.step().await?;
        let conn = step.conn();
        self.create_table(conn).await?;
        self.prepare(conn).await?;
        let patience = Patience::begin(settings);
        if let Some(default) = default {
            for table in [self.parent, default] {
                let lock = format!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE");
                patience.run(conn, "lock a partitioned table", &lock).await?;
            }
        }
        for (doing, statement) in self.attach_sql() {
            patience.run(conn, doing, &statement).await?;
        }
        self.finish(conn).await?;
        step.commit().await?;
        Ok(())
    }
}

fn in_the_place(new: &NewPartition<'_>, error: DisposalError) -> DisposalError {
    let (relation, parent) = (new.relation.plain(), new.parent.plain());
    let what = match error.sqlstate().as_deref() {
        Some("42P07") => {
            format!("{relation} exists and is no partition of {parent}: rename or attach it, then run again")
        }
        Some("42P17") => format!(
            "{parent} has a partition that covers a part of [{}, {}) ({error}): {relation} cannot be made",
            new.bounds_ms.0, new.bounds_ms.1
        ),
        Some("23514") => format!(
            "rows of [{}, {}) sit in the default partition of {parent} ({error}): let partition-manage move them, then run \
             again",
            new.bounds_ms.0, new.bounds_ms.1
        ),
        Some("42501") => format!(
            "this login may not make {relation} ({error}): it has to own {parent}, and to have CREATE on the schema"
        ),
        _ => return error,
    };
    DisposalError::refused("partition", what)
}
