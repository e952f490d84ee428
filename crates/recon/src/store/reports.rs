//! What reports are made of: runs, their totals and differences, what is unresolved, and how much was proved lately.
//!
//! A run compares one dimension after the other under one identity. Each part of it is known by the records of kind `totals` that
//! its last step wrote, one for each unit; the newest of them is its place in the list. Sums stay exact: they are text made by the
//! database from NUMERIC.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

macro_rules! runs {
    ($where:literal) => {
        concat!(
            "SELECT r.id, r.run_id, r.dimension::text AS dimension, r.reconcile_type::text AS mode, r.created_at AS at_ms, \
                    r.block_number AS block, totals.checked, totals.matched, totals.undecided, found.breaks \
             FROM eidos_jobs_reconciliation_records r \
             CROSS JOIN LATERAL (SELECT coalesce(sum((details ->> 'checked')::bigint), 0)::bigint AS checked, \
                    coalesce(sum((details ->> 'matched')::bigint), 0)::bigint AS matched, \
                    coalesce(sum((details ->> 'undecided')::bigint), 0)::bigint AS undecided \
                 FROM eidos_jobs_reconciliation_records t \
                 WHERE t.run_id = r.run_id AND t.dimension = r.dimension AND t.status = 'matched' AND t.kind = 'totals') AS totals \
             CROSS JOIN LATERAL (SELECT count(*) AS breaks FROM eidos_jobs_reconciliation_records m \
                 WHERE m.run_id = r.run_id AND m.dimension = r.dimension AND m.status = 'mismatched') AS found \
             WHERE r.kind = 'totals' AND NOT EXISTS (SELECT 1 FROM eidos_jobs_reconciliation_records later \
                 WHERE later.run_id = r.run_id AND later.dimension = r.dimension AND later.status = 'matched' \
                   AND later.kind = 'totals' \
                   AND (later.created_at, later.id) > (r.created_at, r.id)) AND ",
            $where
        )
    };
}

const RUNS: &str = runs!(
    "($1::text IS NULL OR r.dimension = $1) AND ($2::text IS NULL OR r.reconcile_type = $2) \
     AND ($3::bigint IS NULL OR r.created_at >= $3) AND ($4::bigint IS NULL OR r.created_at < $4) \
     AND ($5::bigint IS NULL OR (r.created_at, r.id) < ($5, $6::bigint)) \
     ORDER BY r.created_at DESC, r.id DESC LIMIT $7"
);

const RUN: &str = runs!("r.run_id = $1 ORDER BY r.created_at DESC, r.id DESC");

const IS_RUN: &str =
    "SELECT EXISTS (SELECT 1 FROM eidos_jobs_reconciliation_records WHERE run_id = $1 AND kind = 'totals')";

const TOTALS: &str = "SELECT dimension::text, coalesce(token, '')::text, sum((details ->> 'checked')::bigint)::bigint, \
        sum((details ->> 'matched')::bigint)::bigint \
    FROM eidos_jobs_reconciliation_records \
    WHERE kind = 'totals' AND ($1::uuid IS NULL OR run_id = $1) AND ($2::text IS NULL OR dimension = $2) \
      AND ($3::bigint IS NULL OR created_at >= $3) AND ($4::bigint IS NULL OR created_at < $4) GROUP BY 1, 2";

/// Each break once, as its newest record in the scope has it.
const DIFFERENCES: &str = "SELECT dimension::text, coalesce(token, '')::text, count(*), \
        CASE WHEN bool_or(diff IS NULL) THEN NULL ELSE trim_scale(coalesce(-sum(diff) FILTER (WHERE diff < 0), 0))::text END, \
        CASE WHEN bool_or(diff IS NULL) THEN NULL ELSE trim_scale(coalesce(sum(diff) FILTER (WHERE diff > 0), 0))::text END \
    FROM (SELECT DISTINCT ON (coalesce(break_id::text, id::text)) dimension, token, \
                 coalesce(diff_value, CASE WHEN diff_exact ~ '^-?[0-9.]+$' THEN diff_exact::numeric END) AS diff \
          FROM eidos_jobs_reconciliation_records \
          WHERE status = 'mismatched' AND ($1::uuid IS NULL OR run_id = $1) AND ($2::text IS NULL OR dimension = $2) \
            AND ($3::bigint IS NULL OR created_at >= $3) AND ($4::bigint IS NULL OR created_at < $4) \
          ORDER BY coalesce(break_id::text, id::text), created_at DESC, id DESC) AS newest \
    GROUP BY 1, 2";

