//! [`Delivery`]: tells one receiver what it does not know yet.
//!
//! Each receiver has a worker of its own, so that one that hangs delays no other, and no probe. The state is saved before a
//! notice is sent, so that a crash repeats at most that one.

use std::sync::Arc;
use std::time::Duration;

use eidos_alerting::{DeskPolicy, Notice, NoticeKind, SendError, Sink};
use eidos_runtime::{Worker, WorkerContext};
use eidos_telemetry::metric;
use eidos_types::SharedClock;
use tokio::sync::watch;

use crate::monitor::Monitor;

/// How often the desk is looked at while nothing happens.
const POLL: Duration = Duration::from_secs(5);
/// After a receiver did not accept something, the next notice waits for this long.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The worker of one receiver.
pub struct Delivery {
    name: String,
    monitor: Arc<Monitor>,
    sink: Arc<dyn Sink>,
    policy: DeskPolicy,
    clock: SharedClock,
}

impl Delivery {
    /// What no setting says.
    pub const POLICY: DeskPolicy = DeskPolicy {
        repeat_after: Duration::from_hours(4),
        retry_first: Duration::from_secs(1),
        retry_max: Duration::from_mins(1),
        give_up_after: Duration::from_hours(24),
    };

    /// Makes the worker of `sink`.
    #[must_use]
    pub fn new(monitor: Arc<Monitor>, sink: Arc<dyn Sink>, policy: DeskPolicy, clock: SharedClock) -> Self {
        Self {
            name: format!("alerts-{}", sink.name()),
            monitor,
            sink,
            policy,
            clock,
        }
    }

    /// Tells everything that is due, the worst first. False if the receiver did not accept something.
    async fn turn(&self, ctx: &WorkerContext) -> bool {
        let sink = self.sink.name();
        self.give_up_old_ends();
        loop {
            let now_ms = self.clock.now_ms();
            let due = self
                .monitor
                .look_at_desk(|desk| desk.due(sink, &self.policy, now_ms));
            if due.is_empty() {
                return true;
            }
            let batch = &due[..due.len().min(self.sink.batch().max(1))];
            if ctx.is_cancelled() || !self.tell(ctx, batch).await {
                return false;
            }
        }
    }

    fn give_up_old_ends(&self) {
        let sink = self.sink.name();
        let now_ms = self.clock.now_ms();
        let limit = i64::try_from(self.policy.give_up_after.as_millis()).unwrap_or(i64::MAX);
        let behind = self.monitor.look_at_desk(|desk| desk.behind_since(sink));
        if behind.is_none_or(|since| now_ms.saturating_sub(since) <= limit) {
            return;
        }
        let given_up = self
            .monitor
            .with_desk(|desk| desk.give_up(sink, &self.policy, now_ms));
        if given_up > 0 {
            metric::alert_notifications(sink, NoticeKind::Resolved.as_str(), GIVEN_UP, given_up as u64);
            tracing::error!(
                sink,
                given_up,
                "ends of alerts are given up: the receiver did not accept them"
            );
        }
    }

    /// Sends notices and records what became of each. False if one of them was not accepted.
    async fn tell(&self, ctx: &WorkerContext, notices: &[Notice]) -> bool {
        let sink = self.sink.name();
        let began_ms = self.clock.now_ms();
        self.monitor.with_desk(|desk| {
            for notice in notices {
                desk.begin(sink, notice, &self.policy, began_ms);
            }
        });
        self.monitor.save().await;
        let outcomes = ctx.beating(self.sink.send_all(notices, began_ms)).await;
        let mut all_accepted = true;
        for (notice, outcome) in notices.iter().zip(outcomes) {
            all_accepted &= outcome.is_ok();
            self.record(notice, outcome);
        }
        all_accepted
    }

    fn record(&self, notice: &Notice, outcome: Result<(), SendError>) {
        let sink = self.sink.name();
        let now_ms = self.clock.now_ms();
        let (result, error) = match outcome {
            Ok(()) => {
                self.monitor.with_desk(|desk| desk.sent(sink, notice, now_ms));
                (SENT, None)
            }
            Err(SendError::Refused(why)) => {
                self.monitor
                    .with_desk(|desk| desk.refused(sink, notice, &self.policy, now_ms));
                (REFUSED, Some(why))
            }
            Err(SendError::Later(why)) => (FAILED, Some(why)),
        };
        metric::alert_notifications(sink, notice.kind.as_str(), result, 1);
        if let Some(error) = &error {
            let (alert, event) = (&notice.alert.name, notice.kind.as_str());
            let target = notice.alert.labels.get("target").map_or("", String::as_str);
            tracing::warn!(sink, %alert, target_name = target, event, result, error, "an alert was not accepted");
        }
    }

    /// Tells the receiver that this process works, once after each round that saw something.
    async fn pulse(&self, ctx: &WorkerContext, told_of_ms: &mut i64) {
        let round_ms = self.monitor.seeing_round_ms();
        if round_ms == *told_of_ms {
            return;
        }
        let now_ms = self.clock.now_ms();
        match ctx.beating(self.sink.pulse(now_ms)).await {
            Ok(()) => *told_of_ms = round_ms,
            Err(error) => tracing::warn!(sink = self.sink.name(), %error, "the watchdog was not accepted"),
        }
    }

    fn show(&self) {
        let now_ms = self.clock.now_ms();
        let behind = self
            .monitor
            .look_at_desk(|desk| desk.behind_since(self.sink.name()));
        let ms = behind.map_or(0, |since| {
            u64::try_from(now_ms.saturating_sub(since)).unwrap_or_default()
        });
        metric::alert_delivery_pending(self.sink.name(), Duration::from_millis(ms));
    }

    /// How long nothing is due, as far as is known.
    fn nap(&self) -> Duration {
        let now_ms = self.clock.now_ms();
        let next = self
            .monitor
            .look_at_desk(|desk| desk.next_due(self.sink.name(), &self.policy));
        let ms = next.map_or(u64::MAX, |next| {
            u64::try_from(next.saturating_sub(now_ms)).unwrap_or_default()
        });
        Duration::from_millis(ms).clamp(Duration::from_millis(10), POLL)
    }
}

const SENT: &str = "sent";
const FAILED: &str = "failed";
const REFUSED: &str = "refused";
const GIVEN_UP: &str = "given_up";

impl Worker for Delivery {
    fn name(&self) -> &str {
        &self.name
    }

    async fn run(&self, ctx: &WorkerContext) -> anyhow::Result<()> {
        let mut changes = self.monitor.changes();
        let mut told_of_ms = 0;
        while !ctx.is_cancelled() {
            ctx.beat();
            changes.mark_unchanged();
            let accepted = self.turn(ctx).await;
            self.pulse(ctx, &mut told_of_ms).await;
            self.show();
            self.monitor.save().await;
            let waiting = async {
                if accepted {
                    let _cut_short = tokio::time::timeout(self.nap(), changed(&mut changes)).await;
                } else {
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            };
            tokio::select! {
                () = ctx.cancelled() => {}
                () = waiting => {}
            }
        }
        self.monitor.save().await;
        Ok(())
    }
}

/// Waits for a change; a monitor that is gone changes no more.
async fn changed(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
