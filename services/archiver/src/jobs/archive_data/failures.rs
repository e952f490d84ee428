//! [`Failures`]: what a run reports at its end instead of ending with it.

use eidos_runtime::JobError;

use super::report::{Report, render};

/// What went wrong without ending the run: told at its end, with a non-zero exit.
#[derive(Debug, Default)]
pub(super) struct Failures(Vec<(String, String)>);

/// The run did what it could, and something must be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Incomplete(String);

impl Failures {
    pub(super) fn add(&mut self, table: &str, what: String) {
        tracing::error!(table, what, "the run goes on and will end as failed");
        self.0.push((table.to_owned(), what));
    }

    pub(super) fn into_result(self, mut report: Report) -> Result<Report, JobError> {
        if self.0.is_empty() {
            return Ok(report);
        }
        for (table, _) in &self.0 {
            *report.refused.entry(table.clone()).or_default() += 1;
        }
        let mut problems: Vec<String> = self.0.into_iter().map(|(_, what)| what).collect();
        // Months that meet the same store say the same.
        problems.dedup();
        let moved: u64 = report.tables.iter().map(|table| table.moved).sum();
        let error = JobError::fail(Incomplete(format!(
            "{} ({moved} other rows were moved)",
            problems.join("; ")
        )));
        Err(error.with_report(&report, render(&report)))
    }
}
