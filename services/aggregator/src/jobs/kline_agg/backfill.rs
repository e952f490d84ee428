//! `backfill`: the windows of a past range, for an operator who reads the report. Watermarks do not move, and windows that
//! are not whole are reported and not noted: old ones are nobody's task.

use eidos_runtime::JobError;

use super::report::{LevelReport, Report};
use super::run::{Run, millis};
use crate::domain::{Level, Stretch, stretches};
use crate::store::candles::{Judged, Wanted};

impl Run<'_> {
    /// Builds the whole windows of `[from, to)`, of one market or of all.
    pub(super) async fn backfill(
        &mut self,
        range: (i64, i64),
        market: Option<&str>,
    ) -> Result<Report, JobError> {
        if let Some(market) = market {
            self.only(market)?;
        }
        let markets = std::mem::take(&mut self.markets);
        let ranges: Vec<(Level, (i64, i64))> = self
            .job
            .levels
            .iter()
            .map(|level| (*level, self.whole(level, range)))
            .collect();
        let windows = |level: &Level, (from_ms, to_ms): (i64, i64)| {
            u64::try_from((to_ms - from_ms) / level.interval.width_ms()).unwrap_or_default()
                * u64::try_from(markets.len()).unwrap_or_default()
        };
        let total = ranges.iter().map(|(level, range)| windows(level, *range)).sum();
        let mut done = 0;
        for (level, (from_ms, to_ms)) in ranges {
            let mut report = LevelReport::new(&level);
            report.from_ms = Some(from_ms);
            for stretch in stretches(&level, &markets, (from_ms, to_ms), self.job.options.batch_rows) {
                if self.is_over()? {
                    break;
                }
                self.backfill_stretch(&level, &stretch, &mut report).await?;
                report.until_ms = Some(stretch.to_ms);
                done += windows(&level, (stretch.from_ms, stretch.to_ms))
                    / u64::try_from(markets.len()).unwrap_or(1).max(1)
                    * u64::try_from(stretch.markets.len()).unwrap_or_default();
                self.ctx.progress(done, Some(total));
            }
            self.report.levels.push(report);
        }
        Ok(std::mem::take(&mut self.report))
    }

    async fn backfill_stretch(
        &mut self,
        level: &Level,
        stretch: &Stretch<'_>,
        report: &mut LevelReport,
    ) -> Result<(), JobError> {
        let judged = self.judge(level, Wanted::Forward(stretch)).await?;
        report.count(&judged);
        let (complete, _): (Vec<Judged>, Vec<Judged>) =
            judged.into_iter().partition(|window| !window.is_incomplete());
        let resolved = complete
            .iter()
            .map(|window| (window.market.clone(), window.open_ms))
            .unzip();
        self.record(level, &complete, resolved, None).await
    }

    /// The whole, closed windows of a range; an empty range if there is none.
    fn whole(&self, level: &Level, (from_ms, to_ms): (i64, i64)) -> (i64, i64) {
        let from_ms = level.interval.ceil_ms(from_ms);
        let over_ms = self.slot_ms - millis(self.job.options.grace);
        let to_ms = level.interval.floor_ms(to_ms.min(over_ms));
        (from_ms, to_ms.max(from_ms))
    }
}
