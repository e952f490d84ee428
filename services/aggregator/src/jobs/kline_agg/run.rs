//! [`Run`]: what all parts of one run use, and the order of the parts.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_core::fence::ExternalFence;
use eidos_market::Interval;
use eidos_runtime::{JobContext, JobError};

use super::job::KlineAgg;
use super::report::{LevelReport, Report};
use super::watermark::Watermark;
use crate::domain::Level;
use crate::store::candles::{Judged, Rules, Wanted};
use crate::store::catalogue;
use crate::store::ledger::{self, Noted, Reason};
use crate::store::trades::Reach;

/// A run stops between two batches when less than this is left of its time, and the next one continues.
const RESERVE: Duration = Duration::from_secs(5);

/// One run.
pub(super) struct Run<'a> {
    pub(super) job: &'a KlineAgg,
    pub(super) ctx: &'a JobContext,
    pub(super) slot_ms: i64,
    pub(super) rules: Rules,
    pub(super) noted: Noted,
    pub(super) watermarks: BTreeMap<Interval, Watermark>,
    pub(super) markets: Vec<String>,
    pub(super) report: Report,
    /// `None`: a dry run, which writes nothing.
    pub(super) fence: Option<ExternalFence>,
}

impl<'a> Run<'a> {
    pub(super) async fn begin(job: &'a KlineAgg, ctx: &'a JobContext) -> Result<Self, JobError> {
        let slot_ms = ctx.slot().ms();
        let before = |duration: Duration| slot_ms.saturating_sub(millis(duration));
        let mut watermarks = BTreeMap::new();
        for level in &job.levels {
            if let Some(watermark) = ctx.load_checkpoint(&Watermark::key(level.interval)).await? {
                watermarks.insert(level.interval, watermark);
            }
        }
        Ok(Self {
            rules: Rules {
                active: job.active.clone(),
                purged_before_ms: before(job.options.source_retention),
                empty_windows: job.options.empty_windows,
                publish_partial_before_ms: job.options.publish_partial_after.map(before),
                trades: reach(job, slot_ms).await?,
            },
            noted: Noted {
                execution: ctx.execution_id().as_uuid(),
                slot_ms,
            },
            watermarks,
            markets: job.candles.markets(&job.pool).await?,
            report: Report::new(ctx.dry_run()),
            fence: if ctx.dry_run() {
                None
            } else {
                Some(ctx.raised_in(&job.pool).await?)
            },
            job,
            ctx,
            slot_ms,
        })
    }

    /// Leaves only this market.
    pub(super) fn only(&mut self, market: &str) -> Result<(), JobError> {
        if !self.markets.iter().any(|known| known == market) {
            return Err(JobError::fail(format!(
                "there is no market {market}; write its symbol as the table of markets has it"
            )));
        }
        self.markets = vec![market.to_owned()];
        Ok(())
    }

    /// A scheduled run.
    pub(super) async fn all(&mut self) -> Result<Report, JobError> {
        let strangers = self
            .job
            .candles
            .strangers(&self.job.pool, Interval::M1, self.slot_ms)
            .await?;
        if !strangers.unknown.is_empty() || !strangers.ahead.is_empty() {
            tracing::warn!(unknown = ?strangers.unknown, ahead = ?strangers.ahead, "candles that are not folded");
        }
        self.report.unknown_markets = strangers.unknown;
        self.report.markets_ahead = strangers.ahead;
        self.resume_repairs().await?;
        self.late_trades().await?;
        for level in &self.job.levels {
            let mut report = LevelReport::new(level);
            let done = self.level(level, &mut report).await;
            self.report.levels.push(report);
            done?;
            if self.report.to_be_continued {
                break;
            }
        }
        if !self.report.to_be_continued {
            self.prove_recent().await?;
        }
        Ok(std::mem::take(&mut self.report))
    }

    async fn level(&mut self, level: &Level, report: &mut LevelReport) -> Result<(), JobError> {
        self.reopened(level, report).await?;
        if !self.report.to_be_continued {
            self.forward(level, report).await?;
        }
        self.abandon(level, report).await
    }

