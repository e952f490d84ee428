//! What a run found and did, for the history, the API and the terminal.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use eidos_disposal::DisposalError;
use eidos_plan::{Failure, Plan};
use eidos_settings::SourceName;
use eidos_telemetry::metric;
use eidos_types::Slot;
use serde::{Deserialize, Serialize};

use super::apply::Done;
use super::survey::{Found, Stranger, Survey, TableSurvey};
use crate::domain::layout::Rules;
use crate::domain::odd::Odd;

/// Odd partitions a terminal shows of one table; the report holds all.
const SHOWN_ODD: usize = 10;

/// What a run found and did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What it worked for.
    pub slot: Slot,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Per table, in the order of the settings.
    pub tables: Vec<TableReport>,
    /// Partitioned tables that no setting names.
    pub unmanaged: Vec<Stranger>,
    /// What was to be done.
    pub plan: Plan,
}

/// One table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TableReport {
    /// Its database.
    pub source: SourceName,
    /// Its name.
    pub table: String,
    /// Interrupted detaches that were finished first.
    pub finalized: Vec<String>,
    /// Partitions that were created.
    pub created: Vec<CreatedPartition>,
    /// Rows that moved out of the default partition.
    pub rows_drained: u64,
    /// Whole months covered after the slot's.
    pub months_ahead: u32,
    /// What is wanted and still not covered.
    pub gaps: Vec<String>,
    /// Rows in the default partition, as the run left it.
    pub default_rows: u64,
    /// Of those, rows whose time is outside of what is drained: a person decides about them.
    pub default_rows_out_of_range: u64,
    /// Oldest and newest time of those.
    pub out_of_range_between_ms: Option<(i64, i64)>,
    /// What waits for the next run, because this one moved as many rows as it may.
    pub waiting: Vec<String>,
    /// Partitions that are not a month in UTC.
    pub odd: Vec<Odd>,
    /// What is in the way, each with what to do.
    pub problems: Vec<String>,
    /// Whether trying again may help with all of them.
    #[serde(skip)]
    retryable: bool,
}

/// A partition that was created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreatedPartition {
    /// Its name.
    pub partition: String,
    /// What it covers.
    pub covers: String,
    /// Rows that came from the default partition.
    pub rows: u64,
    /// How long others could feel the transaction, in milliseconds.
    pub held_ms: u64,
    /// Transactions it took.
    pub attempts: usize,
}

impl Report {
    /// Of a dry run.
    pub(super) fn planned(survey: Survey, unmanaged: Vec<Stranger>) -> Self {
        let tables = survey.tables.iter();
        let nothing = Done::default();
        Self {
            slot: survey.plan.slot,
            dry_run: true,
            tables: tables
                .map(|survey| TableReport::new(survey, &nothing, survey.found.as_ref()))
                .collect(),
            unmanaged,
            plan: survey.plan,
        }
    }

    /// Of a real run: what was done, and what is true after it.
    pub(super) fn applied(
        survey: Survey,
        done: &[Done],
        after: &[Result<Found, DisposalError>],
        unmanaged: Vec<Stranger>,
    ) -> Self {
        let tables = survey.tables.iter().zip(done).zip(after);
        let tables = tables.map(|((survey, done), after)| {
            // A table that could not be read before was not worked on: that is its problem.
            let found = survey.found.as_ref().and(after.as_ref());
            TableReport::new(survey, done, found)
        });
        Self {
            slot: survey.plan.slot,
            dry_run: false,
            tables: tables.collect(),
            unmanaged,
            plan: survey.plan,
        }
    }

    /// Returns the problems of the tables; the others were looked after all the same.
    pub(super) fn failure(&self) -> Option<Failure> {
        let failed = self.tables.iter().filter(|table| !table.problems.is_empty());
        let problems: Vec<String> = failed
            .map(|table| format!("{} {}: {}", table.source, table.table, table.problems.join("; ")))
            .collect();
        if problems.is_empty() {
            return None;
        }
        let created: usize = self.tables.iter().map(|table| table.created.len()).sum();
        let moved: u64 = self.tables.iter().map(|table| table.rows_drained).sum();
        Some(Failure {
            what: format!(
                "{} of {} tables have problems ({created} partitions created, {moved} rows moved): {}",
                problems.len(),
                self.tables.len(),
                problems.join(" | ")
            ),
            retryable: self.tables.iter().any(|table| table.retryable),
        })
    }

