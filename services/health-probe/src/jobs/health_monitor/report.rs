//! [`Report`]: what a round found.

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::domain::observation::{Observation, Seen};
use crate::domain::reducer::Level;

/// Targets that a report names; the worst come first.
const NAMED: usize = 100;

/// What a round found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether the results count: not in a round that a person started.
    pub counts: bool,
    /// Targets that were probed.
    pub targets: usize,
    /// That work.
    pub good: usize,
    /// That answer and are slow or degraded.
    pub degraded: usize,
    /// That do not work.
    pub failed: usize,
    /// That could not be probed.
    pub unknown: usize,
    /// Why the prober is blind; `None`: it is not.
    pub blind: Option<String>,
    /// The targets that do not work or are not at level ok; in a round that a person started, all.
    pub not_good: Vec<TargetReport>,
}

/// One target.
#[derive(Debug, Serialize)]
pub struct TargetReport {
    /// Its name.
    pub target: String,
    /// `http`, `tcp` and so on.
    pub kind: &'static str,
    /// What this probe found.
    pub seen: Seen,
    /// Its level, with the results before this one.
    pub level: Level,
    /// Why it is not good.
    pub why: String,
    /// How long the probe took, milliseconds.
    pub took_ms: u64,
}

impl Report {
    pub(super) const fn new(counts: bool) -> Self {
        Self {
            counts,
            targets: 0,
            good: 0,
            degraded: 0,
            failed: 0,
            unknown: 0,
            blind: None,
            not_good: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, target: &str, kind: &'static str, observation: &Observation, level: Level) {
        self.targets += 1;
        match observation.seen {
            Seen::Good => self.good += 1,
            Seen::Degraded => self.degraded += 1,
            Seen::Failed => self.failed += 1,
            Seen::Unknown => self.unknown += 1,
        }
        if !self.counts || observation.seen != Seen::Good || level != Level::Ok {
            self.not_good.push(TargetReport {
                target: target.to_owned(),
                kind,
                seen: observation.seen,
                level,
                why: observation.why.clone(),
                took_ms: u64::try_from(observation.took.as_millis()).unwrap_or(u64::MAX),
            });
        }
    }

    /// Sorts the targets, the worst first, and leaves out those that are too many.
    pub(super) fn finish(mut self) -> Self {
        self.not_good.sort_by(|one, other| {
            let rank = |target: &TargetReport| match target.seen {
                Seen::Failed => 0,
                Seen::Unknown => 1,
                Seen::Degraded => 2,
                Seen::Good => 3,
            };
            (rank(one), &one.target).cmp(&(rank(other), &other.target))
        });
        self.not_good.truncate(NAMED);
        self
    }

    pub(super) fn render(&self) -> String {
        let mut text = format!(
            "{} targets: {} good, {} degraded, {} failed, {} unknown",
            self.targets, self.good, self.degraded, self.failed, self.unknown
        );
        if !self.counts {
            text.push_str("; a look, which changes no level and sends nothing");
        }
        if let Some(blind) = &self.blind {
            text = format!("{text}\nthe prober is blind: {blind}");
        }
        if self.not_good.is_empty() {
            return text;
        }
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_BORDERS_ONLY)
            .set_header(["target", "kind", "found", "level", "ms", "why"]);
        for target in &self.not_good {
            table.add_row([
                target.target.as_str(),
                target.kind,
                target.seen.as_str(),
                target.level.as_str(),
                &target.took_ms.to_string(),
                &target.why,
            ]);
        }
        format!("{text}\n{table}")
    }
}
