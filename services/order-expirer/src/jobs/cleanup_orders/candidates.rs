//! Which orders are asked for next: requests that are due, then expired orders that have no request yet.

use std::collections::{HashMap, VecDeque};

use eidos_runtime::{JobContext, JobError};

use super::{CleanupOrders, CleanupReport};
use crate::domain::life::{Reading, Reason, State};
use crate::jobs::stored;
use crate::store::orders::{Candidate, Position};
use crate::store::requests::{self, Request};

/// Where the next scan begins. A scan that reached the end begins at the oldest expiry again, so that an order that
/// appeared behind it is found too.
const POSITION: &str = "scan-after";

/// The requests of one run, in the order in which they are sent.
pub(super) struct Candidates<'a> {
    job: &'a CleanupOrders,
    ctx: &'a JobContext,
    queue: VecDeque<Request>,
    due_left: bool,
    /// `None`: everything was looked at.
    scan_from: Option<Position>,
    /// Whether this run began behind the oldest expiry, and has not gone back to it.
    began_behind: bool,
    scanned: u32,
}

impl<'a> Candidates<'a> {
    pub(super) async fn new(job: &'a CleanupOrders, ctx: &'a JobContext) -> Result<Self, JobError> {
        let scan_from: Position = ctx.load_checkpoint(POSITION).await?.unwrap_or_default();
        Ok(Self {
            began_behind: scan_from != Position::default(),
            job,
            ctx,
            queue: VecDeque::new(),
            due_left: true,
            scan_from: Some(scan_from),
            scanned: 0,
        })
    }

    /// Returns at most `most` requests. Empty: there are no more in this run.
    pub(super) async fn next(
        &mut self,
        most: usize,
        report: &mut CleanupReport,
    ) -> Result<Vec<Request>, JobError> {
        while self.queue.is_empty() {
            self.ctx.check_cancelled()?;
            if self.due_left {
                self.due().await?;
            } else if !self.scan(report).await? {
                break;
            }
        }
        let count = most.min(self.queue.len());
        Ok(self.queue.drain(..count).collect())
    }

    /// Puts requests back, to be sent again first.
    pub(super) fn put_back(&mut self, requests: impl DoubleEndedIterator<Item = Request>) {
        for request in requests.rev() {
            self.queue.push_front(request);
        }
    }

    /// Reads the next requests that are due: sending one moves its time, so each is found once.
    async fn due(&mut self) -> Result<(), JobError> {
        let limit = i64::from(self.job.settings.page_orders);
        let due = requests::due(self.ctx.jobs_db().control(), self.ctx.slot().ms(), limit)
            .await
            .map_err(stored("read due requests"))?;
        self.due_left = !due.is_empty();
        self.queue.extend(due);
        Ok(())
    }

    /// Adds requests for the next page of expired orders. False: there is no further page in this run.
    async fn scan(&mut self, report: &mut CleanupReport) -> Result<bool, JobError> {
        let Some(from) = self.scan_from else {
            return Ok(false);
        };
        if self.scanned >= self.job.settings.scan_orders_per_run {
            report.cut_short = true;
            return Ok(false);
        }
        let limit = self.job.settings.page_orders;
        let page = self.job.expired(self.ctx, from, limit).await?;
        let last = page.last().map(|last| Position {
            at_ms: last.expire_at,
            id: last.id,
        });
        let next = last.filter(|_| page.len() >= limit as usize);
        self.scanned = self.scanned.saturating_add(limit);
        report.scanned += page.len() as u64;
        self.add(&page, next.unwrap_or_default(), report).await?;
        self.scan_from = match next {
            None if std::mem::take(&mut self.began_behind) => Some(Position::default()),
            None => {
                report.scanned_all = true;
                None
            }
            next => next,
        };
        Ok(true)
    }

