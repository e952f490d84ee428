//! Records and stored figures, as reports show them.

use eidos_server::{PageRequest, RecordQuery, RecordView, StatisticView, StatisticsQuery, TokenTotals};
use sqlx::PgPool;
use sqlx::Row;
use sqlx::postgres::PgRow;

/// One row for each token: records are exact NUMERIC sums; tokens are never added together (ruling 25).
/// A run writes one `totals` record per token with how many accounts it compared; those that agree have no row of
/// their own. Records without totals (of other writers) count one each.
const RECONCILIATION_TOTALS: &str = "SELECT coalesce(token, '') AS token, \
        coalesce(sum((details ->> 'checked')::bigint) FILTER (WHERE kind = 'totals')::bigint, count(*)) AS checked, \
        count(*) FILTER (WHERE status = 'mismatched') AS mismatched, \
        CASE WHEN bool_or(diff_value IS NULL AND diff_exact IS NULL) FILTER (WHERE status = 'mismatched') THEN '' \
             ELSE trim_scale(coalesce(sum(abs(coalesce(diff_value, diff_exact::numeric))) \
                 FILTER (WHERE status = 'mismatched'), 0))::text END AS total_diff \
    FROM eidos_jobs_reconciliation_records \
    WHERE ($1::text IS NULL OR job_type = $1) AND ($2::bigint IS NULL OR created_at >= $2) \
      AND ($3::bigint IS NULL OR created_at < $3) GROUP BY 1 ORDER BY 1";

const RECONCILIATION_RECORDS: &str = "SELECT id, job_type, reconcile_type, status, \
        coalesce(wallet_address, '') AS wallet_address, coalesce(token, '') AS token, \
        coalesce(offchain_exact, trim_scale(offchain_value)::text, '') AS offchain_value, \
        coalesce(onchain_exact, trim_scale(onchain_value)::text, '') AS onchain_value, \
        coalesce(diff_exact, trim_scale(diff_value)::text, '') AS diff_value, created_at \
    FROM eidos_jobs_reconciliation_records \
    WHERE ($1::text IS NULL OR job_type = $1) AND ($2::text IS NULL OR status = $2) \
      AND ($3::text IS NULL OR lower(wallet_address) = lower($3)) \
      AND kind IS DISTINCT FROM 'totals' \
      AND ($4::bigint IS NULL OR created_at >= $4) AND ($5::bigint IS NULL OR created_at < $5) \
    ORDER BY created_at DESC, id DESC LIMIT $6 OFFSET $7";

const COUNT_RECONCILIATION_RECORDS: &str = "SELECT count(*) FROM eidos_jobs_reconciliation_records \
    WHERE ($1::text IS NULL OR job_type = $1) AND ($2::text IS NULL OR status = $2) \
      AND ($3::text IS NULL OR lower(wallet_address) = lower($3)) AND kind IS DISTINCT FROM 'totals' \
      AND ($4::bigint IS NULL OR created_at >= $4) AND ($5::bigint IS NULL OR created_at < $5)";

const STATISTICS: &str = "SELECT stat_type, stat_date, coalesce(stat_hour, 0) AS stat_hour, \
        coalesce(market, '') AS market, metric_name, trim_scale(metric_value)::text AS metric_value \
    FROM eidos_jobs_statistics \
    WHERE ($1::text IS NULL OR stat_type = $1) AND ($2::date IS NULL OR stat_date >= $2) \
      AND ($3::date IS NULL OR stat_date <= $3) AND ($4::text IS NULL OR market = $4) \
      AND (cardinality($5::text[]) = 0 OR metric_name = ANY($5)) \
    ORDER BY stat_date, stat_hour, market, metric_name LIMIT $6";

pub(super) const ALL: &[(&str, &str)] = &[
    ("reports::RECONCILIATION_TOTALS", RECONCILIATION_TOTALS),
    ("reports::RECONCILIATION_RECORDS", RECONCILIATION_RECORDS),
    (
        "reports::COUNT_RECONCILIATION_RECORDS",
        COUNT_RECONCILIATION_RECORDS,
    ),
    ("reports::STATISTICS", STATISTICS),
];

/// Counts and differences of each token.
pub async fn totals(pool: &PgPool, query: &RecordQuery) -> Result<Vec<TokenTotals>, sqlx::Error> {
    let rows = sqlx::query(RECONCILIATION_TOTALS)
        .bind(query.job_type.as_deref())
        .bind(query.from_ms)
        .bind(query.until_ms)
        .fetch_all(pool)
        .await?;
    rows.iter().map(token_totals).collect()
}

/// How many records match.
pub async fn count(pool: &PgPool, query: &RecordQuery) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(COUNT_RECONCILIATION_RECORDS)
        .bind(query.job_type.as_deref())
        .bind(query.status.as_deref())
        .bind(query.wallet_address.as_deref())
        .bind(query.from_ms)
        .bind(query.until_ms)
        .fetch_one(pool)
        .await
}

/// A page of the records, newest first.
pub async fn records(
    pool: &PgPool,
    query: &RecordQuery,
    page: PageRequest,
) -> Result<Vec<RecordView>, sqlx::Error> {
    let rows = sqlx::query(RECONCILIATION_RECORDS)
        .bind(query.job_type.as_deref())
        .bind(query.status.as_deref())
        .bind(query.wallet_address.as_deref())
        .bind(query.from_ms)
        .bind(query.until_ms)
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(pool)
        .await?;
    rows.iter().map(record).collect()
}

/// Stored figures, oldest first, at most `limit`.
pub async fn statistics(
    pool: &PgPool,
    query: &StatisticsQuery,
    limit: i64,
) -> Result<Vec<StatisticView>, sqlx::Error> {
    let rows = sqlx::query(STATISTICS)
        .bind(query.stat_type.as_deref())
        .bind(query.from)
        .bind(query.upto)
        .bind(query.market.as_deref())
        .bind(&query.metrics)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    rows.iter().map(statistic).collect()
}

fn token_totals(row: &PgRow) -> Result<TokenTotals, sqlx::Error> {
    Ok(TokenTotals {
        token: row.try_get("token")?,
        checked: row.try_get("checked")?,
        mismatched: row.try_get("mismatched")?,
        total_diff: row.try_get("total_diff")?,
    })
}

fn record(row: &PgRow) -> Result<RecordView, sqlx::Error> {
    Ok(RecordView {
        id: row.try_get("id")?,
        job_type: row.try_get("job_type")?,
        reconcile_type: row.try_get("reconcile_type")?,
        status: row.try_get("status")?,
        wallet_address: row.try_get("wallet_address")?,
        token: row.try_get("token")?,
        offchain_value: row.try_get("offchain_value")?,
        onchain_value: row.try_get("onchain_value")?,
        diff_value: row.try_get("diff_value")?,
        created_at: row.try_get("created_at")?,
    })
}

fn statistic(row: &PgRow) -> Result<StatisticView, sqlx::Error> {
    Ok(StatisticView {
        stat_type: row.try_get("stat_type")?,
        stat_date: row.try_get("stat_date")?,
        stat_hour: row.try_get("stat_hour")?,
        market: row.try_get("market")?,
        metric_name: row.try_get("metric_name")?,
        metric_value: row.try_get("metric_value")?,
    })
}
