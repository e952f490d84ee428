//! [`Engine`]: the jobs and workers of one process, connected and checked; then they run until they are drained.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use eidos_core::lease::LeaseClient;
use eidos_core::{db, migrations, state};
use eidos_settings::{Effective, ServiceSettings, SourceName};
use eidos_types::{ExecutionId, NodeId, SharedClock, Slot};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cancel::Cancellation;
use crate::deps::answers;
use crate::dispatcher::Dispatcher;
use crate::health::Severity;
use crate::registry::{RegisteredJob, Registry};
use crate::runner::Runner;
use crate::running::Running;
use crate::start_again::until_it_starts;
use crate::{
    Build, Built, CancelReason, HealthRegistry, ServiceDeps, Start, WorkerEntry, observation_rounds, observe,
    worker_host,
};

/// Jobs and workers of one process. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) runner: Runner,
    pub(crate) registry: Arc<Registry>,
    workers: Arc<[WorkerEntry]>,
    /// Wakes the dispatcher.
    wake: Arc<Notify>,
    tasks: TaskTracker,
    /// How long a start may be tried again.
    start_timeout: Duration,
    /// What must answer at the start.
    start: Start,
}

/// How long a start that needs no server waits for what the database knows.
const BEST_EFFORT: Duration = Duration::from_secs(2);

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("jobs", &self.registry)
            .finish_non_exhaustive()
    }
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every run has ended and its lease was released.
    Clean,
    /// Some run did not stop in time.
    Forced,
}

impl Engine {
    /// Connects to what every service needs, refuses a wrong schema version, and builds jobs and workers. Nothing runs yet.
    /// While a server does not answer, it begins again, for `service.start_timeout`. With [`Start::Unconnected`] no server
    /// is asked.
    ///
    /// # Errors
    /// Names the setting, database, job or worker that is wrong, and the fix.
    pub async fn connect<S: ServiceSettings>(
        start: Start,
        build: Build<S>,
        settings: Arc<Effective<S>>,
        clock: SharedClock,
    ) -> anyhow::Result<(Self, ServiceDeps<S>)> {
        until_it_starts(settings.suite.service.start_timeout, async || {
            Self::connect_once(start, build, Arc::clone(&settings), Arc::clone(&clock)).await
        })
        .await
    }

    async fn connect_once<S: ServiceSettings>(
        start: Start,
        build: Build<S>,
        settings: Arc<Effective<S>>,
        clock: SharedClock,
    ) -> anyhow::Result<(Self, ServiceDeps<S>)> {
        let suite = settings.suite.clone();
        let section = suite
            .databases
            .get(&SourceName::Jobs)
            .ok_or_else(|| anyhow!("databases.jobs.url is not set: every service keeps its history there"))?;
        let (jobs_db, leases) = match start {
            Start::Connected => {
                let jobs_db = db::connect_jobs(section, &suite.service.name).await?;
                migrations::check(jobs_db.control()).await?;
                (jobs_db, LeaseClient::connect(&suite.redis).await?)
            }
            Start::Unconnected => (
                db::open_jobs(section, &suite.service.name)?,
                LeaseClient::open(&suite.redis)?,
            ),
        };
        let deps = ServiceDeps {
            settings,
            jobs_db: jobs_db.clone(),
            clock: Arc::clone(&clock),
            node: NodeId::new(&*clock),
            health: HealthRegistry::default(),
            built: Built::default(),
        };
        register_checks(start, &deps.health, jobs_db.control().clone(), leases.clone());
        let parts = build(deps.clone()).await?;
        worker_host::check(&parts.workers)?;
        let registry = Arc::new(Registry::new(parts.jobs, &suite, clock.now())?);
        start.check(&registry, &parts.workers)?;
        let runner = Runner {
            jobs_db,
            leases,
            clock,
            node: deps.node,
            scheduler: suite.scheduler.clone(),
            health: deps.health.clone(),
            process: Cancellation::default(),
            stopping: CancellationToken::new(),
            running: Running::default(),
        };
        let engine = Self {
            runner,
            registry,
            workers: parts.workers.into(),
            wake: Arc::new(Notify::new()),
            tasks: TaskTracker::new(),
            start_timeout: suite.service.start_timeout,
            start,
        };
        Ok((engine, deps))
    }

