//! When a run stops between two pieces because its time is nearly over: a normal ending, told as "to be continued".

use std::time::Duration;

use eidos_runtime::JobContext;

/// What is kept for the report and for giving everything back.
const RESERVE: Duration = Duration::from_secs(30);

/// How much of the run's time is kept back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    reserve: Duration,
}

impl Budget {
    /// A tenth of what the run has, at most half a minute.
    pub(super) fn of(ctx: &JobContext) -> Self {
        Self {
            reserve: (ctx.budget_left() / 10).min(RESERVE),
        }
    }

    /// Whether no further piece should be begun.
    pub(super) fn is_spent(self, ctx: &JobContext) -> bool {
        ctx.budget_left() <= self.reserve
    }
}
