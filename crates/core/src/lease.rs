//! The lease: a lock in Redis that its holder stops trusting before anybody else can have it.
//!
//! ```text
//!                acquire                       renew, every TTL/3 ± 10 %
//!   (free) ───────────────────▶ HELD ◀──────────────────────────────┐
//!      ▲   └─ other owner ─▶ Refused │                              │ "extended": deadline = send + TTL − margin
//!      │                             ├── error or timeout ─▶ UNKNOWN ┘
//!      │  release                    │                         │ retried every min(TTL/10, 1 s) …
//!      ├─────────────────────────────┤                         ▼ … until the local deadline
//!      │  TTL lapses                 └── "not yours" ───────▶ LOST ─▶ the token of `Lease::lost` is cancelled
//!      └───────────────────────────────────────────────────────┘
//! ```
//!
//! # Why it is safe
//!
//! Let `s` be the instant, on the holder's clock, *before* a successful acquire or renew was sent. Redis starts
//! counting the TTL when it executes the command, hence not before `s`; so until `s + TTL` nobody else can get
//! the key. The holder counts from the same `s` and stops at `s + TTL − margin`, where
//! `margin = max(1 s, 2 % of TTL) + grace` covers the difference of two clocks' rates and the time the run needs to
//! react. A reply that never came extends nothing. Therefore, while clocks advance at about the same rate, there
//! is never a moment at which two processes both believe to hold the lease.
//!
//! What this argument does not cover, and what does:
//! * *Redis forgets* (restart without persistence, `FLUSHALL`, failover to a lagging replica, a step of the
//!   server's wall clock): a second holder may exist until the first one's next renewal answers "not yours". The
//!   fence in PostgreSQL refuses the first one's writes. The fence counter may be forgotten too: `floor`, the
//!   epoch stored in PostgreSQL, keeps the tokens rising.
//! * *The process stands still* (SIGSTOP, VM freeze): timers fire late. The watchdog compares elapsed monotonic
//!   **and** boot time, so it sees a suspend as soon as it runs again; what was written in between is again the
//!   fence's to refuse.
//! * *An acquire whose answer is lost* may have been carried out (a **ghost lock**). It is repeated, and the script
//!   gives the same owner the same token; if no answer ever comes, a sweeper deletes the lock of exactly that
//!   attempt, twice, so that a command still under way in a dead connection does not resurrect it.
//!
//! # How it is built
//!
//! One OS thread with its own current-thread runtime and its own connection does everything that touches Redis:
//! a job that hogs the workers' runtime, or fills a connection pool, cannot delay a renewal. A release is a
//! compare-and-delete; a renewal never creates. A holder that hangs is not renewed for ever: `max_hold` caps it.
//! Dropping a [`Lease`] without [`Lease::release`] stops the renewals and lets the TTL lapse: right for a run that
//! ignores its cancellation.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

mod acquire;
mod error;
mod held;
mod keeper;
mod link;
mod request;
mod scripts;
mod term;

pub use acquire::ACQUIRE_RESULTS;
pub use error::LeaseError;
pub use held::{Acquired, Lease, LostReason};
use keeper::Command;
pub use request::{LeaseRequest, Owner};

pub use crate::redis_client::RedisSettings;

/// The door to leases: a handle to the watchdog thread. Cheap to clone; the thread ends with the last handle and
/// the last lease.
#[derive(Debug, Clone)]
pub struct LeaseClient {
    commands: mpsc::Sender<Command>,
}

/// Most acquires waiting for the watchdog thread; far above the number of jobs.
const QUEUE_LIMIT: usize = 256;

impl LeaseClient {
    /// Starts the watchdog thread and opens its connection, so that a wrong address is refused at start.
    ///
    /// # Errors
    /// [`LeaseError::Url`], [`LeaseError::Connect`], [`LeaseError::NotOneServer`], [`LeaseError::Stopped`].
    pub async fn connect(settings: impl Into<RedisSettings>) -> Result<Self, LeaseError> {
        let (ready, started) = oneshot::channel();
        let client = Self::start(&settings.into(), Some(ready))?;
        started
            .await
            .map_err(|_closed| LeaseError::Stopped("it ended while starting".to_owned()))??;
        Ok(client)
    }

    /// Starts the watchdog thread without a connection: for a service that must start while Redis is down. Its
    /// connection is made by the first command.
    ///
    /// # Errors
    /// [`LeaseError::Url`], [`LeaseError::Authority`], [`LeaseError::Stopped`].
    pub fn open(settings: impl Into<RedisSettings>) -> Result<Self, LeaseError> {
        Self::start(&settings.into(), None)
    }

    fn start(settings: &RedisSettings, ready: Option<keeper::Ready>) -> Result<Self, LeaseError> {
        let link = link::Link::new(settings)?;
        let (commands, inbox) = mpsc::channel(QUEUE_LIMIT);
        std::thread::Builder::new()
            .name("eidos-lease".to_owned())
            .spawn(move || keeper::run(link, inbox, ready))
            .map_err(|error| LeaseError::Stopped(error.to_string()))?;
        Ok(Self { commands })
    }

    /// Asks for a lease. Takes at most three response timeouts (plus connecting); dropping the future gives a
    /// lease that may still be granted back.
    ///
    /// # Errors
    /// Every variant but those of [`LeaseClient::connect`]; [`LeaseError::NotOneServer`] when the server has become part of
    /// a cluster since.
    pub async fn acquire(&self, request: &LeaseRequest) -> Result<Acquired, LeaseError> {
        let (reply, answer) = oneshot::channel();
        let request = Box::new(request.clone());
        self.send(Command::Acquire { request, reply }).await?;
        answer.await.map_err(|_closed| LeaseError::stopped())?
    }

    /// Asks Redis for a sign of life over the watchdog's own connection, for the readiness check. Returns the
    /// round trip.
    ///
    /// # Errors
    /// [`LeaseError::Connect`] naming the server; [`LeaseError::Stopped`].
    pub async fn ping(&self) -> Result<Duration, LeaseError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Ping { reply }).await?;
        answer.await.map_err(|_closed| LeaseError::stopped())?
    }

    async fn send(&self, command: Command) -> Result<(), LeaseError> {
        self.commands
            .send(command)
            .await
            .map_err(|_closed| LeaseError::stopped())
    }
}
