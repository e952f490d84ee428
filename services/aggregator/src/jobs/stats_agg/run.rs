//! One run: hour by hour.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Timelike, Utc};
use eidos_market::Interval;
use eidos_runtime::{JobContext, JobError};
use eidos_telemetry::metric;
use eidos_types::Amount;
use rust_decimal::Decimal;

use super::job::StatsAgg;
use super::report::{Report, Unpriced};
use super::watermark::Watermark;
use crate::domain::Turnover;
use crate::store::activity;
use crate::store::statistics::{self, Figure, Period};

/// A run stops between two hours when less than this is left of its time, and the next one continues.
pub(super) const RESERVE: Duration = Duration::from_secs(5);

/// An hour that is written.
pub(super) struct Hour<'a> {
    /// Its beginning and end, epoch ms.
    pub(super) range: (i64, i64),
    /// Whether its day is written, too.
    pub(super) closes_day: bool,
    /// Only the figures of this market are written; `None`: all.
    pub(super) market: Option<&'a str>,
    /// Saved with it; `None`: it stays as it is.
    pub(super) watermark: Option<Watermark>,
}

/// The metric of the total of all markets in one currency.
fn total_metric(job: &StatsAgg) -> String {
    format!("trade_volume:{}", job.options.quote_currency)
}

pub(super) async fn run(job: &StatsAgg, ctx: &JobContext) -> Result<Report, JobError> {
    let hour = Interval::H1;
    let over_ms = ctx.slot().ms() - millis(job.options.grace);
    let closed_ms = hour.floor_ms(over_ms);
    let mut watermark = ctx.load_checkpoint(Watermark::KEY).await?.unwrap_or_else(|| {
        let began_ms = Interval::D1.floor_ms(closed_ms - millis(job.options.first_run));
        Watermark {
            began_ms,
            until_ms: began_ms,
        }
    });
    let again_ms = hour
        .floor_ms(over_ms - millis(job.options.look_back))
        .max(watermark.began_ms);
    let mut next_ms = watermark.until_ms.min(again_ms);
    let quotes: BTreeMap<String, String> = job.prices.quotes(&job.market).await?.into_iter().collect();
    let mut report = Report::new(ctx.dry_run(), next_ms);
    while next_ms < closed_ms {
        ctx.check_cancelled()?;
        if ctx.budget_left() < RESERVE {
            report.to_be_continued = true;
            break;
        }
        let range = (next_ms, next_ms + hour.width_ms());
        let figures = figures(job, range, &quotes, &mut report).await?;
        next_ms = range.1;
        watermark.until_ms = watermark.until_ms.max(next_ms);
        if !ctx.dry_run() {
            let hour = Hour {
                range,
                // The first day may have begun before the statistics did.
                closes_day: Interval::D1.floor_ms(range.1) == range.1
                    && watermark.began_ms <= Interval::D1.floor_ms(range.0),
                market: None,
                watermark: Some(watermark),
            };
            write(job, ctx, &hour, &figures, &mut report).await?;
        }
        report.hours += 1;
        report.until_ms = next_ms;
    }
    Ok(report)
}

/// The figures of an hour, with those of all markets.
pub(super) async fn figures(
    job: &StatsAgg,
    range: (i64, i64),
    quotes: &BTreeMap<String, String>,
    report: &mut Report,
) -> Result<Vec<Figure>, JobError> {
    let activity::Hour { mut figures, refused } = job.activity.hour(&job.trading, &job.codes, range).await?;
    report.refused += refused;
    let volumes: Vec<(&str, Amount)> = figures
        .iter()
        .filter(|figure| figure.metric == "quote_volume")
        .filter_map(|figure| Some((figure.market.as_deref()?, figure.value)))
        .collect();
    let currency = &job.options.quote_currency;
    let prices = prices(job, range.0, quotes).await?;
    let turnover = Turnover::of(&volumes, quotes, &prices, currency).map_err(JobError::fail)?;
    let all = |metric: String, value| Figure {
        market: None,
        metric,
        value,
    };
    let by_token = turnover.by_token.into_iter();
    let further: Vec<Figure> = by_token
        .map(|(token, value)| all(format!("quote_volume:{token}"), value))
        .chain(turnover.total.map(|value| all(total_metric(job), value)))
        .collect();
    figures.extend(further);
    if !turnover.unpriced.is_empty() {
        report.unpriced.push(Unpriced {
            hour_ms: range.0,
            names: turnover.unpriced.into_iter().collect(),
        });
    }
    Ok(figures)
}

/// What one of each quote token is worth in the currency: the close of the hour's candle of `TOKEN-CURRENCY`.
async fn prices(
    job: &StatsAgg,
    hour_ms: i64,
    quotes: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Decimal>, JobError> {
    let currency = &job.options.quote_currency;
    let ending = format!("-{currency}");
    let mut markets: Vec<String> = quotes
        .values()
        .filter(|token| *token != currency)
        .map(|token| format!("{token}{ending}"))
        .collect();
    markets.sort_unstable();
    markets.dedup();
    if markets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let closes = job.prices.closes(&job.market, hour_ms, &markets).await?;
    // A close with more digits than a price can have is no price: the total is left out and the token named.
    Ok(closes
        .into_iter()
        .filter_map(|(market, close)| Some((market.strip_suffix(&ending)?.to_owned(), close.parse().ok()?)))
        .collect())
}

/// Writes an hour, its day if it closes one, and the watermark.
pub(super) async fn write(
    job: &StatsAgg,
    ctx: &JobContext,
    hour: &Hour<'_>,
    figures: &[Figure],
    report: &mut Report,
) -> Result<(), JobError> {
    let at: DateTime<Utc> = DateTime::from_timestamp_millis(hour.range.0).unwrap_or_default();
    let date = at.date_naive();
    let day_ms = Interval::D1.floor_ms(hour.range.0);
    let users = if hour.closes_day && hour.market.is_none() {
        let day = (day_ms, day_ms + Interval::D1.width_ms());
        Some(job.activity.users(&job.trading, &job.codes, day).await?)
    } else {
        None
    };
    let mut step = ctx.step().await?;
    let period = Period {
        date,
        hour: i32::try_from(at.hour()).ok(),
    };
    let total = total_metric(job);
    let scope = (total.as_str(), hour.market);
    let hourly = statistics::write(&mut step, period, figures, scope).await?;
    let mut daily = 0;
    if hour.closes_day {
        let mut figures = statistics::day(&mut step, date, &total).await?;
        figures.retain(|figure| hour.market.is_none() || figure.market.as_deref() == hour.market);
        for (metric, count) in users
            .into_iter()
            .flat_map(|(active, new)| [("active_users", active), ("new_users", new)])
        {
            figures.push(Figure {
                market: None,
                metric: metric.to_owned(),
                value: Amount::from_whole(count).map_err(JobError::fail)?,
            });
        }
        daily = statistics::write(&mut step, Period { date, hour: None }, &figures, scope).await?;
        report.days += 1;
    }
    if let Some(watermark) = &hour.watermark {
        step.save_checkpoint(Watermark::KEY, watermark).await?;
    }
    step.commit().await?;
    report.written += hourly + daily;
    metric::statistics_rows_written("hourly", hourly);
    metric::statistics_rows_written("daily", daily);
    Ok(())
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
