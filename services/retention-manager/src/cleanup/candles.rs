//! Candles of one interval: what has outlived its time, what of it is proved, and the deletion of just that.
//!
//! The work goes market by market and, within one, forward by time: a window that is kept is stepped over and looked at
//! again by the next run, so a late coarser candle is all it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_core::fence::ExternalFence;
use eidos_core::ident::SqlIdent;
use eidos_disposal::catalogue::{self, TableShape};
use eidos_disposal::export::LongRead;
use eidos_disposal::partition::server_is_ready;
use eidos_disposal::settings::DisposalSettings;
use eidos_disposal::{DisposalError, source_connection};
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use eidos_types::Slot;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use super::holds::{self, Range};
use super::record::Recorder;
use super::rules::CandleRule;
use super::stop::Budget;
use crate::domain::candles::{cutoff_ms, next_stretch};
use crate::domain::hypertable::{self as decisions, Method};
use crate::store::candles::{Expired, Judged, Pair, Stretch, Verdict, check_columns};
use crate::store::hypertable;

/// Finer candles deleted in one transaction, rounded to whole windows.
const BATCH_CANDLES: u32 = 6_000;

/// One interval of one table, looked at.
#[derive(Debug)]
pub(super) struct CandleWork {
    pub(super) rule: CandleRule,
    pub(super) pair: Pair,
    pub(super) shape: TableShape,
    pub(super) prover_fingerprint: String,
    pub(super) cutoff_ms: i64,
    pub(super) markets: Vec<Expired>,
    pub(super) method: Method,
}

/// The means to delete candles in one run.
pub(super) struct CandleRun<'a> {
    pub(super) ctx: &'a JobContext,
    pub(super) external: &'a ExternalFence,
    pub(super) settings: &'a DisposalSettings,
    pub(super) recorder: Recorder<'a>,
    pub(super) budget: Budget,
}

/// Candles of one market that outlived their time and stay, because nothing proves them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The market.
    pub market: String,
    /// Why.
    pub why: Verdict,
    /// Windows of the coarser interval.
    pub windows: u64,
    /// Finer candles in them.
    pub candles: u64,
    /// The first of these windows, epoch ms.
    pub first_window_ms: i64,
}

/// What was done to the candles of one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CandleReport {
    /// Its database.
    pub source: SourceName,
    /// Its table.
    pub table: String,
    /// The interval.
    pub interval: String,
    /// What proves it.
    pub proved_by: String,
    /// Candles that ended before this instant, epoch ms, were looked at.
    pub cutoff_ms: i64,
    /// Deleted ones; in a dry run those that would be.
    pub deleted: u64,
    /// Windows they were in.
    pub windows: u64,
    /// Per market and reason.
    pub kept: Vec<Kept>,
    /// Chunks given back.
    pub chunks_dropped: u64,
    /// Whether time ran out before all was looked at.
    pub to_be_continued: bool,
}

impl CandleWork {
    /// Looks at one interval. `None`: nothing is old enough.
    pub(super) async fn look(
        pool: &PgPool,
        settings: &DisposalSettings,
        rule: &CandleRule,
        slot: Slot,
    ) -> Result<Option<Self>, DisposalError> {
        let Some(cutoff_ms) = cutoff_ms(slot.instant(), rule.days) else {
            return Ok(None);
        };
        // Only windows that are over: a week may begin before the cutoff and end after it.
        let cutoff_ms = rule.prover.interval.floor_ms(cutoff_ms);
        let mut read = LongRead::open(pool, settings).await?;
        let looked = Self::look_in(read.conn(), rule, cutoff_ms).await;
        read.close().await;
        looked
    }

