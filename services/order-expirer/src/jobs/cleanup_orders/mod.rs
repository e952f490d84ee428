//! `cleanup-orders`: reads what became of the orders that were asked for ([`confirm`]), asks for those that expired
//! ([`ask`]), and unlinks cache entries of old cancelled orders ([`purge`]).

mod ask;
mod candidates;
mod confirm;
mod purge;
mod report;

use eidos_runtime::{Job, JobContext, JobError, Observation};
use eidos_telemetry::metric;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

pub use report::CleanupReport;

use super::{gauges, stored};
use crate::domain::life::{Outcome, Verdict};
use crate::profile::StatusCodes;
use crate::settings::{ExpirySection, MatchingSection, ms};
use crate::sources::cache::OrderCache;
use crate::sources::engine::Engine;
use crate::store::orders::OrdersStore;
use crate::store::requests;

/// The job.
#[derive(Debug, Clone)]
pub struct CleanupOrders {
    /// How orders are expired.
    pub settings: ExpirySection,
    /// How the engine is asked.
    pub matching: MatchingSection,
    /// The engine.
    pub engine: Engine,
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
    pub retry_given_up: bool,
}

impl Job for CleanupOrders {
    const NAME: &'static str = "cleanup-orders";
    type Params = CleanupParams;
    type Report = CleanupReport;

    async fn run(&self, ctx: &JobContext, params: CleanupParams) -> Result<CleanupReport, JobError> {
        let mut report = CleanupReport::new(ctx.dry_run());
        if ctx.dry_run() {
            candidates::preview(self, ctx, &mut report).await?;
            return Ok(report);
        }
        if params.retry_given_up {
            report.retried = self.retry_given_up(ctx).await?;
        }
        confirm::run(self, ctx, &mut report).await?;
        let asked = ask::run(self, ctx, &mut report).await;
        // The cache does not wait for an engine that is away; a run that may not go on ends here.
        if !matches!(asked, Ok(()) | Err(JobError::Retry(_) | JobError::Fail(_))) {
            return asked.map(|()| report);
        }
        let purged = purge::run(self, ctx, &mut report).await;
        let ended = asked.and(purged);
        ended.map_err(|error| {
            let text = self.render(&report);
            error.with_report(&report, text)
        })?;
        Ok(report)
    }

    async fn observe(&self, seen: &Observation<'_>) -> Result<(), JobError> {
        gauges::requests(seen).await
    }

    fn series_from_zero(&self) {
        metric::expiry_from_zero(Verdict::WORDS, Outcome::WORDS);
    }

    fn render(&self, report: &CleanupReport) -> String {
        report.render()
    }
}

impl CleanupOrders {
    /// Orders that expired before this are due, epoch ms.
    fn cutoff_ms(&self, ctx: &JobContext) -> i64 {
        ctx.slot().ms().saturating_sub(ms(self.settings.grace))
    }

    async fn retry_given_up(&self, ctx: &JobContext) -> Result<u64, JobError> {
        let mut step = ctx.step().await?;
        let limit = i64::from(self.settings.requests_per_run);
        let count = requests::retry_given_up(step.conn(), ctx.slot().ms(), limit)
            .await
            .map_err(stored("retry given-up requests"))?;
        step.commit().await?;
        Ok(count)
    }
}
