//! [`Delivery`]: tells one receiver what it does not know yet.
//!
//! A notice that a silence covers waits until the silence ends; the end of an alert that the receiver heard of does not wait.
//! Where replicas share a receiver, one of them tells it ([`crate::sources::cool_down`]).
//!
//! Each receiver has a worker of its own, so that one that hangs delays no other, and no probe. The state is saved before a
//! notice is sent, so that a crash repeats at most that one.

use std::sync::Arc;
use std::time::Duration;

use eidos_alerting::{DeskPolicy, Heard, Notice, NoticeKind, SendError, Sink};
use eidos_runtime::{Worker, WorkerContext};
use eidos_telemetry::metric;
use eidos_types::SharedClock;
use tokio::sync::watch;

use crate::monitor::Monitor;
use crate::sources::cool_down::{Asked, CoolDown, Permit};
use crate::workers::silences::{READ_EVERY, Silenced};

/// How often the desk is looked at while nothing happens.
const POLL: Duration = Duration::from_secs(5);
/// After a receiver did not accept something, the next notice waits for this long.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// While another replica tells a receiver the same, it is asked again after this time.
const WHILE_TOLD: Duration = Duration::from_millis(500);

/// What holds notices to the receivers back that people read: whoever else told them, and silences.
pub(crate) struct Shared {
    pub(crate) silenced: Arc<Silenced>,
    /// `None`: every replica tells.
    pub(crate) cool_down: Option<CoolDown>,
}

/// The worker of one receiver.
pub struct Delivery {
    name: String,
    monitor: Arc<Monitor>,
    sink: Arc<dyn Sink>,
    policy: DeskPolicy,
    /// `None`: it is told everything by each replica.
    shared: Option<Arc<Shared>>,
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
    pub(crate) fn new(
        monitor: Arc<Monitor>,
        sink: Arc<dyn Sink>,
        policy: DeskPolicy,
        shared: Option<Arc<Shared>>,
        clock: SharedClock,
    ) -> Self {
        Self {
            name: format!("alerts-{}", sink.name()),
            monitor,
            sink,
            policy,
            shared,
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

    /// Tells the receiver, unless a silence or another replica makes that needless. False if it did not accept something.
    async fn tell(&self, ctx: &WorkerContext, notices: &[Notice]) -> bool {
        let Some(shared) = &self.shared else {
            return self.send(ctx, notices).await;
        };
        let mut all_accepted = true;
        for notice in notices {
            if notice.kind != NoticeKind::Resolved && shared.silenced.covers(&notice.alert) {
                self.silence(notice);
            } else if let Some(cool_down) = &shared.cool_down {
                all_accepted &= self.tell_once(ctx, cool_down, notice).await;
            } else {
                all_accepted &= self.send(ctx, std::slice::from_ref(notice)).await;
            }
        }
        all_accepted
    }

    fn silence(&self, notice: &Notice) {
        let sink = self.sink.name();
        let until_ms = self.clock.now_ms().saturating_add(millis(READ_EVERY));
        let is_new = self
            .monitor
            .with_desk(|desk| desk.silence(sink, notice, until_ms));
        if is_new {
            let (alert, target) = (&notice.alert.name, target_of(notice));
            metric::alert_notifications(sink, notice.kind.as_str(), SILENCED, 1);
            tracing::info!(sink, %alert, target_name = target, "an alert is not sent while it is silenced");
        }
    }

    /// Sends the notice if no other replica did.
    async fn tell_once(&self, ctx: &WorkerContext, cool_down: &CoolDown, notice: &Notice) -> bool {
        let sink = self.sink.name();
        let now_ms = self.clock.now_ms();
        let asked = cool_down.ask(sink, notice, self.sink.delivers_within(), now_ms);
        match ctx.beating(asked).await {
            Asked::Send(sending, permit) => self.send_alone(ctx, cool_down, notice, &sending, permit).await,
            Asked::Told => {
                self.monitor.with_desk(|desk| desk.sent(sink, notice, now_ms));
                metric::alert_notifications(sink, notice.kind.as_str(), TOLD_BY_OTHER, 1);
                true
            }
            Asked::Wait => {
                let until_ms = now_ms.saturating_add(millis(WHILE_TOLD));
                self.monitor.with_desk(|desk| desk.hold(sink, notice, until_ms));
                true
            }
        }
    }

    /// Sends what the receiver knows as `sending` and the desk as `notice`.
    async fn send_alone(
        &self,
        ctx: &WorkerContext,
        cool_down: &CoolDown,
        notice: &Notice,
        sending: &Notice,
        permit: Permit,
    ) -> bool {
        let began_ms = self.begin(std::slice::from_ref(notice)).await;
        let outcome = ctx.beating(self.sink.send(sending, began_ms)).await;
        let heard = outcome
            .is_ok()
            .then(|| Heard::after(sending, self.clock.now_ms()));
        let accepted = outcome.is_ok();
        cool_down.done(permit, heard.as_ref()).await;
        self.record(notice, outcome);
        accepted
    }

    /// Records that attempts begin, and returns when.
    async fn begin(&self, notices: &[Notice]) -> i64 {
        let sink = self.sink.name();
        let began_ms = self.clock.now_ms();
        self.monitor.with_desk(|desk| {
            for notice in notices {
                desk.begin(sink, notice, &self.policy, began_ms);
            }
        });
        self.monitor.save().await;
        began_ms
    }

    /// Sends notices and records what became of each. False if one of them was not accepted.
    async fn send(&self, ctx: &WorkerContext, notices: &[Notice]) -> bool {
        let began_ms = self.begin(notices).await;
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
            let target = target_of(notice);
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
const SILENCED: &str = "silenced";
const TOLD_BY_OTHER: &str = "told_by_other";

fn target_of(notice: &Notice) -> &str {
    notice.alert.labels.get("target").map_or("", String::as_str)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Worker for Delivery {
    fn name(&self) -> &str {
        &self.name
    }

    async fn run(&self, ctx: &WorkerContext) -> anyhow::Result<()> {
        let mut changes = self.monitor.changes();
        let mut told_of_ms = 0;
        if let Some(shared) = &self.shared {
            // What is silenced is not sent by a replica that starts either.
            let asked = shared.silenced.was_asked();
            tokio::select! {
                () = ctx.cancelled() => {}
                () = ctx.beating(asked) => {}
            }
        }
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