    /// Commits requests for those of the page that have none, with the position behind it.
    async fn add(
        &mut self,
        page: &[Candidate],
        next: Position,
        report: &mut CleanupReport,
    ) -> Result<(), JobError> {
        let ids: Vec<&str> = page.iter().map(|order| order.order_id.as_str()).collect();
        let known = requests::known(self.ctx.jobs_db().control(), &ids)
            .await
            .map_err(stored("read known requests"))?;
        let reopened = self.still_open(&known).await?;
        let states: HashMap<&str, State> = known
            .iter()
            .map(|request| (request.order_id.as_str(), request.facts.state))
            .collect();
        let new: Vec<&Candidate> = page
            .iter()
            .filter(|order| !states.contains_key(order.order_id.as_str()))
            .collect();
        let mut step = self.ctx.step().await?;
        let now_ms = self.ctx.slot().ms();
        let first_ms = self.ctx.clock().now_ms();
        requests::add(step.conn(), &new, Reason::Expired, first_ms, now_ms)
            .await
            .map_err(stored("add requests"))?;
        for (order_id, expire_at) in &reopened {
            requests::reopen(step.conn(), order_id, *expire_at, now_ms)
                .await
                .map_err(stored("open requests again"))?;
            report.finding(
                format!("order {order_id} has a closed request, and its row is open and due"),
                self.job.settings.report_orders,
            );
        }
        step.save_checkpoint(POSITION, &next).await?;
        step.commit().await?;
        report.reopened += reopened.len() as u64;
        let mut added: Vec<&str> = new.iter().map(|order| order.order_id.as_str()).collect();
        added.extend(reopened.iter().map(|(id, _)| id.as_str()));
        let stored_now = requests::known(self.ctx.jobs_db().control(), &added)
            .await
            .map_err(stored("read known requests"))?;
        let mut by_id: HashMap<String, Request> = stored_now
            .into_iter()
            .map(|request| (request.order_id.clone(), request))
            .collect();
        // In the order of the page: the longest expired first.
        self.queue.extend(ids.iter().filter_map(|id| by_id.remove(*id)));
        Ok(())
    }

    /// Closed requests of orders that the scan found open: a replica may be behind, so the primary is asked.
    async fn still_open(&self, known: &[Request]) -> Result<Vec<(String, i64)>, JobError> {
        let closed: Vec<Request> = known
            .iter()
            .filter(|request| request.facts.state == State::Closed)
            .cloned()
            .collect();
        if closed.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.job.rows_of(&closed).await?;
        let cutoff_ms = self.job.cutoff_ms(self.ctx);
        let open = closed.iter().filter_map(|request| {
            let row = rows.get(&request.order_id)?;
            // The reason of now: a request that was closed as not due may be due again.
            let now = Request {
                reason: Reason::Expired,
                expire_at: row.expire_at,
                ..request.clone()
            };
            let is_due =
                self.job.reading(&now, Some(row), cutoff_ms) == Reading::Due && row.expire_at < cutoff_ms;
            is_due.then(|| (request.order_id.clone(), row.expire_at))
        });
        Ok(open.collect())
    }
}

impl CleanupOrders {
    async fn expired(
        &self,
        ctx: &JobContext,
        from: Position,
        limit: u32,
    ) -> Result<Vec<Candidate>, JobError> {
        self.orders
            .expired(&self.replica, self.cutoff_ms(ctx), from, i64::from(limit))
            .await
            .map_err(stored("read expired orders"))
    }
}

/// Counts what a run would ask for, and changes nothing.
pub(super) async fn preview(
    job: &CleanupOrders,
    ctx: &JobContext,
    report: &mut CleanupReport,
) -> Result<(), JobError> {
    let listed = job.settings.report_orders;
    let due = requests::due(
        ctx.jobs_db().read(),
        ctx.slot().ms(),
        i64::from(job.settings.page_orders),
    )
    .await
    .map_err(stored("read due requests"))?;
    for request in &due {
        report.asked_for(&request.order_id, &request.market, listed);
    }
    let mut from = Position::default();
    while report.scanned < u64::from(job.settings.scan_orders_per_run) {
        ctx.check_cancelled()?;
        let page = job.expired(ctx, from, job.settings.page_orders).await?;
        let Some(last) = page.last() else { break };
        from = Position {
            at_ms: last.expire_at,
            id: last.id,
        };
        report.scanned += page.len() as u64;
        let ids: Vec<&str> = page.iter().map(|order| order.order_id.as_str()).collect();
        let known = requests::known(ctx.jobs_db().read(), &ids)
            .await
            .map_err(stored("read known requests"))?;
        for order in page
            .iter()
            .filter(|order| known.iter().all(|request| request.order_id != order.order_id))
        {
            report.asked_for(&order.order_id, &order.market, listed);
        }
    }
    Ok(())
}
