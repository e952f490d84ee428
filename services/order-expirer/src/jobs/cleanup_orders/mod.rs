//! `cleanup-orders`: reads what became of the orders that were asked for ([`confirm`]), asks for those that expired
//! ([`ask`]), and unlinks cache entries of old cancelled orders ([`purge`]).

mod ask;
mod candidates;
mod confirm;
mod job;
mod purge;
mod report;

use eidos_runtime::JobContext;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

pub use report::CleanupReport;

use crate::profile::StatusCodes;
use crate::settings::{ExpirySection, MatchingSection, ms};
use crate::sources::cache::OrderCache;
use crate::sources::transport::Transport;
use crate::store::orders::OrdersStore;

/// The job.
#[derive(Debug, Clone)]
pub struct CleanupOrders {
    /// How orders are expired.
    pub settings: ExpirySection,
    /// How the engine is asked.
    pub matching: MatchingSection,
    /// The way to the engine.
    pub transport: Transport,
    /// The statements on the orders.
    pub orders: OrdersStore,
    /// The meaning of their status codes.
    pub codes: StatusCodes,
    /// Where expired orders are looked for: a replica, if there is one.
    pub replica: PgPool,
    /// Where an order is read to decide about it.
    pub primary: PgPool,
    /// The cache of the exchange.
    pub cache: OrderCache,
}

/// What a caller may ask of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CleanupParams {
    /// Asks for given-up orders again, under a new id.
    pub retry: bool,
}

impl CleanupOrders {
    /// Orders that expired before this are due, epoch ms.
    fn cutoff_ms(&self, ctx: &JobContext) -> i64 {
        ctx.slot().ms().saturating_sub(ms(self.settings.grace))
    }
}
