//! [`HealthMonitor`]: the job.

use std::sync::Arc;
use std::time::Duration;

use eidos_alerting::NoticeKind;
use eidos_runtime::{Job, JobContext, JobError, Observation as Look};
use eidos_telemetry::metric;
use serde::{Deserialize, Serialize};

use super::report::Report;
use super::round::Round;
use crate::domain::observation::Seen;
use crate::monitor::Monitor;
use crate::probes::{Prober, Target};

/// Probes every target.
pub struct HealthMonitor {
    /// Makes the probes.
    pub prober: Prober,
    /// What is probed.
    pub targets: Arc<[Target]>,
    /// What answers whenever there is a network.
    pub controls: Arc<[Target]>,
    /// How a round goes.
    pub settings: RoundSettings,
    /// What is known.
    pub monitor: Arc<Monitor>,
}

/// How a round goes.
#[derive(Debug, Clone, Copy)]
pub struct RoundSettings {
    /// Over which time probes start.
    pub spread: Duration,
    /// A slower answer is a warning.
    pub slow_after: Duration,
    /// Probes at the same time.
    pub concurrency: usize,
}

/// What a person may ask for.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthMonitorParams {
    /// Only the target of this name; `None`: all.
    pub target: Option<String>,
}

impl Job for HealthMonitor {
    const NAME: &'static str = "health-monitor";
    type Params = HealthMonitorParams;
    type Report = Report;

    fn validate_params(&self, params: &HealthMonitorParams) -> Result<(), String> {
        match &params.target {
            Some(name) if !self.targets.iter().any(|target| target.name == *name) => {
                Err(format!("target: there is no target '{name}' in probes.targets"))
            }
            _ => Ok(()),
        }
    }

    async fn run(&self, ctx: &JobContext, params: HealthMonitorParams) -> Result<Report, JobError> {
        let is_look = ctx.requested_by().is_some()
            || ctx.dry_run()
            || params.target.is_some()
            || !self.monitor.begin_round(ctx.slot().ms());
        let round = Round {
            job: self,
            only: params.target.as_deref(),
            counts: !is_look,
            clock: Arc::clone(ctx.clock()),
            deadline: ctx.budget_deadline(),
        };
        let report = ctx.unless_cancelled(round.run()).await?;
        if !is_look {
            self.monitor
                .end_round(report.blind.is_none(), ctx.clock().now_ms());
            self.monitor.save().await;
        }
        Ok(report)
    }

    async fn observe(&self, _look: &Look<'_>) -> Result<(), JobError> {
        self.monitor.show(&self.targets);
        Ok(())
    }

    fn series_from_zero(&self) {
        let mut kinds: Vec<_> = self.targets.iter().map(|target| target.address.kind()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let results: Vec<_> = Seen::ALL.iter().map(|seen| seen.as_str()).collect();
        let events: Vec<_> = NoticeKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let sinks = self
            .monitor
            .look_at_desk(|desk| desk.sinks().map(str::to_owned).collect::<Vec<_>>());
        metric::probe_series_from_zero(&kinds, &results, &sinks, &events);
        self.monitor.show(&self.targets);
    }

    fn render(&self, report: &Report) -> String {
        report.render()
    }
}
