//! What became of the orders that were asked for: their rows are read on the primary, page by page.

use std::collections::HashMap;

use eidos_runtime::{JobContext, JobError};

use super::{CleanupOrders, CleanupReport};
use crate::domain::life::{Decision, Outcome, Reading, Reason, after_reading};
use crate::jobs::stored;
use crate::profile::Status;
use crate::store::orders::OrderRow;
use crate::store::requests::{self, Request, Unconfirmed};

/// The last order that was checked, where the time of a run ended before the last one.
const POSITION: &str = "confirm-after";

/// What is to be written about one page.
#[derive(Default)]
struct Page {
    ended: Vec<(String, Outcome)>,
    again: Vec<Unconfirmed>,
    given_up: Vec<Unconfirmed>,
}

/// Reads the orders of all open requests, within half of the run's time.
pub(super) async fn run(
    job: &CleanupOrders,
    ctx: &JobContext,
    report: &mut CleanupReport,
) -> Result<(), JobError> {
    let reserve = ctx.budget_left() / 2;
    let mut after: String = ctx.load_checkpoint(POSITION).await?.unwrap_or_default();
    let began_behind = !after.is_empty();
    loop {
        ctx.check_cancelled()?;
        let limit = i64::from(job.settings.page_orders);
        let open = requests::open(ctx.jobs_db().read(), &after, limit)
            .await
            .map_err(stored("read open requests"))?;
        let Some(last) = open.last() else { break };
        after.clone_from(&last.order_id);
        page(job, ctx, &open, report).await?;
        if ctx.budget_left() <= reserve {
            report.cut_short = true;
            return save(ctx, &after).await;
        }
    }
    if began_behind { save(ctx, "").await } else { Ok(()) }
}

async fn save(ctx: &JobContext, after: &str) -> Result<(), JobError> {
    let mut step = ctx.step().await?;
    step.save_checkpoint(POSITION, &after).await?;
    Ok(step.commit().await?)
}

async fn page(
    job: &CleanupOrders,
    ctx: &JobContext,
    open: &[Request],
    report: &mut CleanupReport,
) -> Result<(), JobError> {
    let rows = job.rows_of(open).await?;
    let (cutoff_ms, now_ms, rules) = (job.cutoff_ms(ctx), ctx.slot().ms(), job.settings.rules());
    let listed = job.settings.report_orders;
    let mut page = Page::default();
    for request in open {
        let row = rows.get(&request.order_id);
        if row.is_some_and(|row| job.codes.meaning(row.status) == Status::Unknown) {
            report.unknown_status += 1;
        }
        let order_id = request.order_id.clone();
        match after_reading(
            &request.facts,
            job.reading(request, row, cutoff_ms),
            now_ms,
            &rules,
        ) {
            Decision::Keep => {}
            Decision::Close(outcome) => page.ended.push((order_id, outcome)),
            Decision::NextEpoch { contradicted } => {
                page.again.push(Unconfirmed {
                    order_id,
                    epoch: request.epoch(),
                    contradicted,
                });
            }
            Decision::GiveUp { contradicted } => {
                report.finding(
                    format!("order {order_id} of {} is still open after {} requests under different ids; the last \
                             answer: {}", request.market, request.facts.epoch,
                        request.facts.verdict.map_or("none", |verdict| verdict.as_str())),
                    listed,
                );
                page.given_up.push(Unconfirmed {
                    order_id,
                    epoch: request.epoch(),
                    contradicted,
                });
            }
        }
    }
    report.checked += open.len() as u64;
    write(ctx, &page, &rows, report).await
}

async fn write(
    ctx: &JobContext,
    page: &Page,
    rows: &HashMap<String, OrderRow>,
    report: &mut CleanupReport,
) -> Result<(), JobError> {
    if page.ended.is_empty() && page.again.is_empty() && page.given_up.is_empty() {
        return Ok(());
    }
    let ended: Vec<(&str, Outcome)> = page
        .ended
        .iter()
        .map(|(id, outcome)| (id.as_str(), *outcome))
        .collect();
    let now_ms = ctx.slot().ms();
    let mut step = ctx.step().await?;
    let closed = requests::close(step.conn(), &ended, ctx.clock().now_ms(), "row")
        .await
        .map_err(stored("close requests"))?;
    requests::next_epoch(step.conn(), &page.again, now_ms)
        .await
        .map_err(stored("begin the next epoch of requests"))?;
    requests::give_up(step.conn(), &page.given_up)
        .await
        .map_err(stored("give requests up"))?;
    step.commit().await?;
    report.asked_again += page.again.len() as u64;
    report.given_up += page.given_up.len() as u64;
    let contradicted = page
        .again
        .iter()
        .chain(&page.given_up)
        .filter(|one| one.contradicted);
    report.contradictions += contradicted.count() as u64;
    for one in closed {
        let ended_at = rows.get(&one.order_id).map(|row| row.updated_at);
        if let Some(outcome) = one.count(ended_at) {
            *report.ended.entry(outcome.as_str()).or_default() += 1;
        }
    }
    Ok(())
}

impl CleanupOrders {
    /// The rows of these orders now, from the primary.
    pub(super) async fn rows_of(&self, requests: &[Request]) -> Result<HashMap<String, OrderRow>, JobError> {
        let ids: Vec<&str> = requests.iter().map(|request| request.order_id.as_str()).collect();
        let rows = self
            .orders
            .by_ids(&self.primary, &ids)
            .await
            .map_err(stored("read orders by id"))?;
        Ok(rows.into_iter().map(|row| (row.order_id.clone(), row)).collect())
    }

    /// What an order's row says about its request.
    pub(super) fn reading(&self, request: &Request, row: Option<&OrderRow>, cutoff_ms: i64) -> Reading {
        let Some(row) = row else {
            return Reading::Ended(Outcome::Missing);
        };
        match self.codes.meaning(row.status) {
            Status::Ended(outcome) => Reading::Ended(outcome),
            Status::Cancelling | Status::Unknown => Reading::Unsettled,
            Status::Live => {
                // A run for an earlier slot must not take an order for extended.
                let latest_ms = cutoff_ms.max(request.expire_at);
                let is_due = match request.reason {
                    Reason::Expired => row.expire_at > 0 && row.expire_at <= latest_ms,
                    Reason::ZeroQuantity => row.empty,
                };
                if is_due {
                    Reading::Due
                } else {
                    Reading::Ended(Outcome::NotDue)
                }
            }
        }
    }
}
