//! The plan of a run: two moves, and the months that have served their time.

use std::collections::{BTreeMap, BTreeSet};

use eidos_disposal::catalogue::{self, Dependencies, Partition, Relation};
use eidos_disposal::destination;
use eidos_disposal::partition::{self, PartitionIdentity};
use eidos_disposal::{DisposalError, split_refusal};
use eidos_plan::{Action, Note, Plan, PlanItem, Surveyed};
use eidos_runtime::{Job, JobContext, JobError};
use eidos_types::Slot;
use serde_json::json;

use super::aging::policy;
use super::job::ArchiveData;
use super::survey::{self, MovedTable};
use crate::domain::cutoff;
use crate::store::statement::{ARCHIVED_AT, COMPLETED_AT, Statements};
use crate::store::{holds, source, units};

/// Both tables as they are now, what is held, and the plan that follows from it.
#[derive(Debug)]
pub struct Survey {
    /// What is to be done.
    pub(super) plan: Plan,
    pub(super) tables: Vec<MovedTable>,
    /// Per table: what a legal hold on it covers.
    held: Vec<Vec<(i64, i64)>>,
    /// Per table: what a legal hold on its archive covers.
    held_archive: Vec<Vec<(i64, i64)>>,
    /// Months that end at or before this instant have served their time.
    expires_ms: i64,
    /// Names of partitions that have an open unit: they are continued, not planned.
    open: Vec<String>,
    /// Per expired partition, by oid: what it shares with others, and why it may not leave.
    looked_at: BTreeMap<u32, LookedAt>,
    /// What else a reader of the plan should know.
    to_know: BTreeSet<String>,
}

/// An expired partition, as apply would find it.
#[derive(Debug)]
struct LookedAt {
    found: Dependencies,
    /// A metric's label, and the sentence.
    obstacle: Option<(&'static str, String)>,
}

impl Survey {
    /// Reads it. Nothing is changed.
    pub(super) async fn read(job: &ArchiveData, ctx: &JobContext, slot: Slot) -> Result<Self, JobError> {
        let now_ms = source::now_ms(&job.pool).await?;
        let options = &job.options;
        let moves = cutoff::moves_before(slot.ms(), options.retention_days, now_ms, options.safety_lag);
        let expires_ms = cutoff::expires_before(slot.instant(), options.archive_retention_months)
            .ok_or_else(|| JobError::fail("archive_retention_months reaches beyond the calendar"))?;
        let (mut tables, mut open) = (Vec::new(), Vec::new());
        let (mut held, mut held_archive) = (Vec::new(), Vec::new());
        for rule in &job.rules {
            let mut conn = job.connection().await?;
            let table = survey::survey(&mut conn, rule, moves).await?;
            held.push(holds::ranges(ctx, rule.source, &table.relation).await?);
            held_archive.push(match &table.archive {
                Some(archive) => holds::ranges(ctx, rule.source, &archive.relation).await?,
                None => Vec::new(),
            });
            open.extend(units::open_names(ctx, rule).await?);
            tables.push(table);
        }
        let mut survey = Self {
            plan: Plan::new(ArchiveData::NAME, slot, Vec::new(), Vec::new())?,
            tables,
            held,
            held_archive,
            expires_ms,
            open,
            looked_at: BTreeMap::new(),
            to_know: BTreeSet::new(),
        };
        survey.look_at_expired(job, ctx).await?;
        survey.plan = survey.planned(job, slot)?;
        Ok(survey)
    }