/// The dust of one run: a later run counts the same dust again.
const DUST: &str = "SELECT token::text, sum(entries)::bigint, trim_scale(sum(gross))::text FROM eidos_jobs_dust \
    WHERE run_id = $1 AND dimension = $2 GROUP BY 1";

const CHANGES: &str = "SELECT dimension, severity, sum(opened)::bigint, sum(ended)::bigint FROM ( \
        SELECT dimension::text, severity::text, count(*) AS opened, 0 AS ended FROM eidos_jobs_breaks \
        WHERE first_seen AT TIME ZONE 'UTC' >= $1::timestamptz AT TIME ZONE 'UTC' \
          AND first_seen AT TIME ZONE 'UTC' < $2::timestamptz AT TIME ZONE 'UTC' \
        GROUP BY 1, 2 \
        UNION ALL \
        SELECT dimension::text, severity::text, 0, count(*) FROM eidos_jobs_breaks \
        WHERE resolved_at >= $1 AND resolved_at < $2 GROUP BY 1, 2) AS changed \
    WHERE ($3::text IS NULL OR dimension = $3) GROUP BY 1, 2 ORDER BY 1, 2";

const RECORDS: &str = "SELECT id, run_id, dimension::text AS dimension, reconcile_type::text AS mode, status::text AS status, \
        coalesce(subject, '')::text AS subject, coalesce(wallet_address, '')::text AS wallet, coalesce(token, '')::text AS token, \
        coalesce(kind, '')::text AS kind, coalesce(offchain_exact, trim_scale(offchain_value)::text, '') AS books, \
        coalesce(onchain_exact, trim_scale(onchain_value)::text, '') AS chain, \
        coalesce(diff_exact, trim_scale(diff_value)::text, '') AS diff, break_id, block_number AS block, created_at AS at_ms \
    FROM eidos_jobs_reconciliation_records \
    WHERE kind IS DISTINCT FROM 'totals' AND ($1::uuid IS NULL OR run_id = $1) AND ($2::text IS NULL OR status = $2) \
      AND ($3::text IS NULL OR dimension = $3) AND ($4::text IS NULL OR token = $4) \
      AND ($5::text IS NULL OR lower(wallet_address) = $5) \
      AND ($6::bigint IS NULL OR created_at >= $6) AND ($7::bigint IS NULL OR created_at < $7) \
      AND ($8::bigint IS NULL OR (created_at, id) < ($8, $9::bigint)) \
    ORDER BY created_at DESC, id DESC LIMIT $10";

const RECORD_POSITION: &str = "SELECT created_at, id FROM eidos_jobs_reconciliation_records WHERE id = $1";

pub(super) const ALL: &[(&str, &str)] = &[
    ("reports::RUNS", RUNS),
    ("reports::RUN", RUN),
    ("reports::IS_RUN", IS_RUN),
    ("reports::TOTALS", TOTALS),
    ("reports::DIFFERENCES", DIFFERENCES),
    ("reports::DUST", DUST),
    ("reports::CHANGES", CHANGES),
    ("reports::RECORDS", RECORDS),
    ("reports::RECORD_POSITION", RECORD_POSITION),
];

/// One dimension's part of a finished run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct RunRow {
    /// Its number in the list.
    pub id: i64,
    /// The run; its other dimensions have the same.
    pub run_id: Uuid,
    /// What it compared.
    pub dimension: String,
    /// `full` or `incremental`.
    pub mode: String,
    /// When it ended, epoch ms.
    pub at_ms: i64,
    /// Where both sides were read.
    pub block: Option<i64>,
    /// Subjects compared.
    pub checked: i64,
    /// Those that agreed at the first reading.
    pub matched: i64,
    /// Those that it could not decide about.
    pub undecided: i64,
    /// Differences that it recorded as breaks.
    pub breaks: i64,
}

/// A difference, or a subject that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct RecordRow {
    /// The row's number.
    pub id: i64,
    /// Its run.
    pub run_id: Uuid,
    /// What was compared.
    pub dimension: String,
    /// `full` or `incremental`.
    pub mode: String,
    /// `mismatched` or `ignored`.
    pub status: String,
    /// Its subject.
    pub subject: String,
    /// Its wallet; empty: it has none.
    pub wallet: String,
    /// Its token.
    pub token: String,
    /// The kind of difference.
    pub kind: String,
    /// What the books say, exactly.
    pub books: String,
    /// What the chain says, exactly.
    pub chain: String,
    /// Chain − books, exactly.
    pub diff: String,
    /// Its break.
    pub break_id: Option<Uuid>,
    /// Where both sides were read.
    pub block: Option<i64>,
    /// When, epoch ms.
    pub at_ms: i64,
}

