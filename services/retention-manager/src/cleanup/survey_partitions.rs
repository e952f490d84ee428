//! The partitions of one table: which have outlived their time, which rest, and which stay after all.

use std::collections::{BTreeMap, BTreeSet};

use eidos_disposal::catalogue::{self, Partition, RelationKind, TableShape};
use eidos_disposal::partition::{self, PartitionIdentity, PartitionPolicy};
use eidos_disposal::unit::{self, Unit, UnitKind, UnitState};
use eidos_disposal::{DisposalError, Refusal, split_refusal};
use eidos_plan::{Action, PlanItem, hold::Hold};
use eidos_runtime::JobContext;
use eidos_types::Slot;
use serde_json::json;
use sqlx::PgConnection;

use super::holds;
use super::job::DataCleanup;
use super::pieces::{Looked, Piece, Release, Task};
use super::report::instant;
use super::rules::PartitionRule;
use crate::domain::retention::{self, Expiry};

/// Looks at the partitions of one table.
pub(super) async fn look(
    job: &DataCleanup,
    ctx: &JobContext,
    slot: Slot,
    rule: &PartitionRule,
) -> Result<Looked, DisposalError> {
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
    let mut conn = job.connection(rule.source).await?;
    for unit in &open {
        match unit.state {
            UnitState::Quarantined | UnitState::Dropping
                if unit.drop_after_ms.is_some_and(|due| due <= slot.ms()) =>
            {
                looked.pieces.push(due(job, &mut conn, rule, unit, &holds).await?);
            }
            UnitState::Quarantined | UnitState::Dropping => looked.resting.push(unit.clone()),
            _ => {}
        }
    }
    let expired = expired(&shape, cutoff_ms, &mut looked.notes);
    // Asked once for all of them, and only if there is one.
    let mut room = None;
    let unusable_store = match rule.archive {
        Some(_) if !expired.is_empty() => job.store_obstacle(ctx).await?,
        _ => None,
    };
    for partition in expired {
        if room.is_none() {
            let (notes, obstacle) = split_refusal(partition::room(&mut conn, &shape).await)?;
            looked.notes.extend(notes);
            room = Some(obstacle);
        }
        let unit = open.iter().find(|unit| unit.table_oid == partition.oid).cloned();
        let exported = unit
            .as_ref()
            .is_some_and(|unit| unit.state >= UnitState::Verified);
        let looked_at = Candidate {
            job,
            rule,
            shape: &shape,
            partition,
            cutoff_ms,
            obstacle: room
                .clone()
                .flatten()
                .or_else(|| unusable_store.clone().filter(|_store| !exported)),
        };
        let (piece, notes) = looked_at.piece(&mut conn, &holds, unit).await?;
        if let (Task::Partition(_, identity), None) = (&piece.task, &piece.item.blocked) {
            // No obstacle: a person who applies the plan is obeyed.
            let jobs = ctx.jobs_db().read();
            let failed = partition::failed_before(jobs, &mut conn, identity, rule.source).await?;
            looked.notes.extend(failed);
        }
        looked.pieces.push(piece);
        looked.notes.extend(notes);
    }
    drop(conn);
    looked.problems.extend(left_frozen(&shape, &open, &looked));
    released(rule, open, &mut looked);
    Ok(looked)
}

/// Every partition whose upper bound is not after the cutoff, and whose age is beyond doubt.
fn expired<'s>(shape: &'s TableShape, cutoff_ms: i64, notes: &mut Vec<String>) -> Vec<&'s Partition> {
    let mut expired = Vec::new();
    for partition in shape.partitioning.iter().flat_map(|layout| &layout.partitions) {
        let name = partition.relation.plain();
        match retention::expiry(&partition.bounds, cutoff_ms) {
            Expiry::Stays => {}
            Expiry::WithoutBeginning => notes.push(format!(
                "{name} is expired and has no lower bound; split it by hand, it stays"
            )),
            Expiry::Unbelievable => notes.push(format!(
                "{name} ends before 2010: bounds in seconds instead of milliseconds? It stays until somebody corrects its \
                 bounds and rows"
            )),
            Expiry::Expired(..) if partition.kind != RelationKind::Table => notes.push(format!(
                "{name} is expired and no ordinary table (partitioned again, or foreign); it stays"
            )),
            Expiry::Expired(..) => expired.push(partition),
        }
    }
    expired
}

/// An expired partition, looked at.
struct Candidate<'c> {
    job: &'c DataCleanup,
    rule: &'c PartitionRule,
    shape: &'c TableShape,
    partition: &'c Partition,
    cutoff_ms: i64,
    /// What is in the way of all partitions of the table.
    obstacle: Option<Refusal>,
}

