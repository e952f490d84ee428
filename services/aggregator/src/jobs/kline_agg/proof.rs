//! The proof-read: candles of one minute beside their trades, and the repair of those that differ.
//!
//! ```text
//! prove ── part by part: compare, note what differs, remove what agrees again
//!   └─ repair (on request, or if the settings allow it)
//!        ├─ plan ── before and after, in our database
//!        ├─ write ── a fenced step; only where candle and trades are still as they were read
//!        └─ decide ── done or not done, and the coarser windows to be built again
//! ```
//!
//! A run that dies between writing and deciding leaves plans; the next one compares them with the candles and decides.
//! Only minutes are looked at whose trades and candles cannot have been deleted.

use std::collections::BTreeSet;

use eidos_core::fence::Step;
use eidos_market::Interval;
use eidos_runtime::JobError;
use eidos_telemetry::metric;
use eidos_types::Amount;

use super::KlineAggParams;
use super::report::{LevelReport, ProofReport, Report};
use super::run::{Run, millis};
use crate::store::ledger::{self, Reason};
use crate::store::proofs::{Compared, Difference, Differing, Minute};
use crate::store::repairs::{self, Decided};
use crate::store::trades::Reach;

/// What one comparison reads: this time of this many markets.
const PART_MS: i64 = 15 * 60_000;
const PART_MARKETS: usize = 250;
/// Differences that one run notes at most.
const NOTED_MOST: usize = 10_000;
/// Differences of earlier runs that one run compares again.
const AGAIN_MOST: i64 = 200;
/// Candles that are written in one transaction.
const WRITTEN_AT_ONCE: usize = 200;
/// Repairs of dead runs that one run decides.
const RESUMED_MOST: i64 = 10_000;
/// Differences that a report names.
const NAMED: usize = 20;

