//! What a run found and did.

use std::collections::BTreeMap;
use std::fmt::Write;

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use eidos_disposal::destination::StoreReport;
use eidos_disposal::partition::{Recovered, Undone};
use eidos_plan::{Failure, Plan};
use eidos_runtime::{JobContext, JobError};
use eidos_types::Month;
use serde::{Deserialize, Serialize};

use super::survey::MovedTable;

/// How the moves of a table ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// Nothing was left that may move.
    Done,
    /// `max_rows_per_run` was reached.
    Rows,
    /// The time budget was nearly used up; the next run goes on.
    Time,
}

/// The moves of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// The hot table.
    pub table: String,
    /// The archive.
    pub archive: String,
    /// Rows moved, each in one place at every moment.
    pub moved: u64,
    /// Of these, rows that were locked at first.
    pub second_pass: u64,
    /// Transactions.
    pub batches: u64,
    /// Rows whose equal copy was in the archive already: removed from the hot table.
    pub copies_removed: u64,
    /// Ids whose copy in the archive says something else: they stay, and the run fails.
    pub conflicts: Vec<i64>,
    /// Rows that stayed locked for `disposal.lock_timeout`.
    pub locked: u64,
    /// Rows that changed while they were looked at.
    pub left_for_next: u64,
    /// Months whose rows wait, and for what.
    pub waiting: Vec<String>,
    /// Finished rows without a believable completion time (counted to 1001 per kind): they stay.
    pub implausible: u64,
    /// Archive partitions created.
    pub created: Vec<String>,
    /// Completion time of the oldest row that is still due, epoch ms.
    pub oldest_left_ms: Option<i64>,
    /// How it ended.
    pub ended: Ended,
}

impl TableReport {
    pub(super) fn new(table: &MovedTable) -> Self {
        let rule = &table.rule;
        Self {
            table: rule.table.as_str().to_owned(),
            archive: rule.archive.as_str().to_owned(),
            moved: 0,
            second_pass: 0,
            batches: 0,
            copies_removed: 0,
            conflicts: Vec::new(),
            locked: 0,
            left_for_next: 0,
            waiting: Vec::new(),
            implausible: table.implausible,
            created: Vec::new(),
            oldest_left_ms: None,
            ended: Ended::Done,
        }
    }

    /// Whether rows of this month were found to wait.
    pub(super) fn waits(&self, month: Month) -> bool {
        let prefix = format!("{month}: ");
        self.waiting.iter().any(|waiting| waiting.starts_with(&prefix))
    }
}

/// An expired month of an archive table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgedReport {
    /// The archive table.
    pub table: String,
    /// Its partition.
    pub object: String,
    /// How far it is now, or why it does not go on.
    pub outcome: String,
}

/// What a run of `archive-data` reports.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was to be done, with its digest; a dry run ends here.
    pub plan: Plan,
    /// Whether anything was done.
    pub dry_run: bool,
    /// Under whose approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// The moves, in their order.
    pub tables: Vec<TableReport>,
    /// Changes made to archive tables, as statements.
    pub archive_changes: Vec<String>,
    /// Expired months.
    pub aged: Vec<AgedReport>,
    /// Expired months that wait for a person, per archive table.
    pub waiting_for_approval: BTreeMap<String, u64>,
    /// What an earlier, interrupted run had left, and what became of it.
    pub recovered: Vec<Recovered>,
    /// What was refused, per table; the error names each. Tables without a refusal are left out.
    pub refused: BTreeMap<String, u64>,
    /// The month that was taken back, in a run that did nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone: Option<Undone>,
    /// What was asked about the archive store, in a run that did nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreReport>,
    /// What went wrong without ending the run.
    #[serde(skip)]
    failures: Vec<String>,
}

impl Report {
    pub(super) fn new(plan: Plan, dry_run: bool) -> Self {
        Self {
            plan,
            dry_run,
            approved_by: None,
            tables: Vec::new(),
            archive_changes: Vec::new(),
            aged: Vec::new(),
            waiting_for_approval: BTreeMap::new(),
            recovered: Vec::new(),
            refused: BTreeMap::new(),
            undone: None,
            store: None,
            failures: Vec::new(),
        }
    }

    /// What of one table went wrong: the run goes on and ends as failed.
    pub(super) fn fail(&mut self, table: &str, what: String) {
        tracing::error!(table, what, "the run goes on and will end as failed");
        *self.refused.entry(table.to_owned()).or_default() += 1;
        self.failures.push(what);
    }

    /// Returns what must be looked at; `None`: nothing.
    pub(super) fn failure(&self) -> Option<Failure> {
        if self.failures.is_empty() {
            return None;
        }
        let mut problems = self.failures.clone();
        // Months that meet the same store say the same.
        problems.dedup();
        let moved: u64 = self.tables.iter().map(|table| table.moved).sum();
        Some(Failure {
            what: format!("{} ({moved} other rows were moved)", problems.join("; ")),
            retryable: false,
        })
    }

    /// Of a run that was about the archive store.
    pub(super) fn of_store(ctx: &JobContext, told: StoreReport) -> Result<Self, JobError> {
        let nothing = Plan::new(ctx.job().as_str(), ctx.slot(), Vec::new(), Vec::new())?;
        Ok(Self {
            store: Some(told),
            ..Self::new(nothing, ctx.dry_run())
        })
    }
}

/// The report as a person reads it.
pub(super) fn render(report: &Report) -> String {
    if let Some(undone) = &report.undone {
        return undone.to_string();
    }
    if let Some(store) = &report.store {
        return store.to_string();
    }
    let mut text = report.plan.render();
    if report.dry_run {
        text.push_str("\nNothing was changed.");
        return text;
    }
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header([
        "table",
        "moved",
        "copies",
        "locked",
        "conflicts",
        "ended",
    ]);
    for moved in &report.tables {
        table.add_row([
            moved.table.clone(),
            moved.moved.to_string(),
            moved.copies_removed.to_string(),
            moved.locked.to_string(),
            moved.conflicts.len().to_string(),
            format!("{:?}", moved.ended).to_lowercase(),
        ]);
    }
    let _ = write!(text, "\n{}", eidos_runtime::terminal::fit(&mut table));
    for change in &report.archive_changes {
        let _ = write!(text, "\n{change}");
    }
    for recovered in &report.recovered {
        let _ = write!(text, "\nleft by an earlier run: {recovered:?}");
    }
    for table in &report.tables {
        for waiting in &table.waiting {
            let _ = write!(text, "\n{}: {waiting}", table.table);
        }
    }
    for aged in &report.aged {
        let _ = write!(text, "\n{}: {}", aged.object, aged.outcome);
    }
    text
}