    /// For a terminal.
    #[must_use]
    pub fn render(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "source",
            "table",
            "created",
            "rows drained",
            "months ahead",
            "gaps",
            "in default",
            "problems",
        ]);
        for row in &self.tables {
            table.add_row([
                row.source.to_string(),
                row.table.clone(),
                row.created.len().to_string(),
                row.rows_drained.to_string(),
                row.months_ahead.to_string(),
                row.gaps.len().to_string(),
                row.default_rows.to_string(),
                row.problems.len().to_string(),
            ]);
        }
        let mut lines = vec![eidos_runtime::terminal::fit(&mut table).to_string()];
        for row in &self.tables {
            let prefix = |line: String| format!("{} {}: {line}", row.source, row.table);
            lines.extend(row.lines(self.dry_run).into_iter().map(prefix));
        }
        lines.extend(self.unmanaged.iter().map(|stranger| {
            format!(
                "{} {}: partitioned and not in jobs.partition-manage.tables",
                stranger.source, stranger.table
            )
        }));
        if self.dry_run {
            lines.push(self.plan.render());
        }
        lines.join("\n")
    }
}

impl TableReport {
    fn new(survey: &TableSurvey, done: &Done, found: Result<&Found, &DisposalError>) -> Self {
        let mut problems: Vec<String> = done.problems.iter().map(ToString::to_string).collect();
        let mut retryable = done.problems.iter().any(DisposalError::is_retryable);
        if let Err(error) = found {
            problems.push(error.to_string());
            retryable |= error.is_retryable();
        }
        let found = found.ok();
        Self {
            source: survey.table.source,
            table: survey.table.table.as_str().to_owned(),
            finalized: survey.finalized.clone(),
            created: done.created.iter().map(CreatedPartition::of).collect(),
            rows_drained: done.created.iter().map(|created| created.rows_moved).sum(),
            months_ahead: found.map_or(0, |found| months_ahead(&survey.rules, found)),
            gaps: found.map_or_else(Vec::new, gaps),
            default_rows: found.map_or(0, |found| found.astray.total()),
            default_rows_out_of_range: found.map_or(0, |found| found.astray.out_of_range),
            out_of_range_between_ms: found.and_then(|found| found.astray.range_ms),
            waiting: done.capped.iter().map(ToString::to_string).collect(),
            odd: found.map_or_else(Vec::new, |found| found.odd.clone()),
            problems,
            retryable,
        }
    }

    /// Sets the gauges that only a run can know, if it could be read.
    pub(super) fn publish(&self) {
        if !self.was_read() {
            return;
        }
        let (source, name) = (self.source.as_str(), self.table.as_str());
        metric::partition_gaps(source, name, self.gaps.len().try_into().unwrap_or(u64::MAX));
        metric::partition_default_rows(source, name, self.default_rows);
    }

    /// Whether the figures mean something.
    fn was_read(&self) -> bool {
        self.months_ahead > 0 || self.problems.is_empty() || !self.gaps.is_empty()
    }

    fn lines(&self, dry_run: bool) -> Vec<String> {
        let mut lines = Vec::new();
        for partition in &self.finalized {
            lines.push(format!("finished the interrupted detach of {partition}"));
        }
        for created in &self.created {
            lines.push(format!(
                "created {} for {}, {} rows moved, held {} ms",
                created.partition, created.covers, created.rows, created.held_ms
            ));
        }
        // In a dry run they are the plan.
        for gap in self.gaps.iter().filter(|_| !dry_run) {
            lines.push(format!("no partition for {gap}"));
        }
        for span in &self.waiting {
            lines.push(format!(
                "rows of {span} move in the next run (drain_rows_per_run)"
            ));
        }
        if self.default_rows_out_of_range > 0 {
            let between = self
                .out_of_range_between_ms
                .map_or_else(String::new, |(oldest, newest)| {
                    format!(
                        ", between {} and {}",
                        eidos_types::rfc3339(oldest),
                        eidos_types::rfc3339(newest)
                    )
                });
            lines.push(format!(
                "{} rows in the default partition have times no partition is made for{between}",
                self.default_rows_out_of_range
            ));
        }
        for odd in self.odd.iter().take(SHOWN_ODD) {
            lines.push(format!("{} {}", odd.partition, odd.what));
        }
        if self.odd.len() > SHOWN_ODD {
            let more = self.odd.len() - SHOWN_ODD;
            lines.push(format!("and {more} more partitions that are no calendar month"));
        }
        lines.extend(self.problems.iter().cloned());
        lines
    }
}

impl CreatedPartition {
    fn of(created: &crate::partitions::create::Created) -> Self {
        Self {
            partition: created.relation.name.clone(),
            covers: created.span.to_string(),
            rows: created.rows_moved,
            held_ms: u64::try_from(created.held.as_millis()).unwrap_or(u64::MAX),
            attempts: created.attempts,
        }
    }
}

fn months_ahead(rules: &Rules, found: &Found) -> u32 {
    rules.months_covered(&found.parent.partitions)
}

fn gaps(found: &Found) -> Vec<String> {
    found.pieces.iter().map(|piece| piece.span.to_string()).collect()
}
