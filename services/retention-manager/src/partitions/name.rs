//! Which name a new partition takes, and what stands there already.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::Relation;
use sqlx::PgConnection;

use super::parent::Parent;
use crate::domain::naming;
use crate::domain::tiling::Piece;
use crate::store::names;

/// Where a partition goes.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// Nothing has this name.
    Free(Relation),
    /// An empty table of the right shape has it and belongs to nobody: what a crash of another program left.
    Leftover(Relation),
}

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
        let Some(occupant) = names::occupant(conn, &relation).await? else {
            return Ok(Place::Free(relation));
        };
        if occupant.parent_oid == Some(i64::from(parent.oid)) {
            continue;
        }
        if !occupant.is_plain {
            return Err(in_the_way(
                &relation,
                "is not a plain table that could be attached",
                "rename it",
            ));
        }
        leftover(conn, parent, &relation, occupant.oid).await?;
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
    let different = names::different_columns(conn, i64::from(parent.oid), oid).await?;
    if !different.is_empty() {
        return Err(in_the_way(
            relation,
            &format!("has other columns than its parent ({})", different.join(", ")),
            "rename it",
        ));
    }
    if names::has_rows(conn, relation).await? {
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
