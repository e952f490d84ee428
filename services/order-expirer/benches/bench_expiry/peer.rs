//! The usual way: one call for each order, and then its row, again and again until it ended. The protocol has no unary call, so
//! a call is a stream of one batch of one order, on a connection that stays open.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use eidos_proto::matching::v1::matching_service_client::MatchingServiceClient;
use eidos_proto::matching::v1::{ExpireOrder, ExpireOrdersRequest, Outcome, RemovalReason};
use eidos_testkit::Quantiles;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use sqlx::PgPool;
use tonic::transport::{Channel, Endpoint};

use crate::stage::Stage;

/// The longest wait for one order's end.
const ENDED_WITHIN: Duration = Duration::from_mins(1);
/// The pause before a row is read again.
const READ_EVERY: Duration = Duration::from_millis(5);
/// The status of an expired order.
const EXPIRED: i16 = 5;

#[derive(Debug, sqlx::FromRow)]
struct Due {
    order_id: String,
    wallet: String,
    market: String,
    expire_at: i64,
}

/// Ends `count` orders, `at_once` at the same time.
pub(crate) async fn measure(stage: &Stage, count: u32, at_once: usize) -> anyhow::Result<Value> {
    stage.engine_listens().await?;
    let prefix = format!("peer{at_once}");
    stage.orders(&prefix, count).await?;
    let orders: Vec<Due> = sqlx::query_as(
        "SELECT order_id, wallet, market, expire_at FROM eidos_trading_orders
         WHERE starts_with(order_id, $1) AND status IN (0, 1, 2) ORDER BY expire_at, id",
    )
    .bind(format!("{prefix}-"))
    .fetch_all(&stage.exchange)
    .await?;
    ensure!(
        orders.len() == count as usize,
        "{} of {count} orders are open",
        orders.len()
    );
    let channel = Endpoint::from_shared(stage.engine_url())?.connect().await?;
    let begun = Instant::now();
    let waits: Vec<Duration> = futures::stream::iter(orders)
        .map(|order| end(channel.clone(), stage.exchange.clone(), order))
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    let wall_s = begun.elapsed().as_secs_f64();
    let (rate, confirmation) = (f64::from(count) / wall_s, Quantiles::of(waits));
    println!(
        "{:<22} {count:>7} orders {wall_s:>7.2} s {rate:>8.0} orders/s   {confirmation}",
        format!("one call each, {at_once} at once")
    );
    Ok(json!({
        "orders": count, "at_once": at_once, "wall_s": wall_s, "orders_per_s": rate,
        "request_to_confirmation": confirmation,
    }))
}

/// Ends one order, and returns how long that took.
async fn end(channel: Channel, exchange: PgPool, order: Due) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let request = ExpireOrdersRequest {
        orders: vec![ExpireOrder {
            idempotency_id: format!("{}:1", order.order_id),
            order_id: order.order_id.clone(),
            market: order.market,
            wallet: order.wallet,
            expire_at: order.expire_at,
            attempt_epoch: 1,
            reason: RemovalReason::Expired.into(),
        }],
    };
    let mut client = MatchingServiceClient::new(channel);
    let mut stream = client
        .expire_orders(tokio_stream::once(request))
        .await?
        .into_inner();
    let verdict = loop {
        let response = stream.message().await?.context("the engine did not answer")?;
        if let Some(verdict) = response.verdicts.into_iter().next() {
            break verdict;
        }
    };
    ensure!(
        verdict.outcome() == Outcome::Removed,
        "{}: {:?} {}",
        order.order_id,
        verdict.outcome(),
        verdict.reason
    );
    loop {
        let status: i16 = sqlx::query_scalar("SELECT status FROM eidos_trading_orders WHERE order_id = $1")
            .bind(&order.order_id)
            .fetch_one(&exchange)
            .await?;
        if status == EXPIRED {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > ENDED_WITHIN {
            bail!("{} is in status {status} after {ENDED_WITHIN:?}", order.order_id);
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}
