//! `eidos_jobs_breaks`: one row per open difference, its confirmations and its end.

use chrono::{DateTime, Utc};
use eidos_chain::BlockRef;
use eidos_types::{Address, Amount, BreakId, ExecutionId};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::domain::confirm::Confirmations;
use crate::domain::verdict::BreakKind;

/// A break as a run saw it.
#[derive(Debug, Clone)]
pub struct Sighting<'a> {
    /// `balance` or `solvency`.
    pub dimension: &'a str,
    /// Whose; `None` for the Vault as a whole.
    pub wallet: Option<Address>,
    /// Token symbol.
    pub token: &'a str,
    /// Token contract.
    pub token_address: Address,
    /// What kind.
    pub kind: BreakKind,
    /// `warning` or `critical`.
    pub severity: &'a str,
    /// `shortfall` or `surplus`.
    pub direction: &'a str,
    /// Books with lines.
    pub expected: Option<Amount>,
    /// Chain.
    pub onchain: Option<Amount>,
    /// Chain with every digit, if it is no amount.
    pub onchain_exact: Option<&'a str>,
    /// Chain − books.
    pub diff: Option<Amount>,
    /// Magnitude in USDC.
    pub usdc: Option<Amount>,
    /// What reproduces it.
    pub evidence: Value,
    /// Where it was read.
    pub block: BlockRef,
    /// When.
    pub at: DateTime<Utc>,
    /// The logical run.
    pub run: Uuid,
    /// The execution.
    pub execution: ExecutionId,
}

/// What a sighting did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The break.
    pub id: BreakId,
    /// True if it was not open before.
    pub opened: bool,
    /// Its confirmations, this sighting included if it was at a newer block.
    pub confirmations: Confirmations,
    /// When it was first seen.
    pub first_seen: DateTime<Utc>,
}

/// Opens the break or updates the open one. `fresh` is the identity of a new one. A difference of another size
/// starts its confirmations again: only consecutive equal readings count (ruling 24).
pub async fn see(
    conn: &mut PgConnection,
    sighting: &Sighting<'_>,
    fresh: BreakId,
    first_block: BlockRef,
) -> Result<Stored, sqlx::Error> {
    let open = find_open(conn, sighting).await?;
    let same_size = open.as_ref().is_some_and(|open| {
        open.diff == sighting.diff && open.onchain_exact.as_deref() == sighting.onchain_exact
    });
    let mut confirmations = open
        .as_ref()
        .filter(|_| same_size)
        .map_or_else(Confirmations::default, |open| open.confirmations);
    confirmations.confirm_at(first_block.number);
    confirmations.confirm_at(sighting.block.number);
    let (id, opened, first_seen) = match &open {
        Some(open) => (open.id, false, open.first_seen),
        None => (fresh, true, sighting.at),
    };
    if opened {
        insert(conn, sighting, id, confirmations).await?;
    } else {
        update(conn, sighting, id, confirmations).await?;
    }
    let details =
        json!({ "severity": sighting.severity, "diff": sighting.diff, "confirmations": confirmations.count });
    history(
        conn,
        id,
        if opened { "opened" } else { "seen" },
        sighting,
        "reconciliation",
        details,
    )
    .await?;
    Ok(Stored {
        id,
        opened,
        confirmations,
        first_seen,
    })
}

struct Open {
    id: BreakId,
    diff: Option<Amount>,
    onchain_exact: Option<String>,
    confirmations: Confirmations,
    first_seen: DateTime<Utc>,
}

async fn find_open(conn: &mut PgConnection, sighting: &Sighting<'_>) -> Result<Option<Open>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT break_id, diff_value::text AS diff, onchain_exact, confirmations, \
                COALESCE(confirmed_block, 0) AS confirmed_block, first_seen \
         FROM eidos_jobs_breaks WHERE status = 'open' AND dimension = $1 AND wallet_address = $2 AND token = $3 \
              AND kind = $4 AND reference = '' FOR UPDATE",
    )
    .bind(sighting.dimension)
    .bind(wallet_text(sighting.wallet))
    .bind(sighting.token)
    .bind(sighting.kind.as_str())
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let diff: Option<String> = row.try_get("diff")?;
    let count: i32 = row.try_get("confirmations")?;
    let block: i64 = row.try_get("confirmed_block")?;
    Ok(Some(Open {
        id: BreakId::from_uuid(row.try_get("break_id")?),
        diff: diff.and_then(|text| text.parse().ok()),
        onchain_exact: row.try_get("onchain_exact")?,
        confirmations: Confirmations {
            count: u32::try_from(count).unwrap_or_default(),
            last_block: u64::try_from(block).unwrap_or_default(),
        },
        first_seen: row.try_get("first_seen")?,
    }))
}

