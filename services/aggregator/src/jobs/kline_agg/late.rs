//! Late trades: the windows that they belong to are built again, and those after them up to the next trade, which carry
//! their price.

use std::collections::BTreeSet;

use eidos_market::Interval;
use eidos_runtime::JobError;

use super::run::{Run, millis};
use crate::domain::Level;
use crate::store::catalogue;
use crate::store::ledger::{self, Reason};

const HOUR_MS: i64 = 3_600_000;
/// Trades that were stored in this time before the last look are looked at again: rows commit after their time, and the
/// candle of a late trade may be written after the trade.
const OVERLAP_MS: i64 = HOUR_MS;
const CHECKPOINT: &str = "late-trades";

/// The windows of a level, pair by pair.
type Windows = (Vec<String>, Vec<i64>);

impl Run<'_> {
    /// Notes the windows of trades that were stored late since the last look, an hour at a time.
    pub(super) async fn late_trades(&mut self) -> Result<(), JobError> {
        let job = self.job;
        let has_index =
            catalogue::has_index_on(&job.schema, &job.pool, "market_trades", "created_at").await?;
        if !has_index {
            tracing::warn!(
                "late trades are not looked for: no index begins with the time at which a trade was stored"
            );
        }
        if !has_index || self.ctx.dry_run() {
            return Ok(());
        }
        self.report.late_trades.looked = true;
        let until_ms = self.slot_ms;
        let last: Option<i64> = self.ctx.load_checkpoint(CHECKPOINT).await?;
        let mut after_ms = last.unwrap_or(until_ms).min(until_ms) - OVERLAP_MS;
        while after_ms < until_ms {
            if self.is_over()? {
                return Ok(());
            }
            let by_ms = until_ms.min(after_ms + HOUR_MS);
            self.late_between(after_ms, by_ms).await?;
            after_ms = by_ms;
        }
        Ok(())
    }

    async fn late_between(&mut self, after_ms: i64, by_ms: i64) -> Result<(), JobError> {
        let job = self.job;
        let mut noted: Vec<(&Level, Windows)> = Vec::new();
        for level in job.levels.iter().filter(|level| level.source == Interval::M1) {
            let Some(watermark) = self.watermarks.get(&level.interval) else {
                continue;
            };
            let late_ms = millis(job.options.grace);
            let late = job
                .trades
                .late(&job.pool, (after_ms, by_ms), late_ms, level.interval)
                .await?;
            let windows = late.iter().flat_map(|window| {
                let following =
                    self.carrying(level, window.open_ms + level.interval.width_ms(), window.next_ms);
                let opens = std::iter::once(window.open_ms).chain(following);
                opens.map(|open_ms| (window.market.clone(), open_ms))
            });
            let passed: BTreeSet<(String, i64)> = windows
                .filter(|(_, open_ms)| watermark.has_passed(*open_ms))
                .collect();
            noted.push((level, passed.into_iter().unzip()));
        }
        let mut step = self.ctx.step().await?;
        for (level, (markets, opens)) in &noted {
            let reason = Reason::LateTrade;
            self.report.late_trades.noted +=
                ledger::note_dirty(&mut step, level.interval, self.noted, reason, (markets, opens)).await?;
        }
        step.save_checkpoint(CHECKPOINT, &by_ms).await?;
        step.commit().await?;
        Ok(())
    }

    /// The beginnings of the closed windows from `from_ms` on that end before the market trades next: they carry the price
    /// of the trade before them. Not of windows whose source may be deleted, because these keep the candle they have.
    pub(super) fn carrying(
        &self,
        level: &Level,
        from_ms: i64,
        next_ms: Option<i64>,
    ) -> impl Iterator<Item = i64> + use<> {
        let width = level.interval.width_ms();
        let first_ms = from_ms.max(level.interval.ceil_ms(self.rules.purged_before_ms));
        let end_ms = self
            .closed_ms(level)
            .min(next_ms.map_or(i64::MAX, |next_ms| level.interval.floor_ms(next_ms)));
        (0..)
            .map(move |number| first_ms + number * width)
            .take_while(move |open_ms| *open_ms < end_ms)
    }
}
