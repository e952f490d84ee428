//! [`Outbox`]: routes recorded events to destinations and delivers them.

use std::sync::Arc;
use std::time::Duration;

use eidos_telemetry::metric;
use futures::future::{BoxFuture, join_all};
use sqlx::postgres::PgRow;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{GIVE_UP_AFTER, KEEP_DELIVERED, OutboxEvent, backoff};
use crate::db::JobsDb;
use crate::error::{call, column};
use crate::{CoreError, sql};

/// Most events routed in one transaction.
const ROUTE_BATCH: i64 = 500;
/// Most events of a destination that are under way at once in one process.
const CLAIM_BATCH: i64 = 16;
/// Most events deleted in one statement.
const PRUNE_BATCH: i64 = 500;
/// How long a claim lasts beyond the longest attempt: time to record the outcome.
const CLAIM_SLACK: Duration = Duration::from_secs(10);
/// Longer error texts are cut, in characters.
const MAX_ERROR: usize = 500;

/// Why a destination did not take an event: a sentence without credentials.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct DeliveryError(pub String);

/// Somewhere events are sent.
pub trait Destination: Send + Sync + 'static {
    /// Identifies it in the table, in metrics and in logs: stable across restarts, without credentials, at most 200
    /// characters.
    fn name(&self) -> &str;

    /// The only topic it takes. `None`: every topic.
    fn topic(&self) -> Option<&str>;

    /// The longest time one attempt may take; it is cut off then.
    fn attempt_limit(&self) -> Duration;

    /// Sends one event. It may have arrived although an error is returned.
    fn deliver<'a>(&'a self, event: &'a OutboxEvent) -> BoxFuture<'a, Result<(), DeliveryError>>;
}

/// The events of one service and where they go. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    db: JobsDb,
    source: &'static str,
    destinations: Arc<[Arc<dyn Destination>]>,
    routed: Arc<Notify>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.destinations.iter().map(|one| one.name()).collect();
        f.debug_struct("Outbox")
            .field("source", &self.source)
            .field("destinations", &names)
            .finish_non_exhaustive()
    }
}

/// What is not delivered to a destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Backlog {
    /// The destination's name.
    pub destination: String,
    /// Events that wait for an attempt.
    pub pending: u64,
    /// Age of the oldest of them; zero if there is none.
    pub oldest_pending: Duration,
    /// Events that were given up.
    pub dead: u64,
}

/// An event under way, with the number of the attempt, which is also the right to record its outcome.
struct Claimed {
    seq: i64,
    attempts: i32,
    event: OutboxEvent,
}

impl Outbox {
    /// The outbox of the service `source`. Its series exist at zero from here on.
    #[must_use]
    pub fn new(db: JobsDb, source: &'static str, destinations: Vec<Arc<dyn Destination>>) -> Self {
        for destination in &destinations {
            metric::outbox_from_zero(destination.name());
        }
        Self {
            db,
            source,
            destinations: destinations.into(),
            routed: Arc::new(Notify::new()),
        }
    }

    /// Where events go.
    #[must_use]
    pub fn destinations(&self) -> &[Arc<dyn Destination>] {
        &self.destinations
    }

    /// Waits until this process has routed events, or until `longest` has passed.
    pub async fn routed(&self, longest: Duration) {
        let _in_time = timeout(longest, self.routed.notified()).await;
    }

    /// Creates the deliveries of events that have none yet, batch after batch. Returns at once where another replica is
    /// doing so.
    ///
    /// # Errors
    /// [`CoreError::Sql`], [`CoreError::TimedOut`]; what was routed before stays.
    pub async fn route(&self) -> Result<(), CoreError> {
        while self.has_unrouted().await? && self.route_batch().await? {
            self.routed.notify_waiters();
        }
        Ok(())
    }

    async fn has_unrouted(&self) -> Result<bool, CoreError> {
        let question = sqlx::query_scalar(sql::OUTBOX_HAS_UNROUTED).bind(self.source);
        call("look for unrouted events", question.fetch_one(self.db.control())).await
    }

