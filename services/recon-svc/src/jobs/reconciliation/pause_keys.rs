//! The Redis keys that money-moving services read before they move money.

use eidos_settings::RedisSection;
use sqlx::PgPool;

use crate::settings::{Operation, ReconciliationSection};
use crate::store::pauses::{self, PauseRow};

/// Pauses looked at when their keys are written: every active one, and the newest lifted ones.
pub(super) const LISTED_PAUSES: i64 = 1_000;
/// Looks at the table until it stands still.
const SETTLE_ROUNDS: usize = 5;

fn active_ids(pauses: &[PauseRow]) -> impl Iterator<Item = i64> {
    pauses
        .iter()
        .filter(|pause| pause.lifted_at.is_none())
        .map(|pause| pause.id)
}

/// Writes the keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PauseKeys {
    redis: redis::Client,
    key_prefix: String,
}

impl PauseKeys {
    /// Prepares the client; nothing is connected yet.
    ///
    /// # Errors
    /// If `redis.url` or its certificate cannot be used.
    pub fn new(rules: &ReconciliationSection, redis: &RedisSection) -> anyhow::Result<Self> {
        Ok(Self {
            redis: eidos_core::redis_client::open(&redis.into())?,
            key_prefix: rules.pause_key_prefix.clone(),
        })
    }

    /// Makes the keys that money-moving services read equal to the table: active pauses have a key, others none.
    /// A flushed Redis is repaired by the next run.
    ///
    /// A run may set a pause while a person lifts one. Each does this after its own commit and then looks at the table
    /// again, so whoever looks last has written what the table says last. `lifted` are rows that the newest
    /// [`LISTED_PAUSES`] may not show.
    ///
    /// # Errors
    /// If the table or Redis does not answer, or the table does not stand still for [`SETTLE_ROUNDS`] looks.
    pub async fn sync(&self, pool: &PgPool, lifted: &[PauseRow]) -> anyhow::Result<()> {
        let mut seen = pauses::list(pool, LISTED_PAUSES).await?;
        for _ in 0..SETTLE_ROUNDS {
            let rows: Vec<PauseRow> = seen.iter().chain(lifted).cloned().collect();
            self.sync_keys(&rows).await?;
            let now = pauses::list(pool, LISTED_PAUSES).await?;
            if active_ids(&now).eq(active_ids(&seen)) {
                return Ok(());
            }
            seen = now;
        }
        anyhow::bail!(
            "pauses were set and lifted faster than their keys could be written; the next run writes them"
        )
    }

    async fn sync_keys(&self, pauses: &[PauseRow]) -> anyhow::Result<()> {
        if pauses.is_empty() {
            return Ok(());
        }
        let mut connection = self.redis.get_multiplexed_async_connection().await?;
        let mut pipeline = redis::pipe();
        let active: Vec<(&str, &str)> = pauses
            .iter()
            .filter(|pause| pause.lifted_at.is_none())
            .map(|pause| (pause.operation.as_str(), pause.token.as_str()))
            .collect();
        for pause in pauses {
            let key = format!("{}:{}:{}", self.key_prefix, pause.operation, pause.token);
            let is_active = pause.lifted_at.is_none();
            if is_active {
                pipeline.set(&key, serde_json::to_string(pause)?).ignore();
            } else if !active.contains(&(pause.operation.as_str(), pause.token.as_str())) {
                pipeline.del(&key).ignore();
            }
            if let Some(operation) = Operation::named(&pause.operation) {
                let any = is_active || active.contains(&(pause.operation.as_str(), pause.token.as_str()));
                eidos_telemetry::metric::operation_pause_active(operation.as_str(), &pause.token, any);
            }
        }
        pipeline.query_async::<()>(&mut connection).await?;
        Ok(())
    }
}