/// Which runs or records. `None`: any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Of this run.
    pub run: Option<Uuid>,
    /// Of this dimension.
    pub dimension: Option<String>,
    /// At or after, epoch ms.
    pub from_ms: Option<i64>,
    /// Before, epoch ms.
    pub until_ms: Option<i64>,
}

/// Which records of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// The scope.
    pub scope: Scope,
    /// `mismatched` or `ignored`.
    pub status: Option<String>,
    /// Of this token.
    pub token: Option<String>,
    /// Of this wallet, lower case.
    pub wallet: Option<String>,
}

/// A place in a list: the time and the number of its row.
pub type Place = (i64, i64);

/// A token's counts: dimension, token, checked, matched.
pub type Total = (String, String, Option<i64>, Option<i64>);
/// A token's differences: dimension, token, breaks, what the chain lacks, what it has more; `None`: not an amount.
pub type Difference = (String, String, i64, Option<String>, Option<String>);
/// A token's dust: token, entries, magnitude.
pub type Dust = (String, i64, String);
/// What began and ended: dimension, severity, opened, ended.
pub type Change = (String, String, i64, i64);

/// Runs, the newest first.
pub async fn runs(
    pool: &PgPool,
    scope: &Scope,
    mode: Option<&str>,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<RunRow>, sqlx::Error> {
    sqlx::query_as(RUNS)
        .bind(scope.dimension.as_deref())
        .bind(mode)
        .bind(scope.from_ms)
        .bind(scope.until_ms)
        .bind(after.map(|(at, _)| at))
        .bind(after.map(|(_, id)| id))
        .bind(limit)
        .fetch_all(pool)
        .await
}

/// The dimensions of one run; none: there is no such run, or it has not ended.
pub async fn run(pool: &PgPool, id: Uuid) -> Result<Vec<RunRow>, sqlx::Error> {
    sqlx::query_as(RUN).bind(id).fetch_all(pool).await
}

/// Whether any dimension of this run has ended.
pub async fn is_run(pool: &PgPool, id: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(IS_RUN).bind(id).fetch_one(pool).await
}

/// Where a record, or a part of a run, is in its list.
pub async fn place_of_record(pool: &PgPool, id: i64) -> Result<Option<Place>, sqlx::Error> {
    sqlx::query_as(RECORD_POSITION)
        .bind(id)
        .fetch_optional(pool)
        .await
}

/// Counts by dimension and token.
pub async fn totals(pool: &PgPool, scope: &Scope) -> Result<Vec<Total>, sqlx::Error> {
    sqlx::query_as(TOTALS)
        .bind(scope.run)
        .bind(scope.dimension.as_deref())
        .bind(scope.from_ms)
        .bind(scope.until_ms)
        .fetch_all(pool)
        .await
}

/// Breaks and their sums by dimension and token.
pub async fn differences(pool: &PgPool, scope: &Scope) -> Result<Vec<Difference>, sqlx::Error> {
    sqlx::query_as(DIFFERENCES)
        .bind(scope.run)
        .bind(scope.dimension.as_deref())
        .bind(scope.from_ms)
        .bind(scope.until_ms)
        .fetch_all(pool)
        .await
}

/// The dust of a run.
pub async fn dust(pool: &PgPool, run: Uuid, dimension: &str) -> Result<Vec<Dust>, sqlx::Error> {
    sqlx::query_as(DUST)
        .bind(run)
        .bind(dimension)
        .fetch_all(pool)
        .await
}

/// What began and what ended between two instants.
pub async fn changes(
    pool: &PgPool,
    dimension: Option<&str>,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Change>, sqlx::Error> {
    sqlx::query_as(CHANGES)
        .bind(from)
        .bind(until)
        .bind(dimension)
        .fetch_all(pool)
        .await
}

/// A page of records, the newest first.
pub async fn records(
    pool: &PgPool,
    filter: &RecordFilter,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<RecordRow>, sqlx::Error> {
    sqlx::query_as(RECORDS)
        .bind(filter.scope.run)
        .bind(filter.status.as_deref())
        .bind(filter.scope.dimension.as_deref())
        .bind(filter.token.as_deref())
        .bind(filter.wallet.as_deref())
        .bind(filter.scope.from_ms)
        .bind(filter.scope.until_ms)
        .bind(after.map(|(at, _)| at))
        .bind(after.map(|(_, id)| id))
        .bind(limit)
        .fetch_all(pool)
        .await
}
