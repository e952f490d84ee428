//! [`Lease`]: what its holder has in hand until it is released, lost or dropped.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use eidos_types::JobName;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::error::LeaseError;
use super::term::{Deadline, Moment};

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

/// What the holder and the watchdog share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) token: u64,
    pub(super) lost: CancellationToken,
    pub(super) reason: OnceLock<LostReason>,
    pub(super) deadline: Mutex<Deadline>,
}

impl Shared {
    pub(super) fn deadline(&self) -> Deadline {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn extend(&self, deadline: Deadline) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    pub(super) fn lose(&self, reason: LostReason) {
        if self.reason.set(reason).is_ok() {
            self.lost.cancel();
        }
    }
}

/// A lease that is held until it is released, lost or dropped.
#[derive(Debug)]
#[must_use = "a dropped lease is no longer renewed"]
pub struct Lease {
    pub(super) shared: Arc<Shared>,
    pub(super) job: JobName,
    pub(super) release: oneshot::Sender<oneshot::Sender<Result<(), LeaseError>>>,
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
        self.release
            .send(reply)
            .map_err(|_closed| LeaseError::stopped())?;
        let outcome = answer.await.map_err(|_closed| LeaseError::stopped())?;
        if let Err(error) = &outcome {
            tracing::warn!(job = %self.job, %error, "lease not released; it lapses by itself");
        }
        outcome
    }
}
