//! Time-ordered identities (`UUIDv7`), one type each so that they cannot be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};

use crate::Clock;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh identity whose time part is the clock's.
            #[must_use]
            pub fn new(clock: &dyn Clock) -> Self {
                let now = clock.now();
                // Times before 1970 do not exist in this product; they would only lose their order.
                let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
                Self(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos())))
            }

            /// From a stored value.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The value to store.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// One process start. Never a host or pod name, which are reused (ruling 11).
    NodeId
);
id!(
    /// One execution of a job.
    ExecutionId
);
id!(
    /// One break: a difference between two sides that was confirmed.
    BreakId
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[test]
    fn ids_are_unique_and_ordered_by_time() {
        let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let first = ExecutionId::new(&clock);
        assert_ne!(first, ExecutionId::new(&clock));
        clock.advance(std::time::Duration::from_millis(2));
        assert!(ExecutionId::new(&clock) > first);
        assert_eq!(first.to_string().parse::<ExecutionId>().unwrap(), first);
    }
}
