//! [`AlertDrill`]: the job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eidos_alerting::{Alert, EpisodeId, Fingerprint, Notice, NoticeKind, SendError, Severity, Sink};
use eidos_runtime::{Job, JobContext, JobError};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::report::{DrillReport, SinkReport};

/// The name of the alert. It opens no incident that somebody has to repair.
const DRILL_ALERT: &str = "AlertDrill";
/// How long an end is sent again, and an Alertmanager asked again for what it accepted: its replicas tell each other.
const AGAIN_FOR: Duration = Duration::from_secs(2);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// What a run leaves of its time for its report.
const RESERVE: Duration = Duration::from_secs(1);

/// Tells every receiver of an alert that means nothing, and of its end.
pub struct AlertDrill {
    /// The receivers.
    pub sinks: Arc<[Arc<dyn Sink>]>,
}

/// What a person may ask for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertDrillParams {
    /// Only the receiver of this name; `None`: all.
    pub sink: Option<String>,
    /// How bad the alert claims to be: receivers may route by it.
    pub severity: Severity,
}

impl Default for AlertDrillParams {
    fn default() -> Self {
        Self {
            sink: None,
            severity: Severity::Critical,
        }
    }
}

impl Job for AlertDrill {
    const NAME: &'static str = "alert-drill";
    type Params = AlertDrillParams;
    type Report = DrillReport;

    fn validate_params(&self, params: &AlertDrillParams) -> Result<(), String> {
        let mut names = self.sinks.iter().map(|sink| sink.name());
        match &params.sink {
            Some(name) if !names.any(|known| known == name) => {
                let names: Vec<&str> = self.sinks.iter().map(|sink| sink.name()).collect();
                Err(format!(
                    "sink: there is no receiver '{name}'; there are {}",
                    names.join(", ")
                ))
            }
            _ => Ok(()),
        }
    }

    async fn run(&self, ctx: &JobContext, params: AlertDrillParams) -> Result<DrillReport, JobError> {
        let sinks = self.sinks.iter().filter(|sink| {
            let only = params.sink.as_deref();
            only.is_none_or(|only| sink.name() == only)
        });
        let alert = alert(ctx, params.severity);
        let mut report = DrillReport::new(&alert, ctx.dry_run());
        if ctx.dry_run() {
            report.sinks = sinks.map(|sink| SinkReport::untold(sink.name())).collect();
            return Ok(report);
        }
        report.sinks = join_all(sinks.map(|sink| drill(ctx, &**sink, &alert))).await;
        let failed = report.failed();
        if failed.is_empty() {
            return Ok(report);
        }
        let why = format!(
            "{} of {} receivers did not accept the drill: {}",
            failed.len(),
            report.sinks.len(),
            failed.join(", ")
        );
        let rendered = report.render();
        Err(JobError::fail(why).with_report(&report, rendered))
    }

    fn render(&self, report: &DrillReport) -> String {
        report.render()
    }
}

/// The execution makes it an alert of its own: a second drill is not the first one again.
fn alert(ctx: &JobContext, severity: Severity) -> Alert {
    let labels = BTreeMap::from([
        ("drill".to_owned(), "true".to_owned()),
        ("execution".to_owned(), ctx.execution_id().to_string()),
    ]);
    let starts_at_ms = ctx.clock().now_ms();
    let summary =
        "DRILL: this alert tests that it arrives. Nothing is wrong, and it ends by itself within minutes";
    Alert {
        name: DRILL_ALERT.to_owned(),
        annotations: BTreeMap::from([
            ("summary".to_owned(), summary.to_owned()),
            ("runbook".to_owned(), "alert-drill.md".to_owned()),
        ]),
        severity,
        starts_at_ms,
        episode: EpisodeId::of(&Fingerprint::of(DRILL_ALERT, &labels), starts_at_ms),
        labels,
    }
}

async fn drill(ctx: &JobContext, sink: &dyn Sink, alert: &Alert) -> SinkReport {
    let started = Instant::now();
    let mut report = SinkReport::untold(sink.name());
    let last = ctx.budget_deadline();
    let last = last.checked_sub(RESERVE).unwrap_or(last);
    let telling = tell(ctx, sink, alert, &mut report);
    if timeout_at(last, telling).await.is_err() {
        let limit = "no time was left: raise jobs.alert-drill.timeout";
        report.said.push(limit.to_owned());
    }
    report.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

async fn tell(ctx: &JobContext, sink: &dyn Sink, alert: &Alert, report: &mut SinkReport) {
    let mut notice = Notice {
        kind: NoticeKind::Open,
        alert: alert.clone(),
        ends_at_ms: None,
        number: 1,
        accepted: None,
        accepted_at_ms: None,
    };
    let now_ms = ctx.clock().now_ms();
    match sink.send(&notice, now_ms).await {
        Ok(()) => {
            notice.accepted = Some(alert.severity);
            notice.accepted_at_ms = Some(now_ms);
            report.delivered = report.note(seen(sink, &notice).await);
            wait(ctx, sink.notifies_within()).await;
        }
        Err(error @ SendError::Refused(_)) => {
            report.note(Err(error));
            return;
        }
        // It may have arrived: its end is sent all the same.
        Err(error @ SendError::Later(_)) => {
            report.note(Err(error));
        }
    }
    notice.kind = NoticeKind::Resolved;
    notice.ends_at_ms = Some(ctx.clock().now_ms());
    notice.number = 2;
    let ended = match end(ctx, sink, &notice).await {
        Ok(()) => seen(sink, &notice).await,
        Err(error) => Err(error),
    };
    report.resolved = report.note(ended);
}

/// An alert that nobody ends would stay open. An Alertmanager that was restarted meanwhile takes the end when it has notified
/// again.
async fn end(ctx: &JobContext, sink: &dyn Sink, notice: &Notice) -> Result<(), SendError> {
    let last = Instant::now() + sink.notifies_within() + AGAIN_FOR;
    loop {
        match sink.send(notice, ctx.clock().now_ms()).await {
            Err(SendError::Later(_)) if Instant::now() < last => {}
            outcome => return outcome,
        }
        sleep(PAUSE).await;
    }
}

/// What the receiver says of what it accepted.
async fn seen(sink: &dyn Sink, notice: &Notice) -> Result<String, SendError> {
    let last = Instant::now() + AGAIN_FOR;
    loop {
        match sink.confirm(notice).await {
            Err(SendError::Later(_)) if Instant::now() < last => {}
            outcome => return outcome,
        }
        sleep(PAUSE).await;
    }
}

/// Whoever interrupts the run does not wait.
async fn wait(ctx: &JobContext, time: Duration) {
    let cancelled = ctx.cancelled();
    tokio::select! {
        () = cancelled.cancelled() => {}
        () = sleep(time) => {}
    }
}
