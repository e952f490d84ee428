//! The trading service: records what the engine removed, gives back what was frozen, once, and says so.

use anyhow::Context;
use eidos_types::SharedClock;
use sqlx::PgPool;

use super::messages::{OrderCancelled, OrderUpdate};

/// `$1` order ids, `$2` reasons, `$3` now. One statement is one transaction: an order that is not open any more changes
/// nothing, so a repeated event frees nothing.
const RECORD: &str = "
    WITH event AS (
             SELECT DISTINCT ON (order_id) order_id, reason FROM unnest($1::text[], $2::text[]) AS e (order_id, reason)),
         changed AS (
             UPDATE eidos_trading_orders o
             SET status = CASE WHEN event.reason = 'EXPIRED' THEN 5 WHEN o.filled_amount >= o.amount THEN 3 ELSE 4 END,
                 updated_at = $3, updated_by = 'trading-service'
             FROM event WHERE o.order_id = event.order_id AND o.status IN (0, 1, 2, 7)
             RETURNING o.order_id, o.wallet, o.freeze_token AS token, o.freeze_amount AS amount),
         freed AS (
             SELECT wallet, token, sum(amount) AS amount FROM changed WHERE amount > 0 GROUP BY wallet, token),
         balance AS (
             UPDATE eidos_trading_balances b
             SET settled_available = b.settled_available + freed.amount, settled_frozen = b.settled_frozen - freed.amount,
                 version = b.version + 1, updated_at = $3
             FROM freed WHERE b.wallet = freed.wallet AND b.token = freed.token)
    INSERT INTO eidos_trading_balance_logs (wallet, token, type, amount, order_id, remark, created_at)
    SELECT wallet, token, 4, amount, order_id, 'order left the book', $3 FROM changed WHERE amount > 0";

/// The updates for `$1`, whoever ended them: a repeated event repeats its update, in case the first was lost.
const UPDATES: &str = "
    SELECT order_id, wallet, market, side, order_type, price::text, amount::text, filled_amount::text, filled_quote::text,
           CASE status WHEN 3 THEN 'FILLED' WHEN 4 THEN 'CANCELLED' WHEN 5 THEN 'EXPIRED' ELSE 'REJECTED' END AS status,
           client_order_id, reject_reason, created_at, updated_at, $2::bigint AS timestamp
    FROM eidos_trading_orders WHERE order_id = ANY($1) AND status IN (3, 4, 5, 6) ORDER BY order_id";

/// The trading service's half of the flow.
#[derive(Debug, Clone)]
pub(super) struct Trading {
    pool: PgPool,
    clock: SharedClock,
}

impl Trading {
    pub(super) const fn new(pool: PgPool, clock: SharedClock) -> Self {
        Self { pool, clock }
    }

    /// Applies events and returns what is to be published.
    pub(super) async fn apply(&self, events: &[OrderCancelled]) -> anyhow::Result<Vec<OrderUpdate>> {
        let removed = events.iter().filter(|event| event.success);
        let (order_ids, reasons): (Vec<&str>, Vec<&str>) = removed
            .map(|event| (event.order_id.as_str(), event.reason.as_str()))
            .unzip();
        if order_ids.is_empty() {
            return Ok(Vec::new());
        }
        let now_ms = self.clock.now_ms();
        sqlx::query(RECORD)
            .bind(&order_ids)
            .bind(reasons)
            .bind(now_ms)
            .execute(&self.pool)
            .await
            .context("recording removed orders")?;
        sqlx::query_as(UPDATES)
            .bind(order_ids)
            .bind(now_ms)
            .fetch_all(&self.pool)
            .await
            .context("reading recorded orders")
    }
}
