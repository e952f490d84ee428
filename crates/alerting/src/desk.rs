//! [`Desk`]: what each sink was told of each episode, and what it must be told next. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Alert, EpisodeId, Severity};

/// When a sink is told again.
#[derive(Debug, Clone, Copy)]
pub struct DeskPolicy {
    /// An episode that lasts is told again after this time.
    pub repeat_after: Duration,
    /// Pause after the first failed attempt; doubles with each.
    pub retry_first: Duration,
    /// No such pause is longer.
    pub retry_max: Duration,
    /// A sink that has not accepted the end of an episode for this long is not told any more.
    pub give_up_after: Duration,
}

/// Why a sink is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The episode is new to the sink.
    Open,
    /// It has become worse.
    Escalated,
    /// It has become better, and is not over.
    Deescalated,
    /// It lasts.
    Reminder,
    /// It is over.
    Resolved,
}

impl NoticeKind {
    /// Every kind, so that its series can exist before it happens.
    pub const ALL: &[Self] = &[
        Self::Open,
        Self::Escalated,
        Self::Deescalated,
        Self::Reminder,
        Self::Resolved,
    ];

    /// The word of messages, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Escalated => "escalated",
            Self::Deescalated => "deescalated",
            Self::Reminder => "reminder",
            Self::Resolved => "resolved",
        }
    }
}

/// One thing that one sink must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Why.
    pub kind: NoticeKind,
    /// The alert as it is now.
    pub alert: Alert,
    /// When the episode ended, epoch milliseconds; `None`: it lasts.
    pub ends_at_ms: Option<i64>,
    /// Which notice of the episode it is to this sink. Another attempt of the same notice has the same number.
    pub number: u32,
    /// The severity that the sink accepted last; `None`: it has accepted nothing.
    pub accepted: Option<Severity>,
    /// When it did, epoch milliseconds; `None`: as above.
    pub accepted_at_ms: Option<i64>,
}

/// Every episode that is open, or whose end some sink has not accepted yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desk {
    episodes: BTreeMap<EpisodeId, Episode>,
    /// The sinks that are told; from the settings, so it is not stored.
    #[serde(skip)]
    sinks: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Episode {
    alert: Alert,
    /// `None`: it lasts.
    ended_at_ms: Option<i64>,
    /// By the name of the sink.
    deliveries: BTreeMap<String, Delivery>,
}

/// What one sink knows of one episode.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Delivery {
    /// What it accepted last; `None`: nothing.
    last: Option<Sent>,
    /// Attempts since then. One that was begun may have arrived, whatever came back.
    attempts: u32,
    /// One of them named another severity than what was accepted last: the sink may believe either.
    is_unsure: bool,
    /// No attempt before, epoch milliseconds.
    not_before_ms: i64,
    /// The number of the newest notice that was tried; 0: none was.
    #[serde(default)]
    number: u32,
    /// What that notice said, if it was not accepted; `None`: the next one is another notice.
    #[serde(default)]
    tried: Option<Tried>,
    /// A silence holds it back: that the sink knows nothing is meant.
    #[serde(default)]
    is_silenced: bool,
}

/// What a notice said, as far as another one would not say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Tried {
    kind: NoticeKind,
    severity: Severity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Sent {
    severity: Severity,
    at_ms: i64,
}

impl Desk {
    /// Sets the sinks that are told. What sinks of other names knew is forgotten.
    pub fn set_sinks(&mut self, names: impl IntoIterator<Item = String>) {
        self.sinks = names.into_iter().collect();
        let sinks = &self.sinks;
        for episode in self.episodes.values_mut() {
            episode.deliveries.retain(|name, _| sinks.contains(name));
        }
        self.forget_what_is_told();
    }

    /// The sinks that are told.
    pub fn sinks(&self) -> impl Iterator<Item = &str> {
        self.sinks.iter().map(String::as_str)
    }

    /// Records an alert as it is now: a new episode, or a change of one.
    pub fn raise(&mut self, alert: Alert) {
        let episode = self
            .episodes
            .entry(alert.episode.clone())
            .or_insert_with(|| Episode {
                alert: alert.clone(),
                ended_at_ms: None,
                deliveries: BTreeMap::new(),
            });
        episode.alert = alert;
    }

