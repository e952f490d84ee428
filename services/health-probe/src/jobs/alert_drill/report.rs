//! [`DrillReport`]: which receivers were told.

use comfy_table::{Table, presets};
use eidos_alerting::{Alert, SendError, Severity};
use serde::Serialize;

/// What a drill found.
#[derive(Debug, Serialize)]
pub struct DrillReport {
    /// The episode of the alert, as receivers were told it.
    pub episode: String,
    /// How bad it claimed to be.
    pub severity: Severity,
    /// Whether no receiver was told at all.
    pub dry_run: bool,
    /// Each receiver.
    pub sinks: Vec<SinkReport>,
}

/// One receiver.
#[derive(Debug, Serialize)]
pub struct SinkReport {
    /// Its name.
    pub sink: String,
    /// Whether it accepted the alert, and has it.
    pub delivered: bool,
    /// Whether it accepted the end.
    pub resolved: bool,
    /// What it said, or why it did not accept something.
    pub said: Vec<String>,
    /// How long both took, milliseconds, with the time in which it notifies.
    pub took_ms: u64,
}

impl DrillReport {
    pub(super) fn new(alert: &Alert, dry_run: bool) -> Self {
        Self {
            episode: alert.episode.to_string(),
            severity: alert.severity,
            dry_run,
            sinks: Vec::new(),
        }
    }

    /// The names of the receivers that did not accept everything.
    pub(super) fn failed(&self) -> Vec<&str> {
        let failed = self.sinks.iter().filter(|sink| !sink.delivered || !sink.resolved);
        failed.map(|sink| sink.sink.as_str()).collect()
    }

    pub(super) fn render(&self) -> String {
        if self.dry_run {
            let names: Vec<&str> = self.sinks.iter().map(|sink| sink.sink.as_str()).collect();
            return format!("{} receivers would be told: {}", names.len(), names.join(", "));
        }
        let told = self.sinks.len() - self.failed().len();
        let text = format!(
            "{} drill: {told} of {} receivers accepted the alert and its end",
            self.severity,
            self.sinks.len()
        );
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_header([
            "receiver",
            "delivered",
            "resolved",
            "ms",
            "what it said",
        ]);
        for sink in &self.sinks {
            table.add_row([
                sink.sink.as_str(),
                word(sink.delivered),
                word(sink.resolved),
                &sink.took_ms.to_string(),
                &sink.said.join("; "),
            ]);
        }
        format!("{text}\n{}", eidos_runtime::terminal::fit(&mut table))
    }
}

impl SinkReport {
    pub(super) fn untold(sink: &str) -> Self {
        Self {
            sink: sink.to_owned(),
            delivered: false,
            resolved: false,
            said: Vec::new(),
            took_ms: 0,
        }
    }

    /// Keeps what was said, and returns whether it was good.
    pub(super) fn note(&mut self, outcome: Result<String, SendError>) -> bool {
        let is_good = outcome.is_ok();
        self.said.push(outcome.unwrap_or_else(|error| error.to_string()));
        is_good
    }
}

const fn word(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "NO" }
}
