//! [`HealthRegistry`]: what `/live`, `/ready` and `/health` are made of.
//!
//! Liveness is about this process only: its loop turns and no run is stuck beyond its cancellation. A dependency that
//! is down never makes a process unlive, because restarting it would not help. Readiness is about the dependencies
//! (asked with a timeout, remembered for a few seconds) and the background loops (ticked within 45 s).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use eidos_telemetry::metric;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde::Serialize;
use tokio::time::Instant;

/// A loop that has not ticked for longer is stalled (requirement production-readiness §1.4).
pub(crate) const LOOP_STALL: Duration = Duration::from_secs(45);
/// Longest a single check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the answers of the checks are reused: probes of many observers must not become load.
const REMEMBERED: Duration = Duration::from_secs(3);

/// Whether a failing check makes the service unready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The service cannot do its work without it.
    Hard,
    /// Shown in `/health`, without effect on readiness.
    Soft,
}

type Check = Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// Where a service registers checks of its dependencies and the ticks of its loops. Cheap to clone.
#[derive(Clone, Default)]
pub struct HealthRegistry(Arc<Inner>);

#[derive(Default)]
struct Inner {
    checks: RwLock<BTreeMap<String, (Severity, Check)>>,
    loops: Mutex<BTreeMap<String, Heartbeat>>,
    state: Mutex<ProcessState>,
    remembered: tokio::sync::Mutex<Option<(Instant, Vec<CheckResult>)>>,
}

/// The sign of life of a loop.
#[derive(Clone, Copy)]
struct Heartbeat {
    at: Instant,
    /// Older, it counts as stalled.
    deadline: Duration,
}

#[derive(Default)]
struct ProcessState {
    serving: bool,
    stuck: Option<String>,
}

/// The outcome of one check or loop.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct CheckResult {
    /// Name of the dependency or loop.
    pub name: String,
    /// Whether a failure makes the service unready.
    #[schema(value_type = String)]
    pub severity: Severity,
    /// True if it answered in time.
    pub healthy: bool,
    /// Duration of the check, or age of the loop's last tick, in milliseconds.
    pub took_ms: u64,
    /// What was wrong, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Everything `/health` shows.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct HealthReport {
    /// True while the process can do its work.
    pub live: bool,
    /// True while it should be sent work.
    pub ready: bool,
    /// False before start-up has finished and from the beginning of a shutdown.
    pub serving: bool,
    /// The dependencies.
    pub checks: Vec<CheckResult>,
    /// The background loops.
    pub loops: Vec<CheckResult>,
}

impl HealthRegistry {
    /// Registers a check. It is called at most once in a few seconds and given up after two seconds.
    pub fn register<F, Fut>(&self, name: impl Into<String>, severity: Severity, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let check: Check = Arc::new(move || check().boxed());
        self.0
            .checks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.into(), (severity, check));
    }

    /// A background loop turned once more. A loop that has ticked and then stays away for 45 s makes the service
    /// unready.
    pub fn tick(&self, name: &str) {
        self.tick_within(name, LOOP_STALL);
    }

    /// As [`HealthRegistry::tick`], with a deadline of the loop's own.
    pub(crate) fn tick_within(&self, name: &str, deadline: Duration) {
        let at = Instant::now();
        self.loops().insert(name.to_owned(), Heartbeat { at, deadline });
    }

    /// A background loop ended as planned; it is not expected to tick any more.
    pub fn loop_ended(&self, name: &str) {
        self.loops().remove(name);
    }

    /// Start-up has finished (true) or the shutdown has begun (false).
    pub(crate) fn set_serving(&self, serving: bool) {
        self.state().serving = serving;
    }

    /// A run ignores its cancellation: only a restart ends it.
    pub(crate) fn mark_stuck(&self, what: String) {
        self.state().stuck = Some(what);
    }

    /// Why the process should be restarted, if it should: its main loop does not turn or a run cannot be stopped.
    #[must_use]
    pub fn unlive_because(&self) -> Option<String> {
        if let Some(stuck) = &self.state().stuck {
            return Some(stuck.clone());
        }
        let age = self.loops().get(SCHEDULER_LOOP)?.at.elapsed();
        (age > LOOP_STALL).then(|| format!("the scheduler loop has not turned for {} s", age.as_secs()))
    }

    /// Asks every check, or remembers the last answers.
    pub async fn report(&self) -> HealthReport {
        let checks = self.checks().await;
        let loops: Vec<CheckResult> = self
            .loops()
            .iter()
            .map(|(name, heartbeat)| loop_result(name, *heartbeat))
            .collect();
        let live = self.unlive_because().is_none();
        let serving = self.state().serving;
        let healthy = |result: &CheckResult| result.healthy || result.severity == Severity::Soft;
        HealthReport {
            live,
            ready: live && serving && checks.iter().chain(&loops).all(healthy),
            serving,
            checks,
            loops,
        }
    }

    async fn checks(&self) -> Vec<CheckResult> {
        // One caller asks while the others wait for its answers.
        let mut remembered = self.0.remembered.lock().await;
        if let Some((at, results)) = &*remembered
            && at.elapsed() < REMEMBERED
        {
            return results.clone();
        }
        let checks = self
            .0
            .checks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let results = join_all(
            checks
                .into_iter()
                .map(|(name, (severity, check))| ask(name, severity, check)),
        )
        .await;
        for result in &results {
            metric::dependency_up(&result.name, result.healthy);
        }
        *remembered = Some((Instant::now(), results.clone()));
        results
    }

    fn loops(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Heartbeat>> {
        self.0.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ProcessState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for HealthRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthRegistry").finish_non_exhaustive()
    }
}

