//! [`Heard`]: what a receiver heard of an alert from any of several senders. Pure: where it is kept, and for how long, is not
//! known here.

use serde::{Deserialize, Serialize};

use crate::{EpisodeId, Notice, NoticeKind, Severity};

/// What a receiver heard last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Heard {
    /// A sender began to tell it that the alert lasts. Whether it heard is not known.
    Begun(Told),
    /// That the alert lasts.
    Told(Told),
    /// That it is over.
    Ended,
}

/// Under which episode a receiver heard of an alert, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    severity: Severity,
    episode: EpisodeId,
    starts_at_ms: i64,
    at_ms: i64,
    number: u32,
}

/// What a sender does with a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Sends it, as it is here: under the episode and number that the receiver knows.
    Send(Box<Notice>),
    /// Does not: the receiver has heard the same from another sender.
    Told,
}

impl Heard {
    /// Returns what to do with `notice` after `heard`; `is_cool`: that was so lately that the same is not said again.
    #[must_use]
    pub fn turn(heard: Option<&Self>, is_cool: bool, notice: &Notice) -> Turn {
        let is_end = notice.kind == NoticeKind::Resolved;
        match heard {
            Some(Self::Ended) if is_end => Turn::Told,
            None | Some(Self::Ended) => Turn::Send(Box::new(notice.clone())),
            Some(Self::Begun(begun)) => Turn::Send(Box::new(begun.again(notice))),
            Some(Self::Told(told)) if told.says(notice, is_cool) => Turn::Told,
            Some(Self::Told(told)) => Turn::Send(Box::new(told.followed_by(notice))),
        }
    }

    /// What is kept before `notice` is sent: should its sender die, the next one says the same under the same episode and number.
    /// `None`: what is kept says enough.
    #[must_use]
    pub fn before(heard: Option<&Self>, notice: &Notice, now_ms: i64) -> Option<Self> {
        let knows_episode = matches!(heard, Some(Self::Told(_)));
        let is_end = notice.kind == NoticeKind::Resolved;
        (!knows_episode && !is_end).then(|| Self::Begun(Told::by(notice, now_ms)))
    }

    /// What a receiver has heard when it accepted `notice`.
    #[must_use]
    pub fn after(notice: &Notice, now_ms: i64) -> Self {
        if notice.kind == NoticeKind::Resolved {
            Self::Ended
        } else {
            Self::Told(Told::by(notice, now_ms))
        }
    }
}

impl Told {
    fn by(notice: &Notice, at_ms: i64) -> Self {
        Self {
            severity: notice.alert.severity,
            episode: notice.alert.episode.clone(),
            starts_at_ms: notice.alert.starts_at_ms,
            at_ms,
            number: notice.number,
        }
    }

    /// Whether `notice` would say nothing new.
    fn says(&self, notice: &Notice, is_cool: bool) -> bool {
        let is_end = notice.kind == NoticeKind::Resolved;
        // Another sender saw it begin again after this end.
        let is_old_end = is_end
            && self.episode != notice.alert.episode
            && notice.ends_at_ms.is_some_and(|ended_ms| ended_ms < self.at_ms);
        let is_news = match notice.kind {
            NoticeKind::Resolved => true,
            NoticeKind::Deescalated => notice.alert.severity != self.severity,
            _ => notice.alert.severity > self.severity,
        };
        is_old_end || (is_cool && !is_news)
    }

    /// The notice under the episode that the receiver knows.
    fn named(&self, notice: &Notice, number: u32) -> Notice {
        let mut notice = notice.clone();
        notice.alert.episode = self.episode.clone();
        notice.alert.starts_at_ms = self.starts_at_ms;
        notice.number = number;
        notice
    }

    fn followed_by(&self, notice: &Notice) -> Notice {
        self.named(notice, self.number.saturating_add(1))
    }

