//! [`step`]: what one more result changes. Pure: time is an argument.
//!
//! | result | effect |
//! |---|---|
//! | failed | critical from the third in a row on |
//! | degraded | a warning at once; two answers in a row bring a critical target back to a warning |
//! | good | two in a row, and the target has recovered |
//! | unknown | none: neither a failure nor a recovery |
//!
//! A target that becomes worse again and again stays at its level until it was good for five times as long (flapping), so that
//! one alert stays open instead of many that open and close.

use serde::{Deserialize, Serialize};

use super::observation::Seen;

/// The numbers of `probes`.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Failures in a row that make a target critical.
    pub failures: u32,
    /// Good results in a row after which it has recovered.
    pub successes: u32,
    /// Changes for the worse within `flap_window_ms` above which it is flapping.
    pub flap_limit: u32,
    /// The time in which they count.
    pub flap_window_ms: i64,
}

/// How many more good results a flapping target needs.
const FLAP_FACTOR: u32 = 5;
/// After a longer silence, results before it are not in a row with the next one.
const SILENCE_MS: i64 = 5 * 60 * 1000;

/// How bad a target is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It works.
    #[default]
    Ok,
    /// It is slow, or says that it is degraded.
    Warning,
    /// It is down.
    Critical,
}

impl Level {
    /// The word of reports and alerts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What is known of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetState {
    /// How bad it is.
    pub level: Level,
    /// When its episode began, epoch milliseconds; `None`: it works.
    pub opened_at_ms: Option<i64>,
    /// Failed results in a row.
    pub failures: u32,
    /// Good results in a row.
    goods: u32,
    /// Results in a row that were an answer, good or degraded.
    answers: u32,
    /// Unknown results in a row.
    pub unknowns: u32,
    /// When it became worse, within the window of flapping, oldest first.
    worse_at_ms: Vec<i64>,
    /// Its last result that was not unknown, epoch milliseconds.
    last_seen_ms: i64,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// An episode began, or its level changed.
    Raised {
        /// When the episode began.
        opened_at_ms: i64,
        /// How bad it is now.
        level: Level,
    },
    /// An episode ended.
    Resolved {
        /// When it had begun.
        opened_at_ms: i64,
    },
}

/// Adds one result, and returns what it changes.
pub fn step(state: &mut TargetState, seen: Seen, now_ms: i64, rules: &Rules) -> Option<Transition> {
    if seen == Seen::Unknown {
        state.unknowns = state.unknowns.saturating_add(1);
        return None;
    }
    state.unknowns = 0;
    if now_ms.saturating_sub(state.last_seen_ms) > SILENCE_MS {
        (state.failures, state.goods, state.answers) = (0, 0, 0);
    }
    state.last_seen_ms = now_ms;
    state.count(seen);
    let next = state.next_level(seen, now_ms, rules);
    state.become_level(next, now_ms, rules)
}

impl TargetState {
    /// Whether it became worse so often that it is kept at its level for longer.
    #[must_use]
    pub fn is_flapping(&self, now_ms: i64, rules: &Rules) -> bool {
        let begin = now_ms.saturating_sub(rules.flap_window_ms);
        let recent = self.worse_at_ms.iter().filter(|at| **at > begin).count();
        recent > rules.flap_limit as usize
    }

    /// Whether a result has ever said something of it.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.last_seen_ms > 0 && self.unknowns == 0
    }

    fn count(&mut self, seen: Seen) {
        let one_more = |counted: bool, before: u32| if counted { before.saturating_add(1) } else { 0 };
        self.failures = one_more(seen == Seen::Failed, self.failures);
        self.goods = one_more(seen == Seen::Good, self.goods);
        self.answers = one_more(seen != Seen::Failed, self.answers);
    }

    fn next_level(&self, seen: Seen, now_ms: i64, rules: &Rules) -> Level {
        let factor = if self.is_flapping(now_ms, rules) {
            FLAP_FACTOR
        } else {
            1
        };
        let needed = rules.successes.saturating_mul(factor);
        if self.failures >= rules.failures {
            Level::Critical
        } else if self.goods >= needed {
            Level::Ok
        } else if self.level == Level::Critical && self.answers >= needed
            || self.level == Level::Ok && seen == Seen::Degraded
        {
            Level::Warning
        } else {
            self.level
        }
    }

    fn become_level(&mut self, next: Level, now_ms: i64, rules: &Rules) -> Option<Transition> {
        if next == self.level {
            return None;
        }
        if next > self.level {
            let begin = now_ms.saturating_sub(rules.flap_window_ms);
            self.worse_at_ms.retain(|at| *at > begin);
            self.worse_at_ms.push(now_ms);
        }
        self.level = next;
        let opened_at_ms = *self.opened_at_ms.get_or_insert(now_ms);
        if next == Level::Ok {
            self.opened_at_ms = None;
            return Some(Transition::Resolved { opened_at_ms });
        }
        Some(Transition::Raised {
            opened_at_ms,
            level: next,
        })
    }
}

#[cfg(test)]
#[path = "reducer_tests.rs"]
mod tests;