    /// Asks of every expired partition what a run would ask.
    async fn look_at_expired(&mut self, job: &ArchiveData, ctx: &JobContext) -> Result<(), JobError> {
        let (mut looked_at, mut to_know) = (BTreeMap::new(), BTreeSet::new());
        let any = self
            .tables
            .iter()
            .any(|table| self.expired(table).next().is_some());
        let store = if any {
            destination::obstacle(ctx.jobs_db().control(), ctx.job().as_str(), &job.store).await?
        } else {
            None
        };
        for table in &self.tables {
            let (Some(shape), Some(_)) = (&table.archive, self.expired(table).next()) else {
                continue;
            };
            let mut conn = job.connection().await?;
            let (notes, room) = split_refusal(partition::room(&mut conn, shape).await)?;
            to_know.extend(notes);
            let of_all = room.or_else(|| store.clone());
            for expired in self.expired(table) {
                let Some(found) = catalogue::dependencies(&mut conn, expired.oid).await? else {
                    continue;
                };
                let obstacle = match &of_all {
                    Some(in_the_way) => Some(in_the_way.clone()),
                    None => split_refusal(partition::may_leave(shape, expired, &found, true))?.1,
                };
                if obstacle.is_none() {
                    // No obstacle: a person who applies the plan is obeyed.
                    let identity = PartitionIdentity::of(shape, expired, &policy(job, table))?;
                    let (jobs, source) = (ctx.jobs_db().read(), table.rule.source);
                    to_know.extend(partition::failed_before(jobs, &mut conn, &identity, source).await?);
                }
                looked_at.insert(expired.oid, LookedAt { found, obstacle });
            }
        }
        (self.looked_at, self.to_know) = (looked_at, to_know);
        Ok(())
    }

    fn planned(&self, job: &ArchiveData, slot: Slot) -> Result<Plan, JobError> {
        let (mut items, mut moves) = (Vec::new(), Vec::new());
        let mut notes: Vec<Note> = self.to_know.iter().map(Note::new).collect();
        for ((table, held), held_archive) in self.tables.iter().zip(&self.held).zip(&self.held_archive) {
            moves.push(Self::move_item(job, table, held));
            notes.extend(table.notes.iter().map(|note| Note::new(note.clone())));
            for (from, to) in held {
                notes.push(Note::new(format!(
                    "{}: rows completed between {} and {} are under a legal hold and stay, here and in the archive",
                    table.relation.plain(),
                    instant(*from),
                    instant(*to)
                )));
            }
            for partition in self.expired(table) {
                let looked_at = self.looked_at.get(&partition.oid);
                items.push(aged_item(job, table, partition, held, held_archive, looked_at)?);
                if let (Some(looked_at), Some(shape)) = (looked_at, &table.archive) {
                    let to_know = partition::notes_on_leaving(shape, partition, &looked_at.found);
                    notes.extend(to_know.into_iter().map(Note::new));
                }
            }
        }
        // In the order it is done: months that leave first, so that nothing waits behind a long move.
        items.extend(moves);
        Ok(Plan::new(ArchiveData::NAME, slot, items, notes)?)
    }

    /// Months that have served their time and are not on their way yet. The newest one stays, whatever its age: an
    /// archive without a partition would be one that nobody looks after.
    fn expired<'a>(&'a self, table: &'a MovedTable) -> impl Iterator<Item = &'a Partition> {
        let partitioning = table
            .archive
            .as_ref()
            .and_then(|archive| archive.partitioning.as_ref());
        let partitions = partitioning.map_or(&[][..], |partitioning| partitioning.partitions.as_slice());
        let older = partitions.split_last().map_or(&[][..], |(_newest, older)| older);
        older
            .iter()
            .filter(|partition| {
                partition
                    .bounds
                    .upper
                    .is_some_and(|upper| upper <= self.expires_ms)
            })
            .filter(|partition| !self.open.contains(&partition.relation.name))
    }

