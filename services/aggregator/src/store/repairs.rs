//! `eidos_jobs_kline_differences` and `eidos_jobs_kline_repairs`: what the proof-read found, and what was done about it.

use eidos_core::CoreError;
use eidos_core::fence::Step;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::failed;
use super::ledger::Noted;
use super::proofs::{Difference, Differing, Minute};

pub(super) const NOTE: &str = "\
    INSERT INTO eidos_jobs_kline_differences (market, open_ms, kind, fields, stored, traded, checked_ms, execution_id) \
    SELECT n.market, n.open_ms, n.kind, string_to_array(n.fields, ','), n.stored, n.traded, $1, $2 \
    FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::jsonb[], $8::jsonb[]) \
        AS n(market, open_ms, kind, fields, stored, traded) \
    ON CONFLICT (market, open_ms) DO UPDATE SET kind = EXCLUDED.kind, fields = EXCLUDED.fields, stored = EXCLUDED.stored, \
        traded = EXCLUDED.traded, checked_ms = EXCLUDED.checked_ms, execution_id = EXCLUDED.execution_id";

/// `$1` markets, `$2` and `$3` the range that was compared; what differs in it is `$4` and `$5`.
pub(super) const AGREE: &str = "\
    DELETE FROM eidos_jobs_kline_differences d WHERE d.market = ANY ($1::text[]) AND d.open_ms >= $2 AND d.open_ms < $3 \
        AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::bigint[]) AS n(market, open_ms) \
            WHERE n.market = d.market AND n.open_ms = d.open_ms)";

/// `$1` an instant.
pub(super) const FORGET: &str = "DELETE FROM eidos_jobs_kline_differences WHERE open_ms < $1";

pub(super) const NOTED: &str = "\
    SELECT market::text, open_ms FROM eidos_jobs_kline_differences WHERE open_ms < $1 ORDER BY checked_ms, open_ms, market LIMIT $2";

pub(super) const COUNTS: &str = "SELECT kind::text, count(*) FROM eidos_jobs_kline_differences GROUP BY 1";

pub(super) const PLAN: &str = "\
    INSERT INTO eidos_jobs_kline_repairs (execution_id, market, open_ms, kind, before, after, requested_by) \
    SELECT $1, n.market, n.open_ms, n.kind, n.before, n.after, $2 \
    FROM unnest($3::text[], $4::bigint[], $5::text[], $6::jsonb[], $7::jsonb[]) AS n(market, open_ms, kind, before, after)";

pub(super) const PLANNED: &str = "\
    SELECT execution_id, market::text, open_ms, before, after FROM eidos_jobs_kline_repairs WHERE state = 'planned' \
    ORDER BY execution_id, open_ms, market LIMIT $1";

pub(super) const DECIDE: &str = "\
    UPDATE eidos_jobs_kline_repairs r SET state = CASE WHEN n.done THEN 'done' ELSE 'not_done' END, decided_at = now() \
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bool[]) AS n(execution_id, market, open_ms, done) \
    WHERE r.execution_id = n.execution_id AND r.market = n.market AND r.open_ms = n.open_ms AND r.state = 'planned'";

pub(super) const SETTLED: &str = "\
    DELETE FROM eidos_jobs_kline_differences d USING unnest($1::text[], $2::bigint[]) AS n(market, open_ms) \
    WHERE d.market = n.market AND d.open_ms = n.open_ms";

/// A repair of which nothing is known: the run that planned it died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// That run.
    pub execution: Uuid,
    /// The market.
    pub market: String,
    /// The minute, epoch ms.
    pub open_ms: i64,
    /// The candle as it was read; `None`: there was none.
    pub before: Option<Minute>,
    /// The candle that was to be written.
    pub after: Minute,
}

/// What became of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The run that planned it.
    pub execution: Uuid,
    /// The market.
    pub market: String,
    /// The minute, epoch ms.
    pub open_ms: i64,
    /// Whether the candle was written.
    pub done: bool,
}

/// Notes the minutes that differ in a range that was compared, and removes the others of that range.
///
/// # Errors
/// Those of the database.
pub async fn note(
    step: &mut Step<'_>,
    noted: Noted,
    markets: &[String],
    (from_ms, to_ms): (i64, i64),
    differing: &[Differing],
) -> Result<(), CoreError> {
    let named: (Vec<String>, Vec<i64>) = differing
        .iter()
        .map(|minute| (minute.market.clone(), minute.open_ms))
        .unzip();
    sqlx::query(AGREE)
        .bind(markets)
        .bind(from_ms)
        .bind(to_ms)
        .bind(&named.0)
        .bind(&named.1)
        .execute(step.conn())
        .await
        .map_err(failed("remove differences that are gone"))?;
    if differing.is_empty() {
        return Ok(());
    }
    sqlx::query(NOTE)
        .bind(noted.slot_ms)
        .bind(noted.execution)
        .bind(&named.0)
        .bind(&named.1)
        .bind(column(differing, |minute| minute.kind.as_str()))
        .bind(column(differing, |minute| minute.fields.join(",")))
        .bind(column(differing, |minute| json(minute.stored.as_ref())))
        .bind(column(differing, |minute| json(minute.traded.as_ref())))
        .execute(step.conn())
        .await
        .map_err(failed("note differences of candles"))?;
    Ok(())
}

