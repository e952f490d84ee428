//! Rows and time that a run may still spend on moves.

use std::time::Duration;

use eidos_runtime::JobContext;

use super::report::Ended;

/// What a run may still do.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Rows left of `max_rows_per_run`.
    pub(super) rows: u64,
    /// Time kept for what comes after the moves.
    reserve: Duration,
}

impl Allowance {
    /// At the start of the moves; `max_rows` is `max_rows_per_run`.
    pub(super) fn new(ctx: &JobContext, max_rows: Option<u64>) -> Self {
        Self {
            rows: max_rows.unwrap_or(u64::MAX),
            reserve: (ctx.budget_left() / 10).min(Duration::from_secs(30)),
        }
    }

    /// Whether it is used up, and what ended it.
    pub(super) fn spent(&self, ctx: &JobContext) -> Option<Ended> {
        if self.rows == 0 {
            Some(Ended::Rows)
        } else if ctx.budget_left() <= self.reserve {
            Some(Ended::Time)
        } else {
            None
        }
    }
}
