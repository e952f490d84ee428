//! [`WorldClock`]: the clock of every process of a run. libfaketime reads how far it is ahead from a file.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use eidos_types::{Clock as _, SystemClock};

/// The variable with which libfaketime is told of the file.
const FILE: &str = "FAKETIME_TIMESTAMP_FILE";

/// A clock that jumps.
#[derive(Debug)]
pub(crate) struct WorldClock {
    file: PathBuf,
    ahead: Duration,
}

impl WorldClock {
    /// The clock of this process and of those it starts.
    ///
    /// # Errors
    /// If `scripts/simulate-recon` did not set one up.
    pub(crate) fn of_environment() -> anyhow::Result<Self> {
        let file = std::env::var_os(FILE)
            .with_context(|| format!("{FILE} is not set: start this with scripts/simulate-recon"))?;
        let mut clock = Self {
            file: file.into(),
            ahead: Duration::ZERO,
        };
        let before = SystemClock::default().now();
        clock.advance(Duration::from_hours(1))?;
        let moved = SystemClock::default().now() - before;
        ensure!(
            moved >= TimeDelta::minutes(59),
            "the clock did not follow {}: is libfaketime loaded?",
            clock.file.display()
        );
        Ok(clock)
    }

    /// Jumps.
    pub(crate) fn advance(&mut self, by: Duration) -> anyhow::Result<()> {
        self.ahead += by;
        // Renamed, so that nobody reads half of it.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("+{}s\n", self.ahead.as_secs()))?;
        std::fs::rename(&new, &self.file).with_context(|| format!("setting {}", self.file.display()))
    }
}
