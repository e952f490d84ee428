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

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use eidos_types::{ExecutionId, JobName, NodeId};
use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::fence::Epoch;

mod acquire;
mod keeper;
mod link;
mod scripts;
mod term;

pub use acquire::ACQUIRE_RESULTS;
use keeper::Command;
use term::{Deadline, Moment};

/// How to reach Redis.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://host:port/database` or `rediss://...`.
    pub url: SecretString,
    /// ACL user, where the URL names none.
    pub username: Option<String>,
    /// Password, where the URL has none.
    pub password: Option<SecretString>,
    /// First part of every key.
    pub lock_prefix: String,
    /// Limit of making a connection.
    pub connect_timeout: Duration,
    /// Limit of one command.
    pub response_timeout: Duration,
    /// Path of the certificate (PEM) of the authority an encrypted connection trusts; `None`: the public ones.
    pub ca_cert: Option<String>,
}

impl RedisSettings {
    /// The suite's defaults for this URL.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            username: None,
            password: None,
            lock_prefix: "eidos:job:lock".to_owned(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
            ca_cert: None,
        }
    }
}

impl From<&RedisSettings> for RedisSettings {
    fn from(settings: &RedisSettings) -> Self {
        settings.clone()
    }
}

/// Who wants a lease: one execution of one process start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The process.
    pub node: NodeId,
    /// The execution.
    pub execution: ExecutionId,
}

/// What to lease, for whom, for how long.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// The job.
    pub job: JobName,
    /// The holder-to-be.
    pub owner: Owner,
    /// How long the key lives without renewal: the time until a crashed holder's job is free again. More than
    /// one second plus `grace`.
    pub ttl: Duration,
    /// Renew until released. Without it the lease ends after `ttl` (a basic lock).
    pub watchdog: bool,
    /// The holder gives up after this long, however well renewals go: the job's timeout plus its grace.
    pub max_hold: Duration,
    /// How long before the key's end the holder must have stopped: the time a cancelled run may take.
    pub grace: Duration,
    /// The epoch stored for the job; the token will be higher.
    pub floor: Epoch,
}

/// The answer to an acquire.
#[derive(Debug)]
pub enum Acquired {
    /// It is ours.
    Held(Lease),
    /// Somebody else has it, for at most this long unless they renew.
    Refused {
        /// The key's remaining life.
        remaining: Duration,
    },
}

/// Why a lease ended without being released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// No renewal was confirmed before the local deadline, or a basic lock came to its end.
    Expired,
    /// Redis says the key is not ours: it lapsed, was forgotten or taken.
    NotOurs,
    /// Held for as long as the request allows.
    MaxHold,
}

impl LostReason {
    /// Every reason, so that its series can exist before it happens.
    pub const ALL: &[Self] = &[Self::Expired, Self::NotOurs, Self::MaxHold];

    /// The word of metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotOurs => "not_ours",
            Self::MaxHold => "max_hold",
        }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why no lease could be had or given back.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The URL does not parse. It is not shown: it may hold a password.
    #[error("redis.url is not a Redis URL: {0}")]
    Url(#[source] redis::RedisError),
    /// The certificate of the authority cannot be used.
    #[error("security.redis.ca_cert {path} cannot be used: {reason}; give the path of a readable PEM file")]
    Authority {
        /// Path of the file.
        path: String,
        /// Why.
        reason: String,
    },
    /// No connection at start.
    #[error(
        "cannot connect to Redis at {target}: {cause}; check redis.url and that the server accepts connections"
    )]
    Connect {
        /// `host:port`.
        target: String,
        /// What the client said.
        #[source]
        cause: redis::RedisError,
    },
    /// The server is one of a Redis Cluster, or a Sentinel: it holds some of the jobs' locks, or none.
    #[error(
        "Redis at {target} is a {mode}, and leases need one server that holds the locks of all jobs: a {mode} would \
         answer MOVED, or nothing, for some of them. Set redis.url to a primary outside of a cluster (a managed Redis or \
         Valkey with cluster mode disabled; behind Sentinel, an address that follows the primary); docs/redis.md says \
         more"
    )]
    NotOneServer {
        /// `host:port`.
        target: String,
        /// What it is.
        mode: &'static str,
    },
    /// No usable answer in time. Whatever the command did is undone or lapses.
    #[error("Redis gave no answer about the lease of {job} within {after:?}: {cause}")]
    Unreachable {
        /// The job.
        job: JobName,
        /// How long it was tried.
        after: Duration,
        /// The last error.
        #[source]
        cause: redis::RedisError,
    },
    /// Redis answered with an error, such as a missing permission or no memory.
    #[error("Redis refused the lease of {job}: {cause}")]
    Server {
        /// The job.
        job: JobName,
        /// What it said.
        #[source]
        cause: redis::RedisError,
    },
    /// The answer came too late to be worth anything; the lease was given back.
    #[error("Redis answered so late that the lease of {job} was already over; it was given back")]
    Late {
        /// The job.
        job: JobName,
    },
    /// The TTL leaves no time to work.
    #[error(
        "the lease of {job} would end before it begins: a TTL of {ttl:?} must exceed its margin of {margin:?}"
    )]
    TtlTooShort {
        /// The job.
        job: JobName,
        /// The requested TTL.
        ttl: Duration,
        /// What must be left at its end.
        margin: Duration,
    },
    /// The watchdog thread could not start or has ended.
    #[error("the lease watchdog is not running: {0}")]
    Stopped(String),
}

