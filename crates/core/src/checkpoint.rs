//! Checkpoints: what a run must remember to go on after a crash.
//!
//! They are written only inside a [`crate::fence::Step`], in the transaction that makes the work they describe
//! durable, so a checkpoint never claims more than was done, nor less.

use chrono::{DateTime, Utc};
use eidos_types::JobName;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::PgPool;

use crate::error::call;
use crate::fence::Epoch;
use crate::{CoreError, sql};

/// The checkpoint under `key`, if there is one.
///
/// # Errors
/// [`CoreError::Json`] when the stored value is not a `T` (written by another version); [`CoreError::Sql`],
/// [`CoreError::TimedOut`].
pub async fn load<T: DeserializeOwned>(
    pool: &PgPool,
    job: &JobName,
    key: &str,
) -> Result<Option<T>, CoreError> {
    let value: Option<Value> = call(
        "load a checkpoint",
        sqlx::query_scalar(sql::LOAD_CHECKPOINT)
            .bind(job.as_str())
            .bind(key)
            .fetch_optional(pool),
    )
    .await?;
    value
        .map(|value| {
            serde_json::from_value(value).map_err(CoreError::json(format!("checkpoint '{key}' of {job}")))
        })
        .transpose()
}

/// A stored checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// The epoch of the run that wrote it.
    pub epoch: Epoch,
    /// When.
    pub updated_at: DateTime<Utc>,
}

/// Most entries [`list`] returns.
pub const LIST_LIMIT: i64 = 10_000;

/// The checkpoints whose key starts with `prefix` (all for an empty one), by key, at most [`LIST_LIMIT`].
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn list(pool: &PgPool, job: &JobName, prefix: &str) -> Result<Vec<Entry>, CoreError> {
    let rows: Vec<(String, Value, i64, DateTime<Utc>)> = call(
        "list checkpoints",
        sqlx::query_as(sql::LIST_CHECKPOINTS)
            .bind(job.as_str())
            .bind(prefix)
            .bind(LIST_LIMIT)
            .fetch_all(pool),
    )
    .await?;
    Ok(rows
        .into_iter()
        .map(|(key, value, epoch, updated_at)| Entry {
            key,
            value,
            epoch: Epoch::from_stored(epoch),
            updated_at,
        })
        .collect())
}
