//! [`NewPartition`]: a table like its parent, attached to it for a range of its key. The only partition maker.
//!
//! Whatever makes a partition uses it (the history's months, `partition-manage`, the archive's months, a restore), so that
//! each has what its parent has: columns, defaults, storage, tablespace, checks and comments; owner, grants and policies;
//! replica identity. Indexes, foreign keys and triggers come with ATTACH; an identity belongs to the parent alone;
//! statistics objects are not inherited by partitions.
//!
//! It is built beside its siblings-to-be, where nobody sees it, and attached in the same transaction. Without a default
//! partition ATTACH takes SHARE UPDATE EXCLUSIVE on the parent, which no reader or writer feels. With one, the caller locks
//! the parent and it first, in this order.

use eidos_types::ident::SqlIdent;
use sqlx::PgConnection;

use crate::bounds::Bounds;
use crate::{PgError, Relation, Sql, sql};

mod rights;

pub use rights::reading_grants;

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
    /// [`PgError::Sql`].
    pub async fn create_table(&self, conn: &mut PgConnection) -> Result<(), PgError> {
        let (method, tablespace): (Option<String>, Option<String>) = sqlx::query_as(STORAGE)
            .bind(i64::from(self.parent_oid))
            .fetch_one(&mut *conn)
            .await
            .map_err(PgError::sql("read a parent's storage"))?;
        let method = method.map(Sql::from_server).map_or_else(Sql::default, |name| {
            sql!(
                " USING {name}";
                name
            )
        });
        let tablespace = tablespace
            .map(Sql::from_server)
            .map_or_else(Sql::default, |name| sql!(" TABLESPACE {name}"; name));
        let create = sql!(
            "CREATE TABLE {} (LIKE {} {LIKE_OPTIONS}){method}{tablespace}",
            self.relation, self.parent;
            LIKE_OPTIONS, method, tablespace
        );
        execute(conn, "create a partition's table", create).await
    }

    /// Removes what an attempt of another program may have left on the table.
    ///
    /// # Errors
    /// [`PgError::Sql`].
    pub async fn uncheck(&self, conn: &mut PgConnection) -> Result<(), PgError> {
        let uncheck = sql!(
            "ALTER TABLE {} DROP CONSTRAINT IF EXISTS {BOUNDS_CHECK}",
            self.relation;
            BOUNDS_CHECK
        );
        execute(conn, "remove a check that was left behind", uncheck).await
    }

    /// Everything that can be had before it is attached: its bounds as a check, grants, policies, owner.
    ///
    /// # Errors
    /// [`PgError::Sql`].
    pub async fn prepare(&self, conn: &mut PgConnection) -> Result<(), PgError> {
        let (key, (lower, upper)) = (SqlIdent::quoting(self.key), self.bounds_ms);
        let check = sql!(
            "ALTER TABLE {} ADD CONSTRAINT {BOUNDS_CHECK} CHECK ({key} IS NOT NULL AND {key} >= {lower} AND {key} < {upper})",
            self.relation;
            BOUNDS_CHECK, key, lower, upper
        );
        execute(conn, "check a partition's bounds", check).await?;
        rights::copy(conn, self).await?;
        Ok(())
    }

    /// Attaches it and removes the check that the bound replaces: two statements, each with what it does.
    #[must_use]
    pub fn attach_sql(&self) -> [(&'static str, Sql); 2] {
        let (parent, relation, (lower, upper)) = (self.parent, self.relation, self.bounds_ms);
        [
            (
                "attach a partition",
                sql!(
                    "ALTER TABLE {parent} ATTACH PARTITION {relation} FOR VALUES FROM ({lower}) TO ({upper})";
                    parent, relation, lower, upper
                ),
            ),
            (
                "remove a check that the bound has replaced",
                sql!("ALTER TABLE {relation} DROP CONSTRAINT {BOUNDS_CHECK}"; relation, BOUNDS_CHECK),
            ),
        ]
    }

    /// What is only possible once it is attached, and the proof that it is: CREATE and ATTACH are believed only where the
    /// catalogue says what was meant.
    ///
    /// # Errors
    /// [`PgError::Layout`] where it does not; [`PgError::Sql`].
    pub async fn finish(&self, conn: &mut PgConnection) -> Result<(), PgError> {
        let (identity, index, is_forced) = self.verify(conn).await?;
        let mut rest = Vec::new();
        if is_forced {
            // Last of all: rows had still to be moved in.
            rest.push(Sql::constant("FORCE ROW LEVEL SECURITY"));
        }
        match (identity.as_str(), index) {
            ("f", _) => rest.push(Sql::constant("REPLICA IDENTITY FULL")),
            ("n", _) => rest.push(Sql::constant("REPLICA IDENTITY NOTHING")),
            ("i", Some(index)) => {
                let index = Sql::from_server(index);
                rest.push(sql!("REPLICA IDENTITY USING INDEX {index}"; index));
            }
            _ => {}
        }
        if rest.is_empty() {
            return Ok(());
        }
        let alter = sql!("ALTER TABLE {} {}", self.relation, Sql::join(rest, ", "));
        execute(conn, "give a partition what its parent has", alter).await
    }

    async fn verify(&self, conn: &mut PgConnection) -> Result<(String, Option<String>, bool), PgError> {
        let found: Option<Attached> = sqlx::query_as(ATTACHED_AS)
            .bind(&self.relation.schema)
            .bind(&self.relation.name)
            .fetch_optional(conn)
            .await
            .map_err(PgError::sql("look at a new partition"))?;
        let (lower, upper) = self.bounds_ms;
        let is_as_meant = |(attached_to, bound, is_pending, ..): &Attached| {
            let bounds = bound.as_deref().and_then(|bound| Bounds::parse(bound).ok());
            *attached_to == i64::from(self.parent_oid)
                && !is_pending
                && bounds.and_then(|bounds| bounds.finite()) == Some((lower, upper))
        };
        match found {
            Some(found) if is_as_meant(&found) => Ok((found.3, found.4, found.5)),
            _ => Err(PgError::Layout(format!(
                "{} should be attached to {} for [{lower}, {upper}) and the catalogue says {found:?}: nothing was \
                     created",
                self.relation, self.parent
            ))),
        }
    }
}

/// Runs statements without parameters.
async fn execute(conn: &mut PgConnection, doing: &'static str, statement: Sql) -> Result<(), PgError> {
    sqlx::raw_sql(statement)
        .execute(conn)
        .await
        .map_err(PgError::sql(doing))?;
    Ok(())
}
