//! `quickstart --all`: order-expirer over orders of every kind, and what the oracle says about each of them afterwards.

use std::time::Duration;

use anyhow::{Context, ensure};
use redis::AsyncCommands as _;
use serde_json::Value;
use sqlx::PgPool;

use super::all::{Stage, slot};
use super::beside::Beside;
use super::say;
use super::whereabouts::Check;
use crate::orders::{self, Expected, Finding, OrdersOptions};

/// About ten times as many orders.
const SCALE: u32 = 60;
/// Runs after the first: each confirms what was answered before.
const RUNS: usize = 10;
/// Between two runs; a request is looked at again a second after it.
const PAUSE: Duration = Duration::from_secs(1);
const CACHE_KEY: &str = "eidos:trading:order";

impl Beside {
    /// Fills orders, has them expired, and compares the tables with the oracle.
    pub(super) async fn expire(&self, stage: &mut Stage) -> anyhow::Result<Vec<Check>> {
        let options = OrdersOptions::some(crate::devnet::now_ms(), SCALE);
        let (expected, cached) = self.fill_orders(&options).await?;
        say(&format!(
            "\nFilled {} orders: {} must expire, {} must leave their book, {} must stay as they are",
            expected.expires + expected.ends + expected.stays,
            expected.expires,
            expected.ends,
            expected.stays
        ));
        self.run_expirer(stage).await?;
        let comparison = orders::verdict(&self.orders).await?;
        ensure!(
            comparison.findings.iter().all(|finding| finding.checked > 0),
            "an invariant looked at nothing"
        );
        let mut checks: Vec<Check> = comparison
            .findings
            .into_iter()
            .map(|finding| Check::of("orders", finding))
            .collect();
        checks.push(self.asked(stage).await?);
        checks.push(self.unlinked(&cached).await?);
        checks.push(swept(stage, options.cancelling).await?);
        Ok(checks)
    }

    /// Fills orders, has the engine load them, and caches each. Returns what must happen to them, and their ids.
    pub(super) async fn fill_orders(
        &self,
        options: &OrdersOptions,
    ) -> anyhow::Result<(Expected, Vec<String>)> {
        let expected = orders::fill(&self.orders, 7, options).await?;
        // It had loaded its books before there were these orders.
        self.engine.restart().await?;
        Ok((expected, self.cache_all().await?))
    }

    /// Runs `cleanup-orders`; `expiry-sweep`, which finds orders without quantity; `cleanup-orders` until every order and every
    /// request has ended; and a sweep over the result.
    pub(super) async fn run_expirer(&self, stage: &mut Stage) -> anyhow::Result<()> {
        self.run_job(stage, "cleanup-orders").await?;
        self.run_job(stage, "expiry-sweep").await?;
        for _run in 0..RUNS {
            tokio::time::sleep(PAUSE).await;
            self.run_job(stage, "cleanup-orders").await?;
            if orders::still_open(&self.orders).await? == 0 && open_requests(&stage.jobs).await? == 0 {
                break;
            }
        }
        // If something did not end, the checks say what.
        self.run_job(stage, "expiry-sweep").await
    }

    async fn run_job(&self, stage: &mut Stage, job: &str) -> anyhow::Result<()> {
        let slot = slot(crate::devnet::now_ms())?;
        let args = ["run", job, "--slot", &slot];
        stage.run(&self.expirer, job, &args, true).await
    }

    /// A cache key of every order, as the trading service keeps it.
    async fn cache_all(&self) -> anyhow::Result<Vec<String>> {
        let ids: Vec<String> =
            sqlx::query_scalar("SELECT order_id::text FROM eidos_trading_orders ORDER BY 1")
                .fetch_all(&self.orders)
                .await?;
        let keys: Vec<(String, &str)> = ids.iter().map(|id| (format!("{CACHE_KEY}:{id}"), "{}")).collect();
        self.cache().await?.mset::<_, _, ()>(&keys).await?;
        Ok(ids)
    }

