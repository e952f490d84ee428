//! `eidos_jobs_reconciliation_records` and `eidos_jobs_dust`: what a run found, written so that writing it again
//! gives the same rows.

use eidos_types::{Amount, ExecutionId};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::bind::{bigint, numeric};
use crate::compare::{CutPoint, Difference};
use crate::dust::Dust;
use crate::subject::{Identity, Kind, Subject};

const DIFFERENCE: &str = "INSERT INTO eidos_jobs_reconciliation_records \
        (job_type, dimension, reconcile_type, status, subject, wallet_address, token, offchain_value, onchain_value, \
         diff_value, details, created_at, run_id, execution_id, kind, reference, token_address, block_number, \
         block_hash, break_id, onchain_exact, diff_exact) \
    VALUES ($1, $1, $2, $3, $4::text, $5::jsonb ->> 'wallet', $6, $7::numeric, $8::numeric, $9::numeric, $10, $11, $12, $13, \
            $14, CASE WHEN $5::jsonb ->> 'token_address' IS NULL THEN $4::text ELSE '' END, $5::jsonb ->> 'token_address', \
            $15, $16, $17, $18, \
            CASE WHEN $9::numeric IS NULL AND $18::text ~ '^-?[0-9.]+$' THEN trim_scale($18::numeric - $7::numeric)::text END) \
    ON CONFLICT ON CONSTRAINT uq_reconciliation_records DO NOTHING";

const TOTALS: &str = "INSERT INTO eidos_jobs_reconciliation_records \
        (job_type, dimension, reconcile_type, status, subject, token, details, created_at, run_id, execution_id, kind, \
         token_address, block_number, block_hash) \
    VALUES ($1, $1, $2, 'matched', $3, $4, $5, $6, $7, $8, 'totals', $9::jsonb ->> 'token_address', $10, $11) \
    ON CONFLICT ON CONSTRAINT uq_reconciliation_records DO NOTHING";

const DUST: &str = "INSERT INTO eidos_jobs_dust (run_id, dimension, subject, token, entries, net, gross, usdc_value, \
        block_number) \
    VALUES ($1, $2, $3, $4, $5, $6::numeric, $7::numeric, $8::numeric, $9) \
    ON CONFLICT (run_id, dimension, token, shard) DO UPDATE SET entries = EXCLUDED.entries, \
        net = EXCLUDED.net, gross = EXCLUDED.gross, usdc_value = EXCLUDED.usdc_value, updated_at = now()";

pub(super) const ALL: &[(&str, &str)] = &[
    ("records::DIFFERENCE", DIFFERENCE),
    ("records::TOTALS", TOTALS),
    ("records::DUST", DUST),
];

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

/// Writes one subject's difference: `mismatched` with its break, or `ignored`.
pub async fn difference<S: Subject>(
    conn: &mut PgConnection,
    of: RecordOf<'_>,
    subject: &Identity,
    found: &Difference<S>,
    point: &CutPoint,
    break_id: Option<Uuid>,
) -> Result<(), sqlx::Error> {
    let status = if break_id.is_some() {
        "mismatched"
    } else {
        "ignored"
    };
    sqlx::query(DIFFERENCE)
        .bind(of.dimension)
        .bind(of.mode)
        .bind(status)
        .bind(subject.key.as_str())
        .bind(&subject.detail)
        .bind(&subject.unit)
        .bind(numeric(found.left))
        .bind(numeric(found.right))
        .bind(numeric(found.diff))
        .bind(json!({ "lines": found.lines, "note": found.note }))
        .bind(of.now_ms)
        .bind(of.run)
        .bind(of.execution.as_uuid())
        .bind(found.kind.as_str())
        .bind(bigint(point.number))
        .bind(&point.hash)
        .bind(break_id)
        .bind(found.right.is_none().then_some(&found.right_exact))
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes one unit's totals as a `matched` record without a kind of difference. `unit` is the subject of the unit as a
/// whole.
pub async fn totals(
    conn: &mut PgConnection,
    of: RecordOf<'_>,
    unit: &Identity,
    totals: Value,
    point: &CutPoint,
) -> Result<(), sqlx::Error> {
    sqlx::query(TOTALS)
        .bind(of.dimension)
        .bind(of.mode)
        .bind(unit.key.as_str())
        .bind(&unit.unit)
        .bind(totals)
        .bind(of.now_ms)
        .bind(of.run)
        .bind(of.execution.as_uuid())
        .bind(&unit.detail)
        .bind(bigint(point.number))
        .bind(&point.hash)
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes one unit's dust, with its magnitude in USDC if that is known.
pub async fn dust(
    conn: &mut PgConnection,
    of: RecordOf<'_>,
    unit: &Identity,
    dust: &Dust,
    usdc: Option<Amount>,
    point: &CutPoint,
) -> Result<(), sqlx::Error> {
    sqlx::query(DUST)
        .bind(of.run)
        .bind(of.dimension)
        .bind(unit.key.as_str())
        .bind(&unit.unit)
        .bind(bigint(dust.count))
        .bind(dust.net.to_string())
        .bind(dust.gross.to_string())
        .bind(numeric(usdc))
        .bind(bigint(point.number))
        .execute(conn)
        .await?;
    Ok(())
}
