//! `eidos_jobs_reconciliation_checkpoints`: one per (dimension, mode, shard) (ruling 28).

use chrono::{DateTime, Utc};
use eidos_chain::BlockRef;
use eidos_core::fence::Epoch;
use eidos_types::Address;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::domain::tally::Tally;

/// How far a shard is: the contiguous prefix whose results are durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardState {
    /// The block its last page was compared at.
    pub block: BlockRef,
    /// The last wallet that is done; `None` before the first page.
    pub after: Option<Address>,
    /// True at its end.
    pub done: bool,
    /// Pages so far.
    pub pages: u32,
    /// Suspects so far.
    pub suspects: u64,
    /// Dust records written so far.
    pub dust_records: u32,
    /// True if its pages were compared at different blocks: its sums belong to none of them.
    pub mixed_blocks: bool,
    /// Counts and sums of the prefix.
    pub tally: Tally,
}

impl ShardState {
    /// A shard before its first page.
    #[must_use]
    pub fn at_start(block: BlockRef) -> Self {
        Self {
            block,
            after: None,
            done: false,
            pages: 0,
            suspects: 0,
            dust_records: 0,
            mixed_blocks: false,
            tally: Tally::default(),
        }
    }
}

/// Which checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct ShardKey<'a> {
    /// Dimension.
    pub dimension: &'a str,
    /// `full` or `incremental`.
    pub mode: &'a str,
    /// Its number.
    pub shard: u16,
    /// The logical run.
    pub run: Uuid,
    /// What the settings were.
    pub digest: &'a str,
}

/// Stores a shard's state; part of the step that stores its page.
pub async fn save(
    conn: &mut PgConnection,
    key: ShardKey<'_>,
    state: &ShardState,
    snapshot_time: DateTime<Utc>,
    epoch: Epoch,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO eidos_jobs_reconciliation_checkpoints AS c \
             (job_type, mode, shard, last_time, last_block, block_hash, settings_digest, run_id, next_key, state, \
              epoch) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (job_type, mode, shard) DO UPDATE SET \
             last_time = EXCLUDED.last_time, last_block = EXCLUDED.last_block, \
             block_hash = EXCLUDED.block_hash, settings_digest = EXCLUDED.settings_digest, \
             run_id = EXCLUDED.run_id, next_key = EXCLUDED.next_key, state = EXCLUDED.state, \
             epoch = EXCLUDED.epoch, updated_at = now()",
    )
    .bind(key.dimension)
    .bind(key.mode)
    .bind(i32::from(key.shard))
    .bind(snapshot_time)
    .bind(i64::try_from(state.block.number).unwrap_or(i64::MAX))
    .bind(state.block.hash.to_string())
    .bind(key.digest)
    .bind(key.run)
    .bind(state.after.map(|wallet| wallet.to_string()))
    .bind(sqlx::types::Json(state))
    .bind(epoch.get())
    .execute(conn)
    .await?;
    Ok(())
}

/// A shard's state, if it belongs to this run and these settings.
pub async fn load(pool: &PgPool, key: ShardKey<'_>) -> Result<Option<ShardState>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT state FROM eidos_jobs_reconciliation_checkpoints \
         WHERE job_type = $1 AND mode = $2 AND shard = $3 AND run_id = $4 AND settings_digest = $5",
    )
    .bind(key.dimension)
    .bind(key.mode)
    .bind(i32::from(key.shard))
    .bind(key.run)
    .bind(key.digest)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let state: Option<serde_json::Value> = row.try_get("state")?;
    // A state of another version is no state: the shard starts again.
    Ok(state.and_then(|state| serde_json::from_value(state).ok()))
}

/// Marks the shards of a finished run: no unfinished run is left.
pub async fn finish(
    conn: &mut PgConnection,
    dimension: &str,
    mode: &str,
    epoch: Epoch,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE eidos_jobs_reconciliation_checkpoints SET run_id = NULL, next_key = NULL, state = NULL, \
                epoch = $3, updated_at = now() WHERE job_type = $1 AND mode = $2",
    )
    .bind(dimension)
    .bind(mode)
    .bind(epoch.get())
    .execute(conn)
    .await?;
    Ok(())
}