    /// Another attempt of the same, or what follows it.
    fn again(&self, notice: &Notice) -> Notice {
        let is_end = notice.kind == NoticeKind::Resolved;
        if is_end || notice.alert.severity != self.severity {
            self.followed_by(notice)
        } else {
            self.named(notice, self.number)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Alert, Fingerprint};

    /// A notice of the sender whose episode began at `starts_at_ms`.
    fn notice(starts_at_ms: i64, kind: NoticeKind, severity: Severity) -> Notice {
        let labels = BTreeMap::new();
        Notice {
            kind,
            alert: Alert {
                name: "Down".to_owned(),
                episode: EpisodeId::of(&Fingerprint::of("Down", &labels), starts_at_ms),
                labels,
                annotations: BTreeMap::new(),
                severity,
                starts_at_ms,
            },
            ends_at_ms: (kind == NoticeKind::Resolved).then_some(starts_at_ms + 100),
            number: 1,
            accepted: None,
            accepted_at_ms: None,
        }
    }

    fn is_told(heard: &Heard, is_cool: bool, notice: &Notice) -> bool {
        Heard::turn(Some(heard), is_cool, notice) == Turn::Told
    }

    use NoticeKind::{Deescalated, Escalated, Open, Reminder, Resolved};
    use Severity::{Critical, Warning};

    #[test]
    fn the_same_is_said_once_per_cool_down_and_news_at_once() {
        let first = notice(10, Open, Critical);
        assert_eq!(
            Heard::turn(None, true, &first),
            Turn::Send(Box::new(first.clone()))
        );
        let heard = Heard::after(&first, 20);
        for kind in [Open, Reminder, Escalated] {
            assert!(is_told(&heard, true, &notice(12, kind, Critical)), "{kind:?}");
            assert!(!is_told(&heard, false, &notice(12, kind, Critical)), "{kind:?}");
        }
        assert!(
            is_told(&heard, true, &notice(12, Open, Warning)),
            "critical was said"
        );
        assert!(!is_told(&heard, true, &notice(12, Deescalated, Warning)));
        let warned = Heard::after(&notice(10, Open, Warning), 20);
        assert!(!is_told(&warned, true, &notice(12, Escalated, Critical)));
        assert!(!is_told(&warned, true, &notice(12, Open, Critical)));
    }

    #[test]
    fn an_end_is_said_once_under_the_episode_that_was_told() {
        let heard = Heard::after(&notice(10, Open, Critical), 20);
        let end = notice(12, Resolved, Critical);
        let Turn::Send(sent) = Heard::turn(Some(&heard), true, &end) else {
            panic!("an end always goes out")
        };
        assert_eq!(sent.alert.episode, notice(10, Open, Critical).alert.episode);
        assert_eq!((sent.alert.starts_at_ms, sent.number), (10, 2));
        let heard = Heard::after(&sent, 130);
        assert!(is_told(&heard, true, &end), "the other sender's end");
        assert!(
            !is_told(&heard, true, &notice(500, Open, Critical)),
            "it begins again"
        );
        // Whoever is late with the end of the episode before does not end this one.
        let heard = Heard::after(&notice(500, Open, Critical), 510);
        assert!(is_told(&heard, true, &end));
        assert!(!is_told(&heard, true, &notice(500, Resolved, Critical)));
    }

    /// A receiver that ignores keys that it has seen does not notice that the second sender repeats the first.
    #[test]
    fn what_a_sender_began_is_said_by_the_next_under_the_same_episode_and_number() {
        let first = notice(10, Open, Critical);
        let begun = Heard::before(None, &first, 15).unwrap();
        assert_eq!(
            Heard::turn(Some(&begun), true, &notice(12, Open, Critical)),
            Turn::Send(Box::new(first.clone()))
        );
        let Turn::Send(end) = Heard::turn(Some(&begun), true, &notice(12, Resolved, Critical)) else {
            panic!("it may have been heard")
        };
        assert_eq!((end.alert.episode, end.number), (first.alert.episode.clone(), 2));
        let Turn::Send(other) = Heard::turn(Some(&begun), true, &notice(12, Open, Warning)) else {
            panic!("it is not known to be told")
        };
        assert_eq!(other.number, 2, "it says something else");
        // What is known to be told, and ends, need no such record.
        let told = Heard::after(&first, 20);
        assert_eq!(Heard::before(Some(&told), &first, 30), None);
        assert_eq!(Heard::before(None, &notice(12, Resolved, Critical), 30), None);
        assert!(Heard::before(Some(&Heard::Ended), &first, 30).is_some());
    }

    #[test]
    fn it_is_kept_as_text() {
        let first = notice(10, Open, Critical);
        let begun = Heard::before(None, &first, 15).unwrap();
        for heard in [Heard::after(&first, 20), begun, Heard::Ended] {
            let text = serde_json::to_string(&heard).unwrap();
            assert_eq!(serde_json::from_str::<Heard>(&text).unwrap(), heard);
        }
    }
}
