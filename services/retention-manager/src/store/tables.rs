//! What a database has: its partitioned tables, and the disk a table takes.

use eidos_disposal::DisposalError;
use eidos_pg::Relation;
use sqlx::{PgConnection, PgPool};

/// The roots of partition trees, of our kind or not; those of extensions left out.
pub(super) const PARTITIONED: &str = "\
    SELECT n.nspname::text, c.relname::text \
    FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2";

pub(super) const SIZE: &str =
    "SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint FROM pg_partition_tree(to_regclass($1))";

/// Returns schema and name of every partitioned table.
///
/// # Errors
/// What the database said.
pub(crate) async fn partitioned(pool: &PgPool) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as(PARTITIONED).fetch_all(pool).await
}

/// Returns the disk a table takes with its partitions and indexes, bytes.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn size(conn: &mut PgConnection, table: &Relation) -> Result<i64, DisposalError> {
    sqlx::query_scalar(SIZE)
        .bind(table.to_string())
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql("ask for the size of a table"))
}
