//! What has outlived its time, table by table, as pieces of work and as the plan a person reads. Nothing is changed.
//!
//! A table that cannot be looked at has a problem in the report and no piece in the plan; the others are not disturbed.

use std::collections::BTreeSet;

use eidos_core::ident::SqlIdent;
use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::Relation;
use eidos_plan::{Action, Note, Plan, PlanItem, Surveyed};
use eidos_runtime::{Job, JobContext, JobError};
use eidos_settings::SourceName;
use eidos_types::Slot;
use serde_json::json;

use super::candles::{CandleReport, CandleWork};
use super::job::{DataCleanup, Fences};
use super::pieces::{Looked, Piece, Release, Task};
use super::report::Report;
use super::stop::Budget;
use super::{holds, survey_candles, survey_partitions, survey_plain, without_rule};

/// Everything that is to be done.
pub struct Survey {
    pub(super) pieces: Vec<Piece>,
    pub(super) releases: Vec<Release>,
    /// The run's right to write, as far as it was needed so far.
    pub(super) fences: Fences,
    pub(super) report: Report,
}

impl Surveyed for Survey {
    fn plan(&self) -> &Plan {
        &self.report.plan
    }
}

impl Survey {
    /// The report of a dry run: the plan, and what of the candles is proved.
    ///
    /// # Errors
    /// [`JobError`] once the run must end.
    pub(crate) async fn preview(mut self, job: &DataCleanup, ctx: &JobContext) -> Result<Report, JobError> {
        let budget = Budget::of(ctx);
        for piece in &self.pieces {
            let Task::Candles(work) = &piece.task else {
                continue;
            };
            match judge(job, ctx, work, budget).await {
                Ok(candles) => self.report.candles.push(candles),
                Err(error) if error.ends_the_run() => return Err(error.into()),
                Err(error) => self
                    .report
                    .failed(work.rule.source, work.rule.table.as_str(), &error),
            }
        }
        for piece in self.pieces.iter().filter(|piece| piece.approval) {
            let (source, table) = piece.place();
            self.report.table(source, &table).waiting_for_approval += 1;
        }
        Ok(self.report)
    }
}

async fn judge(
    job: &DataCleanup,
    ctx: &JobContext,
    work: &CandleWork,
    budget: Budget,
) -> Result<CandleReport, DisposalError> {
    let held = holds::of_table(ctx, work.rule.source, &work.shape.relation).await?;
    let pool = job.pool(work.rule.source)?;
    work.judge(ctx, pool, &job.disposal, &holds::ranges(&held), budget)
        .await
}

/// Looks at every table. `slot` decides what is expired.
///
/// # Errors
/// [`JobError`] once the run must end.
pub(crate) async fn survey(
    job: &DataCleanup,
    ctx: &JobContext,
    slot: Slot,
    only: Option<&BTreeSet<String>>,
) -> Result<Survey, JobError> {
    let mut report = Report {
        slot,
        dry_run: ctx.dry_run(),
        applied: None,
        to_be_continued: false,
        tables: Vec::new(),
        candles: Vec::new(),
        without_rule: Vec::new(),
        problems: Vec::new(),
        plan: Plan::new(DataCleanup::NAME, slot, Vec::new(), Vec::new()).map_err(JobError::from)?,
        undone: None,
        store: None,
        retryable: false,
    };
    let mut found = Found {
        report: &mut report,
        pieces: Vec::new(),
        releases: Vec::new(),
        notes: Vec::new(),
        unread: Vec::new(),
    };
    tables_of(job, ctx, slot, only, &mut found).await?;
    let Found {
        mut pieces,
        releases,
        mut notes,
        unread,
        ..
    } = found;
    pieces.sort_by_key(|piece| piece.task.order());
    let forgotten = without_rule::look(&job.sources, &job.same_database, &job.rules).await;
    notes.extend(forgotten.forgotten.iter().map(|table| {
        Note::new(format!(
            "{} {} has no retention rule and is kept for ever by accident",
            table.source, table.table
        ))
    }));
    report.without_rule = forgotten.forgotten;
    report.problems.extend(forgotten.problems);
    let items = pieces
        .iter()
        .map(|piece| piece.item.clone())
        .chain(unread)
        .collect();
    report.plan = Plan::new(DataCleanup::NAME, slot, items, notes).map_err(JobError::from)?;
    Ok(Survey {
        pieces,
        releases,
        fences: Fences::default(),
        report,
    })
}