    /// Checks whether the run must end here; the next one continues.
    pub(super) fn is_over(&mut self) -> Result<bool, JobError> {
        self.ctx.check_cancelled()?;
        self.report.to_be_continued |= self.ctx.budget_left() < RESERVE;
        Ok(self.report.to_be_continued)
    }

    /// Judges windows, and writes what is due unless this is a dry run.
    pub(super) async fn judge(&self, level: &Level, wanted: Wanted<'_>) -> Result<Vec<Judged>, JobError> {
        let candles = &self.job.candles;
        let Some(fence) = &self.fence else {
            let mut conn = self.job.pool.acquire().await.map_err(JobError::retry)?;
            return Ok(candles.judge(&mut conn, level, wanted, &self.rules).await?);
        };
        let mut step = fence.step().await?;
        let judged = candles.write(step.conn(), level, wanted, &self.rules).await?;
        step.commit().await?;
        Ok(judged)
    }

    /// Records what became of windows, in one step with `watermark`: those that are not whole are noted, the others leave
    /// the ledger, and passed windows that are built from them are noted to be built again.
    pub(super) async fn record(
        &mut self,
        level: &Level,
        judged: &[Judged],
        resolved: (Vec<String>, Vec<i64>),
        watermark: Option<Watermark>,
    ) -> Result<(), JobError> {
        if self.fence.is_none() {
            return Ok(());
        }
        let dependents = self.dependents(level, judged);
        let incomplete: Vec<&Judged> = judged.iter().filter(|window| window.is_incomplete()).collect();
        let mut step = self.ctx.step().await?;
        ledger::note_incomplete(&mut step, level.interval, self.noted, &incomplete).await?;
        ledger::resolve(&mut step, level.interval, (&resolved.0, &resolved.1)).await?;
        for (interval, (markets, opens)) in &dependents {
            let reason = Reason::SourceChanged;
            ledger::note_dirty(&mut step, *interval, self.noted, reason, (markets, opens)).await?;
        }
        if let Some(watermark) = &watermark {
            step.save_checkpoint(&Watermark::key(level.interval), watermark)
                .await?;
        }
        step.commit().await?;
        if let Some(watermark) = watermark {
            self.watermarks.insert(level.interval, watermark);
        }
        Ok(())
    }

    /// The windows, already passed, of levels that are built from these. Also of those that were not written now: a run
    /// that died between the candles and the ledger may have written them.
    fn dependents(&self, level: &Level, judged: &[Judged]) -> BTreeMap<Interval, (Vec<String>, Vec<i64>)> {
        let mut found: BTreeMap<Interval, (Vec<String>, Vec<i64>)> = BTreeMap::new();
        for dependent in self
            .job
            .levels
            .iter()
            .filter(|other| other.source == level.interval)
        {
            let Some(watermark) = self.watermarks.get(&dependent.interval) else {
                continue;
            };
            let mut windows: Vec<(&str, i64)> = judged
                .iter()
                .filter(|window| window.written || !window.is_incomplete())
                .map(|window| {
                    (
                        window.market.as_str(),
                        dependent.interval.floor_ms(window.open_ms),
                    )
                })
                .filter(|(_, open_ms)| watermark.has_passed(*open_ms))
                .collect();
            windows.sort_unstable();
            windows.dedup();
            let windows = windows
                .into_iter()
                .map(|(market, open_ms)| (market.to_owned(), open_ms));
            found.insert(dependent.interval, windows.unzip());
        }
        found
    }
}

/// Where the table of trades is complete. `None`: it is empty, or an index is missing, without which each question would
/// read all of it.
async fn reach(job: &KlineAgg, slot_ms: i64) -> Result<Option<Reach>, JobError> {
    if !catalogue::shows_reach(&job.schema, &job.pool).await? {
        return Ok(None);
    }
    let found = job.trades.reach(&job.pool, slot_ms).await?;
    let kept_ms = job.options.trades_retention.map(|kept| slot_ms - millis(kept));
    Ok(found.map(|found| Reach {
        from_ms: found.from_ms.max(kept_ms.unwrap_or(i64::MIN)),
        ..found
    }))
}

/// A duration of the settings in whole milliseconds.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
