//! `eidos_jobs_breaks` as persons read it: pages in the order of importance, one break with its history, and how many of
//! which age are unresolved.
//!
//! A page is read place by place (`place`: critical before warning, shortfalls before surpluses), newest first in each, and
//! in a place state by state: every index of a filter ends with that order, so that a page reads about as many entries as
//! it shows, whatever else is stored.

use chrono::{DateTime, TimeDelta, Utc};
use eidos_types::BreakId;
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::life::{Age, State};

macro_rules! columns {
    () => {
        "b.break_id, b.version, b.dimension, b.subject, b.wallet_address, b.token, b.kind, b.state AS status, b.severity, \
         b.direction, b.first_seen, b.last_seen, b.occurrences, b.confirmations, b.offchain_value::text, \
         b.onchain_value::text, b.diff_value::text, b.usdc_value::text, b.last_block, b.assignee, b.acknowledged_by, \
         b.acknowledged_at, b.resolved_by, b.resolved_at, b.resolved_reason, b.escalated_at, b.previous_id, b.evidence "
    };
}

/// One place of a page.
const PLACE: &str = concat!(
    "SELECT ",
    columns!(),
    "FROM unnest($1::text[]) AS asked (state) CROSS JOIN LATERAL ( \
        SELECT * FROM eidos_jobs_breaks \
        WHERE state = asked.state AND place = $2 \
          AND ($3::text IS NULL OR dimension = $3) AND ($4::text IS NULL OR token = $4) \
          AND ($5::text IS NULL OR wallet_address = $5) AND ($6::text IS NULL OR subject = $6) \
          AND ($7::text IS NULL OR assignee = $7) \
          AND ($8::timestamptz IS NULL OR first_seen > $8) AND ($9::timestamptz IS NULL OR first_seen <= $9) \
          AND ($10::timestamptz IS NULL OR (first_seen, break_id) < ($10, $11::uuid)) \
        ORDER BY first_seen DESC, break_id DESC LIMIT $12) AS b \
     ORDER BY b.first_seen DESC, b.break_id DESC LIMIT $12"
);

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    "FROM eidos_jobs_breaks b WHERE b.break_id = $1"
);

const POSITION: &str = "SELECT place, first_seen, break_id FROM eidos_jobs_breaks WHERE break_id = $1";

const HISTORY: &str = "SELECT h.id, h.event, h.at, h.by, h.execution_id, h.block_number, h.block_hash, h.details, h.version, \
        h.state AS status, c.seq, encode(c.hash, 'hex') AS hash \
    FROM eidos_jobs_break_history h LEFT JOIN eidos_jobs_break_chain c ON c.event_id = h.id \
    WHERE h.break_id = $1 ORDER BY h.id DESC LIMIT $2";

const UNRESOLVED: &str = "SELECT dimension::text, state::text, severity::text, \
        CASE WHEN first_seen > $1 THEN 0 WHEN first_seen > $2 THEN 1 WHEN first_seen > $3 THEN 2 ELSE 3 END, \
        count(*), min(first_seen) \
    FROM eidos_jobs_breaks WHERE status = 'open' GROUP BY 1, 2, 3, 4";

/// From one distinct value to the next: as many look-ups in the index as there are values.
const DIMENSIONS: &str = "WITH RECURSIVE known AS ( \
        (SELECT dimension FROM eidos_jobs_breaks ORDER BY dimension LIMIT 1) \
        UNION ALL \
        SELECT (SELECT dimension FROM eidos_jobs_breaks WHERE dimension > known.dimension ORDER BY dimension LIMIT 1) \
        FROM known WHERE known.dimension IS NOT NULL) \
    SELECT dimension::text FROM known WHERE dimension IS NOT NULL";

const UNITS: &str = "WITH RECURSIVE known AS ( \
        (SELECT token FROM eidos_jobs_breaks ORDER BY token LIMIT 1) \
        UNION ALL \
        SELECT (SELECT token FROM eidos_jobs_breaks WHERE token > known.token ORDER BY token LIMIT 1) \
        FROM known WHERE known.token IS NOT NULL) \
    SELECT token::text FROM known WHERE token IS NOT NULL \
    UNION SELECT token FROM eidos_jobs_dust ORDER BY 1";

