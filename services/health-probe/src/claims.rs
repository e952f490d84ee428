//! [`Claims`]: the alerts that this prober wants open, and which of them are. Pure: time is an argument.
//!
//! | this prober | the probers together | a target that it depends on | its alert |
//! |---|---|---|---|
//! | sees it fail | carry a level | works | open, at the level that is carried |
//! | sees it fail | carry a level | fails | waits; one that is open stays open |
//! | sees it fail | see it work | – | waits; one that is open ends |
//! | sees it work | carry a level | – | one that is open stays open |
//! | sees it work | see it work | – | ends |
//!
//! Without other probers, what this one sees is what they say together.

use std::collections::BTreeMap;

use eidos_alerting::{Alert, Desk, EpisodeId, Severity};
use serde::{Deserialize, Serialize};

use crate::domain::reducer::Level;
use crate::domain::vote::Count;

/// The annotation that says how many probers agree.
const VOTES: &str = "votes";

/// By target.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Claims(BTreeMap<String, Claim>);

/// The alert of one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claim {
    /// As this prober sees it. Its episode is the one that is open, or the next one.
    alert: Alert,
    is_open: bool,
    /// Why it is not open; `None`: it is, or nothing was decided yet.
    waits: Option<Wait>,
}

/// What an alert that is not open waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wait {
    /// That what the target depends on works again.
    Dependency,
    /// That enough other probers see it fail as well.
    Votes,
}

/// What is known of a target when its alert is decided on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// Whether this prober sees it fail.
    pub(crate) fails: bool,
    /// What the probers say together; `None`: none of them knows, so everything stays as it is.
    pub(crate) together: Option<Count>,
    /// Whether something fails that the target cannot work without.
    pub(crate) dependency_fails: bool,
}

impl Claims {
    /// Records that this prober sees the target fail.
    pub(crate) fn claim(&mut self, target: &str, alert: Alert) {
        let claim = self.0.entry(target.to_owned()).or_insert_with(|| Claim {
            alert: alert.clone(),
            is_open: false,
            waits: None,
        });
        claim.alert = Alert {
            starts_at_ms: claim.alert.starts_at_ms,
            episode: claim.alert.episode.clone(),
            ..alert
        };
    }

    /// Opens, changes or ends the alert of a target as the situation asks, and returns whether that changed anything.
    pub(crate) fn settle(&mut self, target: &str, at: Situation, desk: &mut Desk, now_ms: i64) -> bool {
        let (Some(claim), Some(count)) = (self.0.get_mut(target), at.together) else {
            return false;
        };
        let before = (claim.is_open, claim.waits, claim.alert.clone());
        match severity(count.level) {
            Some(severity) if claim.is_open || (at.fails && !at.dependency_fails) => {
                claim.open(severity, count, desk);
            }
            Some(_) if at.fails => claim.wait_for(Wait::Dependency, target),
            None if at.fails => {
                claim.end(desk, now_ms);
                claim.wait_for(Wait::Votes, target);
            }
            Some(_) | None => {
                claim.end(desk, now_ms);
                self.0.remove(target);
                return true;
            }
        }
        before != (claim.is_open, claim.waits, claim.alert.clone())
    }

    /// The targets that have a claim.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many wait for the votes of other probers.
    pub(crate) fn outvoted(&self) -> u64 {
        let waiting = self.0.values();
        waiting.filter(|claim| claim.waits == Some(Wait::Votes)).count() as u64
    }

    /// Drops those of targets for which `is_known` says no, and ends their alerts.
    pub(crate) fn forget_others(
        &mut self,
        is_known: impl Fn(&str, &Alert) -> bool,
        desk: &mut Desk,
        now_ms: i64,
    ) {
        self.0.retain(|target, claim| {
            let stays = is_known(target, &claim.alert);
            if !stays {
                claim.end(desk, now_ms);
            }
            stays
        });
    }
}

impl Claim {
    fn open(&mut self, severity: Severity, count: Count, desk: &mut Desk) {
        self.alert.severity = severity;
        if count.voters > 1 {
            let text = format!(
                "{} of {} probers say {severity} or worse",
                count.agreeing, count.voters
            );
            self.alert.annotations.insert(VOTES.to_owned(), text);
        } else {
            self.alert.annotations.remove(VOTES);
        }
        (self.is_open, self.waits) = (true, None);
        desk.raise(self.alert.clone());
    }

    /// The next episode begins now at the earliest: receivers were told that this one is over.
    fn end(&mut self, desk: &mut Desk, now_ms: i64) {
        if std::mem::take(&mut self.is_open) {
            desk.resolve(&self.alert.episode, now_ms);
            let fingerprint = self.alert.fingerprint();
            self.alert.starts_at_ms = now_ms;
            self.alert.episode = EpisodeId::of(&fingerprint, now_ms);
        }
    }

    fn wait_for(&mut self, wait: Wait, target: &str) {
        if self.waits.replace(wait) == Some(wait) {
            return;
        }
        let why = match wait {
            Wait::Dependency => "what it depends on fails",
            Wait::Votes => "too few other probers see it fail",
        };
        tracing::info!(target_name = target, why, "its alert is held");
    }
}

fn severity(level: Level) -> Option<Severity> {
    match level {
        Level::Ok => None,
        Level::Warning => Some(Severity::Warning),
        Level::Critical => Some(Severity::Critical),
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
