//! `eidos_jobs_reconciliation_records` and `eidos_jobs_dust`: what a run found, written so that writing it again
//! gives the same rows.

use eidos_chain::BlockRef;
use eidos_types::{Address, ExecutionId};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::account::Token;
use crate::domain::dust::Dust;
use crate::domain::tally::TokenTally;
use crate::domain::verdict::Difference;

/// Which run a record belongs to.
#[derive(Debug, Clone, Copy)]
pub struct RecordOf<'a> {
    /// Dimension.
    pub dimension: &'a str,
    /// `full` or `incremental`.
    pub mode: &'a str,
    /// The logical run.
    pub run: Uuid,
    /// The execution that writes.
    pub execution: ExecutionId,
    /// When, epoch ms.
    pub now_ms: i64,
}

/// Writes one account's difference: `mismatched` with its break, or `ignored`.
pub async fn difference(
    conn: &mut PgConnection,
    of: RecordOf<'_>,
    wallet: Option<Address>,
    token: &Token,
    found: &Difference,
    block: BlockRef,
    break_id: Option<Uuid>,
) -> Result<(), sqlx::Error> {
    let status = if break_id.is_some() {
        "mismatched"
    } else {
        "ignored"
    };
    sqlx::query(
        "INSERT INTO eidos_jobs_reconciliation_records \
             (job_type, reconcile_type, status, wallet_address, token, offchain_value, onchain_value, diff_value, \
              details, created_at, run_id, execution_id, kind, token_address, block_number, block_hash, break_id, \
              onchain_exact, diff_exact) \
         VALUES ($1, $2, $3, $4, $5, $6::numeric, $7::numeric, $8::numeric, $9, $10, $11, $12, $13, $14, $15, $16, \
                 $17, $18, CASE WHEN $8::numeric IS NULL THEN trim_scale($18::numeric - $6::numeric)::text END) \
         ON CONFLICT ON CONSTRAINT uq_reconciliation_records DO NOTHING",
    )
    .bind(of.dimension)
    .bind(of.mode)
    .bind(status)
    .bind(wallet.map(|wallet| wallet.to_string()))
    .bind(&token.symbol)
    .bind(found.expected.map(|amount| amount.to_string()))
    .bind(found.onchain.map(|amount| amount.to_string()))
    .bind(found.diff.map(|amount| amount.to_string()))
    .bind(json!({ "lines": found.lines, "note": found.note }))
    .bind(of.now_ms)
    .bind(of.run)
    .bind(of.execution.as_uuid())
    .bind(found.kind.as_str())
    .bind(token.address.to_string())
    .bind(i64::try_from(block.number).unwrap_or(i64::MAX))
    .bind(block.hash.to_string())
    .bind(break_id)
    .bind(found.onchain.is_none().then_some(&found.onchain_exact))
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes one token's totals as a `matched` record without wallet.
pub async fn totals(
    conn: &mut PgConnection,
    of: RecordOf<'_>,
    token: &Token,
    tally: &TokenTally,
    block: BlockRef,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO eidos_jobs_reconciliation_records \
             (job_type, reconcile_type, status, token, details, created_at, run_id, execution_id, kind, \
              token_address, block_number, block_hash) \
         VALUES ($1, $2, 'matched', $3, $4, $5, $6, $7, 'totals', $8, $9, $10) \
         ON CONFLICT ON CONSTRAINT uq_reconciliation_records DO NOTHING",
    )
    .bind(of.dimension)
    .bind(of.mode)
    .bind(&token.symbol)
    .bind(json!({
        "checked": tally.checked, "matched": tally.matched, "in_flight_lines": tally.in_flight_lines,
        "in_flight": tally.in_flight.to_string(), "expected": tally.expected.to_string(), "owed": tally.owed,
    }))
    .bind(of.now_ms)
    .bind(of.run)
    .bind(of.execution.as_uuid())
    .bind(token.address.to_string())
    .bind(i64::try_from(block.number).unwrap_or(i64::MAX))
    .bind(block.hash.to_string())
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes one token's dust.
pub async fn dust(
    conn: &mut PgConnection,
    of: RecordOf<'_>,
    token: &Token,
    dust: &Dust,
    usdc: Option<String>,
    block: BlockRef,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO eidos_jobs_dust (run_id, dimension, token, entries, net, gross, usdc_value, block_number) \
         VALUES ($1, $2, $3, $4, $5::numeric, $6::numeric, $7::numeric, $8) \
         ON CONFLICT (run_id, dimension, token, shard) DO UPDATE SET entries = EXCLUDED.entries, \
             net = EXCLUDED.net, gross = EXCLUDED.gross, usdc_value = EXCLUDED.usdc_value, updated_at = now()",
    )
    .bind(of.run)
    .bind(of.dimension)
    .bind(&token.symbol)
    .bind(i64::try_from(dust.count).unwrap_or(i64::MAX))
    .bind(dust.net.to_string())
    .bind(dust.gross.to_string())
    .bind(usdc)
    .bind(i64::try_from(block.number).unwrap_or(i64::MAX))
    .execute(conn)
    .await?;
    Ok(())
}
