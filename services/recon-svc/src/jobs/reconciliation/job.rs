//! [`Reconciliation`]: what the job works with.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use eidos_chain::ChainReader;
use eidos_settings::CronLine;
use sqlx::PgPool;

use super::event_log::EventLog;
use super::limits::StoredLimits;
use super::pause_keys::PauseKeys;
use crate::dimensions::balance::account::TokenList;
use crate::dimensions::balance::canary::Canary;
use crate::dimensions::balance::schema::Schema;
use crate::dimensions::balance::sources::SourceError;
use crate::dimensions::balance::sources::books::Books;
use crate::dimensions::balance::sources::prices::Prices;
use crate::dimensions::balance::sources::snapshot::Databases;
use crate::settings::{Dimension, ReconSettings, ReconciliationSection};

/// The job with everything it reads through, verified at start.
#[derive(Debug)]
pub struct Reconciliation {
    /// Its settings.
    pub settings: Arc<ReconSettings>,
    /// A digest of what a resume depends on.
    pub digest: String,
    /// `full_cron` of the job's block.
    pub full_cron: Option<CronLine>,
    /// The neighbours' databases.
    pub databases: Databases,
    /// Where prices are stored, if in a table.
    pub price_pool: Option<PgPool>,
    /// The neighbours' tables.
    pub schema: Arc<Schema>,
    /// The tokens.
    pub tokens: Arc<TokenList>,
    /// The books.
    pub books: Books,
    /// Accounts whose difference was planted.
    pub canaries: Vec<Canary>,
    /// The chain.
    pub chain: Arc<ChainReader>,
    /// Its events.
    pub events: EventLog,
    /// What is stored about the chain's node.
    pub limits: StoredLimits,
    /// The keys of its pauses.
    pub pause_keys: PauseKeys,
    /// How far the indexer may be behind the finalized block before that is a finding.
    pub indexer_lag_limit: u64,
    /// Shards that the pool of the trading database allows at once: each needs two sessions.
    pub shard_parallelism: usize,
}

impl Reconciliation {
    /// The rules of the comparison.
    #[must_use]
    pub fn rules(&self) -> &ReconciliationSection {
        &self.settings.reconciliation
    }

    /// The dimensions of movements that are switched on, by their names in tables and metrics.
    pub(super) fn movement_dimensions(&self) -> impl Iterator<Item = &'static str> {
        let on = self.rules().dimensions.iter();
        on.filter(|dimension| **dimension != Dimension::Balance)
            .map(|dimension| dimension.as_str())
    }

    pub(super) async fn prices(&self, now: DateTime<Utc>) -> Result<Prices, SourceError> {
        let rules = self.rules();
        Prices::load(
            &rules.prices,
            rules.price_table.as_ref().zip(self.price_pool.as_ref()),
            now,
        )
        .await
    }
}
