//! [`Service`]: connected and checked; then it serves, or runs one job in the foreground.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use eidos_core::lease::LeaseClient;
use eidos_core::{db, migrations, state};
use eidos_settings::{Effective, ServiceSettings, SourceName, SuiteSettings};
use eidos_telemetry::MetricsHandle;
use eidos_types::{NodeId, SharedClock, Slot};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::auth::Authenticator;
use crate::cancel::Cancellation;
use crate::definition::answers;
use crate::dispatcher::Dispatcher;
use crate::grpc::{self, JobsGrpc};
use crate::health::Severity;
use crate::http::{HttpState, Limits, ServiceRoutes, router};
use crate::registry::Registry;
use crate::runner::Runner;
use crate::running::Running;
use crate::{
    CancelReason, HealthRegistry, ServiceDefinition, ServiceDeps, WorkerEntry, observation, observe,
    worker_host,
};

/// How long the servers may take to finish their last answers.
const SERVERS_CLOSE: Duration = Duration::from_secs(5);

/// A connection of HTTP ends after this long, so that clients find the other replicas again.
const CONNECTION_MAX_AGE: Duration = Duration::from_mins(10);

/// A service whose dependencies answered and whose jobs are built. Nothing runs yet.
pub struct Service {
    pub(crate) suite: SuiteSettings,
    pub(crate) runner: Runner,
    pub(crate) registry: Arc<Registry>,
    workers: Vec<WorkerEntry>,
    routes: ServiceRoutes,
    metrics: Option<MetricsHandle>,
}

/// A service at work.
pub struct Serving {
    http: SocketAddr,
    grpc: SocketAddr,
    suite: SuiteSettings,
    runner: Runner,
    tasks: TaskTracker,
    dispatcher: JoinHandle<()>,
    servers: Servers,
}

struct Servers {
    stop: CancellationToken,
    http: JoinHandle<anyhow::Result<()>>,
    grpc: JoinHandle<anyhow::Result<()>>,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every run has ended and its lease was released.
    Clean,
    /// Some run did not stop in time.
    Forced,
}

impl Service {
    /// Connects to what every service needs, refuses a wrong schema version, and builds the jobs.
    ///
    /// # Errors
    /// Names the setting, database or job that is wrong, and the fix.
    pub async fn connect<S: ServiceSettings>(
        definition: &ServiceDefinition<S>,
        settings: Arc<Effective<S>>,
        clock: SharedClock,
    ) -> anyhow::Result<Self> {
        let suite = settings.suite.clone();
        let section = suite
            .databases
            .get(&SourceName::Jobs)
            .ok_or_else(|| anyhow!("databases.jobs.url is not set: every service keeps its history there"))?;
        let jobs_db = db::connect_jobs(section, &suite.service.name).await?;
        migrations::check(jobs_db.control()).await?;
        let leases = LeaseClient::connect(&suite.redis).await?;
        let deps = ServiceDeps {
            settings,
            jobs_db: jobs_db.clone(),
            clock: Arc::clone(&clock),
            node: NodeId::new(&*clock),
            health: HealthRegistry::default(),
        };
        register_checks(&deps.health, jobs_db.control().clone(), leases.clone());
        let parts = (definition.build)(deps.clone()).await?;
        worker_host::check(&parts.workers)?;
        let registry = Arc::new(Registry::new(parts.jobs, &suite, clock.now())?);
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
        let routes = ServiceRoutes {
            router: definition.routes.map(|routes| routes(&deps)),
            document: definition.openapi,
        };
        Ok(Self {
            suite,
            runner,
            registry,
            workers: parts.workers,
            routes,
            metrics: None,
        })
    }

