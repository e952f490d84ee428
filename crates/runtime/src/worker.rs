//! [`Worker`]: what a service runs until it is told to stop; [`WorkerEntry`]: how the runtime holds it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use eidos_telemetry::metric;
use eidos_types::SharedClock;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::HealthRegistry;
use crate::health::LOOP_STALL;

/// How often [`WorkerContext::beating`] beats.
const BEAT_EVERY: Duration = Duration::from_secs(10);

/// A background loop of a service. It works in every replica unless it asks for a lease. A worker that returns or panics is started again, with a growing pause.
pub trait Worker: Send + Sync + 'static {
    /// The name in `/health`, metrics and logs; unique in the service. With a lease it must be a job name: kebab-case, 1–93
    /// characters.
    fn name(&self) -> &str;

    /// `None`: every replica works. Otherwise only the replica that holds the lease of this name works, and another one
    /// takes over at most this long after it has died. At least 4 s.
    fn lease_ttl(&self) -> Option<Duration> {
        None
    }

    /// A replica whose worker has not beaten for this long is not ready. Longer than the longest turn of its loop.
    fn deadline(&self) -> Duration {
        LOOP_STALL
    }

    /// Works until `ctx` is cancelled and returns soon after. It calls [`WorkerContext::beat`] in every turn of its loop.
    fn run(&self, ctx: &WorkerContext) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a running worker gets.
#[derive(Debug, Clone)]
pub struct WorkerContext {
    pub(crate) name: Arc<str>,
    pub(crate) deadline: Duration,
    pub(crate) health: HealthRegistry,
    pub(crate) clock: SharedClock,
    pub(crate) stop: CancellationToken,
}

impl WorkerContext {
    /// Says that the worker makes progress.
    pub fn beat(&self) {
        self.health.tick_within(&self.name, self.deadline);
        metric::loop_ticked(&self.name, self.clock.now());
    }

    /// Whether the worker must stop: the process ends, or the lease is lost.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until the worker must stop.
    pub async fn cancelled(&self) {
        self.stop.cancelled().await;
    }

    /// Awaits `work` and beats meanwhile. Only for work that ends by itself, within a time limit of its own.
    pub async fn beating<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            self.beat();
            if let Ok(done) = tokio::time::timeout(BEAT_EVERY, &mut work).await {
                return done;
            }
        }
    }
}

/// A worker of any type, ready to be started.
#[derive(Clone)]
pub struct WorkerEntry(Arc<dyn ErasedWorker>);

impl WorkerEntry {
    /// Registers `worker`.
    pub fn new(worker: impl Worker) -> Self {
        Self(Arc::new(Erased(worker)))
    }

    pub(crate) fn name(&self) -> &str {
        self.0.name()
    }

    pub(crate) fn lease_ttl(&self) -> Option<Duration> {
        self.0.lease_ttl()
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.0.deadline()
    }

    pub(crate) fn run<'a>(&'a self, ctx: &'a WorkerContext) -> BoxFuture<'a, anyhow::Result<()>> {
        self.0.run(ctx)
    }
}

impl std::fmt::Debug for WorkerEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WorkerEntry").field(&self.name()).finish()
    }
}

trait ErasedWorker: Send + Sync {
    fn name(&self) -> &str;
    fn lease_ttl(&self) -> Option<Duration>;
    fn deadline(&self) -> Duration;
    fn run<'a>(&'a self, ctx: &'a WorkerContext) -> BoxFuture<'a, anyhow::Result<()>>;
}

struct Erased<W>(W);

impl<W: Worker> ErasedWorker for Erased<W> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn lease_ttl(&self) -> Option<Duration> {
        self.0.lease_ttl()
    }

    fn deadline(&self) -> Duration {
        self.0.deadline()
    }

    fn run<'a>(&'a self, ctx: &'a WorkerContext) -> BoxFuture<'a, anyhow::Result<()>> {
        self.0.run(ctx).boxed()
    }
}