    /// Records the end of an episode. Sinks that may have heard of it will hear of its end.
    pub fn resolve(&mut self, episode: &EpisodeId, at_ms: i64) {
        if let Some(episode) = self.episodes.get_mut(episode) {
            episode.ended_at_ms.get_or_insert(at_ms);
            for delivery in episode.deliveries.values_mut() {
                // Pauses between reminders do not hold back an end.
                if delivery.attempts == 0 {
                    delivery.not_before_ms = 0;
                }
            }
        }
        self.forget_what_is_told();
    }

    /// Returns what `sink` must be told now, the worst first.
    #[must_use]
    pub fn due(&self, sink: &str, policy: &DeskPolicy, now_ms: i64) -> Vec<Notice> {
        let of_sink = self.episodes.values().filter_map(|episode| {
            let (at_ms, kind) = episode.next(sink, policy)?;
            (at_ms <= now_ms).then(|| episode.notice(sink, kind))
        });
        let mut due: Vec<Notice> = of_sink.collect();
        due.sort_by_key(|notice| {
            (
                std::cmp::Reverse(notice.alert.severity),
                notice.alert.starts_at_ms,
            )
        });
        due
    }

    /// Returns when `sink` must be told something next, epoch milliseconds; `None`: never, as things are.
    #[must_use]
    pub fn next_due(&self, sink: &str, policy: &DeskPolicy) -> Option<i64> {
        let times = self.episodes.values();
        times
            .filter_map(|episode| Some(episode.next(sink, policy)?.0))
            .min()
    }

    /// Returns since when `sink` has not accepted something that it was or is to be told, epoch milliseconds; `None`: it
    /// knows everything.
    #[must_use]
    pub fn behind_since(&self, sink: &str) -> Option<i64> {
        let waiting = self.episodes.values().filter_map(|episode| {
            let delivery = episode.deliveries.get(sink);
            let last = delivery.and_then(|delivery| delivery.last);
            match (episode.ended_at_ms, last) {
                (None, None) if delivery.is_some_and(|delivery| delivery.is_silenced) => None,
                (Some(ended), _) => Some(ended),
                (None, None) => Some(episode.alert.starts_at_ms),
                (None, Some(_)) => None,
            }
        });
        waiting.min()
    }

    /// Records that a silence holds the notice back until `until_ms` at least, and returns whether none did before.
    pub fn silence(&mut self, sink: &str, notice: &Notice, until_ms: i64) -> bool {
        let Some(delivery) = self.held(sink, notice, until_ms) else {
            return false;
        };
        !std::mem::replace(&mut delivery.is_silenced, true)
    }

    /// Records that the notice is not sent before `until_ms`.
    pub fn hold(&mut self, sink: &str, notice: &Notice, until_ms: i64) {
        let _held = self.held(sink, notice, until_ms);
    }

    fn held(&mut self, sink: &str, notice: &Notice, until_ms: i64) -> Option<&mut Delivery> {
        let episode = self.episodes.get_mut(&notice.alert.episode)?;
        let delivery = episode.deliveries.entry(sink.to_owned()).or_default();
        delivery.not_before_ms = until_ms;
        Some(delivery)
    }

    /// Records that an attempt begins: should the process die now, the attempt counts as one that may have arrived, and is
    /// repeated after a pause only.
    pub fn begin(&mut self, sink: &str, notice: &Notice, policy: &DeskPolicy, now_ms: i64) {
        if let Some(episode) = self.episodes.get_mut(&notice.alert.episode) {
            let delivery = episode.deliveries.entry(sink.to_owned()).or_default();
            delivery.attempts = delivery.attempts.saturating_add(1);
            delivery.number = notice.number;
            delivery.tried = Some(Tried::of(notice));
            delivery.is_silenced = false;
            delivery.is_unsure |= delivery
                .last
                .is_some_and(|sent| sent.severity != notice.alert.severity);
            delivery.not_before_ms = now_ms.saturating_add(pause_ms(policy, delivery.attempts));
        }
    }

    /// Records that `sink` accepted the notice.
    pub fn sent(&mut self, sink: &str, notice: &Notice, now_ms: i64) {
        if let Some(episode) = self.episodes.get_mut(&notice.alert.episode) {
            if notice.kind == NoticeKind::Resolved {
                episode.deliveries.remove(sink);
            } else {
                let told = Delivery {
                    last: Some(Sent {
                        severity: notice.alert.severity,
                        at_ms: now_ms,
                    }),
                    number: notice.number,
                    ..Delivery::default()
                };
                episode.deliveries.insert(sink.to_owned(), told);
            }
        }
        self.forget_what_is_told();
    }