    async fn look_in(
        conn: &mut PgConnection,
        rule: &CandleRule,
        cutoff_ms: i64,
    ) -> Result<Option<Self>, DisposalError> {
        let shape = table_of(conn, &rule.table).await?;
        let prover = if rule.prover.table == rule.table {
            shape.clone()
        } else {
            table_of(conn, &rule.prover.table).await?
        };
        let pair = Pair {
            table: shape.relation.clone(),
            interval: rule.interval,
            prover_table: prover.relation.clone(),
            prover: rule.prover.interval,
        };
        let markets = pair.expired(conn, cutoff_ms).await?;
        if markets.is_empty() {
            return Ok(None);
        }
        let hypertable = hypertable::look(conn, &shape, cutoff_ms).await?;
        Ok(Some(Self {
            method: decisions::method(hypertable.as_ref(), rule.alone_in_table),
            rule: rule.clone(),
            prover_fingerprint: prover.columns_fingerprint(),
            pair,
            shape,
            cutoff_ms,
            markets,
        }))
    }

    /// Expired candles.
    pub(super) fn candles(&self) -> u64 {
        self.markets.iter().map(|market| market.candles).sum()
    }

    /// The oldest of them, epoch ms.
    pub(super) fn oldest_ms(&self) -> i64 {
        self.markets
            .iter()
            .map(|market| market.oldest_ms)
            .min()
            .unwrap_or(self.cutoff_ms)
    }

    /// Deletes what is proved, a stretch at a time. What a person must know is in the report; an error ends this
    /// interval, and what was deleted before it is recorded all the same.
    pub(super) async fn delete(
        &self,
        run: &CandleRun<'_>,
        report: &mut CandleReport,
    ) -> Result<(), DisposalError> {
        if let Method::Refused(why) = &self.method {
            return Err(DisposalError::refused("timescaledb", why.clone()));
        }
        let (source, recorder) = (self.rule.source, &run.recorder);
        let mut conn = source_connection(run.external.pool()).await?;
        server_is_ready(&mut conn, run.ctx, run.settings).await?;
        drop(conn);
        recorder
            .mark_candles(source, &self.pair, self.candles(), self.cutoff_ms)
            .await?;
        for market in &self.markets {
            let before = report.deleted;
            let ended = self.delete_market(run, market, report).await;
            let deleted = report.deleted - before;
            recorder
                .candles(source, &self.pair, &market.market, deleted, self.cutoff_ms)
                .await?;
            ended?;
            if report.to_be_continued {
                return Ok(());
            }
        }
        if self.method == Method::DeleteThenDropChunks {
            let mut step = run.external.step().await?;
            let timeout = run.settings.lock_timeout;
            report.chunks_dropped =
                hypertable::drop_empty_chunks(step.conn(), &self.shape, self.cutoff_ms, timeout).await?;
            step.commit().await?;
        }
        Ok(())
    }

    async fn delete_market(
        &self,
        run: &CandleRun<'_>,
        market: &Expired,
        report: &mut CandleReport,
    ) -> Result<(), DisposalError> {
        let mut kept = BTreeMap::new();
        let mut from = Some(market.oldest_ms);
        let ended = loop {
            let Some(from_ms) = from else { break Ok(()) };
            if let Err(stopped) = run.ctx.check_cancelled() {
                break Err(stopped.into());
            }
            if run.budget.is_spent(run.ctx) {
                report.to_be_continued = true;
                break Ok(());
            }
            match self.delete_stretch(run, market, from_ms, &mut kept, report).await {
                Ok(next) => from = next,
                Err(error) => break Err(error),
            }
        };
        report.kept.extend(kept.into_values());
        ended
    }

    /// Gives where to go on, if there is more.
    async fn delete_stretch(
        &self,
        run: &CandleRun<'_>,
        market: &Expired,
        from_ms: i64,
        kept: &mut BTreeMap<Verdict, Kept>,
        report: &mut CandleReport,
    ) -> Result<Option<i64>, DisposalError> {
        // Read again before every act: a hold beats every rule (ruling 37).
        let held = holds::of_table(run.ctx, self.rule.source, &self.shape.relation).await?;
        let Some(stretch) = self.stretch(market, from_ms, &holds::ranges(&held)) else {
            return Ok(None);
        };
        let judged = self
            .pair
            .delete_proved(run.external, stretch, run.settings.lock_timeout)
            .await?;
        count(&judged, &market.market, kept, report);
        let next = self
            .pair
            .next(run.external.pool(), &market.market, stretch.to_ms, self.cutoff_ms)
            .await?;
        if next.is_some() {
            run.ctx.unless_cancelled(tokio::time::sleep(PAUSE)).await?;
        }
        Ok(next)
    }