impl LeaseError {
    /// True where only other settings help.
    #[must_use]
    pub const fn is_setting(&self) -> bool {
        matches!(self, Self::Url(_) | Self::NotOneServer { .. })
    }
}

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
        let link = link::Link::new(&settings.into())?;
        let (commands, inbox) = mpsc::channel(QUEUE_LIMIT);
        let (ready, started) = oneshot::channel();
        std::thread::Builder::new()
            .name("eidos-lease".to_owned())
            .spawn(move || keeper::run(link, inbox, ready))
            .map_err(|error| LeaseError::Stopped(error.to_string()))?;
        started
            .await
            .map_err(|_closed| LeaseError::Stopped("it ended while starting".to_owned()))??;
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
        answer.await.map_err(|_closed| stopped())?
    }

    /// Asks Redis for a sign of life over the watchdog's own connection, for the readiness check. Returns the
    /// round trip.
    ///
    /// # Errors
    /// [`LeaseError::Connect`] naming the server; [`LeaseError::Stopped`].
    pub async fn ping(&self) -> Result<Duration, LeaseError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Ping { reply }).await?;
        answer.await.map_err(|_closed| stopped())?
    }

    async fn send(&self, command: Command) -> Result<(), LeaseError> {
        self.commands.send(command).await.map_err(|_closed| stopped())
    }
}

fn stopped() -> LeaseError {
    LeaseError::Stopped("its thread has ended".to_owned())
}

/// What the holder and the watchdog share.
#[derive(Debug)]
struct Shared {
    token: u64,
    lost: CancellationToken,
    reason: OnceLock<LostReason>,
    deadline: Mutex<Deadline>,
}

impl Shared {
    fn deadline(&self) -> Deadline {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self, deadline: Deadline) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    fn lose(&self, reason: LostReason) {
        if self.reason.set(reason).is_ok() {
            self.lost.cancel();
        }
    }
}

/// A lease that is held until it is released, lost or dropped.
#[derive(Debug)]
#[must_use = "a dropped lease is no longer renewed"]
pub struct Lease {
    shared: Arc<Shared>,
    job: JobName,
    release: oneshot::Sender<oneshot::Sender<Result<(), LeaseError>>>,
}

impl Lease {
    /// The fencing token: rises with every lease of the job. A candidate for the epoch, which is minted in
    /// PostgreSQL.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.shared.token
    }

    /// Cancelled when the lease is lost, at the latest at the deadline. Child tokens may be made from it.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.shared.lost.clone()
    }

    /// Why it was lost, once it was.
    #[must_use]
    pub fn lost_reason(&self) -> Option<LostReason> {
        self.shared.reason.get().copied()
    }

    /// When the holder must have stopped unless a renewal moves it.
    #[must_use]
    pub fn deadline(&self) -> tokio::time::Instant {
        self.shared.deadline().instant()
    }

    /// Whether the lease may be trusted at this moment, by this thread's own reading of the clocks.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.lost_reason().is_none() && !self.shared.deadline().remaining(Moment::now()).is_zero()
    }

    /// Gives the lease back. Only after the run's last task has ended. After a loss this still deletes the key if
    /// it is ours.
    ///
    /// # Errors
    /// [`LeaseError::Unreachable`]: the key lapses by itself; [`LeaseError::Server`], [`LeaseError::Stopped`].
    pub async fn release(self) -> Result<(), LeaseError> {
        let (reply, answer) = oneshot::channel();
        self.release.send(reply).map_err(|_closed| stopped())?;
        let outcome = answer.await.map_err(|_closed| stopped())?;
        if let Err(error) = &outcome {
            tracing::warn!(job = %self.job, %error, "lease not released; it lapses by itself");
        }
        outcome
    }
}
