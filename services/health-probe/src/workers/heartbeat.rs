//! [`Beats`]: asks an address outside after rounds that saw something. Whoever watches that address notices when it is no longer
//! asked: the prober is dead, blind, or cut off.

use std::sync::Arc;
use std::time::Duration;

use eidos_alerting::Heartbeat;
use eidos_runtime::{Worker, WorkerContext};
use eidos_telemetry::metric;

use crate::monitor::Monitor;

/// How long a change is waited for: shorter than a worker may be silent.
const POLL: Duration = Duration::from_secs(5);

/// The worker of one address.
pub(crate) struct Beats {
    name: String,
    address: String,
    heartbeat: Heartbeat,
    /// It is asked once in so many rounds that saw something.
    every_rounds: u32,
    monitor: Arc<Monitor>,
}

impl Beats {
    pub(crate) fn new(address: &str, heartbeat: Heartbeat, every_rounds: u32, monitor: Arc<Monitor>) -> Self {
        metric::heartbeats_from_zero(address);
        Self {
            name: format!("heartbeat-{address}"),
            address: address.to_owned(),
            heartbeat,
            every_rounds,
            monitor,
        }
    }
}

impl Worker for Beats {
    fn name(&self) -> &str {
        &self.name
    }

    async fn run(&self, ctx: &WorkerContext) -> anyhow::Result<()> {
        let mut changes = self.monitor.changes();
        let (mut seen_ms, mut rounds) = (0, 0);
        while !ctx.is_cancelled() {
            ctx.beat();
            changes.mark_unchanged();
            let round_ms = self.monitor.seeing_round_ms();
            if round_ms != seen_ms {
                seen_ms = round_ms;
                rounds += 1;
            }
            // Accepted or not: the next turn is the next attempt.
            if rounds >= self.every_rounds {
                rounds = 0;
                let outcome = ctx.beating(self.heartbeat.beat()).await;
                metric::heartbeat_sent(&self.address, outcome.is_ok());
                if let Err(error) = outcome {
                    tracing::warn!(heartbeat = self.address, %error, "a heartbeat was not accepted");
                }
            }
            tokio::select! {
                () = ctx.cancelled() => {}
                _changed = tokio::time::timeout(POLL, changes.changed()) => {}
            }
        }
        Ok(())
    }
}
