//! [`ServiceDefinition`] and [`ServiceDeps`]: what a service tells the runtime, and what it gets.

use std::sync::Arc;

use axum::Router;
use eidos_core::db::{self, JobsDb};
use eidos_settings::{Effective, ServiceSettings, SourceName};
use eidos_types::{NodeId, SharedClock};
use futures::future::BoxFuture;
use sqlx::PgPool;

use crate::{HealthRegistry, JobEntry};

/// What makes a service: its name, its settings type `S` and its jobs.
pub struct ServiceDefinition<S: ServiceSettings> {
    /// The binary's name, such as `recon-svc`.
    pub name: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// Connects what the jobs need and builds them. An error refuses the start: say what is wrong and the fix.
    pub build: fn(ServiceDeps<S>) -> BoxFuture<'static, anyhow::Result<Vec<JobEntry>>>,
    /// Further HTTP routes below `/v1`. The runtime authenticates them: `GET` needs the role viewer, everything else
    /// operator; handlers find the [`crate::Caller`] in the request's extensions.
    pub routes: Option<fn(&ServiceDeps<S>) -> Router>,
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
}

impl<S: ServiceSettings> Clone for ServiceDeps<S> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            jobs_db: self.jobs_db.clone(),
            clock: Arc::clone(&self.clock),
            node: self.node,
            health: self.health.clone(),
        }
    }
}

impl<S: ServiceSettings> ServiceDeps<S> {
    /// A pool of read-only sessions on a neighbour's database (its replica, where one is configured), registered with
    /// the readiness under the source's name.
    ///
    /// # Errors
    /// When `databases.<source>` is not configured or the server cannot be reached; names the key and the fix.
    pub async fn source(&self, source: SourceName) -> anyhow::Result<PgPool> {
        let suite = &self.settings.suite;
        let section = suite.databases.get(&source).ok_or_else(|| {
            anyhow::anyhow!(
                "databases.{source}.url is not set: {} reads this source",
                suite.service.name
            )
        })?;
        let pool = db::connect_read_only(section, &suite.service.name, source).await?;
        let checked = pool.clone();
        self.health
            .register(source.as_str(), crate::Severity::Hard, move || {
                answers(checked.clone())
            });
        Ok(pool)
    }
}

/// Whether a database answers at all.
pub(crate) async fn answers(pool: PgPool) -> anyhow::Result<()> {
    sqlx::query("SELECT 1").execute(&pool).await?;
    Ok(())
}
