//! Who has the name that a partition would take.

use eidos_disposal::DisposalError;
use eidos_pg::{Relation, sql};
use sqlx::PgConnection;

pub(super) const OCCUPANT: &str = "\
    SELECT c.oid::bigint, c.relkind::text, c.relpersistence::text, i.inhparent::bigint, \
           EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid) \
           OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid) \
           OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_inherits i ON i.inhrelid = c.oid \
    WHERE n.nspname = $1 AND c.relname = $2";

/// The columns that one of two tables has and the other has not, or has otherwise.
pub(super) const DIFFERENT_COLUMNS: &str = "\
    WITH columns AS ( \
        SELECT attrelid, attname::text AS name, \
               format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END \
               || attgenerated::text || attcollation::text AS what \
        FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped) \
    SELECT DISTINCT coalesce(a.name, b.name) \
    FROM (SELECT * FROM columns WHERE attrelid = $1::bigint::oid) a \
    FULL JOIN (SELECT * FROM columns WHERE attrelid = $2::bigint::oid) b USING (name, what) \
    WHERE a.name IS NULL OR b.name IS NULL ORDER BY 1";

/// What has a name.
pub(crate) struct Occupant {
    pub(crate) oid: i64,
    /// The table it is a partition of.
    pub(crate) parent_oid: Option<i64>,
    /// Whether it is an ordinary table that belongs to nothing and on which nothing depends.
    pub(crate) is_plain: bool,
}

/// Returns what has the name of a relation; `None`: nothing.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn occupant(
    conn: &mut PgConnection,
    relation: &Relation,
) -> Result<Option<Occupant>, DisposalError> {
    let found: Option<(i64, String, String, Option<i64>, bool)> = sqlx::query_as(OCCUPANT)
        .bind(&relation.schema)
        .bind(&relation.name)
        .fetch_optional(conn)
        .await
        .map_err(DisposalError::sql("look who has a partition's name"))?;
    Ok(
        found.map(|(oid, kind, persistence, parent_oid, has_dependants)| Occupant {
            oid,
            is_plain: kind == "r" && persistence == "p" && parent_oid.is_none() && !has_dependants,
            parent_oid,
        }),
    )
}

/// Returns the columns that one of two tables has and the other has not, or has otherwise.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn different_columns(
    conn: &mut PgConnection,
    parent_oid: i64,
    oid: i64,
) -> Result<Vec<String>, DisposalError> {
    sqlx::query_scalar(DIFFERENT_COLUMNS)
        .bind(parent_oid)
        .bind(oid)
        .fetch_all(conn)
        .await
        .map_err(DisposalError::sql("compare a table with its parent to be"))
}

/// Checks whether a table holds a row.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn has_rows(conn: &mut PgConnection, relation: &Relation) -> Result<bool, DisposalError> {
    sqlx::query_scalar(sql!("SELECT EXISTS (SELECT FROM ONLY {relation})"; relation))
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql(
            "look into a table that has a partition's name",
        ))
}