    /// Returns whether it routed any.
    async fn route_batch(&self) -> Result<bool, CoreError> {
        let mut tx = call("begin routing events", self.db.control().begin()).await?;
        let lock = sqlx::query_scalar(sql::LOCK_OUTBOX_ROUTING).bind(self.source);
        let locked: bool = call("lock the routing of events", lock.fetch_one(&mut *tx)).await?;
        if !locked {
            return Ok(false);
        }
        let names: Vec<&str> = self.destinations.iter().map(|one| one.name()).collect();
        let topics: Vec<Option<&str>> = self.destinations.iter().map(|one| one.topic()).collect();
        let routing = sqlx::query(sql::ROUTE_EVENTS)
            .bind(self.source)
            .bind(ROUTE_BATCH)
            .bind(names)
            .bind(topics);
        let routed = call("route events", routing.execute(&mut *tx)).await?;
        call("commit routed events", tx.commit()).await?;
        Ok(routed.rows_affected() > 0)
    }

    /// Claims the events that are due at this destination, sends them, and records what became of each. Returns how many
    /// were claimed; zero: nothing is due.
    ///
    /// # Errors
    /// [`CoreError::Sql`], [`CoreError::TimedOut`]. What was sent but could not be recorded is sent again.
    pub async fn deliver(&self, destination: &dyn Destination) -> Result<usize, CoreError> {
        let claimed = self.claim(destination).await?;
        let sending = claimed.iter().map(|one| attempt(destination, one));
        let (mut sent, mut failed) = (Vec::new(), Vec::new());
        for (one, outcome) in claimed.iter().zip(join_all(sending).await) {
            match outcome {
                Ok(()) => sent.push(one),
                Err(error) => failed.push((one, error)),
            }
        }
        self.record_delivered(destination.name(), &sent).await?;
        self.record_failed(destination.name(), &failed).await?;
        Ok(claimed.len())
    }

    async fn claim(&self, destination: &dyn Destination) -> Result<Vec<Claimed>, CoreError> {
        let lasts = destination.attempt_limit() + CLAIM_SLACK;
        let claiming = sqlx::query(sql::CLAIM_DELIVERIES)
            .bind(self.source)
            .bind(destination.name())
            .bind(CLAIM_BATCH)
            .bind(lasts.as_secs_f64());
        let rows = call("claim deliveries", claiming.fetch_all(self.db.control())).await?;
        rows.iter().map(claimed).collect()
    }

    async fn record_delivered(&self, destination: &str, sent: &[&Claimed]) -> Result<(), CoreError> {
        if sent.is_empty() {
            return Ok(());
        }
        let seqs: Vec<i64> = sent.iter().map(|one| one.seq).collect();
        let attempts: Vec<i32> = sent.iter().map(|one| one.attempts).collect();
        let recording = sqlx::query(sql::RECORD_DELIVERED)
            .bind(destination)
            .bind(seqs)
            .bind(attempts);
        call("record deliveries", recording.execute(self.db.control())).await?;
        metric::outbox_deliveries(destination, "delivered", sent.len() as u64);
        Ok(())
    }

    async fn record_failed(
        &self,
        destination: &str,
        failed: &[(&Claimed, DeliveryError)],
    ) -> Result<(), CoreError> {
        if failed.is_empty() {
            return Ok(());
        }
        let wait = |one: &Claimed| backoff::wait_after(one.attempts.unsigned_abs()).as_secs_f64();
        let (mut seqs, mut attempts, mut errors, mut waits) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (one, error) in failed {
            tracing::warn!(
                destination, event_id = %one.event.event_id, kind = one.event.kind, attempt = one.attempts, %error,
                "an event was not delivered; it is tried again"
            );
            seqs.push(one.seq);
            attempts.push(one.attempts);
            errors.push(error.0.chars().take(MAX_ERROR).collect::<String>());
            waits.push(wait(one));
        }
        let recording = sqlx::query_scalar(sql::RECORD_FAILED)
            .bind(destination)
            .bind(seqs)
            .bind(attempts)
            .bind(errors)
            .bind(waits)
            .bind(GIVE_UP_AFTER.as_secs_f64());
        let states: Vec<String> =
            call("record failed deliveries", recording.fetch_all(self.db.control())).await?;
        let dead = states.iter().filter(|state| *state == "dead").count() as u64;
        metric::outbox_deliveries(destination, "failed", failed.len() as u64);
        if dead > 0 {
            tracing::error!(
                destination,
                dead,
                "events were given up; docs/runbooks/events-not-published.md"
            );
        }
        Ok(())
    }