async fn tables_of(
    job: &DataCleanup,
    ctx: &JobContext,
    slot: Slot,
    only: Option<&BTreeSet<String>>,
    found: &mut Found<'_>,
) -> Result<(), JobError> {
    let wanted = |table: &SqlIdent| only.is_none_or(|only| only.contains(table.as_str()));
    for rule in job.rules.partitioned.iter().filter(|rule| wanted(&rule.table)) {
        ctx.check_cancelled()?;
        let looked = survey_partitions::look(job, ctx, slot, rule).await;
        found.add(rule.source, &rule.table, survey_partitions::action(rule), looked)?;
    }
    for rule in job.rules.plain.iter().filter(|rule| wanted(&rule.table)) {
        ctx.check_cancelled()?;
        let looked = survey_plain::look(job, ctx, slot, rule).await;
        found.add(rule.source, &rule.table, survey_plain::action(rule), looked)?;
    }
    for rule in job.rules.candles.iter().filter(|rule| wanted(&rule.table)) {
        ctx.check_cancelled()?;
        let looked = survey_candles::look(job, ctx, slot, rule).await;
        found.add(rule.source, &rule.table, Action::Delete, looked)?;
    }
    Ok(())
}

/// Where what was found about each table goes.
struct Found<'r> {
    report: &'r mut Report,
    pieces: Vec<Piece>,
    releases: Vec<Release>,
    notes: Vec<Note>,
    /// Tables that could not be looked at: a run would do nothing to them.
    unread: Vec<PlanItem>,
}

impl Found<'_> {
    fn add(
        &mut self,
        source: SourceName,
        named: &SqlIdent,
        action: Action,
        looked: Result<Looked, DisposalError>,
    ) -> Result<(), JobError> {
        let table = named.as_str();
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) if error.ends_the_run() => return Err(error.into()),
            Err(error) => {
                self.report.failed(source, table, &error);
                let known = self
                    .unread
                    .iter()
                    .any(|item| item.source == source && item.object == table);
                if !known {
                    self.unread.push(unread(source, named, action, &error));
                }
                return Ok(());
            }
        };
        if looked.pieces.iter().any(|piece| piece.approval) {
            self.notes.push(Note::new(format!(
                "{source} {table} has require_approval: only a person who applies this plan disposes of it"
            )));
        }
        let refused = looked.pieces.iter().filter(|piece| piece.refused.is_some());
        let mut refusals: Vec<String> = refused.filter_map(|piece| piece.item.blocked.clone()).collect();
        // What is in the way of all pieces alike, as the store, is told once.
        refusals.dedup();
        let held = looked
            .pieces
            .iter()
            .filter(|piece| piece.item.blocked.is_some() && piece.refused.is_none())
            .count();
        let report = self.report.table(source, table);
        report.cutoff_ms = looked.cutoff_ms.or(report.cutoff_ms);
        if let Some(staying) = looked.staying {
            let unfinished = staying.iter().filter(|staying| staying.unfinished);
            report.unfinished = Some(unfinished.map(|staying| staying.rows).sum());
            report.staying = staying;
        }
        report.problems.extend(looked.problems);
        report.problems.extend(refusals);
        report.held += u64::try_from(held).unwrap_or(u64::MAX);
        report.units.extend(
            looked
                .resting
                .iter()
                .map(|unit| super::report::UnitReport::of(unit, &[])),
        );
        self.notes.extend(
            looked
                .notes
                .into_iter()
                .map(|note| Note::new(format!("{source} {table}: {note}"))),
        );
        self.pieces.extend(looked.pieces);
        self.releases.extend(looked.releases);
        Ok(())
    }
}

/// A table whose work is not known, as a plan shows it: blocked as a whole. Only the kind of obstacle is part of its
/// identity, not the words.
fn unread(source: SourceName, table: &SqlIdent, action: Action, error: &DisposalError) -> PlanItem {
    PlanItem {
        source,
        table: Relation::named(table).plain(),
        object: table.as_str().to_owned(),
        action,
        window_ms: None,
        rows_estimate: None,
        bytes: None,
        locks: Vec::new(),
        steps: Vec::new(),
        reason: "it has a rule in data_retention".to_owned(),
        blocked: Some(error.to_string()),
        identity: json!({ "obstacle": error.refusal().unwrap_or("not_read") }),
    }
}
