//! The partitions of one table: which have outlived their time, which rest, and which stay after all.

use std::collections::BTreeSet;

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{self, RelationKind, TableShape};
use eidos_disposal::hold::Hold;
use eidos_disposal::partition::{PartitionIdentity, PartitionPolicy};
use eidos_disposal::plan::{Action, PlanItem};
use eidos_disposal::unit::{self, Unit, UnitKind, UnitState};
use eidos_runtime::JobContext;
use eidos_types::Slot;
use serde_json::json;

use super::holds;
use super::report::instant;
use super::rules::PartitionRule;
use super::survey::{Looked, Piece, Release, Task};
use crate::domain::retention::{self, Expiry};
use crate::jobs::data_cleanup::DataCleanup;

/// Looks at the partitions of one table.
pub(super) async fn look<'a>(
    job: &DataCleanup,
    ctx: &JobContext,
    slot: Slot,
    rule: &'a PartitionRule,
) -> Result<Looked<'a>, DisposalError> {
    let shape = read(job, rule).await?;
    let cutoff_ms = retention::cutoff_ms(slot.instant(), rule.retention_months);
    let holds = holds::of_table(ctx, rule.source, &shape.relation).await?;
    let open: Vec<Unit> = unit::list_open(ctx.jobs_db().control(), rule.source, Some(&shape.relation))
        .await?
        .into_iter()
        .filter(|unit| unit.kind == UnitKind::Partition && unit.job_name == ctx.job().as_str())
        .collect();
    let mut looked = Looked {
        cutoff_ms: Some(cutoff_ms),
        ..Looked::default()
    };
    for unit in &open {
        match unit.state {
            UnitState::Quarantined | UnitState::Dropping
                if unit.drop_after_ms.is_some_and(|due| due <= slot.ms()) =>
            {
                looked.pieces.push(due(rule, unit, &holds));
            }
            UnitState::Quarantined | UnitState::Dropping => looked.resting.push(unit.clone()),
            _ => {}
        }
    }
    expired(job, rule, &shape, cutoff_ms, &holds, &open, &mut looked)?;
    looked.problems.extend(left_frozen(&shape, &open, &looked));
    released(rule, open, &mut looked);
    Ok(looked)
}

/// Every partition whose upper bound is not after the cutoff.
fn expired<'a>(
    job: &DataCleanup,
    rule: &'a PartitionRule,
    shape: &TableShape,
    cutoff_ms: i64,
    holds: &[Hold],
    open: &[Unit],
    looked: &mut Looked<'a>,
) -> Result<(), DisposalError> {
    let policy = policy(rule);
    for partition in shape.partitioning.iter().flat_map(|layout| &layout.partitions) {
        let name = partition.relation.plain();
        match retention::expiry(&partition.bounds, cutoff_ms) {
            Expiry::Stays => continue,
            Expiry::WithoutBeginning => {
                looked.notes.push(format!(
                    "{name} is expired and has no lower bound; split it by hand, it stays"
                ));
                continue;
            }
            Expiry::Unbelievable => {
                looked.notes.push(format!(
                    "{name} ends before 2010: bounds in seconds instead of milliseconds? It stays until somebody \
                     corrects its bounds and rows"
                ));
                continue;
            }
            Expiry::Expired(..) if partition.kind != RelationKind::Table => {
                looked.notes.push(format!(
                    "{name} is expired and no ordinary table (partitioned again, or foreign); it stays"
                ));
                continue;
            }
            Expiry::Expired(..) => {}
        }
        let identity = PartitionIdentity::of(shape, partition, &policy)?;
        let window = (identity.lower_ms, identity.upper_ms);
        let item = PlanItem {
            source: rule.source,
            table: shape.relation.plain(),
            object: partition.relation.name.clone(),
            action: if rule.archive.is_some() {
                Action::ArchiveAndDrop
            } else {
                Action::Drop
            },
            window_ms: Some(window),
            rows_estimate: partition.rows_estimate.map(i64::unsigned_abs),
            bytes: Some(partition.bytes.unsigned_abs()),
            locks: vec![
                format!("SHARE ROW EXCLUSIVE on {name}, for a moment (freeze)"),
                format!(
                    "ACCESS EXCLUSIVE on {}, at most {} ms at a time (detach)",
                    shape.relation.plain(),
                    job.disposal.lock_timeout.as_millis()
                ),
            ],
            steps: steps(rule),
            reason: format!(
                "{} months are kept: what ends by {}",
                rule.retention_months,
                instant(cutoff_ms)
            ),
            blocked: holds::blocking(holds, window),
            identity: identity.to_value()?,
        };
        looked.pieces.push(Piece {
            item,
            approval: rule.require_approval,
            unit: open.iter().find(|unit| unit.table_oid == partition.oid).cloned(),
            task: Task::Partition(rule, Box::new(identity)),
        });
    }
    Ok(())
}

