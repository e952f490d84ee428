//! The messages on the topics, as the documents' producers write them. Decimals are strings.

use serde::{Deserialize, Serialize};

/// The names of the topics. Tests that share a broker use names of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// What the engine is asked; key: market.
    pub cancel_requests: String,
    /// What the engine did; key: order id.
    pub order_cancelled: String,
    /// What the trading service recorded; key: order id.
    pub order_updates: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self::prefixed("")
    }
}

impl Topics {
    /// Returns the documents' names behind `prefix`.
    #[must_use]
    pub fn prefixed(prefix: &str) -> Self {
        Self {
            cancel_requests: format!("{prefix}cancel-requests"),
            order_cancelled: format!("{prefix}order-cancelled"),
            order_updates: format!("{prefix}order-updates"),
        }
    }
}

/// A message on `cancel-requests`. Fields beyond these are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Which order.
    pub order_id: String,
    /// Its market.
    pub market: String,
    /// Its owner.
    pub wallet: String,
    /// When it was asked, epoch milliseconds.
    #[serde(default)]
    pub requested_at: i64,
    /// `EXPIRED` or `ZERO_QUANTITY`.
    #[serde(default)]
    pub reason: String,
    /// Grows within a market. `None`: the producer sets none.
    #[serde(default)]
    pub sequence: Option<u64>,
    /// One per order and attempt. Empty: the producer sets none, and every repetition is a new request.
    #[serde(default)]
    pub idempotency_id: String,
    /// Counts the attempts from 1. Zero: the producer does not count.
    #[serde(default)]
    pub attempt_epoch: u32,
}

/// A message on `order-cancelled`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// Which order.
    pub order_id: String,
    /// Its market.
    pub market: String,
    /// Its owner.
    pub wallet: String,
    /// Whether it was removed from its book.
    pub success: bool,
    /// `EXPIRED`, `ZERO_QUANTITY`, or why it was not removed.
    pub reason: String,
    /// What was not filled.
    pub remaining_size: String,
    /// When, in epoch nanoseconds.
    pub timestamp: i64,
    /// The engine's counter of results.
    pub sequence: u64,
}

/// A message on `order-updates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct OrderUpdate {
    /// Which order.
    pub order_id: String,
    /// Its owner.
    pub wallet: String,
    /// Its market.
    pub market: String,
    /// 1 buy, 2 sell.
    pub side: i16,
    /// 1 limit, 2 market.
    #[serde(rename = "type")]
    pub order_type: i16,
    /// `None`: a market order.
    pub price: Option<String>,
    /// What was ordered.
    pub amount: String,
    /// What was filled.
    pub filled_amount: String,
    /// For how much of the quote token.
    pub filled_quote: String,
    /// `EXPIRED`, `CANCELLED` or `FILLED`.
    pub status: String,
    /// The owner's own id.
    pub client_order_id: Option<String>,
    /// Why it was rejected.
    pub reject_reason: Option<String>,
    /// Epoch milliseconds.
    pub created_at: i64,
    /// Epoch milliseconds.
    pub updated_at: i64,
    /// When this was published, epoch milliseconds.
    pub timestamp: i64,
}
