//! [`DataCleanup`]: what the job works with, and how its parts reach the databases and the store.

use std::collections::BTreeMap;

use eidos_archive_store::ArchiveStore;
use eidos_core::fence::ExternalFence;
use eidos_disposal::settings::DisposalSettings;
use eidos_disposal::{DisposalError, destination, source_connection};
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

use super::rules::Rules;
use crate::sources::Sources;

/// The job.
pub struct DataCleanup {
    /// The databases.
    pub sources: Sources,
    /// What is kept for how long.
    pub rules: Rules,
    /// What it shares with the other jobs.
    pub disposal: DisposalSettings,
    /// Where exports go; `None` only where no rule demands an archive.
    pub store: Option<ArchiveStore>,
    /// Sources that are one database: each with the source it is looked at through.
    pub same_database: BTreeMap<SourceName, SourceName>,
}

/// The run's right to write to each database, asked for when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Fences(BTreeMap<SourceName, ExternalFence>);

impl Fences {
    pub(crate) async fn of(
        &mut self,
        job: &DataCleanup,
        ctx: &JobContext,
        source: SourceName,
    ) -> Result<ExternalFence, DisposalError> {
        if let Some(fence) = self.0.get(&source) {
            return Ok(fence.clone());
        }
        let fence = job.sources.fence(ctx, source).await?;
        self.0.insert(source, fence.clone());
        Ok(fence)
    }
}

impl DataCleanup {
    /// The pool of a source.
    pub(crate) fn pool(&self, source: SourceName) -> Result<&PgPool, DisposalError> {
        self.sources.pool(source).ok_or_else(|| {
            DisposalError::refused(
                "rule",
                format!("databases.{source} is not connected; set databases.{source}.url"),
            )
        })
    }

    pub(crate) fn archive(&self) -> Result<&ArchiveStore, DisposalError> {
        self.store.as_ref().ok_or_else(|| {
            DisposalError::refused(
                "rule",
                "no rule of data_retention demands an archive, so this service has no archive store",
            )
        })
    }

    /// What keeps exports from the store, as a label and a sentence.
    pub(crate) async fn store_obstacle(
        &self,
        ctx: &JobContext,
    ) -> Result<Option<(&'static str, String)>, DisposalError> {
        match &self.store {
            Some(store) => destination::obstacle(ctx.jobs_db().control(), ctx.job().as_str(), store).await,
            None => Ok(None),
        }
    }

    pub(crate) async fn connection(
        &self,
        source: SourceName,
    ) -> Result<PoolConnection<Postgres>, DisposalError> {
        source_connection(self.pool(source)?).await
    }
}
