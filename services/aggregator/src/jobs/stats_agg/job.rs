//! [`StatsAgg`]: what the job works with.

use sqlx::PgPool;

use crate::profile::Codes;
use crate::settings::StatsAggOptions;
use crate::store::activity::Activity;
use crate::store::statistics::Prices;

/// The job.
#[derive(Debug)]
pub struct StatsAgg {
    /// Its own settings.
    pub options: StatsAggOptions,
    /// Codes of the trading service.
    pub codes: Codes,
    /// The trading service's database, to be read.
    pub trading: PgPool,
    /// The market service's database, to be read.
    pub market: PgPool,
    /// The statements on the trading service's tables.
    pub activity: Activity,
    /// The statements on the market service's tables.
    pub prices: Prices,
}
