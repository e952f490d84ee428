//! `eidos_jobs_kline_windows`: the windows that have to be looked at again.

use eidos_core::CoreError;
use eidos_core::fence::Step;
use eidos_market::Interval;
use sqlx::PgPool;
use uuid::Uuid;

use super::candles::Judged;
use super::failed;

/// Why a window is in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its source is not whole.
    Incomplete,
    /// A trade of it was stored late.
    LateTrade,
    /// A candle that it is built from was written again.
    SourceChanged,
    /// A candle of one minute in it, or before it, was repaired.
    Repaired,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::LateTrade => "late_trade",
            Self::SourceChanged => "source_changed",
            Self::Repaired => "repaired",
        }
    }
}

/// Who notes it, and for which slot.
#[derive(Debug, Clone, Copy)]
pub struct Noted {
    /// The run.
    pub execution: Uuid,
    /// Its slot, epoch ms.
    pub slot_ms: i64,
}

pub(super) const OPEN: &str = "\
    SELECT market::text, open_ms FROM eidos_jobs_kline_windows \
    WHERE interval_name = $1 AND state <> 'abandoned' AND open_ms < $2 ORDER BY checked_ms, open_ms, market LIMIT $3";

pub(super) const NOTE_INCOMPLETE: &str = "\
    INSERT INTO eidos_jobs_kline_windows AS l \
        (market, interval_name, open_ms, state, reason, found_rows, expected_rows, published, checked_ms, execution_id) \
    SELECT n.market, $1, n.open_ms, n.state, $2, n.found, n.expected, n.published, $3, $4 \
    FROM unnest($5::text[], $6::bigint[], $7::text[], $8::int[], $9::int[], $10::bool[]) \
        AS n(market, open_ms, state, found, expected, published) \
    ON CONFLICT (market, interval_name, open_ms) DO UPDATE SET state = EXCLUDED.state, reason = EXCLUDED.reason, \
        found_rows = EXCLUDED.found_rows, expected_rows = EXCLUDED.expected_rows, \
        published = l.published OR EXCLUDED.published, checked_ms = EXCLUDED.checked_ms, \
        execution_id = EXCLUDED.execution_id";

/// A window that is in the ledger already stays as it is: it will be built again anyway.
pub(super) const NOTE_DIRTY: &str = "\
    INSERT INTO eidos_jobs_kline_windows (market, interval_name, open_ms, state, reason, checked_ms, execution_id) \
    SELECT n.market, $1, n.open_ms, 'dirty', $2, $3, $4 FROM unnest($5::text[], $6::bigint[]) AS n(market, open_ms) \
    ON CONFLICT (market, interval_name, open_ms) DO NOTHING";

pub(super) const RESOLVE: &str = "\
    DELETE FROM eidos_jobs_kline_windows l USING unnest($2::text[], $3::bigint[]) AS n(market, open_ms) \
    WHERE l.interval_name = $1 AND l.market = n.market AND l.open_ms = n.open_ms";

pub(super) const ABANDON: &str = "\
    UPDATE eidos_jobs_kline_windows SET state = 'abandoned', checked_ms = $3 \
    WHERE interval_name = $1 AND state <> 'abandoned' AND open_ms < $2";

pub(super) const COUNTS: &str = "\
    SELECT interval_name::text, state::text, count(*) FROM eidos_jobs_kline_windows \
    WHERE state <> 'abandoned' GROUP BY 1, 2";

/// Returns windows of an interval that begin before `before_ms`, those that were looked at least recently first.
///
/// # Errors
/// Those of the database.
pub async fn open(
    pool: &PgPool,
    interval: Interval,
    before_ms: i64,
    limit: u32,
) -> Result<(Vec<String>, Vec<i64>), CoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(OPEN)
        .bind(interval.to_string())
        .bind(before_ms)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
        .map_err(failed("read the ledger of windows"))?;
    Ok(rows.into_iter().unzip())
}

/// Notes windows that are not whole.
///
/// # Errors
/// Those of the database.
pub async fn note_incomplete(
    step: &mut Step<'_>,
    interval: Interval,
    noted: Noted,
    windows: &[&Judged],
) -> Result<(), CoreError> {
    if windows.is_empty() {
        return Ok(());
    }
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let each = windows.iter();
    sqlx::query(NOTE_INCOMPLETE)
        .bind(interval.to_string())
        .bind(Reason::Incomplete.as_str())
        .bind(noted.slot_ms)
        .bind(noted.execution)
        .bind(
            each.clone()
                .map(|window| window.market.clone())
                .collect::<Vec<_>>(),
        )
        .bind(each.clone().map(|window| window.open_ms).collect::<Vec<_>>())
        .bind(
            each.clone()
                .map(|window| window.verdict.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(each.clone().map(|window| count(window.found)).collect::<Vec<_>>())
        .bind(
            each.clone()
                .map(|window| count(window.expected))
                .collect::<Vec<_>>(),
        )
        .bind(each.map(|window| window.written).collect::<Vec<_>>())
        .execute(step.conn())
        .await
        .map_err(failed("note incomplete windows"))?;
    Ok(())
}

/// Notes windows that must be built again. Returns how many were not in the ledger.
///
/// # Errors
/// Those of the database.
pub async fn note_dirty(
    step: &mut Step<'_>,
    interval: Interval,
    noted: Noted,
    reason: Reason,
    (markets, opens): (&[String], &[i64]),
) -> Result<u64, CoreError> {
    if markets.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query(NOTE_DIRTY)
        .bind(interval.to_string())
        .bind(reason.as_str())
        .bind(noted.slot_ms)
        .bind(noted.execution)
        .bind(markets)
        .bind(opens)
        .execute(step.conn())
        .await
        .map_err(failed("note windows to be built again"))?;
    Ok(done.rows_affected())
}

/// Takes windows out of the ledger: they are whole, or nothing is expected of them.
///
/// # Errors
/// Those of the database.
pub async fn resolve(
    step: &mut Step<'_>,
    interval: Interval,
    (markets, opens): (&[String], &[i64]),
) -> Result<u64, CoreError> {
    if markets.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query(RESOLVE)
        .bind(interval.to_string())
        .bind(markets)
        .bind(opens)
        .execute(step.conn())
        .await
        .map_err(failed("take windows out of the ledger"))?;
    Ok(done.rows_affected())
}

/// Gives windows up that began before `before_ms`: their source is deleted, so they cannot become whole any more.
///
/// # Errors
/// Those of the database.
pub async fn abandon(
    step: &mut Step<'_>,
    interval: Interval,
    before_ms: i64,
    slot_ms: i64,
) -> Result<u64, CoreError> {
    let done = sqlx::query(ABANDON)
        .bind(interval.to_string())
        .bind(before_ms)
        .bind(slot_ms)
        .execute(step.conn())
        .await
        .map_err(failed("give windows up"))?;
    Ok(done.rows_affected())
}

/// Returns interval, state and number of the windows in the ledger.
///
/// # Errors
/// Those of the database.
pub async fn counts(pool: &PgPool) -> Result<Vec<(String, String, i64)>, CoreError> {
    sqlx::query_as(COUNTS)
        .fetch_all(pool)
        .await
        .map_err(failed("count the ledger of windows"))
}
