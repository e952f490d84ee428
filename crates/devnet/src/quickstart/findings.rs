//! What recon-svc left in its tables.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use eidos_types::Amount;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

/// One open break.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// `balance` or `solvency`.
    pub dimension: String,
    /// Whose account; empty for the Vault as a whole.
    pub wallet: String,
    /// Symbol of the token.
    pub token: String,
    /// Its kind.
    pub kind: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// On-chain minus off-chain, every digit.
    pub difference: String,
}

/// One open break of a single movement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MovementFinding {
    /// `deposit`, `withdrawal`, `settlement` or `fee_account`.
    pub dimension: String,
    /// Which movement.
    pub subject: String,
    /// Symbol of the token.
    pub token: String,
    /// Its kind.
    pub kind: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// On-chain minus off-chain, every digit.
    pub difference: String,
}

/// The dimensions that compare accounts.
const OF_ACCOUNTS: [&str; 2] = ["balance", "solvency"];

/// The dust of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DustFound {
    /// How many accounts.
    pub entries: i64,
    /// On-chain minus off-chain.
    pub net: Amount,
}

/// Everything found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Open breaks.
    pub breaks: BTreeSet<Finding>,
    /// Open breaks of single movements.
    pub movements: BTreeSet<MovementFinding>,
    /// Dust by token, of the full run.
    pub dust: BTreeMap<String, DustFound>,
    /// Accounts compared by the full run, if its report says so.
    pub checked: Option<u64>,
}

/// Reads them.
///
/// # Errors
/// If the jobs database is not one of ours.
pub async fn read(jobs: &PgPool) -> anyhow::Result<Findings> {
    let rows: Vec<(String, String, String, String, String, Option<String>)> = sqlx::query_as(
        "SELECT dimension, lower(wallet_address), token, kind, severity,
                coalesce(diff_value::text, diff_exact, onchain_exact)
         FROM eidos_jobs_breaks WHERE status = 'open' AND dimension = ANY($1)",
    )
    .bind(OF_ACCOUNTS)
    .fetch_all(jobs)
    .await
    .context("reading the breaks")?;
    let breaks = rows
        .into_iter()
        .map(|(dimension, wallet, token, kind, severity, difference)| Finding {
            dimension,
            wallet,
            token,
            kind,
            severity,
            difference: plain(&difference.unwrap_or_default()),
        })
        .collect();
    Ok(Findings {
        breaks,
        movements: movements(jobs).await?,
        dust: dust(jobs).await?,
        checked: checked(jobs).await?,
    })
}

async fn movements(jobs: &PgPool) -> anyhow::Result<BTreeSet<MovementFinding>> {
    let rows: Vec<(String, String, String, String, String, Option<String>)> = sqlx::query_as(
        "SELECT dimension, subject, token, kind, severity,
                coalesce(diff_value::text, diff_exact, onchain_exact)
         FROM eidos_jobs_breaks WHERE status = 'open' AND dimension <> ALL($1)",
    )
    .bind(OF_ACCOUNTS)
    .fetch_all(jobs)
    .await
    .context("reading the breaks of movements")?;
    let found =
        rows.into_iter().map(
            |(dimension, subject, token, kind, severity, difference)| MovementFinding {
                dimension,
                subject,
                token,
                kind,
                severity,
                difference: plain(&difference.unwrap_or_default()),
            },
        );
    Ok(found.collect())
}

/// A number the database shows with trailing zeros, without them; other text as it is.
fn plain(text: &str) -> String {
    text.parse::<Amount>()
        .map_or_else(|_not_an_amount| text.to_owned(), |amount| amount.to_string())
}

async fn dust(jobs: &PgPool) -> anyhow::Result<BTreeMap<String, DustFound>> {
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT token, sum(entries)::bigint, sum(net)::text FROM eidos_jobs_dust
         WHERE dimension = 'balance' AND entries > 0
           AND run_id = (SELECT run_id FROM eidos_jobs_dust ORDER BY updated_at LIMIT 1)
         GROUP BY token",
    )
    .fetch_all(jobs)
    .await
    .context("reading the dust")?;
    rows.into_iter()
        .map(|(token, entries, net)| {
            Ok((
                token,
                DustFound {
                    entries,
                    net: net.parse()?,
                },
            ))
        })
        .collect()
}

/// The first successful run's count of compared accounts.
async fn checked(jobs: &PgPool) -> anyhow::Result<Option<u64>> {
    let result: Option<(Option<serde_json::Value>,)> = sqlx::query_as(
        "SELECT result FROM eidos_jobs_executions
         WHERE job_name = 'reconciliation' AND status = 'success' ORDER BY started_at, id LIMIT 1",
    )
    .fetch_optional(jobs)
    .await
    .context("reading the execution")?;
    let report = result.and_then(|(report,)| report).unwrap_or_default();
    Ok(["checked", "accounts_checked", "total_checked", "accounts"]
        .iter()
        .find_map(|key| report.get(key))
        .and_then(serde_json::Value::as_u64))
}
