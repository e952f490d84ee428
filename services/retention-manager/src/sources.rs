//! The databases whose tables this service works on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use eidos_core::fence::ExternalFence;
use eidos_runtime::{JobContext, JobError, ServiceDeps};
use eidos_settings::{ServiceSettings, SourceName};
use sqlx::PgPool;

/// One pool for each source that is worked on. Sessions are read-only outside of fenced steps. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Sources(BTreeMap<SourceName, PgPool>);

impl FromIterator<(SourceName, PgPool)> for Sources {
    fn from_iter<I: IntoIterator<Item = (SourceName, PgPool)>>(pools: I) -> Self {
        Self(pools.into_iter().collect())
    }
}

impl Sources {
    /// Connects to the primaries of these sources.
    ///
    /// # Errors
    /// Names every source without a URL, or the first server that does not answer.
    pub async fn connect<S: ServiceSettings>(
        deps: &ServiceDeps<S>,
        needed: &BTreeSet<SourceName>,
    ) -> anyhow::Result<Self> {
        let configured = &deps.settings.suite.databases;
        let absent: Vec<String> = needed
            .iter()
            .filter(|source| !configured.contains_key(source))
            .map(|source| format!("databases.{source}.url"))
            .collect();
        if !absent.is_empty() {
            bail!(
                "{} not set: tables in jobs.partition-manage.tables or data_retention live there; set it, or take \
                 those tables out",
                absent.join(", ")
            );
        }
        let mut pools = BTreeMap::new();
        for source in needed {
            pools.insert(*source, deps.external(*source).await?);
        }
        Ok(Self(pools))
    }

    /// The pool of a source.
    #[must_use]
    pub fn pool(&self, source: SourceName) -> Option<&PgPool> {
        self.0.get(&source)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (SourceName, &PgPool)> {
        self.0.iter().map(|(source, pool)| (*source, pool))
    }

    /// The right of this run to write to a source.
    ///
    /// # Errors
    /// As [`JobContext::raised_in`]; [`JobError::Fail`] for a source that is not worked on.
    pub async fn fence(&self, ctx: &JobContext, source: SourceName) -> Result<ExternalFence, JobError> {
        let pool = self
            .pool(source)
            .ok_or_else(|| JobError::fail(format!("databases.{source} is not connected")))?;
        ctx.raised_in(pool).await
    }
}
