//! `eidos_jobs_statistics`, and the prices that a total in one currency needs.

use chrono::{DateTime, NaiveDate, TimeDelta};
use eidos_core::CoreError;
use eidos_core::fence::Step;
use eidos_pg::Sql;
use eidos_types::Amount;
use sqlx::PgPool;

use super::failed;
use crate::profile::Schema;

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// The market; `None`: all markets.
    pub market: Option<String>,
    /// The metric, with its token after a colon where it is an amount of all markets.
    pub metric: String,
    /// Its value.
    pub value: Amount,
}

/// The hour or day of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The day.
    pub date: NaiveDate,
    /// The hour of an hourly figure; `None`: of the day.
    pub hour: Option<i32>,
}

impl Period {
    const fn kind(self) -> &'static str {
        match self.hour {
            Some(_) => "hourly",
            None => "daily",
        }
    }
}

pub(super) const WRITE: &str = "\
    INSERT INTO eidos_jobs_statistics AS s (stat_type, stat_date, stat_hour, market, metric_name, metric_value) \
    SELECT $1, $2, $3, n.market, n.metric, n.value::numeric FROM unnest($4::text[], $5::text[], $6::text[]) \
        AS n(market, metric, value) ORDER BY n.market, n.metric \
    ON CONFLICT ON CONSTRAINT uq_statistics DO UPDATE SET metric_value = EXCLUDED.metric_value \
        WHERE s.metric_value IS DISTINCT FROM EXCLUDED.metric_value";

/// A figure that is no longer found is zero: its rows were rolled back. `$6` is not: without a price it is not known. `$7`:
/// only those of this market; NULL: all.
pub(super) const ZERO: &str = "\
    UPDATE eidos_jobs_statistics s SET metric_value = 0 \
    WHERE s.stat_type = $1 AND s.stat_date = $2 AND s.stat_hour IS NOT DISTINCT FROM $3 AND s.metric_value <> 0 \
      AND s.metric_name <> $6 AND ($7::text IS NULL OR s.market = $7) AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS n(market, metric) \
        WHERE n.market IS NOT DISTINCT FROM s.market::text AND n.metric = s.metric_name)";

/// A day is the sum of its hours, so both say the same. `$2` is left out of a day that has not all hours of it: the sum
/// would pass for the whole day's.
pub(super) const DAY: &str = "\
    SELECT market::text, metric_name::text, sum(metric_value)::text FROM eidos_jobs_statistics \
    WHERE stat_type = 'hourly' AND stat_date = $1 GROUP BY 1, 2 HAVING metric_name::text <> $2 OR count(*) = 24";

/// `$1` day, `$2` the metric of the total, of which each hour so far must have a row.
pub(super) const SO_FAR: &str = "\
    SELECT s.market::text, s.metric_name::text, sum(s.metric_value)::text FROM eidos_jobs_statistics s \
    WHERE s.stat_type = 'hourly' AND s.stat_date = $1 GROUP BY 1, 2 HAVING s.metric_name::text <> $2 OR count(*) = ( \
      SELECT count(DISTINCT h.stat_hour) FROM eidos_jobs_statistics h WHERE h.stat_type = 'hourly' AND h.stat_date = $1)";

pub(super) const OF_DAY: &str = "\
    SELECT market::text, metric_name::text, metric_value::text FROM eidos_jobs_statistics \
    WHERE stat_type = 'daily' AND stat_date = $1";

/// `$1` and `$2` the range of hours, `$3` the metric of the total. A sum of fewer than 24 hours is not that of a day.
pub(super) const LAST_DAY: &str = "\
    SELECT metric_name::text, sum(metric_value)::text FROM eidos_jobs_statistics \
    WHERE stat_type = 'hourly' AND market IS NULL AND metric_name IN ('trade_count', $3) \
      AND stat_date >= $1::date AND stat_date <= $2::date \
      AND stat_date + make_interval(hours => stat_hour) >= $1 AND stat_date + make_interval(hours => stat_hour) < $2 \
    GROUP BY 1 HAVING count(*) = 24";

const QUOTES: &str = "SELECT {markets.symbol}::text, {markets.quote_token}::text FROM {markets}";

/// `$1` beginning of the hour, `$2` markets.
const CLOSES: &str = "\
    SELECT k.{klines.market}::text, k.{klines.close}::text FROM {klines} k WHERE k.{klines.market} = ANY ($2::text[]) \
      AND k.{klines.interval} = '1h' AND k.{klines.open_time} = $1 AND k.{klines.close} > 0";

