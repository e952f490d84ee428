//! [`Observation`]: what one probe found.

use std::time::Duration;

use serde::Serialize;

/// What a probe says of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It works.
    Good,
    /// It answers, and something is wrong: it is slow, say.
    Degraded,
    /// It does not answer, or says that it does not work.
    Failed,
    /// The probe could not be made. Says nothing of the target.
    Unknown,
}

impl Seen {
    /// Every word, so that its series can exist before it happens.
    pub const ALL: &[Self] = &[Self::Good, Self::Degraded, Self::Failed, Self::Unknown];

    /// The word of metrics and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// The result of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What it says.
    pub seen: Seen,
    /// Why, for a person; empty if it is good.
    pub why: String,
    /// How long it took.
    pub took: Duration,
}

impl Observation {
    /// Returns the same result as a warning if it is good and took longer than `slow_after`.
    #[must_use]
    pub fn or_slow(self, slow_after: Duration) -> Self {
        if self.seen == Seen::Good && self.took > slow_after {
            let why = format!("answered only after {} ms", self.took.as_millis());
            return Self {
                seen: Seen::Degraded,
                why,
                ..self
            };
        }
        self
    }
}
