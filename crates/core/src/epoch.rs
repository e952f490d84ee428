//! [`Epoch`]: the number that says which run of a job is the newest.

use std::fmt;

/// The fencing token of one run of a job: rises with every run, never repeats. 0 means "no fence".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Epoch(i64);

impl Epoch {
    /// The epoch of jobs that take no lock and have no fence.
    pub const NONE: Self = Self(0);

    /// From a stored value.
    #[must_use]
    pub const fn from_stored(epoch: i64) -> Self {
        Self(epoch)
    }

    /// From a lease's token.
    #[must_use]
    pub fn from_token(token: u64) -> Self {
        Self(i64::try_from(token).unwrap_or(i64::MAX))
    }

    /// The number to store.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