impl Candidate<'_> {
    /// What is to be done with it, what would be in the way, and what to know. A hold is told before an obstacle: it lets
    /// writers back, and the obstacle can wait.
    async fn piece(
        self,
        conn: &mut PgConnection,
        holds: &[Hold],
        unit: Option<Unit>,
    ) -> Result<(Piece, Vec<String>), DisposalError> {
        let (rule, shape, partition) = (self.rule, self.shape, self.partition);
        let identity = PartitionIdentity::of(shape, partition, &policy(rule))?;
        let window = (identity.lower_ms, identity.upper_ms);
        let found = catalogue::dependencies(conn, partition.oid).await?;
        let obstacle = match (&found, self.obstacle) {
            (_, Some(obstacle)) => Some(obstacle),
            (Some(found), None) => {
                split_refusal(partition::may_leave(
                    shape,
                    partition,
                    found,
                    rule.archive.is_some(),
                ))?
                .1
            }
            // Gone since the layout was read; the run finds that out as well.
            (None, None) => None,
        };
        let lock_timeout = self.job.disposal.lock_timeout;
        let held = holds::blocking(holds, window);
        let refused = if held.is_some() { None } else { obstacle };
        let item = PlanItem {
            source: rule.source,
            table: shape.relation.plain(),
            object: partition.relation.name.clone(),
            action: action(rule),
            window_ms: Some(window),
            rows_estimate: partition.rows_estimate.map(i64::unsigned_abs),
            bytes: Some(partition.bytes.unsigned_abs()),
            locks: found.as_ref().map_or_else(Vec::new, |found| {
                partition::locks_to_leave(shape, partition, found, lock_timeout)
            }),
            steps: steps(rule),
            reason: format!(
                "{} months are kept: what ends by {}",
                rule.retention_months,
                instant(self.cutoff_ms)
            ),
            blocked: held.or_else(|| refused.as_ref().map(|(_, what)| what.clone())),
            identity: identity.to_value()?,
        };
        let notes = found.map_or_else(Vec::new, |found| {
            partition::notes_on_leaving(shape, partition, &found)
        });
        let piece = Piece {
            item,
            approval: rule.require_approval,
            refused: refused.map(|(reason, _)| reason),
            unit,
            task: Task::Partition(Box::new(rule.clone()), Box::new(identity)),
        };
        Ok((piece, notes))
    }
}

/// What is done to partitions of this rule.
pub(super) const fn action(rule: &PartitionRule) -> Action {
    if rule.archive.is_some() {
        Action::ArchiveAndDrop
    } else {
        Action::Drop
    }
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
async fn due(
    job: &DataCleanup,
    conn: &mut PgConnection,
    rule: &PartitionRule,
    unit: &Unit,
    holds: &[Hold],
) -> Result<Piece, DisposalError> {
    let found = catalogue::dependencies(conn, unit.table_oid).await?;
    let place = catalogue::find(conn, unit.table_oid).await?;
    let refused = match (&found, &place) {
        (Some(found), Some(place)) => {
            split_refusal(partition::may_be_dropped(
                &unit.unit_name,
                &unit.table,
                &place.relation,
                found,
            ))?
            .1
        }
        _ => None,
    };
    let held = holds::blocking(holds, (unit.lower_ms, unit.upper_ms));
    let refused = if held.is_some() { None } else { refused };
    let lock_timeout = job.disposal.lock_timeout;
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
        locks: found.map_or_else(Vec::new, |found| {
            partition::locks_to_drop(&resting, &found, lock_timeout)
        }),
        steps: vec![
            "read the export in full, compare it with the rows".to_owned(),
            "drop".to_owned(),
        ],
        reason: format!(
            "its quarantine ended at {}",
            instant(unit.drop_after_ms.unwrap_or_default())
        ),
        blocked: held.or_else(|| refused.as_ref().map(|(_, what)| what.clone())),
        identity: json!({
            "unit_id": unit.unit_id,
            "table_oid": unit.table_oid,
            "quarantine_table": unit.quarantine_table,
            "content_digest": unit.content_digest,
            "row_count": unit.row_count,
            "drop_after_ms": unit.drop_after_ms,
        }),
    };
    Ok(Piece {
        item,
        task: Task::Drop(Box::new(rule.clone())),
        approval: rule.require_approval,
        refused: refused.map(|(reason, _)| reason),
        unit: Some(unit.clone()),
    })
}

/// Partitions that refuse writes although nothing is being done to them: an export was given up, and before it began
/// again a hold was placed or the rule changed.
fn left_frozen(shape: &TableShape, open: &[Unit], looked: &Looked) -> Vec<String> {
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

/// Units whose partition is under a hold, could not be dropped, or is kept longer than when they began: nobody should be
/// kept from writing to it. One that is detached already stays where it is; the hold keeps it from being dropped.
fn released(rule: &PartitionRule, open: Vec<Unit>, looked: &mut Looked) {
    let blocked: BTreeMap<u32, String> = looked
        .pieces
        .iter()
        .filter_map(|piece| Some((piece.unit.as_ref()?.table_oid, why_blocked(piece)?)))
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
        } else if let Some(reason) = blocked.get(&unit.table_oid) {
            reason.clone()
        } else if planned.contains(&unit.table_oid) {
            continue;
        } else {
            "its table is kept longer now".to_owned()
        };
        looked.releases.push(Release {
            rule: rule.clone(),
            unit,
            reason,
        });
    }
}

fn why_blocked(piece: &Piece) -> Option<String> {
    let blocked = piece.item.blocked.as_deref()?;
    Some(match piece.refused {
        Some(_) => blocked.to_owned(),
        None => "a legal hold was placed on it".to_owned(),
    })
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
