//! Into the table the rows came from: its partition again if it is missing, and the rows that are missing.

use eidos_disposal::catalogue::{Partition, Relation, RelationKind, TableShape};
use eidos_disposal::{DisposalError, new_partition};
use sqlx::PgConnection;

use super::columns;
use super::params::Triggers;
use super::triggers;
use super::work::{Done, Work};
use crate::store::archive_table::read_relation;
use crate::store::stage::Content;
use crate::store::triggers::{Fired, Target, fired};
use crate::store::units::Exported;

/// Restores a unit.
pub(super) async fn restore(work: &Work<'_>, triggers: Triggers) -> Result<Done, DisposalError> {
    let table = table_of(work.unit);
    if work.manifest.primary_key.is_empty() {
        return Err(DisposalError::refused(
            "restore",
            format!(
                "{table} had no primary key, so nothing tells which rows are missing; restore with --into side"
            ),
        ));
    }
    let mut step = work.fence.step_alone().await?;
    work.set_limits(step.conn()).await?;
    let mut shape = read(step.conn(), work.unit).await?;
    let advice = "restore with --into side, and copy what you need from there";
    columns::fit(work.manifest, &shape, advice)?;
    // Before anything is made or copied.
    let fires = fired(step.conn(), &shape, &target(work.unit, &shape)).await?;
    triggers::allowed(&table, &fires, triggers)?;
    if is_missing(work.unit, &shape) {
        make_room(work, &shape).await?;
        shape = read(step.conn(), work.unit).await?;
    }
    work.stage(step.conn()).await?;
    let into = target(work.unit, &shape);
    let silenced = triggers::silence(work, step.conn(), &shape, &into, triggers).await?;
    let inserted = work
        .insert_missing(step.conn(), &into.relation, &shape)
        .await
        .map_err(|error| does_not_fit(work, &table, error))?;
    let found = work.digest_of_staged(step.conn(), &into.relation).await?;
    if found != work.content() {
        return Err(differs(work, &table, found));
    }
    triggers::wake(step.conn(), &into, &silenced)
        .await
        .map_err(|error| does_not_fit(work, &table, error))?;
    if inserted > 0 {
        step.commit().await?;
    }
    Ok(Done {
        table: table.to_string(),
        inserted,
        silenced: if inserted > 0 { silenced } else { Vec::new() },
    })
}

/// What a restore of this unit would fire, and where.
pub(super) async fn look(
    conn: &mut PgConnection,
    unit: &Exported,
) -> Result<(Target, Vec<Fired>), DisposalError> {
    let shape = read(conn, unit).await?;
    let into = target(unit, &shape);
    let fires = fired(conn, &shape, &into).await?;
    Ok((into, fires))
}

fn table_of(unit: &Exported) -> Relation {
    Relation::new(&unit.schema, &unit.table)
}

async fn read(conn: &mut PgConnection, unit: &Exported) -> Result<TableShape, DisposalError> {
    let table = table_of(unit);
    read_relation(conn, &table).await?.ok_or_else(|| {
        DisposalError::refused(
            "restore",
            format!("{table} does not exist any more; restore with --into side"),
        )
    })
}

/// Where the rows go: the partition that covers the unit, so that nothing of the other months is locked or fired; of a table
/// without partitions, the table.
fn target(unit: &Exported, shape: &TableShape) -> Target {
    let covering = covering(unit, shape).map(|partition| Target {
        relation: partition.relation.clone(),
        oid: partition.oid,
        is_new: false,
        is_divided: partition.kind == RelationKind::Partitioned,
    });
    let is_new = is_missing(unit, shape);
    covering.unwrap_or_else(|| Target {
        relation: if is_new {
            Relation::new(&unit.schema, &unit.unit_name)
        } else {
            shape.relation.clone()
        },
        oid: shape.oid,
        is_new,
        is_divided: false,
    })
}

fn covering<'s>(unit: &Exported, shape: &'s TableShape) -> Option<&'s Partition> {
    let layout = shape.partitioning.as_ref()?;
    layout.partitions.iter().find(|partition| {
        partition.bounds.contains(unit.lower_ms) && partition.bounds.contains(unit.upper_ms - 1)
    })
}

fn is_missing(unit: &Exported, shape: &TableShape) -> bool {
    shape.partitioning.is_some() && covering(unit, shape).is_none()
}

/// In a transaction of its own: copying an export takes minutes, and a new partition locks its table. A restore that fails
/// afterwards leaves an empty partition, which the next one fills.
async fn make_room(work: &Work<'_>, shape: &TableShape) -> Result<(), DisposalError> {
    let partition = Relation::new(&work.unit.schema, &work.unit.unit_name);
    let bounds = (work.unit.lower_ms, work.unit.upper_ms);
    new_partition::create(work.ctx, work.fence, work.disposal, shape, &partition, bounds).await
}

fn differs(work: &Work<'_>, table: &Relation, found: Content) -> DisposalError {
    DisposalError::refused(
        "restore",
        format!(
            "{table} holds rows of {} ({} to {}) that are not what was exported: {} of {} rows by key, digest {} instead \
             of {}; nothing was changed. Restore with --into side and compare",
            work.unit.unit_name,
            eidos_types::rfc3339(work.unit.lower_ms),
            eidos_types::rfc3339(work.unit.upper_ms),
            found.rows,
            work.manifest.rows,
            found.digest,
            work.manifest.content_digest
        ),
    )
}

/// What the table's rules of today refuse of yesterday's rows.
fn does_not_fit(work: &Work<'_>, table: &Relation, error: DisposalError) -> DisposalError {
    let integrity = error
        .sqlstate()
        .is_some_and(|code| code.starts_with("23") || code == "42501");
    if !integrity {
        return error;
    }
    DisposalError::refused(
        "restore",
        format!(
            "{table} does not take the rows of {} as they were ({error}); nothing was changed. Restore with --into side, and \
             copy what you need from there",
            work.unit.unit_name
        ),
    )
}
