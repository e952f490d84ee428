//! [`KlineAgg`]: what the job works with.

use sqlx::PgPool;

use crate::domain::Level;
use crate::profile::Schema;
use crate::settings::KlineAggOptions;
use crate::store::candles::Candles;
use crate::store::proofs::Proofs;
use crate::store::trades::Trades;

/// The job.
#[derive(Debug)]
pub struct KlineAgg {
    /// Its own settings.
    pub options: KlineAggOptions,
    /// What is built, finest first.
    pub levels: Vec<Level>,
    /// Codes of markets that trade.
    pub active: Vec<i64>,
    /// The names of the market service's tables.
    pub schema: Schema,
    /// The market service's database; read-only outside of fenced steps.
    pub pool: PgPool,
    /// The statements on candles.
    pub candles: Candles,
    /// The statements on public trades.
    pub trades: Trades,
    /// The statements of the proof-read.
    pub proofs: Proofs,
}
