//! Metrics of the expiry of orders.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{as_gauge, unix_seconds};

/// `expired_orders_overdue`: orders that were still open long after they expired.
pub fn expired_orders_overdue(count: u64) {
    metrics::gauge!("expired_orders_overdue").set(as_gauge(count));
}

/// `expired_orders_overlooked`: overdue orders that no request had been made for.
pub fn expired_orders_overlooked(count: u64) {
    metrics::gauge!("expired_orders_overlooked").set(as_gauge(count));
}

/// `expiry_sweep_completed_timestamp`: unix time of the slot of the newest complete sweep; `None`: none yet.
pub fn expiry_sweep_completed(at: Option<DateTime<Utc>>) {
    metrics::gauge!("expiry_sweep_completed_timestamp").set(at.map_or(0.0, unix_seconds));
}

/// `expiry_verdicts_total`: requests to remove an order, by answer.
pub fn expiry_verdicts(verdict: &'static str, count: u64) {
    metrics::counter!("expiry_verdicts_total", "verdict" => verdict).increment(count);
}

/// `expiry_outcomes_total`: orders whose end was confirmed, by how they ended.
pub fn expiry_outcomes(outcome: &'static str, count: u64) {
    metrics::counter!("expiry_outcomes_total", "outcome" => outcome).increment(count);
}

/// `expiry_events_total`: messages about the end of orders, by kind and by what they did.
pub fn expiry_events(event: &'static str, effect: &'static str, count: u64) {
    metrics::counter!("expiry_events_total", "event" => event, "effect" => effect).increment(count);
}

/// `expiry_confirmation_lag_seconds`: time from the expiry of an order to the change of its row.
pub fn expiry_confirmation_lag(lag: Duration) {
    metrics::histogram!("expiry_confirmation_lag_seconds").record(lag);
}

/// The counters and the histogram of the expiry at zero: a series that first appears with its first event shows no increase.
pub fn expiry_from_zero(verdicts: &[&'static str], outcomes: &[&'static str]) {
    for verdict in verdicts {
        expiry_verdicts(verdict, 0);
    }
    for outcome in outcomes {
        expiry_outcomes(outcome, 0);
    }
    expiry_cache_keys_unlinked(0);
    let _empty = metrics::histogram!("expiry_confirmation_lag_seconds");
}

/// `expiry_requests_open`: orders that were asked for and have not ended, by state.
pub fn expiry_requests_open(state: &'static str, count: u64) {
    metrics::gauge!("expiry_requests_open", "state" => state).set(as_gauge(count));
}

/// `expiry_oldest_open_seconds`: time since the first request for the order that has waited longest.
pub fn expiry_oldest_open(age: Duration) {
    metrics::gauge!("expiry_oldest_open_seconds").set(age.as_secs_f64());
}

/// `expiry_contradictions`: orders that the engine says it does not have while their rows are open.
pub fn expiry_contradictions(count: u64) {
    metrics::gauge!("expiry_contradictions").set(as_gauge(count));
}

/// `orders_cancelling_stuck`: orders in status cancelling for too long.
pub fn orders_cancelling_stuck(count: u64) {
    metrics::gauge!("orders_cancelling_stuck").set(as_gauge(count));
}

/// `expiry_cache_keys_unlinked_total`: Redis keys of old cancelled orders that were unlinked.
pub fn expiry_cache_keys_unlinked(count: u64) {
    metrics::counter!("expiry_cache_keys_unlinked_total").increment(count);
}
