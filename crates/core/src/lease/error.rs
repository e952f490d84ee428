//! [`LeaseError`]: why there is no lease, and what to do about it.

use std::time::Duration;

use eidos_types::JobName;

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
    pub(super) fn stopped() -> Self {
        Self::Stopped("its thread has ended".to_owned())
    }

    /// True where no connection could be made because the server is away, restarting or loading its data.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Connect { cause, .. }
            if cause.is_connection_refusal() || cause.is_connection_dropped() || cause.is_timeout()
                || cause.code() == Some("LOADING"))
    }

    /// True where only other settings help.
    #[must_use]
    pub const fn is_setting(&self) -> bool {
        matches!(self, Self::Url(_) | Self::NotOneServer { .. })
    }
}