async fn insert(
    conn: &mut PgConnection,
    sighting: &Sighting<'_>,
    id: BreakId,
    confirmations: Confirmations,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO eidos_jobs_breaks (break_id, dimension, wallet_address, token, token_address, kind, severity, \
             direction, first_seen, last_seen, first_block, last_block, last_run_id, confirmations, \
             confirmed_block, confirmed_block_hash, offchain_value, onchain_value, diff_value, onchain_exact, \
             usdc_value, evidence) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $10, $11, $12, $10, $13, $14::numeric, $15::numeric, \
             $16::numeric, $17, $18::numeric, $19)",
    )
    .bind(id.as_uuid())
    .bind(sighting.dimension)
    .bind(wallet_text(sighting.wallet))
    .bind(sighting.token)
    .bind(sighting.token_address.to_string())
    .bind(sighting.kind.as_str())
    .bind(sighting.severity)
    .bind(sighting.direction)
    .bind(sighting.at)
    .bind(i64::try_from(sighting.block.number).unwrap_or(i64::MAX))
    .bind(sighting.run)
    .bind(i32::try_from(confirmations.count).unwrap_or(i32::MAX))
    .bind(sighting.block.hash.to_string())
    .bind(sighting.expected.map(|amount| amount.to_string()))
    .bind(sighting.onchain.map(|amount| amount.to_string()))
    .bind(sighting.diff.map(|amount| amount.to_string()))
    .bind(sighting.onchain_exact)
    .bind(sighting.usdc.map(|amount| amount.to_string()))
    .bind(&sighting.evidence)
    .execute(conn)
    .await?;
    Ok(())
}

async fn update(
    conn: &mut PgConnection,
    sighting: &Sighting<'_>,
    id: BreakId,
    confirmations: Confirmations,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE eidos_jobs_breaks SET severity = $2, direction = $3, last_seen = $4, last_block = $5, \
             occurrences = occurrences + CASE WHEN last_run_id IS DISTINCT FROM $6 THEN 1 ELSE 0 END, \
             last_run_id = $6, confirmations = $7, confirmed_block = $8, confirmed_block_hash = $9, \
             offchain_value = $10::numeric, onchain_value = $11::numeric, diff_value = $12::numeric, \
             onchain_exact = $13, usdc_value = $14::numeric, evidence = $15 WHERE break_id = $1",
    )
    .bind(id.as_uuid())
    .bind(sighting.severity)
    .bind(sighting.direction)
    .bind(sighting.at)
    .bind(i64::try_from(sighting.block.number).unwrap_or(i64::MAX))
    .bind(sighting.run)
    .bind(i32::try_from(confirmations.count).unwrap_or(i32::MAX))
    .bind(i64::try_from(confirmations.last_block).unwrap_or(i64::MAX))
    .bind(sighting.block.hash.to_string())
    .bind(sighting.expected.map(|amount| amount.to_string()))
    .bind(sighting.onchain.map(|amount| amount.to_string()))
    .bind(sighting.diff.map(|amount| amount.to_string()))
    .bind(sighting.onchain_exact)
    .bind(sighting.usdc.map(|amount| amount.to_string()))
    .bind(&sighting.evidence)
    .execute(conn)
    .await?;
    Ok(())
}

async fn history(
    conn: &mut PgConnection,
    id: BreakId,
    event: &str,
    sighting: &Sighting<'_>,
    by: &str,
    details: Value,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO eidos_jobs_break_history (break_id, event, at, by, execution_id, block_number, block_hash, details) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id.as_uuid())
    .bind(event)
    .bind(sighting.at)
    .bind(by)
    .bind(sighting.execution.as_uuid())
    .bind(i64::try_from(sighting.block.number).unwrap_or(i64::MAX))
    .bind(sighting.block.hash.to_string())
    .bind(details)
    .execute(conn)
    .await?;
    Ok(())
}

/// Which open breaks a clean run closes.
#[derive(Debug, Clone, Copy)]
pub struct Clean<'a> {
    /// Dimension.
    pub dimension: &'a str,
    /// Wallets the run compared; `None` for all.
    pub wallets: Option<&'a [String]>,
    /// Wallets it could not decide about.
    pub undecided: &'a [String],
    /// The run: breaks it saw stay open.
    pub run: Uuid,
    /// The execution.
    pub execution: ExecutionId,
    /// Where it read.
    pub block: BlockRef,
    /// When.
    pub at: DateTime<Utc>,
}