/// Writes the figures of a period. Returns how many rows were inserted or changed. `total`: the metric that stays as it is
/// if it is not among the figures; any other is set to zero. `market`: only figures of this market are; `None`: all.
///
/// # Errors
/// Those of the database.
pub async fn write(
    step: &mut Step<'_>,
    period: Period,
    figures: &[Figure],
    (total, market): (&str, Option<&str>),
) -> Result<u64, CoreError> {
    let markets: Vec<Option<&str>> = figures.iter().map(|figure| figure.market.as_deref()).collect();
    let metrics: Vec<&str> = figures.iter().map(|figure| figure.metric.as_str()).collect();
    let values: Vec<String> = figures.iter().map(|figure| figure.value.to_string()).collect();
    let written = sqlx::query(WRITE)
        .bind(period.kind())
        .bind(period.date)
        .bind(period.hour)
        .bind(&markets)
        .bind(&metrics)
        .bind(values)
        .execute(step.conn())
        .await
        .map_err(failed("write statistics"))?;
    let zeroed = sqlx::query(ZERO)
        .bind(period.kind())
        .bind(period.date)
        .bind(period.hour)
        .bind(&markets)
        .bind(&metrics)
        .bind(total)
        .bind(market)
        .execute(step.conn())
        .await
        .map_err(failed("take statistics back"))?;
    Ok(written.rows_affected() + zeroed.rows_affected())
}

/// Returns the sums of a day's hours, as they are in this step; that of `total` only if each hour has it.
///
/// # Errors
/// Those of the database; a sum that does not fit `DECIMAL(36,18)`.
pub async fn day(step: &mut Step<'_>, date: NaiveDate, total: &str) -> Result<Vec<Figure>, CoreError> {
    let rows = sqlx::query_as(DAY)
        .bind(date)
        .bind(total)
        .fetch_all(step.conn())
        .await
        .map_err(failed("add up a day"))?;
    figures(rows)
}

/// Returns the sums of a day's hours so far; that of `total` only if each of them has it.
///
/// # Errors
/// Those of the database; a sum that does not fit `DECIMAL(36,18)`.
pub async fn sums_of_hours(pool: &PgPool, date: NaiveDate, total: &str) -> Result<Vec<Figure>, CoreError> {
    let rows = sqlx::query_as(SO_FAR)
        .bind(date)
        .bind(total)
        .fetch_all(pool)
        .await
        .map_err(failed("add up the hours of a day"))?;
    figures(rows)
}

/// Returns the figures of a day that is over.
///
/// # Errors
/// Those of the database.
pub async fn figures_of_day(pool: &PgPool, date: NaiveDate) -> Result<Vec<Figure>, CoreError> {
    let rows = sqlx::query_as(OF_DAY)
        .bind(date)
        .fetch_all(pool)
        .await
        .map_err(failed("read the figures of a day"))?;
    figures(rows)
}

/// What all markets did in 24 hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastDay {
    /// The volume in the quote currency; `None`: an hour has no total.
    pub volume: Option<Amount>,
    /// Trades; `None`: an hour has no statistics.
    pub trades: Option<Amount>,
}

/// Returns the sums of the 24 hours that end at `until_ms`.
///
/// # Errors
/// Those of the database; a sum that does not fit `DECIMAL(36,18)`.
pub async fn last_day(pool: &PgPool, until_ms: i64, total: &str) -> Result<LastDay, CoreError> {
    let until = DateTime::from_timestamp_millis(until_ms)
        .unwrap_or_default()
        .naive_utc();
    let rows: Vec<(String, String)> = sqlx::query_as(LAST_DAY)
        .bind(until - TimeDelta::hours(24))
        .bind(until)
        .bind(total)
        .fetch_all(pool)
        .await
        .map_err(failed("add up 24 hours"))?;
    let mut day = LastDay::default();
    for (metric, value) in rows {
        let value = Some(amount(&value)?);
        if metric == total {
            day.volume = value;
        } else {
            day.trades = value;
        }
    }
    Ok(day)
}

fn figures(rows: Vec<(Option<String>, String, String)>) -> Result<Vec<Figure>, CoreError> {
    rows.into_iter()
        .map(|(market, metric, value)| {
            Ok(Figure {
                market,
                metric,
                value: amount(&value)?,
            })
        })
        .collect()
}

/// The statements on the market service's tables.
#[derive(Debug, Clone)]
pub struct Prices {
    quotes: Sql,
    closes: Sql,
}

impl Prices {
    /// Renders the statements with the names of this installation.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self {
            quotes: schema.render(QUOTES),
            closes: schema.render(CLOSES),
        }
    }

    /// The rendered statements by name, to be prepared in a test.
    #[must_use]
    pub fn statements(&self) -> Vec<(&'static str, Sql)> {
        vec![
            ("prices: quotes", self.quotes.clone()),
            ("prices: closes", self.closes.clone()),
        ]
    }

    /// Returns each market and its quote token.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn quotes(&self, pool: &PgPool) -> Result<Vec<(String, String)>, CoreError> {
        sqlx::query_as(&self.quotes)
            .fetch_all(pool)
            .await
            .map_err(failed("read the quote tokens of markets"))
    }

    /// Returns the closes of these markets in the hour that begins at `hour_ms`; markets without a candle are left out.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn closes(
        &self,
        pool: &PgPool,
        hour_ms: i64,
        markets: &[String],
    ) -> Result<Vec<(String, String)>, CoreError> {
        sqlx::query_as(&self.closes)
            .bind(hour_ms)
            .bind(markets)
            .fetch_all(pool)
            .await
            .map_err(failed("read closes"))
    }
}

fn amount(text: &str) -> Result<Amount, CoreError> {
    text.parse()
        .map_err(|error: eidos_types::AmountError| sqlx::Error::Decode(Box::new(error)))
        .map_err(failed("read a sum of statistics"))
}