    async fn cache(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.redis.as_str())?;
        client.get_multiplexed_async_connection().await.context("Redis")
    }

    /// The cache keys of orders that were cancelled long ago are gone, and no others.
    async fn unlinked(&self, cached: &[String]) -> anyhow::Result<Check> {
        let keys: Vec<String> = cached.iter().map(|id| format!("{CACHE_KEY}:{id}")).collect();
        let values: Vec<Option<String>> = self.cache().await?.mget(&keys).await?;
        let (mut gone, mut wrong) = (0, Vec::new());
        for (id, value) in cached.iter().zip(values) {
            let is_old = id.starts_with("o-cancelled-");
            gone += u64::from(value.is_none());
            if is_old == value.is_some() {
                wrong.push(id.as_str());
            }
        }
        Ok(Check {
            about: "cache: the keys of orders cancelled a day ago are unlinked, and no others".to_owned(),
            what: format!("wrong for {}", wrong.join(", ")),
            found: format!("{gone} of {} unlinked", cached.len()),
            holds: wrong.is_empty() && gone > 0,
        })
    }

    /// Every order that had to leave its book was asked for and its request was closed, and no other order was asked for.
    async fn asked(&self, stage: &Stage) -> anyhow::Result<Check> {
        let wanted: Vec<String> = sqlx::query_scalar(
            "SELECT order_id FROM oracle.orders WHERE fate <> 'stays' ORDER BY order_id COLLATE \"C\"",
        )
        .fetch_all(&self.orders)
        .await?;
        let closed: Vec<String> = sqlx::query_scalar(
            "SELECT order_id::text FROM eidos_jobs_order_expiries WHERE state = 'closed' ORDER BY order_id COLLATE \"C\"",
        )
        .fetch_all(&stage.jobs)
        .await?;
        let all: i64 = sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_order_expiries")
            .fetch_one(&stage.jobs)
            .await?;
        let holds = wanted == closed && usize::try_from(all)? == closed.len();
        Ok(Check {
            about:
                "requests: exactly the orders that had to leave were asked for, and each request is closed"
                    .to_owned(),
            what: format!("{} had to be asked for", wanted.len()),
            found: format!("{all} requests, {} closed", closed.len()),
            holds,
        })
    }
}

/// Requests whose orders have not ended.
pub(super) async fn open_requests(jobs: &PgPool) -> anyhow::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_order_expiries WHERE state <> 'closed'")
        .fetch_one(jobs)
        .await
        .context("counting open requests")
}

/// The sweep found what cannot be ended by us, and nothing else.
async fn swept(stage: &Stage, cancelling: u32) -> anyhow::Result<Check> {
    let report: Value = sqlx::query_scalar(
        "SELECT result FROM eidos_jobs_executions WHERE job_name = 'expiry-sweep' ORDER BY started_at DESC, id DESC LIMIT 1",
    )
    .fetch_one(&stage.jobs)
    .await?;
    let count = |key: &str| report[key].as_u64();
    Ok(Check {
        about: "sweep: no order is overdue, and the orders that are stuck in cancelling are reported"
            .to_owned(),
        what: format!("{cancelling} are stuck in cancelling: {report}"),
        found: format!(
            "{} overdue, {} in cancelling for too long",
            count("overdue").unwrap_or_default(),
            count("cancelling_stuck").unwrap_or_default()
        ),
        holds: count("overdue") == Some(0)
            && count("overlooked") == Some(0)
            && count("cancelling_stuck") == Some(u64::from(cancelling))
            && report["complete"] == true,
    })
}

impl Check {
    /// An invariant that was looked at in the tables.
    pub(super) fn of(subject: &str, finding: Finding) -> Self {
        Self {
            about: format!("{subject}: {}", finding.invariant),
            what: finding.example.unwrap_or_default(),
            found: format!("{} checked, {} violations", finding.checked, finding.violations),
            holds: finding.checked > 0 && finding.violations == 0,
        }
    }
}
