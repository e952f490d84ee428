//! Into the table the rows came from: its partition again if it is missing, and the rows that are missing.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{Relation, TableShape, quoted};
use sqlx::PgConnection;

use super::stage::{Content, execute};
use super::{Done, Work, columns, instant};
use crate::store::archive_table::read_relation;

const STAGE: &str = "eidos_restore_stage";

/// Restores a unit.
pub(super) async fn restore(work: &Work<'_>) -> Result<Done, DisposalError> {
    let table = Relation {
        schema: work.unit.schema.clone(),
        name: work.unit.table.clone(),
    };
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
    let shape = read_relation(step.conn(), &table).await?.ok_or_else(|| {
        DisposalError::refused(
            "restore",
            format!("{table} does not exist any more; restore with --into side"),
        )
    })?;
    let advice = "restore with --into side, and copy what you need from there";
    columns::fit(work.manifest, &shape, advice)?;
    if let Some(statement) = missing_partition(work, &shape) {
        make_room(work, statement).await?;
    }
    stage(work, step.conn()).await?;
    let inserted = execute(
        step.conn(),
        "insert what is missing",
        insert(work, &table, &shape),
    )
    .await?;
    let here = format!(
        "SELECT {} FROM {table} o JOIN {STAGE} s ON {}",
        work.column_list("o."),
        same_key(work)
    );
    let found = work.digest(step.conn(), &here).await?;
    if found != work.content() {
        return Err(differs(work, &table, found));
    }
    if inserted > 0 {
        step.commit().await?;
    }
    Ok(Done {
        table: table.to_string(),
        inserted,
    })
}

/// In a transaction of its own: a new partition takes a lock on the whole table that nobody else gets past, and copying an
/// export takes minutes. A restore that fails afterwards leaves an empty partition, which the next one fills.
async fn make_room(work: &Work<'_>, statement: String) -> Result<(), DisposalError> {
    let mut step = work.fence.step().await?;
    work.set_limits(step.conn()).await?;
    execute(step.conn(), "create a partition to restore into", statement).await?;
    step.commit().await?;
    Ok(())
}

/// The export in a table of this transaction.
async fn stage(work: &Work<'_>, conn: &mut PgConnection) -> Result<(), DisposalError> {
    let declared: Vec<String> = work
        .manifest
        .columns
        .iter()
        .map(|column| format!("{} {}", quoted(&column.name), column.pg_type.declaration()))
        .collect();
    let create = format!(
        "CREATE TEMPORARY TABLE {STAGE} ({}) ON COMMIT DROP",
        declared.join(", ")
    );
    execute(conn, "create a staging table", create).await?;
    work.copy_into(conn, STAGE).await?;
    // The planner must know its size before the join.
    execute(conn, "count the staging table", format!("ANALYZE {STAGE}")).await?;
    Ok(())
}

fn differs(work: &Work<'_>, table: &Relation, found: Content) -> DisposalError {
    DisposalError::refused(
        "restore",
        format!(
            "{table} holds rows of {} ({} to {}) that are not what was exported: {} of {} rows by key, digest {} instead \
             of {}; nothing was changed. Restore with --into side and compare",
            work.unit.unit_name,
            instant(work.unit.lower_ms),
            instant(work.unit.upper_ms),
            found.rows,
            work.manifest.rows,
            found.digest,
            work.manifest.content_digest
        ),
    )
}

/// The statement that makes room for the unit, where no partition covers it.
fn missing_partition(work: &Work<'_>, shape: &TableShape) -> Option<String> {
    let partitioning = shape.partitioning.as_ref()?;
    let (lower, upper) = (work.unit.lower_ms, work.unit.upper_ms);
    let covered = partitioning
        .partitions
        .iter()
        .any(|partition| partition.bounds.contains(lower) && partition.bounds.contains(upper - 1));
    (!covered).then(|| {
        let partition = Relation {
            schema: work.unit.schema.clone(),
            name: work.unit.unit_name.clone(),
        };
        format!(
            "CREATE TABLE {partition} PARTITION OF {} FOR VALUES FROM ({lower}) TO ({upper})",
            shape.relation
        )
    })
}

fn insert(work: &Work<'_>, table: &Relation, shape: &TableShape) -> String {
    // What the table computes itself cannot be written; the digest afterwards proves that it came out the same.
    let columns: Vec<String> = work
        .manifest
        .columns
        .iter()
        .filter(|column| {
            !shape
                .columns
                .iter()
                .any(|here| here.name == column.name && here.generated)
        })
        .map(|column| quoted(&column.name))
        .collect();
    let columns = columns.join(", ");
    format!(
        "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {STAGE} s \
         WHERE NOT EXISTS (SELECT 1 FROM {table} o WHERE {})",
        same_key(work)
    )
}

fn same_key(work: &Work<'_>) -> String {
    let pairs: Vec<String> = work
        .manifest
        .primary_key
        .iter()
        .map(|name| format!("o.{0} = s.{0}", quoted(name)))
        .collect();
    pairs.join(" AND ")
}