fn steps(rule: &PartitionRule) -> Vec<String> {
    let mut steps = vec!["freeze: readable, no longer writable".to_owned()];
    if rule.archive.is_some() {
        steps.push("export, read the export back, compare it with the rows".to_owned());
    }
    steps.push("detach into eidos_quarantine".to_owned());
    steps.push(format!(
        "after {} days compare once more and drop",
        rule.quarantine_days
    ));
    steps
}

/// A partition whose quarantine is over.
fn due<'a>(rule: &'a PartitionRule, unit: &Unit, holds: &[Hold]) -> Piece<'a> {
    let resting = unit
        .quarantine_table
        .clone()
        .unwrap_or_else(|| unit.unit_name.clone());
    let item = PlanItem {
        source: unit.source,
        table: unit.table.plain(),
        object: unit.unit_name.clone(),
        action: Action::DropQuarantined,
        window_ms: Some((unit.lower_ms, unit.upper_ms)),
        rows_estimate: unit.row_count.map(i64::unsigned_abs),
        bytes: None,
        locks: vec![format!("ACCESS EXCLUSIVE on {resting}, which nobody else uses")],
        steps: vec![
            "read the export in full, compare it with the rows".to_owned(),
            "drop".to_owned(),
        ],
        reason: format!(
            "its quarantine ended at {}",
            instant(unit.drop_after_ms.unwrap_or_default())
        ),
        blocked: holds::blocking(holds, (unit.lower_ms, unit.upper_ms)),
        identity: json!({
            "unit_id": unit.unit_id,
            "table_oid": unit.table_oid,
            "quarantine_table": unit.quarantine_table,
            "content_digest": unit.content_digest,
            "row_count": unit.row_count,
            "drop_after_ms": unit.drop_after_ms,
        }),
    };
    Piece {
        item,
        task: Task::Drop(rule),
        approval: rule.require_approval,
        unit: Some(unit.clone()),
    }
}

/// Partitions that refuse writes although nothing is being done to them: an export was given up, and before it began
/// again a hold was placed or the rule changed.
fn left_frozen(shape: &TableShape, open: &[Unit], looked: &Looked<'_>) -> Vec<String> {
    let goes_on = |oid: u32| open.iter().any(|unit| unit.table_oid == oid);
    let begins = |name: &str| {
        looked
            .pieces
            .iter()
            .any(|piece| piece.item.object == name && piece.item.blocked.is_none())
    };
    shape
        .partitioning
        .iter()
        .flat_map(|layout| &layout.partitions)
        .filter(|partition| partition.frozen && !goes_on(partition.oid) && !begins(&partition.relation.name))
        .map(|partition| {
            let relation = &partition.relation;
            format!(
                "{} refuses writes and is not being disposed of; let writers back: DROP TRIGGER eidos_jobs_freeze_rows ON \
                 {relation}; DROP TRIGGER eidos_jobs_freeze_truncate ON {relation}",
                relation.plain()
            )
        })
        .collect()
}

/// Units whose partition is under a hold, or is kept longer than when they began: nobody should be kept from writing
/// to it. One that is detached already stays where it is; the hold keeps it from being dropped.
fn released<'a>(rule: &'a PartitionRule, open: Vec<Unit>, looked: &mut Looked<'a>) {
    let blocked: BTreeSet<u32> = looked
        .pieces
        .iter()
        .filter(|piece| piece.item.blocked.is_some())
        .filter_map(|piece| piece.unit.as_ref().map(|unit| unit.table_oid))
        .collect();
    let planned: BTreeSet<u32> = looked
        .pieces
        .iter()
        .filter_map(|piece| piece.unit.as_ref().map(|unit| unit.table_oid))
        .collect();
    for unit in open {
        let attached = matches!(
            unit.state,
            UnitState::Planned | UnitState::Frozen | UnitState::Exporting | UnitState::Verified
        );
        let reason = if !attached {
            continue;
        } else if blocked.contains(&unit.table_oid) {
            "a legal hold was placed on it"
        } else if planned.contains(&unit.table_oid) {
            continue;
        } else {
            "its table is kept longer now"
        };
        looked.releases.push(Release {
            rule,
            unit,
            reason: reason.to_owned(),
        });
    }
}

async fn read(job: &DataCleanup, rule: &PartitionRule) -> Result<TableShape, DisposalError> {
    let mut conn = job.connection(rule.source).await?;
    let name = rule.table.as_str();
    let shape = catalogue::read_table(&mut conn, &rule.table)
        .await?
        .ok_or_else(|| {
            DisposalError::refused(
                "rule",
                format!(
                    "{name} does not exist; correct data_retention.partitioned_tables or databases.{}",
                    rule.source
                ),
            )
        })?;
    if shape.partitioning.is_none() {
        return Err(DisposalError::refused(
            "rule",
            format!(
                "{name} is not partitioned, but has a rule in data_retention.partitioned_tables; move it to regular_tables"
            ),
        ));
    }
    Ok(shape)
}

/// The table's rules as `eidos-disposal` takes them.
pub(super) const fn policy(rule: &PartitionRule) -> PartitionPolicy {
    PartitionPolicy {
        source: rule.source,
        archive: rule.archive,
        quarantine_days: rule.quarantine_days,
        held_with: Vec::new(),
    }
}
