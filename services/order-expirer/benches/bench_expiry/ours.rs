//! order-expirer as a process of its own that runs already, from the first request until every one is closed.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use eidos_testkit::{ChildProcess, Quantiles, cpu_seconds, peak_resident_mib, resident_mib};
use serde_json::{Value, json};

use crate::stage::Stage;

/// The longest time without a further end.
const STALLED: Duration = Duration::from_mins(3);
/// Orders before the measurement.
const WARM_UPS: u32 = 30;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How orders are asked for, and how their ends are noticed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    transport: &'static str,
    events: bool,
}

impl Way {
    pub(crate) const GRPC: Self = Self::new("grpc", "grpc", true);
    pub(crate) const KAFKA: Self = Self::new("kafka", "kafka", true);
    pub(crate) const ROWS: Self = Self::new("grpc_without_events", "grpc", false);

    const fn new(name: &'static str, transport: &'static str, events: bool) -> Self {
        Self {
            name,
            transport,
            events,
        }
    }
}

/// How much memory and time a process took.
#[derive(Debug, Default)]
struct Cost {
    cpu_s: f64,
    peak_mib: f64,
    /// In the middle of the work and at its end: whether memory grows with the orders.
    middle_mib: f64,
    end_mib: f64,
}

pub(crate) async fn measure(stage: &Stage, way: Way, orders: u32) -> anyhow::Result<Value> {
    stage.engine_listens().await?;
    let expirer = stage.expirer(way.transport, way.events)?;
    warm_up(stage, way, &expirer).await?;
    stage.orders(way.name, orders).await?;
    let cost = until_closed(stage, way.name, orders, &expirer).await?;
    expirer.terminate();
    expirer.wait_exit(Duration::from_secs(30)).await;
    let measured = read(stage, way, orders).await?;
    let wall_s = measured.wall_ms as f64 / 1_000.0;
    let rate = f64::from(orders) / wall_s;
    println!(
        "{:<22} {orders:>7} orders {wall_s:>7.2} s {rate:>8.0} orders/s   {}\n{:22} confirmed by events {}, asked twice {}; \
         {:.2} CPU-s, resident MiB: middle {:.0}, end {:.0}, peak {:.0}",
        way.name,
        measured.confirmation,
        "",
        measured.by_event,
        measured.asked_again,
        cost.cpu_s,
        cost.middle_mib,
        cost.end_mib,
        cost.peak_mib
    );
    Ok(json!({
        "orders": orders, "wall_s": wall_s, "orders_per_s": rate,
        "request_to_confirmation": measured.confirmation, "confirmed_by_event": measured.by_event,
        "asked_again": measured.asked_again, "cpu_s": cost.cpu_s, "resident_middle_mib": cost.middle_mib,
        "resident_end_mib": cost.end_mib, "peak_resident_mib": cost.peak_mib,
    }))
}

/// Ends single orders until the process hears of ends, which it does once it is in its consumer group.
async fn warm_up(stage: &Stage, way: Way, expirer: &ChildProcess) -> anyhow::Result<()> {
    for attempt in 0..WARM_UPS {
        let prefix = format!("warm-{}-{attempt}", way.name);
        stage.orders(&prefix, 1).await?;
        until_closed(stage, &prefix, 1, expirer).await?;
        let by_event: bool = sqlx::query_scalar(
            "SELECT confirmed_by = 'event' FROM eidos_jobs_order_expiries WHERE starts_with(order_id, $1)",
        )
        .bind(format!("{prefix}-"))
        .fetch_one(&stage.jobs)
        .await?;
        if by_event || !way.events {
            return Ok(());
        }
    }
    anyhow::bail!(
        "after {WARM_UPS} orders, none was confirmed by an event: {}",
        expirer.stderr()
    )
}

async fn until_closed(
    stage: &Stage,
    prefix: &str,
    orders: u32,
    expirer: &ChildProcess,
) -> anyhow::Result<Cost> {
    let ended = || format!("order-expirer ended: {} {}", expirer.stdout(), expirer.stderr());
    let (mut cost, mut seen, mut moved) = (Cost::default(), 0, Instant::now());
    loop {
        let closed: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM eidos_jobs_order_expiries WHERE state = 'closed' AND starts_with(order_id, $1)",
        )
        .bind(format!("{prefix}-"))
        .fetch_one(&stage.jobs)
        .await?;
        let now_mib = resident_mib(expirer.pid()).with_context(ended)?;
        if closed <= i64::from(orders) / 2 {
            cost.middle_mib = now_mib;
        }
        if closed >= i64::from(orders) {
            cost.end_mib = now_mib;
            cost.cpu_s = cpu_seconds(expirer.pid()).with_context(ended)?;
            cost.peak_mib = peak_resident_mib(expirer.pid()).with_context(ended)?;
            return Ok(cost);
        }
        if closed > seen {
            (seen, moved) = (closed, Instant::now());
        }
        ensure!(
            moved.elapsed() < STALLED,
            "{closed} of {orders} ended, and none for {STALLED:?}: {}",
            expirer.stderr()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What the table of requests says.
struct Measured {
    wall_ms: i64,
    confirmation: Quantiles,
    by_event: i64,
    asked_again: i64,
}

async fn read(stage: &Stage, way: Way, orders: u32) -> anyhow::Result<Measured> {
    let rows: Vec<(i64, i64, bool, i32, Option<String>)> = sqlx::query_as(
        "SELECT coalesce(requested_at, first_requested_at), closed_at, confirmed_by = 'event', attempt_epoch, outcome::text
         FROM eidos_jobs_order_expiries WHERE starts_with(order_id, $1)",
    )
    .bind(format!("{}-", way.name))
    .fetch_all(&stage.jobs)
    .await?;
    ensure!(
        rows.len() == orders as usize,
        "{} requests for {orders} orders",
        rows.len()
    );
    let wrong = rows.iter().find(|row| row.4.as_deref() != Some("expired"));
    ensure!(wrong.is_none(), "an order did not end as expired: {wrong:?}");
    let first = rows.iter().map(|row| row.0).min().context("no request")?;
    let last = rows.iter().map(|row| row.1).max().context("no request")?;
    let waits = rows
        .iter()
        .map(|row| Duration::from_millis(row.1.saturating_sub(row.0).max(0).unsigned_abs()));
    Ok(Measured {
        wall_ms: last - first,
        confirmation: Quantiles::of(waits.collect()),
        by_event: i64::try_from(rows.iter().filter(|row| row.2).count())?,
        asked_again: i64::try_from(rows.iter().filter(|row| row.3 > 1).count())?,
    })
}
