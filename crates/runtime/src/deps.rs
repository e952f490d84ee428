//! [`Parts`] and [`ServiceDeps`]: what a service gives to the runtime, and what it gets.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use eidos_core::db::{self, JobsDb};
use eidos_settings::{DatabaseSection, Effective, ServiceSettings, SourceName};
use eidos_types::{NodeId, SharedClock};
use futures::future::BoxFuture;
use sqlx::PgPool;

use crate::registry::Registry;
use crate::{HealthRegistry, JobEntry, WorkerEntry};

/// Connects what jobs and workers need and builds them.
pub type Build<S> = fn(ServiceDeps<S>) -> BoxFuture<'static, anyhow::Result<Parts>>;

/// What must answer before a service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The jobs database, with the right schema version, and Redis.
    Connected,
    /// Nothing: the service works while every server is down, and its pools connect when they are used. None of its jobs
    /// takes a lock and none of its workers a lease. Dependencies are shown by `/ready` without effect on it; the history
    /// of runs is written as far as the database answers.
    Unconnected,
}

impl Start {
    /// Refuses what cannot work without servers.
    pub(crate) fn check(self, jobs: &Registry, workers: &[WorkerEntry]) -> anyhow::Result<()> {
        if self == Self::Connected {
            return Ok(());
        }
        if let Some(job) = jobs.iter().find(|job| job.is_locked()) {
            anyhow::bail!(
                "jobs.{0}.lock.kind must be none: this service works while Redis and PostgreSQL are down, and a lock \
                 needs both of them",
                job.name
            );
        }
        if let Some(worker) = workers.iter().find(|worker| worker.lease_ttl().is_some()) {
            anyhow::bail!(
                "the worker {} asks for a lease, and its service starts without Redis: let it work in every replica",
                worker.name()
            );
        }
        Ok(())
    }
}

/// What a service runs.
#[derive(Debug, Default)]
pub struct Parts {
    /// Runs that slots or people start.
    pub jobs: Vec<JobEntry>,
    /// Loops that run as long as the service serves; a run in the foreground has none of them beside it.
    pub workers: Vec<WorkerEntry>,
}

/// What every service needs, connected and checked.
pub struct ServiceDeps<S: ServiceSettings> {
    /// The effective settings.
    pub settings: Arc<Effective<S>>,
    /// Our own tables.
    pub jobs_db: JobsDb,
    /// The clock.
    pub clock: SharedClock,
    /// This process.
    pub node: NodeId,
    /// Where dependencies and loops report.
    pub health: HealthRegistry,
    /// What the build leaves for routes and queries.
    pub built: Built,
}

/// One value that a service's build leaves and its routes and queries use: what is connected once is connected for all.
#[derive(Debug, Clone, Default)]
pub struct Built(Arc<OnceLock<Arc<dyn Any + Send + Sync>>>);

impl Built {
    /// Leaves the value. Only the first one is kept.
    pub fn leave<T: Any + Send + Sync>(&self, value: Arc<T>) {
        // A build runs once; a second value would be of the same build.
        let _kept = self.0.set(value);
    }

    /// The value; `None`: nothing of this type was left.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(self.0.get()?).downcast().ok()
    }
}

impl<S: ServiceSettings> Clone for ServiceDeps<S> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            jobs_db: self.jobs_db.clone(),
            clock: Arc::clone(&self.clock),
            node: self.node,
            health: self.health.clone(),
            built: self.built.clone(),
        }
    }
}

impl<S: ServiceSettings> ServiceDeps<S> {
    /// A pool of read-only sessions on a neighbour's database (its replica, where one is configured), registered with
    /// the readiness as `database.<source>`.
    ///
    /// # Errors
    /// When `databases.<source>` is not configured or the server cannot be reached; names the key and the fix.
    pub async fn source(&self, source: SourceName) -> anyhow::Result<PgPool> {
        let name = &self.settings.suite.service.name;
        let pool = db::connect_read_only(self.section(source)?, name, source).await?;
        Ok(self.watched(source, pool))
    }

    /// A pool on a database that the service's jobs write to by fenced steps ([`crate::JobContext::raised_in`]); its
    /// sessions are read-only outside of them. The primary, never the replica.
    ///
    /// # Errors
    /// As [`ServiceDeps::source`].
    pub async fn external(&self, source: SourceName) -> anyhow::Result<PgPool> {
        let name = &self.settings.suite.service.name;
        let pool = db::connect_external(self.section(source)?, name, source).await?;
        Ok(self.watched(source, pool))
    }

    fn section(&self, source: SourceName) -> anyhow::Result<&DatabaseSection> {
        let suite = &self.settings.suite;
        suite.databases.get(&source).ok_or_else(|| {
            anyhow::anyhow!(
                "databases.{source}.url is not set: {} works on this source",
                suite.service.name
            )
        })
    }

    fn watched(&self, source: SourceName, pool: PgPool) -> PgPool {
        let checked = pool.clone();
        // The jobs database has a check of its own.
        if source != SourceName::Jobs {
            self.health
                .register(format!("database.{source}"), crate::Severity::Hard, move || {
                    answers(checked.clone())
                });
        }
        pool
    }
}

/// Whether a database answers at all.
pub(crate) async fn answers(pool: PgPool) -> anyhow::Result<()> {
    sqlx::query("SELECT 1").execute(&pool).await?;
    Ok(())
}
