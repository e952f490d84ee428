//! One level of a run: windows of the ledger, then from the watermark to the newest closed window.

use std::collections::BTreeSet;

use eidos_market::Interval;
use eidos_runtime::JobError;

use super::report::LevelReport;
use super::run::{Run, millis};
use super::watermark::Watermark;
use crate::domain::{Level, Stretch, stretches};
use crate::store::candles::Wanted;
use crate::store::ledger;

impl Run<'_> {
    /// Builds windows of the ledger again, those that were looked at least recently first.
    pub(super) async fn reopened(&mut self, level: &Level, report: &mut LevelReport) -> Result<(), JobError> {
        let options = &self.job.options;
        let (markets, opens) = ledger::open(
            self.ctx.jobs_db().control(),
            level.interval,
            self.closed_ms(level),
            options.reopen_limit,
        )
        .await?;
        let at_once = usize::try_from(options.batch_rows / level.expected())
            .unwrap_or(1)
            .max(1);
        for (markets, opens) in markets.chunks(at_once).zip(opens.chunks(at_once)) {
            if self.is_over()? {
                return Ok(());
            }
            let judged = self.judge(level, Wanted::Listed(markets, opens)).await?;
            report.count(&judged);
            report.reopened += u64::try_from(markets.len()).unwrap_or_default();
            let still_open: BTreeSet<(&str, i64)> = judged
                .iter()
                .filter(|window| window.is_incomplete())
                .map(|window| (window.market.as_str(), window.open_ms))
                .collect();
            let resolved = markets
                .iter()
                .zip(opens)
                .filter(|(market, open_ms)| !still_open.contains(&(market.as_str(), **open_ms)))
                .map(|(market, open_ms)| (market.clone(), *open_ms))
                .unzip();
            self.record(level, &judged, resolved, None).await?;
        }
        Ok(())
    }

    /// Judges every window from the watermark on, and the newest ones again.
    pub(super) async fn forward(&mut self, level: &Level, report: &mut LevelReport) -> Result<(), JobError> {
        let until_ms = self.closed_ms(level);
        let Some(mut watermark) = self.start(level).await? else {
            return Ok(());
        };
        let recent_ms = self.slot_ms - millis(self.job.options.grace) - millis(self.job.options.look_back);
        let again_ms = level.interval.floor_ms(recent_ms).max(watermark.began_ms);
        let from_ms = watermark.until_ms.min(again_ms);
        report.from_ms = Some(from_ms);
        if !self.watermarks.contains_key(&level.interval) {
            // Also if no window is over yet: a stop from here on must not move the beginning.
            self.record(level, &[], (Vec::new(), Vec::new()), Some(watermark))
                .await?;
        }
        let markets = std::mem::take(&mut self.markets);
        let mut done = Ok(());
        for stretch in stretches(level, &markets, (from_ms, until_ms), self.job.options.batch_rows) {
            done = self
                .stretch(level, &stretch, &mut watermark, &markets, report)
                .await;
            if done.is_err() || self.report.to_be_continued {
                break;
            }
        }
        self.markets = markets;
        report.until_ms = Some(watermark.until_ms);
        report.newest_whole_ms = watermark.newest_whole_ms;
        done
    }

    async fn stretch(
        &mut self,
        level: &Level,
        stretch: &Stretch<'_>,
        watermark: &mut Watermark,
        markets: &[String],
        report: &mut LevelReport,
    ) -> Result<(), JobError> {
        if self.is_over()? {
            return Ok(());
        }
        let judged = self.judge(level, Wanted::Forward(stretch)).await?;
        report.count(&judged);
        let whole = judged.iter().filter(|window| !window.is_incomplete());
        let newest = whole
            .map(|window| window.open_ms + level.interval.width_ms())
            .max();
        watermark.newest_whole_ms = watermark.newest_whole_ms.max(newest);
        // The windows have been judged for all markets when the last chunk of them was.
        if stretch.markets.last() == markets.last() {
            watermark.until_ms = watermark.until_ms.max(stretch.to_ms);
        }
        let resolved = judged
            .iter()
            .filter(|window| !window.is_incomplete())
            .map(|window| (window.market.clone(), window.open_ms))
            .unzip();
        self.record(level, &judged, resolved, Some(*watermark)).await
    }

    /// Gives up what cannot become whole any more, because its source is deleted by now.
    pub(super) async fn abandon(&mut self, level: &Level, report: &mut LevelReport) -> Result<(), JobError> {
        if self.ctx.dry_run() {
            return Ok(());
        }
        let before_ms = self.rules.purged_before_ms - level.interval.width_ms();
        let mut step = self.ctx.step().await?;
        report.abandoned = ledger::abandon(&mut step, level.interval, before_ms, self.slot_ms).await?;
        step.commit().await?;
        Ok(())
    }

    /// The end of the newest window that is over: it ended a while ago, and the level that it is built from is that far.
    pub(super) fn closed_ms(&self, level: &Level) -> i64 {
        let over_ms = self.slot_ms - millis(self.job.options.grace);
        let source_ms = if level.source == Interval::M1 {
            over_ms
        } else {
            let source = self.watermarks.get(&level.source);
            source.map_or(i64::MIN / 2, |source| source.until_ms)
        };
        level.interval.floor_ms(over_ms.min(source_ms))
    }

    /// The watermark to start from. The first run begins with the oldest minute, or some days before its slot.
    async fn start(&self, level: &Level) -> Result<Option<Watermark>, JobError> {
        if let Some(watermark) = self.watermarks.get(&level.interval) {
            return Ok(Some(*watermark));
        }
        let began_ms = if level.source == Interval::M1 {
            let Some(oldest_ms) = self.job.candles.oldest(&self.job.pool, level.source).await? else {
                return Ok(None);
            };
            oldest_ms.max(self.slot_ms - millis(self.job.options.first_run))
        } else {
            let Some(source) = self.watermarks.get(&level.source) else {
                return Ok(None);
            };
            source.began_ms
        };
        let began_ms = level.interval.floor_ms(began_ms);
        Ok(Some(Watermark {
            began_ms,
            until_ms: began_ms,
            newest_whole_ms: None,
        }))
    }
}
