//! Which name a new partition takes, and what stands there already.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::Relation;
use eidos_pg::sql;
use sqlx::PgConnection;

use super::parent::Parent;
use crate::domain::naming;
use crate::domain::tiling::Piece;

/// Where a partition goes.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// Nothing has this name.
    Free(Relation),
    /// An empty table of the right shape has it and belongs to nobody: what a crash of another program left.
    Leftover(Relation),
}

const OCCUPANT: &str = "\
    SELECT c.oid::bigint, c.relkind::text, c.relpersistence::text, i.inhparent::bigint, \
           EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid) \
           OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid) \
           OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_inherits i ON i.inhrelid = c.oid \
    WHERE n.nspname = $1 AND c.relname = $2";

/// The columns that one of two tables has and the other has not, or has otherwise.
const DIFFERENT_COLUMNS: &str = "\
    WITH columns AS ( \
        SELECT attrelid, attname::text AS name, \
               format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END \
               || attgenerated::text || attcollation::text AS what \
        FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped) \
    SELECT DISTINCT coalesce(a.name, b.name) \
    FROM (SELECT * FROM columns WHERE attrelid = $1::bigint::oid) a \
    FULL JOIN (SELECT * FROM columns WHERE attrelid = $2::bigint::oid) b USING (name, what) \
    WHERE a.name IS NULL OR b.name IS NULL ORDER BY 1";

/// Chooses among the names of `piece`: a sibling that has one of them covers another stretch of time, so the next one
/// is taken; anything else in the way is for a person.
///
/// # Errors
/// [`DisposalError::Refused`] says what has the name and what to do; [`DisposalError::Sql`].
pub(super) async fn place(
    conn: &mut PgConnection,
    parent: &Parent,
    piece: &Piece,
) -> Result<Place, DisposalError> {
    for name in naming::names(&parent.relation.name, piece) {
        let relation = Relation {
            schema: parent.relation.schema.clone(),
            name,
        };
        let occupant: Option<(i64, String, String, Option<i64>, bool)> = sqlx::query_as(OCCUPANT)
            .bind(&relation.schema)
            .bind(&relation.name)
            .fetch_optional(&mut *conn)
            .await
            .map_err(DisposalError::sql("look who has a partition's name"))?;
        let Some((oid, kind, persistence, belongs_to, has_dependants)) = occupant else {
            return Ok(Place::Free(relation));
        };
        if belongs_to == Some(i64::from(parent.oid)) {
            continue;
        }
        let plain = kind == "r" && persistence == "p" && belongs_to.is_none() && !has_dependants;
        if !plain {
            return Err(in_the_way(
                &relation,
                "is not a plain table that could be attached",
                "rename it",
            ));
        }
        leftover(conn, parent, &relation, oid).await?;
        return Ok(Place::Leftover(relation));
    }
    Err(DisposalError::refused(
        "layout",
        format!(
            "every name for a partition of {} at {} is taken by a sibling; rename one",
            parent.relation, piece.span
        ),
    ))
}

async fn leftover(
    conn: &mut PgConnection,
    parent: &Parent,
    relation: &Relation,
    oid: i64,
) -> Result<(), DisposalError> {
    let different: Vec<String> = sqlx::query_scalar(DIFFERENT_COLUMNS)
        .bind(i64::from(parent.oid))
        .bind(oid)
        .fetch_all(&mut *conn)
        .await
        .map_err(DisposalError::sql("compare a table with its parent to be"))?;
    if !different.is_empty() {
        return Err(in_the_way(
            relation,
            &format!("has other columns than its parent ({})", different.join(", ")),
            "rename it",
        ));
    }
    let has_rows: bool = sqlx::query_scalar(sql!("SELECT EXISTS (SELECT FROM ONLY {relation})"; relation))
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql(
            "look into a table that has a partition's name",
        ))?;
    if has_rows {
        return Err(in_the_way(
            relation,
            "holds rows",
            "see whose they are, then ALTER TABLE … ATTACH PARTITION it, or rename it",
        ));
    }
    Ok(())
}

fn in_the_way(relation: &Relation, what: &str, fix: &str) -> DisposalError {
    DisposalError::refused(
        "layout",
        format!(
            "{relation} has the name of a missing partition, is not attached and {what}; {fix} \
         (docs/runbooks/partition-manage.md)"
        ),
    )
}