    /// Prepares what scheduling starts from: cursors and gauges.
    ///
    /// # Errors
    /// A database that went away, unless the service starts without it.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        observe::series_at_start(&self.registry, &*self.runner.clock);
        let loading = async || {
            self.first_sight().await?;
            observe::load_at_start(&self.registry, &self.runner.jobs_db).await?;
            anyhow::Ok(())
        };
        match self.start {
            Start::Connected => until_it_starts(self.start_timeout, loading).await,
            Start::Unconnected => {
                match tokio::time::timeout(BEST_EFFORT, loading()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(
                        error = format!("{error:#}"),
                        "started without the history of earlier runs; the gauges follow when the database answers"
                    ),
                    Err(_elapsed) => tracing::warn!(
                        limit = ?BEST_EFFORT,
                        "started without the history of earlier runs: the database does not answer in time"
                    ),
                }
                Ok(())
            }
        }
    }

    /// Starts scheduling and the workers. The task is the scheduler's: it ends when the engine is drained.
    #[must_use]
    pub fn start(&self) -> JoinHandle<()> {
        let observed = observation_rounds::repeat(
            Arc::clone(&self.registry),
            self.runner.jobs_db.clone(),
            Arc::clone(&self.runner.clock),
            self.runner.scheduler.observe_interval,
        );
        let stopping = self.runner.stopping.clone();
        self.tasks.spawn(stopping.run_until_cancelled_owned(observed));
        for worker in &*self.workers {
            self.tasks
                .spawn(worker_host::host(worker.clone(), self.runner.clone()));
        }
        let dispatcher = Arc::new(Dispatcher {
            runner: self.runner.clone(),
            registry: Arc::clone(&self.registry),
            wake: Arc::clone(&self.wake),
            tasks: self.tasks.clone(),
        });
        self.runner.health.set_serving(true);
        tokio::spawn(dispatcher.run())
    }

    /// A job nobody has seen before starts with the next slot, not with those of the past.
    async fn first_sight(&self) -> anyhow::Result<()> {
        let cursor = Slot::at(self.runner.clock.now());
        for job in self.registry.iter().filter(|job| job.is_locked()) {
            state::register(self.runner.jobs_db.control(), &job.name, cursor).await?;
            let known = state::get(self.runner.jobs_db.control(), &job.name).await?;
            if let Some(slot) = known.and_then(|state| state.last_slot) {
                job.set_cursor(slot.instant());
            }
        }
        Ok(())
    }

    /// Stops claiming, turns unready, lets runs finish for `soft`, then cancels them with reason shutdown and waits for
    /// `grace`. Leases are renewed until the last run has returned.
    pub async fn drain(&self, soft: Duration, grace: Duration) -> Drained {
        self.runner.health.set_serving(false);
        self.runner.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(soft, self.tasks.wait()).await.is_ok() {
            return Drained::Clean;
        }
        tracing::info!("shutting down: cancelling what still runs");
        self.runner.process.cancel(CancelReason::Shutdown);
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_ok() {
            return Drained::Clean;
        }
        tracing::error!("shutting down: some run did not stop; its lease lapses by itself");
        Drained::Forced
    }

    /// The jobs by name.
    pub fn jobs(&self) -> impl Iterator<Item = &Arc<RegisteredJob>> {
        self.registry.iter()
    }

    /// The job of that name.
    #[must_use]
    pub fn job(&self, name: &str) -> Option<&Arc<RegisteredJob>> {
        self.registry.get(name)
    }

    /// Our own tables.
    #[must_use]
    pub const fn jobs_db(&self) -> &db::JobsDb {
        &self.runner.jobs_db
    }

    /// The clock.
    #[must_use]
    pub const fn clock(&self) -> &SharedClock {
        &self.runner.clock
    }

    /// This process.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.runner.node
    }

    /// Dependencies and loops.
    #[must_use]
    pub const fn health(&self) -> &HealthRegistry {
        &self.runner.health
    }

    /// A trigger was accepted here: it is looked for at once, and its run continues the trace of the request.
    pub fn accepted(&self, execution: ExecutionId, trace: http::HeaderMap) {
        self.runner.running.remember_trace(execution, trace);
        self.look_again();
    }

    /// What is due may have changed: the dispatcher looks at once.
    pub fn look_again(&self) {
        self.wake.notify_one();
    }

    /// Cancels an execution if it runs in this process.
    pub fn cancel(&self, execution: ExecutionId, reason: CancelReason) {
        self.runner.running.cancel(execution, reason);
    }
}

fn register_checks(start: Start, health: &HealthRegistry, control: sqlx::PgPool, leases: LeaseClient) {
    let severity = match start {
        Start::Connected => Severity::Hard,
        Start::Unconnected => Severity::Soft,
    };
    health.register("database.jobs", severity, move || {
        let control = control.clone();
        async move {
            match start {
                Start::Connected => answers(control).await,
                // The start did not ask for the schema's version.
                Start::Unconnected => Ok(migrations::check(&control).await?),
            }
        }
    });
    health.register("redis", severity, move || {
        let leases = leases.clone();
        async move {
            leases.ping().await?;
            Ok(())
        }
    });
}
