//! What the node was found to accept, carried from one process to the next.

use std::sync::{Mutex, PoisonError};

use eidos_chain::{ChainReader, LearnedLimits};
use eidos_runtime::JobContext;
use sqlx::PgPool;

use super::fault::Fault;
use super::job::Reconciliation;
use crate::store::chain_limits::{self, NodeKey};

/// What is stored about the node.
#[derive(Debug, Default)]
pub struct StoredLimits(Mutex<LearnedLimits>);

fn node(chain: &ChainReader) -> NodeKey<'_> {
    NodeKey {
        endpoint: chain.endpoint(),
        chain_id: chain.settings().chain_id,
    }
}

impl StoredLimits {
    /// Loads what an earlier process learned about the node, and lets the reader begin with it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn recall(jobs: &PgPool, chain: &ChainReader) -> Result<Self, sqlx::Error> {
        let limits = chain_limits::load(jobs, node(chain)).await?;
        if limits != LearnedLimits::default() {
            tracing::info!(?limits, "the node's limits are known from an earlier process");
        }
        chain.recall_limits(&limits);
        Ok(Self(Mutex::new(chain.learned_limits())))
    }

    fn stored(&self) -> LearnedLimits {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reconciliation {
    /// Stores what this process learned about the node, if it is news. A run that failed has learned too; that its
    /// lessons could not be stored fails nothing.
    pub(super) async fn keep_limits(&self, ctx: &JobContext) {
        let learned = self.chain.learned_limits();
        if ctx.dry_run() || learned == self.limits.stored() {
            return;
        }
        match self.store_limits(ctx, &learned).await {
            Ok(()) => *self.limits.0.lock().unwrap_or_else(PoisonError::into_inner) = learned,
            Err(error) => tracing::warn!(
                ?error,
                "the node's limits could not be stored; the next run does it"
            ),
        }
    }

    async fn store_limits(&self, ctx: &JobContext, learned: &LearnedLimits) -> Result<(), Fault> {
        let mut step = ctx.step().await?;
        chain_limits::save(step.conn(), node(&self.chain), learned)
            .await
            .map_err(Fault::own)?;
        Ok(step.commit().await?)
    }
}