/// Removes the differences of minutes before `before_ms`, whose candles or trades may be deleted. Returns how many there were.
///
/// # Errors
/// Those of the database.
pub async fn forget(step: &mut Step<'_>, before_ms: i64) -> Result<u64, CoreError> {
    let done = sqlx::query(FORGET)
        .bind(before_ms)
        .execute(step.conn())
        .await
        .map_err(failed("remove old differences"))?;
    Ok(done.rows_affected())
}

/// Returns minutes before `before_ms` that differed when they were last compared, those that were compared least recently
/// first.
///
/// # Errors
/// Those of the database.
pub async fn noted(pool: &PgPool, before_ms: i64, limit: i64) -> Result<Vec<(String, i64)>, CoreError> {
    sqlx::query_as(NOTED)
        .bind(before_ms)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(failed("read the differences of candles"))
}

/// Returns kinds of differences and how many there are.
///
/// # Errors
/// Those of the database.
pub async fn counts(pool: &PgPool) -> Result<Vec<(Difference, i64)>, CoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(COUNTS)
        .fetch_all(pool)
        .await
        .map_err(failed("count the differences of candles"))?;
    Ok(rows
        .into_iter()
        .filter_map(|(kind, count)| Some((Difference::from_stored(&kind)?, count)))
        .collect())
}

/// Records what is about to be written.
///
/// # Errors
/// Those of the database.
pub async fn plan(
    step: &mut Step<'_>,
    execution: Uuid,
    requested_by: Option<&str>,
    minutes: &[Differing],
) -> Result<(), CoreError> {
    sqlx::query(PLAN)
        .bind(execution)
        .bind(requested_by)
        .bind(column(minutes, |minute| minute.market.clone()))
        .bind(column(minutes, |minute| minute.open_ms))
        .bind(column(minutes, |minute| minute.kind.as_str()))
        .bind(column(minutes, |minute| json(minute.stored.as_ref())))
        .bind(column(minutes, |minute| json(minute.traded.as_ref())))
        .execute(step.conn())
        .await
        .map_err(failed("plan repairs of candles"))?;
    Ok(())
}

/// Returns repairs of which nothing is known.
///
/// # Errors
/// Those of the database.
pub async fn planned(pool: &PgPool, limit: i64) -> Result<Vec<Planned>, CoreError> {
    let rows: Vec<(Uuid, String, i64, Option<Value>, Value)> = sqlx::query_as(PLANNED)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(failed("read planned repairs of candles"))?;
    let minute = |value: Value| {
        serde_json::from_value::<Minute>(value)
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))
            .map_err(failed("decode a planned repair"))
    };
    rows.into_iter()
        .map(|(execution, market, open_ms, before, after)| {
            Ok(Planned {
                execution,
                market,
                open_ms,
                before: before.map(minute).transpose()?,
                after: minute(after)?,
            })
        })
        .collect()
}

/// Records what became of repairs, and removes the differences of those that were made.
///
/// # Errors
/// Those of the database.
pub async fn decide(step: &mut Step<'_>, decided: &[Decided]) -> Result<(), CoreError> {
    sqlx::query(DECIDE)
        .bind(column(decided, |repair| repair.execution))
        .bind(column(decided, |repair| repair.market.clone()))
        .bind(column(decided, |repair| repair.open_ms))
        .bind(column(decided, |repair| repair.done))
        .execute(step.conn())
        .await
        .map_err(failed("record repairs of candles"))?;
    let done: (Vec<String>, Vec<i64>) = decided
        .iter()
        .filter(|repair| repair.done)
        .map(|repair| (repair.market.clone(), repair.open_ms))
        .unzip();
    sqlx::query(SETTLED)
        .bind(&done.0)
        .bind(&done.1)
        .execute(step.conn())
        .await
        .map_err(failed("remove repaired differences"))?;
    Ok(())
}

/// One column of the rows that a statement takes as arrays.
fn column<T, V>(rows: &[T], value: impl Fn(&T) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

fn json(minute: Option<&Minute>) -> Option<Value> {
    minute.and_then(|minute| serde_json::to_value(minute).ok())
}
