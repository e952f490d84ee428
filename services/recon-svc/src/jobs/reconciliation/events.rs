//! The events of this job: breaks that were opened, pauses that were set or lifted. They are recorded in the transaction
//! that makes them true; the workers of [`crate::workers`] deliver them.

use chrono::{DateTime, Utc};
use eidos_bus::{BREAKS, EventId, OPERATION_PAUSES};
use eidos_core::outbox::OutboxEvent;
use eidos_types::{BreakId, Clock};
use serde_json::json;

use super::movements::MovementBreak;
use super::report::BreakReport;
use crate::store::pauses::PauseRow;

/// The name of this service in events.
pub const SOURCE: &str = "recon-svc";

/// A break was opened; the event has the break's identity.
#[must_use]
pub fn break_opened(report: &BreakReport, at: DateTime<Utc>, id: BreakId) -> OutboxEvent {
    let key = report
        .wallet
        .map_or_else(|| report.token.clone(), |wallet| wallet.to_string());
    OutboxEvent {
        event_id: id.as_uuid(),
        source: SOURCE.to_owned(),
        topic: BREAKS.as_str().to_owned(),
        kind: "break.opened".to_owned(),
        key,
        occurred_at: at,
        payload: json!(report),
    }
}

/// A break of a movement was opened.
#[must_use]
pub fn movement_break_opened(report: &MovementBreak, at: DateTime<Utc>, id: BreakId) -> OutboxEvent {
    let key = report
        .wallet
        .map_or_else(|| report.token.clone(), |wallet| wallet.to_string());
    OutboxEvent {
        event_id: id.as_uuid(),
        source: SOURCE.to_owned(),
        topic: BREAKS.as_str().to_owned(),
        kind: "break.opened".to_owned(),
        key,
        occurred_at: at,
        payload: json!(report),
    }
}

/// An operation was paused or, if `lifted`, its pause was lifted.
#[must_use]
pub fn pause(pause: &PauseRow, lifted: bool, clock: &dyn Clock) -> OutboxEvent {
    let kind = if lifted {
        "operation.resumed"
    } else {
        "operation.paused"
    };
    OutboxEvent {
        event_id: EventId::new(clock).as_uuid(),
        source: SOURCE.to_owned(),
        topic: OPERATION_PAUSES.as_str().to_owned(),
        kind: kind.to_owned(),
        key: format!("{}:{}", pause.operation, pause.token),
        occurred_at: clock.now(),
        payload: json!(pause),
    }
}