pub(super) const ALL: &[(&str, &str)] = &[
    ("listing::PLACE", PLACE),
    ("listing::ONE", ONE),
    ("listing::POSITION", POSITION),
    ("listing::HISTORY", HISTORY),
    ("listing::UNRESOLVED", UNRESOLVED),
    ("listing::DIMENSIONS", DIMENSIONS),
    ("listing::UNITS", UNITS),
];

/// A break as the API shows it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(
    missing_docs,
    reason = "the fields are the table's columns, which the migrations document"
)]
pub struct BreakRow {
    pub break_id: Uuid,
    pub version: i64,
    pub dimension: String,
    pub subject: String,
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
    pub assignee: Option<String>,
    pub acknowledged_by: Option<String>,
    pub acknowledged_at: Option<DateTime<Utc>>,
    pub resolved_by: Option<String>,
    pub resolved_at: Option<DateTime<Utc>>,
    pub resolved_reason: Option<String>,
    pub escalated_at: Option<DateTime<Utc>>,
    pub previous_id: Option<Uuid>,
    pub evidence: Value,
}

impl BreakRow {
    /// How long it has counted, or counted until it ended, in seconds.
    #[must_use]
    pub fn age_s(&self, now: DateTime<Utc>) -> i64 {
        self.resolved_at
            .unwrap_or(now)
            .signed_duration_since(self.first_seen)
            .num_seconds()
            .max(0)
    }
}

/// An event of a break.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(
    missing_docs,
    reason = "the fields are the tables' columns, which the migrations document"
)]
pub struct EventRow {
    pub id: i64,
    pub event: String,
    pub at: DateTime<Utc>,
    pub by: String,
    pub execution_id: Option<Uuid>,
    pub block_number: Option<i64>,
    pub block_hash: Option<String>,
    pub details: Option<Value>,
    pub version: Option<i64>,
    pub status: Option<String>,
    pub seq: Option<i64>,
    pub hash: Option<String>,
}

/// Where a break is in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Position {
    place: i16,
    first_seen: DateTime<Utc>,
    break_id: Uuid,
}

/// Which breaks are listed. An empty `states` and `None` are all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In one of these states.
    pub states: Vec<State>,
    /// `info`, `warning` or `critical`.
    pub severity: Option<String>,
    /// Of this dimension.
    pub dimension: Option<String>,
    /// Of this token, or whatever the amounts are counted in.
    pub unit: Option<String>,
    /// Of this wallet, lower case.
    pub wallet: Option<String>,
    /// Of this subject.
    pub subject: Option<String>,
    /// Assigned to him.
    pub assignee: Option<String>,
    /// Unresolved, and so old at this instant.
    pub age: Option<(Age, DateTime<Utc>)>,
    /// After this break; `None` for the first page.
    pub after: Option<Position>,
    /// At most this many.
    pub limit: i64,
}

impl Filter {
    /// The states to look into.
    fn states(&self) -> Vec<&'static str> {
        let asked: &[State] = if self.states.is_empty() {
            &State::ALL
        } else {
            &self.states
        };
        let counts = |state: &&State| self.age.is_none() || state.is_unresolved();
        asked.iter().filter(counts).map(|state| state.as_str()).collect()
    }

    /// The places to look into, in the order of the list.
    fn places(&self) -> std::ops::RangeInclusive<i16> {
        let (first, last) = match self.severity.as_deref() {
            Some("critical") => (0, 1),
            Some("warning") => (2, 3),
            Some(_) => (4, 5),
            None => (0, 5),
        };
        self.after.map_or(first, |after| after.place.max(first))..=last
    }

    /// First seen after, and until.
    fn first_seen(&self) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let Some((age, now)) = self.age else {
            return (None, None);
        };
        let before = |seconds| TimeDelta::try_seconds(seconds).and_then(|age| now.checked_sub_signed(age));
        (age.end_s().and_then(before), before(age.start_s()))
    }
}

