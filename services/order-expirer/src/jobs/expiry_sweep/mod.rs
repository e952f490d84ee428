//! `expiry-sweep`: reads every order by its primary key, independent of the index and the position that `cleanup-orders`
//! works by, and counts those that should have ended. What `cleanup-orders` overlooked gets a request.

mod report;

use std::collections::HashSet;

use eidos_runtime::{Job, JobContext, JobError, Observation};
use eidos_telemetry::metric;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

pub use report::SweepReport;

use super::stored;
use crate::domain::life::Reason;
use crate::profile::{Status, StatusCodes};
use crate::settings::{ExpirySection, ms};
use crate::store::orders::{Candidate, OrdersStore, Swept};
use crate::store::requests;

/// Orders read by one statement; most of them are in order and are not returned.
const PAGE: i64 = 10_000;
/// Closed requests deleted together.
const PRUNE_BATCH: i64 = 1_000;
/// Batches of one run.
const PRUNE_BATCHES: usize = 1_000;

/// The job.
#[derive(Debug, Clone)]
pub struct ExpirySweep {
    /// How orders are expired.
    pub settings: ExpirySection,
    /// The statements on the orders.
    pub orders: OrdersStore,
    /// The meaning of their status codes.
    pub codes: StatusCodes,
    /// Where orders are read: a replica, if there is one.
    pub replica: PgPool,
}

/// A sweep takes no parameters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SweepParams {}

/// The run ended before the last order.
#[derive(Debug, thiserror::Error)]
#[error("the sweep ended after {0} pages, before the last order: give jobs.expiry-sweep.timeout more time")]
struct Incomplete(u64);

impl Job for ExpirySweep {
    const NAME: &'static str = "expiry-sweep";
    type Params = SweepParams;
    type Report = SweepReport;

    async fn run(&self, ctx: &JobContext, _params: SweepParams) -> Result<SweepReport, JobError> {
        let mut report = SweepReport::new(ctx.dry_run(), ctx.slot().ms());
        let reserve = ctx.budget_left() / 10;
        let mut after = i64::MIN;
        while let Some(last) = self
            .orders
            .last_of_page(&self.replica, after, PAGE)
            .await
            .map_err(stored("read the orders"))?
        {
            ctx.check_cancelled()?;
            if ctx.budget_left() <= reserve {
                let text = report.render();
                return Err(JobError::fail(Incomplete(report.pages)).with_report(&report, text));
            }
            self.page(ctx, (after, last), &mut report).await?;
            after = last;
        }
        report.complete = true;
        if !ctx.dry_run() {
            report.pruned = self.prune(ctx).await?;
        }
        Ok(report)
    }

    async fn observe(&self, seen: &Observation<'_>) -> Result<(), JobError> {
        let last: Option<SweepReport> = seen.last_report().await?;
        let last = last.filter(|report| report.complete);
        metric::expiry_sweep_completed(last.as_ref().and_then(SweepReport::slot));
        // Before the first sweep nothing is known, and nothing is said.
        if let Some(report) = last {
            metric::expired_orders_overdue(report.overdue);
            metric::expired_orders_overlooked(report.overlooked);
            metric::orders_cancelling_stuck(report.cancelling_stuck);
        }
        Ok(())
    }

    fn render(&self, report: &SweepReport) -> String {
        report.render()
    }
}

impl ExpirySweep {
    /// Looks at the orders after `range.0` up to `range.1`.
    async fn page(
        &self,
        ctx: &JobContext,
        range: (i64, i64),
        report: &mut SweepReport,
    ) -> Result<(), JobError> {
        let before = |age| ctx.slot().ms().saturating_sub(ms(age));
        let cutoffs = [
            before(self.settings.grace + self.settings.overdue_after),
            before(self.settings.zero_quantity_after),
            before(self.settings.cancelling_at_most),
        ];
        let odd = self
            .orders
            .odd(&self.replica, range, cutoffs)
            .await
            .map_err(stored("read the orders"))?;
        report.pages += 1;
        let listed = self.settings.report_orders;
        let (mut overdue, mut empty) = (Vec::new(), Vec::new());
        for order in &odd {
            match self.codes.meaning(order.status) {
                Status::Live if order.expire_at > 0 && order.expire_at < cutoffs[0] => {
                    overdue.push(candidate(order));
                }
                Status::Live => empty.push(candidate(order)),
                Status::Cancelling => report.cancelling(order, listed),
                Status::Unknown | Status::Ended(_) => report.unknown(order, listed),
            }
        }
        report.overdue(&overdue, listed);
        report.zero_quantity += empty.len() as u64;
        report.overlooked += self.request(ctx, &overdue, Reason::Expired).await?;
        report.zero_quantity_new += self.request(ctx, &empty, Reason::ZeroQuantity).await?;
        Ok(())
    }

    /// Adds requests for the orders that have none, unless this is a dry run. Returns how many have none.
    async fn request(&self, ctx: &JobContext, orders: &[Candidate], reason: Reason) -> Result<u64, JobError> {
        if orders.is_empty() {
            return Ok(0);
        }
        let ids: Vec<&str> = orders.iter().map(|order| order.order_id.as_str()).collect();
        let known = requests::known(ctx.jobs_db().control(), &ids)
            .await
            .map_err(stored("read known requests"))?;
        // A closed one is opened again by cleanup-orders, which asks the primary first.
        let known: HashSet<&str> = known.iter().map(|request| request.order_id.as_str()).collect();
        let new: Vec<&Candidate> = orders
            .iter()
            .filter(|order| !known.contains(order.order_id.as_str()))
            .collect();
        if new.is_empty() || ctx.dry_run() {
            return Ok(new.len() as u64);
        }
        let mut step = ctx.step().await?;
        let (first_ms, due_ms) = (ctx.clock().now_ms(), ctx.slot().ms());
        requests::add(step.conn(), &new, reason, first_ms, due_ms)
            .await
            .map_err(stored("add requests"))?;
        step.commit().await?;
        Ok(new.len() as u64)
    }

    /// Deletes old closed requests in batches.
    async fn prune(&self, ctx: &JobContext) -> Result<u64, JobError> {
        let before_ms = ctx.slot().ms().saturating_sub(ms(self.settings.keep_closed));
        let mut pruned = 0;
        for _ in 0..PRUNE_BATCHES {
            ctx.check_cancelled()?;
            let mut step = ctx.step().await?;
            let count = requests::prune(step.conn(), before_ms, PRUNE_BATCH)
                .await
                .map_err(stored("delete old requests"))?;
            step.commit().await?;
            pruned += count;
            if count < PRUNE_BATCH.unsigned_abs() {
                break;
            }
        }
        Ok(pruned)
    }
}

fn candidate(order: &Swept) -> Candidate {
    Candidate {
        id: order.id,
        order_id: order.order_id.clone(),
        wallet: order.wallet.clone(),
        market: order.market.clone(),
        expire_at: order.expire_at,
    }
}