    /// Records that `sink` will never accept the notice as it is: the next one is the next change or reminder.
    pub fn refused(&mut self, sink: &str, notice: &Notice, policy: &DeskPolicy, now_ms: i64) {
        if let Some(episode) = self.episodes.get_mut(&notice.alert.episode) {
            if notice.kind == NoticeKind::Resolved {
                episode.deliveries.remove(sink);
            } else if let Some(delivery) = episode.deliveries.get_mut(sink) {
                delivery.attempts = 0;
                delivery.not_before_ms = now_ms.saturating_add(ms(policy.repeat_after));
            }
        }
        self.forget_what_is_told();
    }

    /// Drops ends that `sink` has not accepted for too long, and returns how many.
    pub fn give_up(&mut self, sink: &str, policy: &DeskPolicy, now_ms: i64) -> usize {
        let limit = ms(policy.give_up_after);
        let mut given_up = 0;
        for episode in self.episodes.values_mut() {
            let too_long = episode
                .ended_at_ms
                .is_some_and(|ended| now_ms.saturating_sub(ended) > limit);
            if too_long && episode.deliveries.remove(sink).is_some() {
                given_up += 1;
            }
        }
        self.forget_what_is_told();
        given_up
    }

    /// The alerts of the episodes that last.
    pub fn open(&self) -> impl Iterator<Item = &Alert> {
        let lasting = self
            .episodes
            .values()
            .filter(|episode| episode.ended_at_ms.is_none());
        lasting.map(|episode| &episode.alert)
    }

    /// Episodes are kept until they are over and no sink has anything left to hear.
    fn forget_what_is_told(&mut self) {
        for episode in self.episodes.values_mut() {
            if episode.ended_at_ms.is_some() {
                episode.deliveries.retain(|_, delivery| delivery.may_have_heard());
            }
        }
        self.episodes
            .retain(|_, episode| episode.ended_at_ms.is_none() || !episode.deliveries.is_empty());
    }
}

impl Tried {
    const fn of(notice: &Notice) -> Self {
        Self {
            kind: notice.kind,
            severity: notice.alert.severity,
        }
    }
}

impl Episode {
    /// What a sink is told.
    fn notice(&self, sink: &str, kind: NoticeKind) -> Notice {
        let delivery = self.deliveries.get(sink);
        let last = delivery.and_then(|delivery| delivery.last);
        let mut notice = Notice {
            kind,
            alert: self.alert.clone(),
            ends_at_ms: self.ended_at_ms,
            number: delivery.map_or(0, |delivery| delivery.number),
            accepted: last.map(|sent| sent.severity),
            accepted_at_ms: last.map(|sent| sent.at_ms),
        };
        let is_again = delivery.is_some_and(|delivery| delivery.tried == Some(Tried::of(&notice)));
        if !is_again {
            notice.number = notice.number.saturating_add(1);
        }
        notice
    }

    /// What a sink must be told next, and when.
    fn next(&self, sink: &str, policy: &DeskPolicy) -> Option<(i64, NoticeKind)> {
        let none = Delivery::default();
        let delivery = self.deliveries.get(sink).unwrap_or(&none);
        let (at_ms, kind) = match (self.ended_at_ms, delivery.last) {
            (Some(ended), _) if delivery.may_have_heard() => (ended, NoticeKind::Resolved),
            (Some(_), _) => return None,
            (None, None) => (self.alert.starts_at_ms, NoticeKind::Open),
            (None, Some(sent)) if sent.severity < self.alert.severity => (0, NoticeKind::Escalated),
            (None, Some(sent)) if sent.severity > self.alert.severity => (0, NoticeKind::Deescalated),
            (None, Some(_)) if delivery.is_unsure && self.alert.severity == Severity::Critical => {
                (0, NoticeKind::Escalated)
            }
            (None, Some(_)) if delivery.is_unsure => (0, NoticeKind::Deescalated),
            (None, Some(sent)) => (
                sent.at_ms.saturating_add(ms(policy.repeat_after)),
                NoticeKind::Reminder,
            ),
        };
        Some((at_ms.max(delivery.not_before_ms), kind))
    }
}

impl Delivery {
    fn may_have_heard(&self) -> bool {
        self.last.is_some() || self.attempts > 0
    }
}

fn pause_ms(policy: &DeskPolicy, attempts: u32) -> i64 {
    let doubled = policy
        .retry_first
        .saturating_mul(1 << attempts.saturating_sub(1).min(20));
    ms(doubled.min(policy.retry_max))
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
