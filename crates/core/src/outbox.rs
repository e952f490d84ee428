//! Events for other systems, written with the facts they report and delivered at least once.
//!
//! ```text
//! transaction of the fact ── record ──▶ eidos_jobs_outbox
//!                                           │ route: one delivery for each destination that takes the topic
//!                                           ▼
//!                              eidos_jobs_outbox_deliveries ── claim ▸ deliver ▸ record the outcome
//! ```
//!
//! Guarantees:
//!
//! * An event exists exactly if its transaction committed, and keeps its id however often it is sent.
//! * Every destination receives every event of its topics at least once, or the delivery becomes `dead` after
//!   [`GIVE_UP_AFTER`] and stays visible until a person decides about it.
//! * Destinations are independent: each has its own claims and its own back-off.
//! * Within a destination, events of one topic and key are sent in the order in which they were recorded. An event that
//!   was given up does not hold back the later ones of its key.
//!
//! A crash at any point repeats a delivery and loses none: a claim is a time limit in the row, not a lock. A process that
//! is stopped for longer than its claim may send an event once more after a later event of the same key; the id tells.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::call;
use crate::{CoreError, sql};

mod backoff;
mod delivery;

pub use delivery::{Backlog, DeliveryError, Destination, Outbox};

/// A delivery that has failed for this long becomes `dead`. Kafka consumers can reread the topics for as long.
pub const GIVE_UP_AFTER: Duration = Duration::from_hours(7 * 24);
/// Events that every destination has received are deleted after this time.
pub const KEEP_DELIVERED: Duration = Duration::from_hours(7 * 24);

/// An event: what is recorded, and what a destination receives.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct OutboxEvent {
    /// Identifies the fact. Consumers use it to ignore repetitions.
    pub event_id: Uuid,
    /// The service that records and delivers it, such as `recon-svc`.
    pub source: String,
    /// Where it belongs, such as `eidos-jobs-breaks`; at most 249 characters.
    pub topic: String,
    /// What happened, such as `break.opened`; at most 100 characters.
    pub kind: String,
    /// Events of one topic and key keep their order; at most 200 characters.
    pub key: String,
    /// When the fact became true.
    pub occurred_at: DateTime<Utc>,
    /// The fact.
    pub payload: Value,
}

/// Writes an event in the caller's transaction: of a [`crate::fence::Step`] through its `conn`, or of an API call. An
/// event whose id is recorded already is left as it is.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn record(conn: &mut PgConnection, event: &OutboxEvent) -> Result<(), CoreError> {
    call(
        "record an event",
        sqlx::query(sql::RECORD_EVENT)
            .bind(event.event_id)
            .bind(&event.source)
            .bind(&event.topic)
            .bind(&event.kind)
            .bind(&event.key)
            .bind(event.occurred_at)
            .bind(&event.payload)
            .execute(conn),
    )
    .await?;
    Ok(())
}