/// The loop liveness is about.
pub(crate) const SCHEDULER_LOOP: &str = "scheduler";

async fn ask(name: String, severity: Severity, check: Check) -> CheckResult {
    let started = Instant::now();
    let error = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_elapsed) => Some(format!("no answer within {CHECK_TIMEOUT:?}")),
    };
    CheckResult {
        name,
        severity,
        healthy: error.is_none(),
        took_ms: millis(started.elapsed()),
        error,
    }
}

fn loop_result(name: &str, heartbeat: Heartbeat) -> CheckResult {
    let age = heartbeat.at.elapsed();
    let healthy = age <= heartbeat.deadline;
    CheckResult {
        name: name.to_owned(),
        severity: Severity::Hard,
        healthy,
        took_ms: millis(age),
        error: (!healthy).then(|| format!("has not ticked for {} s", age.as_secs())),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dependency_makes_unready_but_never_unlive() {
        let health = HealthRegistry::default();
        health.set_serving(true);
        health.tick(SCHEDULER_LOOP);
        health.register("redis", Severity::Hard, || async {
            Err(anyhow::anyhow!("connection refused"))
        });
        let report = health.report().await;
        assert!(report.live && !report.ready);
        assert_eq!(report.checks[0].error.as_deref(), Some("connection refused"));
    }

    #[tokio::test]
    async fn a_hanging_check_is_given_up_and_a_soft_one_does_not_count() {
        let health = HealthRegistry::default();
        health.set_serving(true);
        health.register(
            "kafka",
            Severity::Soft,
            std::future::pending::<anyhow::Result<()>>,
        );
        let report = health.report().await;
        assert!(report.ready && !report.checks[0].healthy);
    }

    #[tokio::test]
    async fn a_stalled_loop_shows_in_readiness_and_the_schedulers_in_liveness() {
        let health = HealthRegistry::default();
        health.set_serving(true);
        let long_ago = Heartbeat {
            at: Instant::now()
                .checked_sub(LOOP_STALL + Duration::from_secs(1))
                .unwrap(),
            deadline: LOOP_STALL,
        };
        health.tick(SCHEDULER_LOOP);
        health.tick("prices");
        assert!(health.report().await.ready);
        health.loops().insert("prices".to_owned(), long_ago);
        let report = health.report().await;
        assert!(report.live && !report.ready);
        health.loops().insert(SCHEDULER_LOOP.to_owned(), long_ago);
        assert!(!health.report().await.live);
    }

    #[tokio::test]
    async fn a_stuck_run_makes_the_process_unlive() {
        let health = HealthRegistry::default();
        health.set_serving(true);
        health.mark_stuck("reconciliation ignores its cancellation".to_owned());
        assert!(!health.report().await.live);
    }
}
