//! What the engine and the trading service say about orders on `order-cancelled` and `order-updates`. The documents have the
//! first topic in two forms; both are read.

use eidos_bus::Received;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::printable;
use crate::domain::life::Verdict;

/// The longest order id that our table takes.
const LONGEST_ID: usize = 64;

/// What a message says about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The order.
    pub order_id: String,
    /// What.
    pub what: What,
}

/// What can be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The engine: what became of a request to remove the order. It names no attempt.
    Answer {
        /// As over gRPC.
        verdict: Verdict,
        /// For people; may be empty.
        reason: String,
    },
    /// The trading service: it recorded the order's end.
    Ended,
    /// Something that concerns no end.
    Other,
}

/// A message on `order-cancelled`: `success` and `reason` of the engine, or `result` of the trading service's documents.
#[derive(Debug, Deserialize)]
struct OrderCancelled {
    order_id: String,
    success: Option<bool>,
    result: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

/// A message on `order-updates`.
#[derive(Debug, Deserialize)]
struct OrderUpdate {
    order_id: String,
    status: String,
}

/// Reads a message on `order-cancelled`.
///
/// # Errors
/// Why it can never be read.
pub fn removal(message: &Received) -> Result<Said, String> {
    let event: OrderCancelled = json(message)?;
    let reason = event.reason.unwrap_or_default();
    let verdict = match (event.success, event.result.as_deref()) {
        (Some(true), _) | (None, Some("success")) => Verdict::Removed,
        (None, Some("not_found")) => Verdict::NotFound,
        (None, Some("already_cancelled")) => Verdict::AlreadyTerminal,
        (Some(false), _) if reason == "ORDER_NOT_FOUND" => Verdict::NotFound,
        (Some(false), _) => Verdict::Refused,
        (None, Some(other)) => return Err(format!("result is '{}', which has no meaning", printable(other))),
        (None, None) => return Err("it has neither success nor result".to_owned()),
    };
    let what = What::Answer {
        verdict,
        reason: printable(&reason),
    };
    said(event.order_id, what)
}

/// Reads a message on `order-updates`.
///
/// # Errors
/// Why it can never be read.
pub fn update(message: &Received) -> Result<Said, String> {
    let event: OrderUpdate = json(message)?;
    let what = match event.status.as_str() {
        "EXPIRED" | "CANCELLED" | "FILLED" | "REJECTED" => What::Ended,
        _ => What::Other,
    };
    said(event.order_id, what)
}

fn json<T: DeserializeOwned>(message: &Received) -> Result<T, String> {
    message.json().map_err(|error| error.to_string())
}

fn said(order_id: String, what: What) -> Result<Said, String> {
    let is_usable =
        (1..=LONGEST_ID).contains(&order_id.chars().count()) && !order_id.chars().any(char::is_control);
    if is_usable {
        Ok(Said { order_id, what })
    } else {
        Err(format!(
            "order_id is '{}', which is not the id of an order: 1 to {LONGEST_ID} printable characters",
            printable(&order_id)
        ))
    }
}