    /// Gives up what no replica delivers any more, and deletes one batch of events that everybody has received.
    ///
    /// # Errors
    /// [`CoreError::Sql`], [`CoreError::TimedOut`].
    pub async fn upkeep(&self) -> Result<(), CoreError> {
        let names: Vec<&str> = self.destinations.iter().map(|one| one.name()).collect();
        let giving_up = sqlx::query(sql::GIVE_UP_ORPHANS)
            .bind(self.source)
            .bind(names)
            .bind(GIVE_UP_AFTER.as_secs_f64());
        call(
            "give up deliveries without a destination",
            giving_up.execute(self.db.control()),
        )
        .await?;
        let pruning = sqlx::query(sql::PRUNE_OUTBOX)
            .bind(self.source)
            .bind(KEEP_DELIVERED.as_secs_f64())
            .bind(PRUNE_BATCH);
        call("delete delivered events", pruning.execute(self.db.control())).await?;
        Ok(())
    }

    /// What is not delivered, by destination, those without a backlog included.
    ///
    /// # Errors
    /// [`CoreError::Sql`], [`CoreError::TimedOut`].
    pub async fn backlog(&self) -> Result<Vec<Backlog>, CoreError> {
        let question = sqlx::query(sql::OUTBOX_BACKLOG).bind(self.source);
        let rows = call("read the backlog of events", question.fetch_all(self.db.read())).await?;
        let mut backlog: Vec<Backlog> = rows.iter().map(backlog_of).collect::<Result<_, _>>()?;
        for destination in &*self.destinations {
            if backlog.iter().all(|one| one.destination != destination.name()) {
                backlog.push(Backlog {
                    destination: destination.name().to_owned(),
                    pending: 0,
                    oldest_pending: Duration::ZERO,
                    dead: 0,
                });
            }
        }
        Ok(backlog)
    }
}

async fn attempt(destination: &dyn Destination, claimed: &Claimed) -> Result<(), DeliveryError> {
    let limit = destination.attempt_limit();
    timeout(limit, destination.deliver(&claimed.event))
        .await
        .unwrap_or_else(|_elapsed| Err(DeliveryError(format!("not acknowledged within {limit:?}"))))
}

fn claimed(row: &PgRow) -> Result<Claimed, CoreError> {
    Ok(Claimed {
        seq: column(row, "seq")?,
        attempts: column(row, "attempts")?,
        event: OutboxEvent {
            event_id: column(row, "event_id")?,
            source: column(row, "source")?,
            topic: column(row, "topic")?,
            kind: column(row, "kind")?,
            key: column(row, "event_key")?,
            occurred_at: column(row, "occurred_at")?,
            payload: column(row, "payload")?,
        },
    })
}

fn backlog_of(row: &PgRow) -> Result<Backlog, CoreError> {
    let (pending, dead): (i64, i64) = (column(row, "pending")?, column(row, "dead")?);
    let oldest: f64 = column(row, "oldest_pending_s")?;
    Ok(Backlog {
        destination: column(row, "destination")?,
        pending: pending.unsigned_abs(),
        oldest_pending: Duration::try_from_secs_f64(oldest).unwrap_or_default(),
        dead: dead.unsigned_abs(),
    })
}
