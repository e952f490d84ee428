//! `eidos_jobs_chain_limits`: what a node was found to accept, so that the next process need not be refused again.

use eidos_chain::LearnedLimits;
use sqlx::{PgConnection, PgPool};

const LOAD: &str = "SELECT batch_calls, log_blocks, call_gas FROM eidos_jobs_chain_limits \
         WHERE endpoint = $1 AND chain_id = $2 AND learned_at > now() - interval '7 days'";

const SAVE: &str = "INSERT INTO eidos_jobs_chain_limits (endpoint, chain_id, batch_calls, log_blocks, call_gas, learned_at) \
         VALUES ($1, $2, $3, $4, $5, now()) \
         ON CONFLICT (endpoint, chain_id) DO UPDATE SET batch_calls = excluded.batch_calls, \
           log_blocks = excluded.log_blocks, call_gas = excluded.call_gas, learned_at = excluded.learned_at";

pub(super) const ALL: &[(&str, &str)] = &[("chain_limits::LOAD", LOAD), ("chain_limits::SAVE", SAVE)];

/// Limits of a node: of the endpoint without credentials, and the chain.
#[derive(Debug, Clone, Copy)]
pub struct NodeKey<'a> {
    /// Scheme, host and port.
    pub endpoint: &'a str,
    /// The chain.
    pub chain_id: u64,
}

impl NodeKey<'_> {
    fn chain_id(&self) -> i64 {
        i64::try_from(self.chain_id).unwrap_or(i64::MAX)
    }
}

/// What was learned about the node within the last week; nothing if nothing was.
///
/// # Errors
/// Those of the database.
pub async fn load(pool: &PgPool, node: NodeKey<'_>) -> Result<LearnedLimits, sqlx::Error> {
    let row: Option<(Option<i64>, Option<i64>, Option<i64>)> = sqlx::query_as(LOAD)
        .bind(node.endpoint)
        .bind(node.chain_id())
        .fetch_optional(pool)
        .await?;
    let limit = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    Ok(
        row.map_or_else(LearnedLimits::default, |(batch_calls, log_blocks, call_gas)| {
            LearnedLimits {
                batch_calls: limit(batch_calls),
                log_blocks: limit(log_blocks),
                call_gas: limit(call_gas),
            }
        }),
    )
}

/// Stores what was learned about the node, in place of what was.
///
/// # Errors
/// Those of the database.
pub async fn save(
    conn: &mut PgConnection,
    node: NodeKey<'_>,
    limits: &LearnedLimits,
) -> Result<(), sqlx::Error> {
    let number = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    sqlx::query(SAVE)
        .bind(node.endpoint)
        .bind(node.chain_id())
        .bind(number(limits.batch_calls))
        .bind(number(limits.log_blocks))
        .bind(number(limits.call_gas))
        .execute(conn)
        .await?;
    Ok(())
}