/// The statement of a page, for a test of its plan: it must not read what it does not show.
#[must_use]
pub const fn page_statement() -> &'static str {
    PLACE
}

/// Lists breaks: critical first, shortfalls before surpluses, newest first.
pub async fn page(pool: &PgPool, filter: &Filter) -> Result<Vec<BreakRow>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    let (states, (newer, older)) = (filter.states(), filter.first_seen());
    let mut rows: Vec<BreakRow> = Vec::new();
    for place in filter.places() {
        let left = filter.limit - i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if left <= 0 {
            break;
        }
        let after = filter.after.filter(|after| after.place == place);
        let found: Vec<BreakRow> = sqlx::query_as(PLACE)
            .bind(&states)
            .bind(place)
            .bind(&filter.dimension)
            .bind(&filter.unit)
            .bind(&filter.wallet)
            .bind(&filter.subject)
            .bind(&filter.assignee)
            .bind(newer)
            .bind(older)
            .bind(after.map(|after| after.first_seen))
            .bind(after.map(|after| after.break_id))
            .bind(left)
            // Planned for these values: a plan for any values would not know which index they need.
            .persistent(false)
            .fetch_all(&mut *conn)
            .await?;
        rows.extend(found);
    }
    Ok(rows)
}

/// Where a break is in the list; `None`: there is none of this id.
pub async fn position(pool: &PgPool, id: BreakId) -> Result<Option<Position>, sqlx::Error> {
    sqlx::query_as(POSITION)
        .bind(id.as_uuid())
        .fetch_optional(pool)
        .await
}

/// One break; `None`: there is none of this id.
pub async fn one(executor: impl PgExecutor<'_>, id: BreakId) -> Result<Option<BreakRow>, sqlx::Error> {
    sqlx::query_as(ONE)
        .bind(id.as_uuid())
        .fetch_optional(executor)
        .await
}

/// The newest events of a break, newest first, at most `limit`.
pub async fn history(pool: &PgPool, id: BreakId, limit: i64) -> Result<Vec<EventRow>, sqlx::Error> {
    sqlx::query_as(HISTORY)
        .bind(id.as_uuid())
        .bind(limit)
        .fetch_all(pool)
        .await
}

/// Unresolved breaks that have all of these in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Their dimension.
    pub dimension: String,
    /// `open` or `acknowledged`.
    pub state: String,
    /// Their severity.
    pub severity: String,
    /// How old they are.
    pub age: Age,
    /// How many.
    pub count: u64,
    /// When the first one was seen.
    pub oldest: DateTime<Utc>,
}

/// How many breaks are unresolved, by dimension, state, severity and age.
pub async fn unresolved(pool: &PgPool, now: DateTime<Utc>) -> Result<Vec<Unresolved>, sqlx::Error> {
    let end = |age: Age| {
        let age = age.end_s().and_then(TimeDelta::try_seconds);
        age.and_then(|age| now.checked_sub_signed(age))
    };
    let rows: Vec<(String, String, String, i32, i64, DateTime<Utc>)> = sqlx::query_as(UNRESOLVED)
        .bind(end(Age::Hour))
        .bind(end(Age::Day))
        .bind(end(Age::Week))
        .fetch_all(pool)
        .await?;
    let of = |(dimension, state, severity, age, count, oldest): (_, _, _, i32, i64, _)| Unresolved {
        dimension,
        state,
        severity,
        age: usize::try_from(age)
            .ok()
            .and_then(|place| Age::ALL.get(place).copied())
            .unwrap_or(Age::Older),
        count: count.unsigned_abs(),
        oldest,
    };
    Ok(rows.into_iter().map(of).collect())
}

/// The dimensions that any break is of.
pub async fn dimensions(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(DIMENSIONS).fetch_all(pool).await
}

/// The tokens, or other units, that any run compared or any break is of.
pub async fn units(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(UNITS).fetch_all(pool).await
}
