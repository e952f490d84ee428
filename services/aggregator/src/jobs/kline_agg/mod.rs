//! `kline-agg`: closed candles of one hour and more, built from finer ones.
//!
//! ```text
//! run ── markets, candles that are not folded, windows of late trades
//!   ├─ for each level, finest first
//!   │    ├─ reopened ── windows of the ledger: late trades, changed sources, what was not whole
//!   │    ├─ forward ── from the watermark to the newest closed window, stretch by stretch
//!   │    └─ abandon ── what cannot become whole any more
//!   └─ prove ── the newest candles of one minute, beside their trades
//! ```
//!
//! A stretch is two transactions: its candles in the market service's database, then ledger and watermark in ours. A crash
//! between them repeats the stretch, which then writes nothing.

mod backfill;
mod gauges;
mod job;
mod late;
mod level;
mod proof;
mod report;
mod run;
mod watermark;

use eidos_runtime::{Job, JobContext, JobError, Observation};
use eidos_types::Instant;
use serde::{Deserialize, Serialize};

use run::Run;

pub use job::KlineAgg;
pub use report::{LateReport, LevelReport, Named, ProofReport, Report};
pub use watermark::Watermark;

/// What a caller may ask of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KlineAggParams {
    /// Works on the windows from this instant on, and does nothing else.
    pub from: Option<Instant>,
    /// Where these windows end.
    pub to: Option<Instant>,
    /// Only this market.
    pub market: Option<String>,
    /// Compares candles of one minute with their trades, and builds nothing; without a range, the newest ones.
    pub proof_read: bool,
    /// Writes the candles that differ as their trades make them, and builds what follows from them again.
    pub repair: bool,
}

impl Job for KlineAgg {
    const NAME: &'static str = "kline-agg";
    type Params = KlineAggParams;
    type Report = Report;

    fn validate_params(&self, params: &KlineAggParams) -> Result<(), String> {
        if params.repair && !params.proof_read {
            return Err("repair goes with proof_read: it repairs what differs from the trades".to_owned());
        }
        match (params.from, params.to) {
            (None, None) if params.market.is_some() && !params.proof_read => {
                Err("market goes with from and to: it builds the candles of a past range".to_owned())
            }
            (None, None) => Ok(()),
            (Some(from), Some(to)) if from < to => Ok(()),
            (Some(from), Some(to)) => Err(format!("from ({from}) is not before to ({to})")),
            (Some(_), None) => Err("from needs to: where the range ends".to_owned()),
            (None, Some(_)) => Err("to needs from: where the range begins".to_owned()),
        }
    }

    async fn run(&self, ctx: &JobContext, params: KlineAggParams) -> Result<Report, JobError> {
        let mut run = Run::begin(self, ctx).await?;
        if params.proof_read {
            run.resume_repairs().await?;
            return run.prove_asked(&params).await;
        }
        if let (Some(from), Some(to)) = (params.from, params.to) {
            return run.backfill((from.ms(), to.ms()), params.market.as_deref()).await;
        }
        run.all().await
    }

    async fn observe(&self, seen: &Observation<'_>) -> Result<(), JobError> {
        gauges::observe(self, seen).await
    }

    fn series_from_zero(&self) {
        gauges::series_from_zero(self);
    }

    fn render(&self, report: &Report) -> String {
        report.render()
    }
}