    /// Lets `/metrics` answer with what this process's recorder has collected.
    #[must_use]
    pub fn with_metrics(mut self, metrics: MetricsHandle) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Binds the servers and starts scheduling.
    ///
    /// # Errors
    /// A port that is taken, or a database that went away.
    pub async fn serve(mut self) -> anyhow::Result<Serving> {
        let section = &self.suite.service;
        let http = bind("service.http_port", &section.http_host, section.http_port).await?;
        let grpc = bind("service.grpc_port", &section.grpc_host, section.grpc_port).await?;
        let (http_address, grpc_address) = (http.local_addr()?, grpc.local_addr()?);
        self.first_sight().await?;
        observe::load_at_start(&self.registry, &self.runner.jobs_db, &*self.runner.clock).await?;

        let wake = Arc::new(Notify::new());
        let routes = std::mem::take(&mut self.routes);
        let api = Api {
            registry: Arc::clone(&self.registry),
            db: self.runner.jobs_db.clone(),
            clock: Arc::clone(&self.runner.clock),
            running: self.runner.running.clone(),
            wake: Arc::clone(&wake),
        };
        let servers = self.start_servers(api, routes, http, grpc);
        let tasks = TaskTracker::new();
        let observed = observation::repeat(
            Arc::clone(&self.registry),
            self.runner.jobs_db.clone(),
            Arc::clone(&self.runner.clock),
            self.runner.scheduler.observe_interval,
        );
        tasks.spawn(self.runner.stopping.clone().run_until_cancelled_owned(observed));
        for worker in self.workers {
            tasks.spawn(worker_host::host(worker, self.runner.clone()));
        }
        let dispatcher = Arc::new(Dispatcher {
            runner: self.runner.clone(),
            registry: self.registry,
            wake,
            tasks: tasks.clone(),
        });
        let dispatcher = tokio::spawn(dispatcher.run());
        self.runner.health.set_serving(true);
        tracing::info!(http = %http_address, grpc = %grpc_address, node = %self.runner.node, "serving");
        Ok(Serving {
            http: http_address,
            grpc: grpc_address,
            suite: self.suite,
            runner: self.runner,
            tasks,
            dispatcher,
            servers,
        })
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

    fn start_servers(
        &self,
        api: Api,
        routes: ServiceRoutes,
        http: TcpListener,
        grpc: TcpListener,
    ) -> Servers {
        let auth = Arc::new(Authenticator::new(&self.suite.auth));
        let stop = CancellationToken::new();
        let state = HttpState {
            api: api.clone(),
            auth: Arc::clone(&auth),
            health: self.runner.health.clone(),
            metrics: self.metrics.clone(),
        };
        let routes = router(state, routes, self.suite.service.api_docs_exposed());
        let limits = Limits {
            connections: self.suite.service.http_max_connections as usize,
            head_timeout: self.suite.service.http_idle_timeout,
            max_age: CONNECTION_MAX_AGE,
        };
        let http_stop = stop.clone();
        let http = tokio::spawn(async move {
            crate::http::serve(http, routes, limits, http_stop).await;
            Ok(())
        });
        let (health, suite, grpc_stop) = (self.runner.health.clone(), self.suite.clone(), stop.clone());
        let grpc = tokio::spawn(async move {
            let jobs = JobsGrpc::new(api, auth);
            grpc::serve(grpc, jobs, health, &suite.service, &suite.security, grpc_stop).await
        });
        Servers { stop, http, grpc }
    }
}

impl Serving {
    /// Where HTTP is answered.
    #[must_use]
    pub const fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Where gRPC is answered.
    #[must_use]
    pub const fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// This process in the history.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.runner.node
    }

    /// Waits until a server or the scheduler ends by itself, which none of them should.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = &mut self.servers.http => ended_early("the HTTP server", ended),
            ended = &mut self.servers.grpc => ended_early("the gRPC server", ended),
            ended = &mut self.dispatcher => ended_early("the scheduler", ended.map(Ok)),
        }
    }

    /// Stops claiming, turns unready, lets runs finish, then cancels them with reason shutdown, keeps renewing their
    /// leases until the last one has returned, and closes everything.
    pub async fn shut_down(self) -> Drained {
        let service = &self.suite.service;
        tracing::info!("shutting down: nothing new is started");
        self.runner.health.set_serving(false);
        self.runner.stopping.cancel();
        self.tasks.close();
        let mut drained = Drained::Clean;
        if tokio::time::timeout(service.shutdown_soft, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::info!("shutting down: cancelling what still runs");
            self.runner.process.cancel(CancelReason::Shutdown);
            if tokio::time::timeout(service.shutdown_grace, self.tasks.wait())
                .await
                .is_err()
            {
                tracing::error!("shutting down: some run did not stop; its lease lapses by itself");
                drained = Drained::Forced;
            }
        }
        self.dispatcher.abort();
        // Probes were answered until here, so that the platform saw "not ready" and not "connection refused".
        self.servers.stop.cancel();
        let closing = async { (self.servers.http.await, self.servers.grpc.await) };
        if tokio::time::timeout(SERVERS_CLOSE, closing).await.is_err() {
            tracing::warn!("shutting down: a connection stayed open and is cut");
        }
        if drained == Drained::Clean {
            self.runner.jobs_db.close().await;
        }
        tracing::info!(?drained, "shut down");
        drained
    }
}

fn register_checks(health: &HealthRegistry, control: sqlx::PgPool, leases: LeaseClient) {
    health.register("database.jobs", Severity::Hard, move || answers(control.clone()));
    health.register("redis", Severity::Hard, move || {
        let leases = leases.clone();
        async move {
            leases.ping().await?;
            Ok(())
        }
    });
}

async fn bind(setting: &str, host: &str, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((host, port)).await.with_context(|| {
        format!("cannot listen on {host}:{port}; choose another {setting} or stop what uses it")
    })
}

fn ended_early(what: &str, ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("{what} ended by itself"),
        Ok(Err(error)) => error.context(format!("{what} failed")),
        Err(error) => anyhow!("{what} failed: {error}"),
    }
}