impl Run<'_> {
    /// The proof-read of a scheduled run: the newest minutes first, as many as its limits allow, and what differed before.
    pub(super) async fn prove_recent(&mut self) -> Result<(), JobError> {
        let options = &self.job.options.proof_read;
        let from_ms = self.slot_ms - millis(options.look_back);
        let Some(range) = self.provable((from_ms, self.slot_ms)) else {
            return Ok(());
        };
        let mut differing = self.prove_again(range.from_ms).await?;
        differing.extend(self.prove(range, Some(options.rows_per_run)).await?);
        if !options.repair {
            return Ok(());
        }
        let found = self.proof().differing;
        if found > u64::from(options.repair_limit) {
            tracing::warn!(
                found,
                limit = options.repair_limit,
                "too many candles differ: none is repaired"
            );
            self.proof().refused = Some(found);
            return Ok(());
        }
        self.repair(&differing).await?;
        self.build_again().await
    }

    /// The proof-read that somebody asked for, with the repair of what differs if that was asked for, too.
    pub(super) async fn prove_asked(&mut self, params: &KlineAggParams) -> Result<Report, JobError> {
        if let Some(market) = params.market.as_deref() {
            self.only(market)?;
        }
        let options = &self.job.options.proof_read;
        let wanted = match (params.from, params.to) {
            (Some(from), Some(to)) => (from.ms(), to.ms()),
            _ => (self.slot_ms - millis(options.look_back), self.slot_ms),
        };
        if let Some(range) = self.provable(wanted) {
            let differing = self.prove(range, None).await?;
            let found = self.proof().differing;
            if params.repair && found > u64::from(options.repair_limit) {
                return Err(JobError::fail(format!(
                    "{found} minutes differ, and jobs.kline-agg.proof_read.repair_limit is {}: nothing was repaired; ask for a \
                     shorter range or one market, or raise the limit after reading the report without --repair",
                    options.repair_limit
                )));
            }
            if params.repair {
                self.repair(&differing).await?;
                self.build_again().await?;
            }
        }
        Ok(std::mem::take(&mut self.report))
    }

    /// Decides the repairs of runs that died: those whose candle is as it was to be were written.
    pub(super) async fn resume_repairs(&mut self) -> Result<(), JobError> {
        if self.ctx.dry_run() {
            return Ok(());
        }
        let planned = repairs::planned(self.ctx.jobs_db().control(), RESUMED_MOST).await?;
        if planned.is_empty() {
            return Ok(());
        }
        let wanted: (Vec<String>, Vec<i64>) = planned
            .iter()
            .map(|repair| (repair.market.clone(), repair.open_ms))
            .unzip();
        let current = self
            .job
            .proofs
            .current(&self.job.pool, (&wanted.0, &wanted.1))
            .await?;
        let decided: Vec<Decided> = planned
            .into_iter()
            .map(|repair| Decided {
                done: current.iter().any(|(market, open_ms, minute)| {
                    (market, *open_ms) == (&repair.market, repair.open_ms) && is_same(minute, &repair.after)
                }),
                execution: repair.execution,
                market: repair.market,
                open_ms: repair.open_ms,
            })
            .collect();
        tracing::warn!(repairs = decided.len(), "repairs of a run that died are decided");
        self.decide(&decided).await
    }

    /// The part of a range, in whole minutes, that can be proved. `None`: no part of it, and the report says why.
    fn provable(&mut self, (from_ms, to_ms): (i64, i64)) -> Option<Reach> {
        let settled_ms = self.slot_ms - millis(self.job.options.proof_read.settle);
        let Some(reach) = self.rules.trades else {
            self.proof().unproved = Some("the table of trades is empty, or lacks an index".to_owned());
            return None;
        };
        let minute = Interval::M1;
        let range = Reach {
            from_ms: minute.ceil_ms(from_ms.max(reach.from_ms).max(self.rules.purged_before_ms)),
            until_ms: minute.floor_ms(to_ms.min(reach.until_ms).min(settled_ms)),
        };
        if range.from_ms < range.until_ms {
            return Some(range);
        }
        self.proof().unproved =
            Some("its trades or candles may be deleted, or are not stored yet".to_owned());
        None
    }

    /// Compares a range, the newest part first, and notes what differs. `rows`: it ends after the part in which this many
    /// were read; `None`: no limit. Returns the minutes that differ, [`NOTED_MOST`] of them at most.
    async fn prove(&mut self, range: Reach, rows: Option<u64>) -> Result<Vec<Differing>, JobError> {
        let markets = std::mem::take(&mut self.markets);
        let proved = self.prove_markets(&markets, range, rows).await;
        self.markets = markets;
        proved
    }

    async fn prove_markets(
        &mut self,
        markets: &[String],
        range: Reach,
        rows: Option<u64>,
    ) -> Result<Vec<Differing>, JobError> {
        let mut differing = Vec::new();
        let total =
            u64::try_from((range.until_ms - range.from_ms) / Interval::M1.width_ms()).unwrap_or_default();
        let mut until_ms = range.until_ms;
        self.proof().until_ms = Some(until_ms);
        while until_ms > range.from_ms {
            let part = Reach {
                from_ms: range.from_ms.max(until_ms - PART_MS),
                until_ms,
            };
            for markets in markets.chunks(PART_MARKETS) {
                if self.is_over()? {
                    return Ok(differing);
                }
                let compared = self.compare(markets, part, NOTED_MOST - differing.len()).await?;
                differing.extend(compared.named);
            }
            until_ms = part.from_ms;
            let proof = self.proof();
            proof.from_ms = Some(until_ms);
            if rows.is_some_and(|rows| proof.minutes + proof.trades >= rows) {
                break;
            }
            let done =
                u64::try_from((range.until_ms - until_ms) / Interval::M1.width_ms()).unwrap_or_default();
            self.ctx.progress(done, Some(total));
        }
        Ok(differing)
    }

    /// Compares minutes before `before_ms` that differed when they were last compared.
    async fn prove_again(&mut self, before_ms: i64) -> Result<Vec<Differing>, JobError> {
        let from_ms = self.rules.trades.map_or(i64::MAX, |reach| reach.from_ms);
        let from_ms = Interval::M1.ceil_ms(from_ms.max(self.rules.purged_before_ms));
        if !self.ctx.dry_run() {
            let mut step = self.ctx.step().await?;
            repairs::forget(&mut step, from_ms).await?;
            step.commit().await?;
        }
        let noted = repairs::noted(self.ctx.jobs_db().control(), before_ms, AGAIN_MOST).await?;
        let mut differing = Vec::new();
        for (market, open_ms) in noted {
            if self.is_over()? {
                break;
            }
            let minute = Reach {
                from_ms: open_ms,
                until_ms: open_ms + Interval::M1.width_ms(),
            };
            if open_ms >= from_ms {
                let compared = self.compare(&[market], minute, NOTED_MOST).await?;
                differing.extend(compared.named);
            }
        }
        Ok(differing)
    }

    async fn compare(&mut self, markets: &[String], part: Reach, room: usize) -> Result<Compared, JobError> {
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        let compared = self
            .job
            .proofs
            .compare(&self.job.pool, markets, part, limit)
            .await?;
        // Without room the names are not known, and what is noted stays.
        if !self.ctx.dry_run() && (room > 0 || compared.differing == 0) {
            let mut step = self.ctx.step().await?;
            let range = (part.from_ms, part.until_ms);
            repairs::note(&mut step, self.noted, markets, range, &compared.named).await?;
            step.commit().await?;
        }
        let proof = self.proof();
        proof.minutes += compared.minutes;
        proof.trades += compared.trades;
        proof.differing += compared.differing;
        let names = NAMED.saturating_sub(proof.named.len());
        proof.named.extend(compared.named.iter().take(names).cloned());
        metric::kline_minutes_proved(compared.minutes);
        Ok(compared)
    }

    /// Writes the candles of minutes that differ, as far as their trades make one. In a dry run it only counts them.
    async fn repair(&mut self, differing: &[Differing]) -> Result<(), JobError> {
        let is_clear = |minute: &&Differing| minute.kind != Difference::Unusable && minute.traded.is_some();
        let minutes: Vec<Differing> = differing.iter().filter(is_clear).cloned().collect();
        self.proof().unclear = u64::try_from(differing.len() - minutes.len()).unwrap_or_default();
        let Some(fence) = self.fence.clone() else {
            self.proof().repaired = u64::try_from(minutes.len()).unwrap_or_default();
            return Ok(());
        };
        let execution = self.noted.execution;
        for minutes in minutes.chunks(WRITTEN_AT_ONCE) {
            let mut step = self.ctx.step().await?;
            repairs::plan(&mut step, execution, self.ctx.requested_by(), minutes).await?;
            step.commit().await?;
            let mut step = fence.step().await?;
            let purged_before_ms = self.rules.purged_before_ms;
            let written = self
                .job
                .proofs
                .repair(step.conn(), minutes, purged_before_ms)
                .await?;
            step.commit().await?;
            let written: BTreeSet<(String, i64)> = written.into_iter().collect();
            let decided: Vec<Decided> = minutes
                .iter()
                .map(|minute| Decided {
                    execution,
                    done: written.contains(&(minute.market.clone(), minute.open_ms)),
                    market: minute.market.clone(),
                    open_ms: minute.open_ms,
                })
                .collect();
            self.decide(&decided).await?;
        }
        Ok(())
    }

    /// Records what became of repairs, in one step with the windows that must be built again.
    async fn decide(&mut self, decided: &[Decided]) -> Result<(), JobError> {
        let windows = self.windows_of(decided).await?;
        let mut step = self.ctx.step().await?;
        repairs::decide(&mut step, decided).await?;
        self.reopen(&mut step, &windows).await?;
        step.commit().await?;
        let done = decided.iter().filter(|repair| repair.done).count();
        let (done, other) = (count(done), count(decided.len() - done));
        let proof = self.proof();
        proof.repaired += done;
        proof.changed += other;
        metric::kline_repairs("done", done);
        metric::kline_repairs("not_done", other);
        Ok(())
    }

    /// The closed windows of every interval that contain a repaired minute, and those that carry its price.
    async fn windows_of(
        &self,
        decided: &[Decided],
    ) -> Result<Vec<(Interval, BTreeSet<(String, i64)>)>, JobError> {
        let done = decided.iter().filter(|repair| repair.done);
        let (markets, ends): (Vec<String>, Vec<i64>) = done
            .map(|repair| (repair.market.clone(), repair.open_ms + Interval::M1.width_ms()))
            .unzip();
        let next = self.job.trades.next(&self.job.pool, (&markets, &ends)).await?;
        let levels = self.job.levels.iter().map(|level| {
            let (width, closed_ms) = (level.interval.width_ms(), self.closed_ms(level));
            let windows = next.iter().flat_map(|traded| {
                let open_ms = level.interval.floor_ms(traded.open_ms - 1);
                let carrying = self.carrying(level, open_ms + width, traded.next_ms);
                let opens = std::iter::once(open_ms).chain(carrying);
                opens.map(|open_ms| (traded.market.clone(), open_ms))
            });
            let closed = windows.filter(|(_, open_ms)| open_ms + width <= closed_ms);
            (level.interval, closed.collect())
        });
        Ok(levels.collect())
    }

    async fn reopen(
        &self,
        step: &mut Step<'_>,
        windows: &[(Interval, BTreeSet<(String, i64)>)],
    ) -> Result<(), JobError> {
        for (interval, windows) in windows {
            let (markets, opens): (Vec<String>, Vec<i64>) = windows.iter().cloned().unzip();
            ledger::note_dirty(step, *interval, self.noted, Reason::Repaired, (&markets, &opens)).await?;
        }
        Ok(())
    }

    /// Builds the windows of the ledger again, in the same run.
    async fn build_again(&mut self) -> Result<(), JobError> {
        if self.ctx.dry_run() || self.proof().repaired == 0 {
            return Ok(());
        }
        for level in &self.job.levels {
            let found = self
                .report
                .levels
                .iter()
                .position(|report| report.interval == level.interval.to_string());
            let mut report = match found {
                Some(at) => self.report.levels.remove(at),
                None => LevelReport::new(level),
            };
            let done = self.reopened(level, &mut report).await;
            self.report.levels.push(report);
            done?;
        }
        Ok(())
    }

    fn proof(&mut self) -> &mut ProofReport {
        self.report.proof.get_or_insert_default()
    }
}

/// Whether both are the same to the last digit, however many zeros follow it.
fn is_same(one: &Minute, other: &Minute) -> bool {
    let values = |minute: &Minute| {
        [
            &minute.open,
            &minute.high,
            &minute.low,
            &minute.close,
            &minute.volume,
            &minute.quote_volume,
        ]
        .map(|text| text.parse::<Amount>().ok())
    };
    let (left, right) = (values(one), values(other));
    left == right && left.iter().all(Option::is_some) && one.trade_count == other.trade_count
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}
