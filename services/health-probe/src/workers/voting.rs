//! [`Voting`]: says to the other probers what this one sees, hears them, and lets every alert be decided on anew.

use std::sync::Arc;
use std::time::Duration;

use eidos_runtime::{Worker, WorkerContext};
use eidos_telemetry::metric;
use eidos_types::SharedClock;

use crate::monitor::Monitor;
use crate::sources::ballots::Ballots;

/// Between two turns while this prober sees something fail: no vote delays an alert for longer.
const SOON: Duration = Duration::from_millis(500);
/// Between two turns at other times; shorter than what a prober said counts.
const LATER: Duration = Duration::from_secs(5);

/// The worker.
pub(crate) struct Voting {
    ballots: Ballots,
    monitor: Arc<Monitor>,
    clock: SharedClock,
}

impl Voting {
    pub(crate) const fn new(ballots: Ballots, monitor: Arc<Monitor>, clock: SharedClock) -> Self {
        Self {
            ballots,
            monitor,
            clock,
        }
    }

    /// Speaks and hears. Without an answer there are no others: this prober decides alone.
    async fn turn(&self) {
        let said = self.ballots.speak(&self.monitor.ballot()).await;
        let others = self.monitor.hear(said.unwrap_or_default(), self.clock.now_ms());
        metric::probers_voting(others as u64 + 1);
    }
}

impl Worker for Voting {
    fn name(&self) -> &'static str {
        "voting"
    }

    async fn run(&self, ctx: &WorkerContext) -> anyhow::Result<()> {
        let mut changes = self.monitor.changes();
        while !ctx.is_cancelled() {
            changes.mark_unchanged();
            ctx.beating(self.turn()).await;
            let pause = async {
                tokio::time::sleep(SOON).await;
                if !self.monitor.has_claims() {
                    // Whatever changes is said at once; only what others say may wait.
                    let _changed = tokio::time::timeout(LATER, changes.changed()).await;
                }
            };
            tokio::select! {
                () = ctx.cancelled() => {}
                () = pause => {}
            }
        }
        Ok(())
    }
}