    fn stretch<'m>(&self, market: &'m Expired, from_ms: i64, held: &[Range]) -> Option<Stretch<'m>> {
        let at_once = (BATCH_CANDLES / self.pair.interval.per_window(self.pair.prover)).max(1);
        let (from_ms, to_ms) = next_stretch(self.pair.prover, from_ms, self.cutoff_ms, at_once, held)?;
        Some(Stretch {
            market: &market.market,
            from_ms,
            to_ms,
        })
    }

    /// What would be deleted and kept. Changes nothing.
    pub(super) async fn judge(
        &self,
        ctx: &JobContext,
        pool: &PgPool,
        settings: &DisposalSettings,
        held: &[Range],
        budget: Budget,
    ) -> Result<CandleReport, DisposalError> {
        let mut read = LongRead::open(pool, settings).await?;
        let judged = self.judge_in(ctx, read.conn(), held, budget).await;
        read.close().await;
        judged
    }

    async fn judge_in(
        &self,
        ctx: &JobContext,
        conn: &mut PgConnection,
        held: &[Range],
        budget: Budget,
    ) -> Result<CandleReport, DisposalError> {
        let mut report = self.report();
        for market in &self.markets {
            let mut kept = BTreeMap::new();
            let mut from = Some(market.oldest_ms);
            while let Some(from_ms) = from {
                ctx.check_cancelled()?;
                if budget.is_spent(ctx) {
                    report.to_be_continued = true;
                    return Ok(report);
                }
                let Some(stretch) = self.stretch(market, from_ms, held) else {
                    break;
                };
                let judged = self.pair.judge(conn, stretch).await?;
                count(&judged, &market.market, &mut kept, &mut report);
                from = self
                    .pair
                    .next(&mut *conn, &market.market, stretch.to_ms, self.cutoff_ms)
                    .await?;
            }
            report.kept.extend(kept.into_values());
        }
        Ok(report)
    }

    /// A report without anything done.
    pub(super) fn report(&self) -> CandleReport {
        CandleReport {
            source: self.rule.source,
            table: self.rule.table.as_str().to_owned(),
            interval: self.pair.interval.to_string(),
            proved_by: if self.pair.table == self.pair.prover_table {
                self.pair.prover.to_string()
            } else {
                format!("{}:{}", self.pair.prover_table.plain(), self.pair.prover)
            },
            cutoff_ms: self.cutoff_ms,
            deleted: 0,
            windows: 0,
            kept: Vec::new(),
            chunks_dropped: 0,
            to_be_continued: false,
        }
    }
}

/// Between two transactions on the same market, so that its writers get their turn.
const PAUSE: Duration = Duration::from_millis(20);

fn count(judged: &[Judged], market: &str, kept: &mut BTreeMap<Verdict, Kept>, report: &mut CandleReport) {
    for window in judged {
        if window.verdict == Verdict::Proved {
            report.deleted += window.candles;
            report.windows += 1;
            continue;
        }
        let entry = kept.entry(window.verdict).or_insert_with(|| Kept {
            market: market.to_owned(),
            why: window.verdict,
            windows: 0,
            candles: 0,
            first_window_ms: window.window_ms,
        });
        entry.windows += 1;
        entry.candles += window.candles;
    }
}

async fn table_of(conn: &mut PgConnection, table: &SqlIdent) -> Result<TableShape, DisposalError> {
    let shape = catalogue::read_table(conn, table).await?.ok_or_else(|| {
        DisposalError::refused(
            "rule",
            format!(
                "table {} does not exist; correct data_retention.timescaledb",
                table.as_str()
            ),
        )
    })?;
    check_columns(&shape)?;
    Ok(shape)
}
