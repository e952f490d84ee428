//! `eidos_jobs_reconciliation_checkpoints`: one per (dimension, mode, shard) (ruling 28).

use chrono::{DateTime, Utc};
use eidos_core::fence::Epoch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::bind::bigint;
use crate::compare::CutPoint;
use crate::tally::Tally;

const SAVE: &str = "INSERT INTO eidos_jobs_reconciliation_checkpoints AS c \
        (job_type, dimension, mode, shard, last_time, last_block, block_hash, settings_digest, run_id, next_key, state, \
         epoch) \
    VALUES ($1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
    ON CONFLICT (job_type, mode, shard) DO UPDATE SET \
        last_time = EXCLUDED.last_time, last_block = EXCLUDED.last_block, \
        block_hash = EXCLUDED.block_hash, settings_digest = EXCLUDED.settings_digest, \
        run_id = EXCLUDED.run_id, next_key = EXCLUDED.next_key, state = EXCLUDED.state, \
        epoch = EXCLUDED.epoch, updated_at = now()";

const LOAD: &str = "SELECT state FROM eidos_jobs_reconciliation_checkpoints \
    WHERE dimension = $1 AND mode = $2 AND shard = $3 AND run_id = $4 AND settings_digest = $5";

const FINISH: &str = "UPDATE eidos_jobs_reconciliation_checkpoints SET run_id = NULL, next_key = NULL, state = NULL, \
        epoch = $3, updated_at = now() WHERE dimension = $1 AND mode = $2";

pub(super) const ALL: &[(&str, &str)] = &[
    ("checkpoints::SAVE", SAVE),
    ("checkpoints::LOAD", LOAD),
    ("checkpoints::FINISH", FINISH),
];

/// How far a shard is: the contiguous prefix whose results are durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardState<C, T> {
    /// The cut its last page was compared at.
    pub point: CutPoint,
    /// The last key that is done; `None` before the first page.
    pub after: Option<C>,
    /// True at its end.
    pub done: bool,
    /// Pages so far.
    pub pages: u32,
    /// Suspects so far.
    pub suspects: u64,
    /// Dust records written so far.
    pub dust_records: u32,
    /// True if its pages were compared at different cuts: its sums belong to none of them.
    pub mixed_cuts: bool,
    /// Counts and sums of the prefix.
    pub tally: T,
}

impl<C, T: Tally> ShardState<C, T> {
    /// A shard before its first page.
    #[must_use]
    pub fn at_start(point: CutPoint) -> Self {
        Self {
            point,
            after: None,
            done: false,
            pages: 0,
            suspects: 0,
            dust_records: 0,
            mixed_cuts: false,
            tally: T::default(),
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

/// Stores a shard's state; part of the step that stores its page. `read_at`: when its left side was read.
pub async fn save<C: Serialize + ToString + Sync, T: Tally>(
    conn: &mut PgConnection,
    key: ShardKey<'_>,
    state: &ShardState<C, T>,
    read_at: DateTime<Utc>,
    epoch: Epoch,
) -> Result<(), sqlx::Error> {
    sqlx::query(SAVE)
        .bind(key.dimension)
        .bind(key.mode)
        .bind(i32::from(key.shard))
        .bind(read_at)
        .bind(bigint(state.point.number))
        .bind(&state.point.hash)
        .bind(key.digest)
        .bind(key.run)
        .bind(state.after.as_ref().map(ToString::to_string))
        .bind(sqlx::types::Json(state))
        .bind(epoch.get())
        .execute(conn)
        .await?;
    Ok(())
}

/// A shard's state, if it belongs to this run and these settings.
pub async fn load<C: DeserializeOwned, T: Tally>(
    pool: &PgPool,
    key: ShardKey<'_>,
) -> Result<Option<ShardState<C, T>>, sqlx::Error> {
    let row = sqlx::query(LOAD)
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
    sqlx::query(FINISH)
        .bind(dimension)
        .bind(mode)
        .bind(epoch.get())
        .execute(conn)
        .await?;
    Ok(())
}
