//! `backfill`: the statistics of a past range, for an operator who reads the report. The watermark does not move.

use std::collections::BTreeMap;

use eidos_market::Interval;
use eidos_runtime::{JobContext, JobError};

use super::job::StatsAgg;
use super::report::Report;
use super::run::{self, Hour, RESERVE, millis};
use super::watermark::Watermark;

/// Adds up the whole, closed hours of `[from, to)`, and every day of which all hours are there then.
pub(super) async fn run(
    job: &StatsAgg,
    ctx: &JobContext,
    (from_ms, to_ms): (i64, i64),
    market: Option<&str>,
) -> Result<Report, JobError> {
    let quotes: BTreeMap<String, String> = job.prices.quotes(&job.market).await?.into_iter().collect();
    if let Some(market) = market.filter(|market| !quotes.contains_key(*market)) {
        return Err(JobError::fail(format!(
            "there is no market {market}; write its symbol as the table of markets has it"
        )));
    }
    let hour = Interval::H1;
    let over_ms = ctx.slot().ms() - millis(job.options.grace);
    let (from_ms, to_ms) = (hour.ceil_ms(from_ms), hour.floor_ms(to_ms.min(over_ms)));
    refuse_deleted(job, ctx, from_ms)?;
    let watermark: Option<Watermark> = ctx.load_checkpoint(Watermark::KEY).await?;
    let mut report = Report::new(ctx.dry_run(), from_ms);
    let total = u64::try_from((to_ms - from_ms) / hour.width_ms()).unwrap_or_default();
    let mut next_ms = from_ms;
    while next_ms < to_ms {
        ctx.check_cancelled()?;
        if ctx.budget_left() < RESERVE {
            report.to_be_continued = true;
            break;
        }
        let range = (next_ms, next_ms + hour.width_ms());
        let mut figures = run::figures(job, range, &quotes, &mut report).await?;
        if let Some(market) = market {
            figures.retain(|figure| figure.market.as_deref() == Some(market));
        }
        next_ms = range.1;
        if !ctx.dry_run() {
            let hour = Hour {
                range,
                closes_day: closes_day(range, (from_ms, to_ms), watermark),
                market,
                watermark: None,
            };
            run::write(job, ctx, &hour, &figures, &mut report).await?;
        }
        report.hours += 1;
        report.until_ms = next_ms;
        ctx.progress(report.hours, Some(total));
    }
    Ok(report)
}

/// Whether the day of an hour is written after it: the hour is the day's last one of the range, the day is over, and its
/// other hours are in the range, or were added up by scheduled runs.
fn closes_day(
    (open_ms, end_ms): (i64, i64),
    (from_ms, to_ms): (i64, i64),
    watermark: Option<Watermark>,
) -> bool {
    let day = Interval::D1;
    let day_ms = day.floor_ms(open_ms);
    let day_end_ms = day_ms + day.width_ms();
    let (began_ms, until_ms) = watermark.map_or((i64::MAX, i64::MIN), |mark| (mark.began_ms, mark.until_ms));
    end_ms == day_end_ms.min(to_ms)
        && (from_ms <= day_ms || began_ms <= day_ms)
        && (day_end_ms <= to_ms || day_end_ms <= until_ms)
}

/// Figures of hours whose rows are deleted by now would be replaced by those of the rows that are left.
fn refuse_deleted(job: &StatsAgg, ctx: &JobContext, from_ms: i64) -> Result<(), JobError> {
    let kept_ms = Interval::H1.ceil_ms(ctx.slot().ms() - millis(job.options.source_retention));
    if from_ms >= kept_ms {
        return Ok(());
    }
    let shown = |epoch_ms| {
        eidos_types::Slot::from_ms(epoch_ms).map_or_else(String::new, |slot| slot.instant().to_rfc3339())
    };
    Err(JobError::fail(format!(
        "the rows of {} may be archived already: jobs.stats-agg.source_retention keeps them since {}; choose a later from",
        shown(from_ms),
        shown(kept_ms)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    #[test]
    fn a_day_is_written_after_its_last_hour_if_all_its_hours_are_there() {
        let hour = |number: i64| (number * HOUR, (number + 1) * HOUR);
        let mark = |began_ms, until_ms| Some(Watermark { began_ms, until_ms });
        assert!(closes_day(hour(23), (0, DAY), None));
        assert!(!closes_day(hour(22), (0, DAY), None));
        assert!(
            !closes_day(hour(23), (HOUR, DAY), None),
            "its first hour is not there"
        );
        assert!(closes_day(hour(23), (HOUR, DAY), mark(0, 0)));
        assert!(
            !closes_day(hour(5), (0, 6 * HOUR), mark(0, 20 * HOUR)),
            "it is not over"
        );
        assert!(closes_day(hour(5), (0, 6 * HOUR), mark(0, DAY)));
    }
}
