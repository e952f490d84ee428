//! [`Service`]: connected and checked; then it serves, or runs one job in the foreground.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use eidos_runtime::{BadRunRequest, Drained, Engine, Foreground, RunRequest};
use eidos_settings::{Effective, ServiceSettings, SuiteSettings};
use eidos_telemetry::MetricsHandle;
use eidos_types::{NodeId, SharedClock};
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::auth::Authenticator;
use crate::grpc::{self, JobsGrpc};
use crate::http::{HttpState, Limits, ServiceRoutes, router};
use crate::{Answer, Reports, ServiceDefinition};

/// How long the servers may take to finish their last answers.
const SERVERS_CLOSE: Duration = Duration::from_secs(5);

/// A connection of HTTP ends after this long, so that clients find the other replicas again.
const CONNECTION_MAX_AGE: Duration = Duration::from_mins(10);

/// A service whose dependencies answered and whose jobs are built. Nothing runs yet.
pub struct Service {
    pub(crate) engine: Engine,
    suite: SuiteSettings,
    routes: ServiceRoutes,
    reports: Option<Arc<dyn Reports>>,
    queries: Vec<(&'static str, Asked)>,
    metrics: Option<MetricsHandle>,
}

/// A query with what it reads through.
type Asked = Box<dyn Fn(String) -> BoxFuture<'static, anyhow::Result<Answer>> + Send + Sync>;

/// A service at work.
pub struct Serving {
    http: SocketAddr,
    grpc: SocketAddr,
    suite: SuiteSettings,
    engine: Engine,
    scheduler: JoinHandle<()>,
    servers: Servers,
}

struct Servers {
    stop: CancellationToken,
    http: JoinHandle<anyhow::Result<()>>,
    grpc: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    /// Connects to what every service needs, refuses a wrong schema version, and builds jobs, workers and routes.
    ///
    /// # Errors
    /// Names the setting, database or job that is wrong, and the fix.
    pub async fn connect<S: ServiceSettings>(
        definition: &ServiceDefinition<S>,
        settings: Arc<Effective<S>>,
        clock: SharedClock,
    ) -> anyhow::Result<Self> {
        let suite = settings.suite.clone();
        let (engine, deps) = Engine::connect(definition.start, definition.build, settings, clock).await?;
        let routes = ServiceRoutes {
            router: definition.routes.map(|routes| routes(&deps)),
            document: definition.openapi,
        };
        let reports = definition.reports.map(|reports| reports(&deps));
        let queries = definition.queries.iter().map(|query| {
            let (deps, answer) = (deps.clone(), query.answer);
            let asked: Asked = Box::new(move |argument| answer(deps.clone(), argument));
            (query.name, asked)
        });
        Ok(Self {
            engine,
            suite,
            routes,
            reports,
            queries: queries.collect(),
            metrics: None,
        })
    }

    /// Lets `/metrics` answer with what this process's recorder has collected.
    #[must_use]
    pub fn with_metrics(mut self, metrics: MetricsHandle) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Runs a job now, with the retries its settings allow.
    ///
    /// # Errors
    /// As [`Engine::run_job`].
    pub async fn run_job(&self, request: RunRequest) -> anyhow::Result<Foreground> {
        self.engine.run_job(request).await
    }

    /// The parameters of a command line as the job understands them; `typed` are those that were read as JSON.
    ///
    /// # Errors
    /// [`BadRunRequest`], with what the job says.
    pub(crate) fn understood(
        &self,
        job: &str,
        params: Value,
        typed: &[(String, String)],
    ) -> Result<Value, BadRunRequest> {
        self.engine.understood(job, params, typed)
    }

    /// Answers a query of the service.
    ///
    /// # Errors
    /// Those of the query; a name that is none.
    pub(crate) async fn answer(&self, name: &str, argument: String) -> anyhow::Result<Answer> {
        let query = self.queries.iter().find(|(known, _)| *known == name);
        let (_, asked) = query.ok_or_else(|| anyhow!("'{name}' is not a command of this service"))?;
        asked(argument).await
    }

    /// Asks whatever runs in the foreground to stop.
    pub fn interrupt(&self) {
        self.engine.interrupt();
    }

    /// How far the run in the foreground is: units done and, if known, in all.
    #[must_use]
    pub fn progress(&self) -> Option<(u64, Option<u64>)> {
        self.engine.progress()
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
        self.engine.prepare().await?;
        let routes = std::mem::take(&mut self.routes);
        let servers = self.start_servers(
            Api::new(self.engine.clone(), self.reports.clone()),
            routes,
            http,
            grpc,
        );
        let scheduler = self.engine.start();
        tracing::info!(http = %http_address, grpc = %grpc_address, node = %self.engine.node(), "serving");
        Ok(Serving {
            http: http_address,
            grpc: grpc_address,
            suite: self.suite,
            engine: self.engine,
            scheduler,
            servers,
        })
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
            health: self.engine.health().clone(),
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
        let (health, suite, grpc_stop) = (self.engine.health().clone(), self.suite.clone(), stop.clone());
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
        self.engine.node()
    }

    /// Waits until a server or the scheduler ends by itself, which none of them should.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = &mut self.servers.http => ended_early("the HTTP server", ended),
            ended = &mut self.servers.grpc => ended_early("the gRPC server", ended),
            ended = &mut self.scheduler => ended_early("the scheduler", ended.map(Ok)),
        }
    }

    /// Drains the engine ([`Engine::drain`]), then closes the servers and the database.
    pub async fn shut_down(self) -> Drained {
        let service = &self.suite.service;
        tracing::info!("shutting down: nothing new is started");
        let drained = self
            .engine
            .drain(service.shutdown_soft, service.shutdown_grace)
            .await;
        self.scheduler.abort();
        // Probes were answered until here, so that the platform saw "not ready" and not "connection refused".
        self.servers.stop.cancel();
        let closing = async { (self.servers.http.await, self.servers.grpc.await) };
        if tokio::time::timeout(SERVERS_CLOSE, closing).await.is_err() {
            tracing::warn!("shutting down: a connection stayed open and is cut");
        }
        if drained == Drained::Clean {
            self.engine.jobs_db().close().await;
        }
        tracing::info!(?drained, "shut down");
        drained
    }
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