/// Closes the open breaks that a run compared and did not see. Returns how many.
pub async fn resolve(conn: &mut PgConnection, clean: Clean<'_>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "WITH closed AS ( \
             UPDATE eidos_jobs_breaks SET status = 'resolved', resolved_at = $4, resolved_by = 'reconciliation', \
                    resolved_reason = 'a later reading of both sides agreed' \
             WHERE status = 'open' AND dimension = $1 AND last_run_id IS DISTINCT FROM $2 \
               AND ($3::text[] IS NULL OR wallet_address = ANY($3)) AND NOT wallet_address = ANY($5) \
             RETURNING break_id) \
         INSERT INTO eidos_jobs_break_history (break_id, event, at, by, execution_id, block_number, block_hash) \
         SELECT break_id, 'resolved', $4, 'reconciliation', $6, $7, $8 FROM closed",
    )
    .bind(clean.dimension)
    .bind(clean.run)
    .bind(clean.wallets)
    .bind(clean.at)
    .bind(clean.undecided)
    .bind(clean.execution.as_uuid())
    .bind(i64::try_from(clean.block.number).unwrap_or(i64::MAX))
    .bind(clean.block.hash.to_string())
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// The wallets with open breaks.
pub async fn open_wallets(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT wallet_address FROM eidos_jobs_breaks \
         WHERE status = 'open' AND dimension = 'balance' AND wallet_address <> ''",
    )
    .fetch_all(pool)
    .await
}

/// Open breaks per dimension, token and severity, with the sum of their magnitudes: what the gauges show.
pub async fn open_totals(pool: &PgPool) -> Result<Vec<(String, String, String, i64, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT dimension::text, token::text, severity::text, count(*), \
                COALESCE(sum(abs(diff_value)), 0)::text FROM eidos_jobs_breaks \
         WHERE status = 'open' GROUP BY 1, 2, 3",
    )
    .fetch_all(pool)
    .await
}

/// A break as the API shows it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(
    missing_docs,
    reason = "the fields are the table's columns, which the migration documents"
)]
pub struct BreakRow {
    pub break_id: Uuid,
    pub dimension: String,
    pub wallet_address: String,
    pub token: String,
    pub kind: String,
    pub status: String,
    pub severity: String,
    pub direction: String,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    pub occurrences: i64,
    pub confirmations: i32,
    pub offchain_value: Option<String>,
    pub onchain_value: Option<String>,
    pub diff_value: Option<String>,
    pub usdc_value: Option<String>,
    pub last_block: Option<i64>,
    pub evidence: Value,
}

/// Which breaks the API lists.
#[derive(Debug, Clone, Default)]
pub struct BreakFilter {
    /// `open`, `resolved` or `ignored`; `None` for all.
    pub status: Option<String>,
    /// One token.
    pub token: Option<String>,
    /// `info`, `warning` or `critical`; `None` for all.
    pub severity: Option<String>,
    /// One wallet, lower case.
    pub wallet: Option<String>,
    /// Those after this break in the order of the list; `None` for the first page.
    pub after: Option<Uuid>,
    /// At most this many.
    pub limit: i64,
}

macro_rules! break_columns {
    () => {
        "SELECT break_id, dimension, wallet_address, token, kind, status, severity, direction, first_seen, last_seen, \
         occurrences, confirmations, offchain_value::text, onchain_value::text, diff_value::text, usdc_value::text, \
         last_block, evidence FROM eidos_jobs_breaks "
    };
}

/// The place of a break in the list, smallest first: critical before the others, shortfalls before surpluses.
macro_rules! rank {
    () => {
        "((severity <> 'critical')::int * 2 + (direction <> 'shortfall')::int)"
    };
}

/// Lists breaks: critical first, shortfalls before surpluses, newest first (a break's id begins with its time). The next
/// page begins after the last break of this one.
pub async fn list(pool: &PgPool, filter: &BreakFilter) -> Result<Vec<BreakRow>, sqlx::Error> {
    sqlx::query_as(concat!(
        "WITH last AS (SELECT ",
        rank!(),
        " AS place, break_id AS id FROM eidos_jobs_breaks WHERE break_id = $5) ",
        break_columns!(),
        "WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR token = $2) \
           AND ($3::text IS NULL OR wallet_address = $3) AND ($4::text IS NULL OR severity = $4) \
           AND ($5::uuid IS NULL OR EXISTS (SELECT FROM last WHERE ",
        rank!(),
        " > place OR (",
        rank!(),
        " = place AND break_id < id))) ORDER BY ",
        rank!(),
        ", break_id DESC LIMIT $6"
    ))
    .bind(&filter.status)
    .bind(&filter.token)
    .bind(&filter.wallet)
    .bind(&filter.severity)
    .bind(filter.after)
    .bind(filter.limit)
    .fetch_all(pool)
    .await
}

/// One break; `None`: there is none of this id.
pub async fn one(pool: &PgPool, id: BreakId) -> Result<Option<BreakRow>, sqlx::Error> {
    sqlx::query_as(concat!(break_columns!(), "WHERE break_id = $1"))
        .bind(id.as_uuid())
        .fetch_optional(pool)
        .await
}

/// The tokens that any run compared or any break is of.
pub async fn known_tokens(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT token FROM eidos_jobs_dust UNION SELECT token FROM eidos_jobs_breaks ORDER BY 1",
    )
    .fetch_all(pool)
    .await
}

fn wallet_text(wallet: Option<Address>) -> String {
    wallet.map_or_else(String::new, |wallet| wallet.to_string())
}
