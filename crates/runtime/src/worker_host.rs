//! Keeps the workers of a process running: lease, restart with back-off, end.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use eidos_core::fence::Epoch;
use eidos_core::lease::{Acquired, Lease, LeaseRequest, Owner};
use eidos_telemetry::metric;
use eidos_types::{ExecutionId, JobName};
use rand::RngExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::runner::Runner;
use crate::worker::{WorkerContext, WorkerEntry};

/// Shortest lease of a worker: below it, the time to stop is too short.
const MIN_LEASE: Duration = Duration::from_secs(4);
/// How often a replica without the lease asks for it.
const STANDBY: Duration = Duration::from_secs(1);
/// A lease is held for as long as it can be renewed.
const MAX_HOLD: Duration = Duration::from_hours(365 * 24);
/// Upper bounds of the first and of every pause before a worker is started again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A worker that ran for this long has recovered: its next pause is the first one again.
const RECOVERED: Duration = Duration::from_mins(1);
/// How long an aborted worker may take to be gone. One that is not gone by then never yields.
const ABORTED: Duration = Duration::from_secs(2);

/// Checks names and leases of a service's workers.
///
/// # Errors
/// Names the worker and the rule.
pub(crate) fn check(workers: &[WorkerEntry]) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for worker in workers {
        let name = worker.name();
        ensure!(
            names.insert(name),
            "the service registers the worker '{name}' twice"
        );
        if let Some(ttl) = worker.lease_ttl() {
            lease_name(name)?;
            ensure!(
                ttl >= MIN_LEASE,
                "the lease of worker '{name}' lasts {ttl:?}: use {MIN_LEASE:?} or more"
            );
        }
    }
    Ok(())
}

/// Runs a worker until the process stops.
pub(crate) async fn host(worker: WorkerEntry, runner: Runner) {
    let mut failures = 0_u32;
    metric::worker_restarts_from_zero(worker.name());
    // The deadline of the first heartbeat counts from here.
    runner.health.tick_within(worker.name(), worker.deadline());
    while !runner.stopping.is_cancelled() {
        let started = Instant::now();
        let pause = match turn(&worker, &runner).await {
            Ok(Turn::Standby) => STANDBY,
            Ok(Turn::Stopped) => continue,
            Err(error) => {
                failures = if started.elapsed() < RECOVERED {
                    failures.saturating_add(1)
                } else {
                    1
                };
                let pause = pause_after(failures);
                metric::worker_restarted(worker.name());
                tracing::error!(
                    worker = worker.name(),
                    error = format!("{error:#}"),
                    ?pause,
                    "a worker ended; it is started again"
                );
                pause
            }
        };
        let _cut_short = timeout(pause, runner.stopping.cancelled()).await;
    }
    runner.health.loop_ended(worker.name());
}

/// How one start of a worker ended without an error.
enum Turn {
    /// Another replica has the lease, or this one has lost it.
    Standby,
    /// The process stops.
    Stopped,
}

async fn turn(worker: &WorkerEntry, runner: &Runner) -> anyhow::Result<Turn> {
    let Some(ttl) = worker.lease_ttl() else {
        return run(worker, runner, &CancellationToken::new(), None).await;
    };
    let Some(lease) = acquire(worker, runner, ttl).await? else {
        // Standing by is what this replica should do now.
        context(worker, runner).beat();
        return Ok(Turn::Standby);
    };
    tracing::info!(worker = worker.name(), "this replica holds the worker's lease");
    let outcome = run(worker, runner, &lease.lost(), Some(grace(ttl))).await;
    // What could not be stopped may still work: its lease lapses instead.
    if !outcome.as_ref().is_err_and(anyhow::Error::is::<StillRunning>) {
        let _lapses_by_itself = lease.release().await;
    }
    outcome
}

fn context(worker: &WorkerEntry, runner: &Runner) -> WorkerContext {
    WorkerContext {
        name: worker.name().into(),
        deadline: worker.deadline(),
        health: runner.health.clone(),
        clock: runner.clock.clone(),
        stop: CancellationToken::new(),
    }
}

/// The worker's future ignored its cancellation and could not be dropped.
#[derive(Debug, thiserror::Error)]
#[error("worker '{0}' ignores its cancellation and never yields: only a restart of the process ends it")]
struct StillRunning(String);

/// Starts the worker and waits until it ends, is told to stop, or loses its lease. `lost_grace`: how long it may take to
/// stop after that; without a lease there is nothing to lose.
async fn run(
    worker: &WorkerEntry,
    runner: &Runner,
    lost: &CancellationToken,
    lost_grace: Option<Duration>,
) -> anyhow::Result<Turn> {
    let ctx = context(worker, runner);
    let (stop, running) = (ctx.stop.clone(), worker.clone());
    let mut task = tokio::spawn(async move { running.run(&ctx).await });
    let turn = tokio::select! {
        ended = &mut task => return Err(ended_by_itself(ended)),
        () = lost.cancelled() => Turn::Standby,
        () = runner.stopping.cancelled() => Turn::Stopped,
    };
    stop.cancel();
    let patience = async {
        match (&turn, lost_grace) {
            (Turn::Standby, Some(grace)) => tokio::time::sleep(grace).await,
            _ => runner.process.token().cancelled().await,
        }
    };
    tokio::select! {
        _ended = &mut task => {}
        () = patience => abort(&mut task, worker.name(), runner).await?,
    }
    Ok(turn)
}

fn ended_by_itself(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("it returned although nothing told it to stop"),
        Ok(Err(error)) => error,
        Err(panicked) => anyhow!("it panicked: {panicked}"),
    }
}

async fn abort(
    task: &mut JoinHandle<anyhow::Result<()>>,
    name: &str,
    runner: &Runner,
) -> Result<(), StillRunning> {
    tracing::warn!(worker = name, "a worker did not stop in time and is dropped");
    task.abort();
    if timeout(ABORTED, task).await.is_ok() {
        return Ok(());
    }
    let error = StillRunning(name.to_owned());
    runner.health.mark_stuck(error.to_string());
    Err(error)
}

async fn acquire(worker: &WorkerEntry, runner: &Runner, ttl: Duration) -> anyhow::Result<Option<Lease>> {
    let request = LeaseRequest {
        job: lease_name(worker.name())?,
        owner: Owner {
            node: runner.node,
            execution: ExecutionId::new(&*runner.clock),
        },
        ttl,
        watchdog: true,
        max_hold: MAX_HOLD,
        grace: grace(ttl),
        floor: Epoch::default(),
    };
    match runner
        .leases
        .acquire(&request)
        .await
        .context("the worker's lease")?
    {
        Acquired::Held(lease) => Ok(Some(lease)),
        Acquired::Refused { .. } => Ok(None),
    }
}

/// How long a worker may take to stop when it has lost its lease.
fn grace(ttl: Duration) -> Duration {
    ttl / 4
}

/// Of the worker's own kind, so that a job of the same name does not exclude it.
fn lease_name(worker: &str) -> anyhow::Result<JobName> {
    format!("worker-{worker}")
        .parse()
        .with_context(|| format!("worker '{worker}' asks for a lease, so its name must be a job name"))
}

/// Random between half of `min(LONGEST_PAUSE, FIRST_PAUSE · 2^(failures−1))` and all of it.
fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    let half = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE) / 2;
    half + half.mul_f64(rand::rng().random::<f64>())
}