    fn move_item(job: &ArchiveData, table: &MovedTable, held: &[(i64, i64)]) -> PlanItem {
        let rule = &table.rule;
        let mut steps = match &table.archive {
            Some(_) => table.changes.iter().map(ToString::to_string).collect(),
            // The statements are in the item's identity; a person needs to know what they make.
            None => vec![format!(
                "create {} with the table's columns, {COMPLETED_AT} and {ARCHIVED_AT}, partitioned by month; its rows are final",
                rule.archive.as_str()
            )],
        };
        steps.push(format!(
            "batches of {} rows, one transaction each: pick by (completion, {}), DELETE, INSERT into {}; {} ms between them",
            job.options.batch_rows,
            rule.id.as_str(),
            rule.archive.as_str(),
            job.options.sleep_ms
        ));
        let children: Vec<&str> = rule.children.iter().map(|child| child.column.as_str()).collect();
        if !children.is_empty() {
            steps.push(format!(
                "orders named by {} of a trade that is still there stay",
                children.join(" or ")
            ));
        }
        let archive = table
            .archive
            .as_ref()
            .map(|shape| (shape.oid, shape.columns_fingerprint()));
        PlanItem {
            source: rule.source,
            table: table.relation.plain(),
            object: table.relation.plain(),
            action: Action::Move,
            window_ms: Some((0, table.cutoff_ms)),
            rows_estimate: table.estimate,
            bytes: None,
            locks: vec![
                format!(
                    "{}: row locks of one batch, ROW EXCLUSIVE",
                    table.relation.plain()
                ),
                format!(
                    "{}: ROW EXCLUSIVE; ACCESS EXCLUSIVE for a moment per new month or column",
                    rule.archive.as_str()
                ),
            ],
            steps,
            reason: format!(
                "finished ({} in {:?}) and completed before {}",
                rule.status.as_str(),
                rule.finished,
                instant(table.cutoff_ms)
            ),
            blocked: None,
            identity: json!({
                "oid": table.shape.oid,
                "columns": table.shape.columns_fingerprint(),
                "archive": archive,
                "changes": table.changes,
                "cutoff_ms": table.cutoff_ms,
                "finished": Statements::finished(rule, ""),
                "completion": Statements::completion(rule, ""),
                "stays_for": rule.children.iter().map(|child| format!("{}.{}", child.table, child.column)).collect::<Vec<_>>(),
                "foreign_keys": table.references.iter().map(|key| key.table.to_string()).collect::<Vec<_>>(),
                "held": held,
            }),
        }
    }

    /// Returns why an item of the plan may not be applied, if it is not for a hold.
    pub(super) fn obstacle(&self, identity: &PartitionIdentity) -> Option<&(&'static str, String)> {
        self.looked_at.get(&identity.partition_oid)?.obstacle.as_ref()
    }

    /// The table whose archive this is.
    pub(super) fn of_archive(&self, relation: &Relation) -> Option<&MovedTable> {
        self.tables.iter().find(|table| {
            table
                .archive
                .as_ref()
                .is_some_and(|shape| shape.relation == *relation)
        })
    }
}

impl Surveyed for Survey {
    fn plan(&self) -> &Plan {
        &self.plan
    }
}

fn aged_item(
    job: &ArchiveData,
    table: &MovedTable,
    partition: &Partition,
    held: &[(i64, i64)],
    held_archive: &[(i64, i64)],
    looked_at: Option<&LookedAt>,
) -> Result<PlanItem, DisposalError> {
    let shape = table
        .archive
        .as_ref()
        .ok_or_else(|| DisposalError::refused("plan", "an expired month without an archive table"))?;
    let identity = PartitionIdentity::of(shape, partition, &policy(job, table))?;
    let covers = |held: &[(i64, i64)]| {
        held.iter()
            .any(|(from, to)| *from < identity.upper_ms && identity.lower_ms < *to)
    };
    let holder = if covers(held) {
        Some(&table.relation)
    } else {
        covers(held_archive).then_some(&shape.relation)
    };
    let blocked = holder
        .map(|relation| format!("legal hold on {}", relation.plain()))
        .or_else(|| looked_at.and_then(|looked_at| Some(looked_at.obstacle.as_ref()?.1.clone())));
    Ok(PlanItem {
        source: table.rule.source,
        table: shape.relation.plain(),
        object: partition.relation.plain(),
        action: Action::ArchiveAndDrop,
        window_ms: Some((identity.lower_ms, identity.upper_ms)),
        rows_estimate: partition.rows_estimate.map(i64::unsigned_abs),
        bytes: Some(partition.bytes.unsigned_abs()),
        locks: looked_at.map_or_else(Vec::new, |looked_at| {
            partition::locks_to_leave(shape, partition, &looked_at.found, job.disposal.lock_timeout)
        }),
        steps: [
            "freeze",
            "export",
            "read back and compare",
            "detach into eidos_quarantine",
            "compare again and drop",
        ]
        .map(str::to_owned)
        .to_vec(),
        reason: format!(
            "older than archive_retention_months = {}; rests {} days before the drop",
            job.options.archive_retention_months, job.disposal.quarantine_days
        ),
        blocked,
        identity: identity.to_value()?,
    })
}

fn instant(ms: i64) -> String {
    match ms {
        i64::MIN => "ever".to_owned(),
        i64::MAX => "for ever".to_owned(),
        ms => eidos_types::rfc3339(ms),
    }
}
