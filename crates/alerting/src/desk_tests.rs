use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Fingerprint;

const POLICY: DeskPolicy = DeskPolicy {
    repeat_after: Duration::from_secs(100),
    retry_first: Duration::from_secs(1),
    retry_max: Duration::from_secs(8),
    give_up_after: Duration::from_secs(1000),
};

fn alert(target: &str, severity: Severity, starts_at_ms: i64) -> Alert {
    let labels = BTreeMap::from([("target".to_owned(), target.to_owned())]);
    let fingerprint = Fingerprint::of("TargetDown", &labels);
    Alert {
        name: "TargetDown".to_owned(),
        labels,
        annotations: BTreeMap::new(),
        severity,
        starts_at_ms,
        episode: EpisodeId::of(&fingerprint, starts_at_ms),
    }
}

fn desk() -> Desk {
    let mut desk = Desk::default();
    desk.set_sinks(["a".to_owned(), "b".to_owned()]);
    desk
}

fn due(desk: &Desk, sink: &str, now_ms: i64) -> Vec<NoticeKind> {
    desk.due(sink, &POLICY, now_ms)
        .iter()
        .map(|notice| notice.kind)
        .collect()
}

/// One attempt of everything that is due, with this outcome.
fn tell(desk: &mut Desk, sink: &str, now_ms: i64, accepted: bool) -> Vec<NoticeKind> {
    let notices = desk.due(sink, &POLICY, now_ms);
    for notice in &notices {
        desk.begin(sink, notice, &POLICY, now_ms);
        if accepted {
            desk.sent(sink, notice, now_ms);
        }
    }
    notices.iter().map(|notice| notice.kind).collect()
}

#[test]
fn an_episode_is_told_once_to_each_sink_and_again_when_it_changes_lasts_or_ends() {
    let mut desk = desk();
    let warning = alert("x", Severity::Warning, 5_000);
    desk.raise(warning.clone());
    assert_eq!(tell(&mut desk, "a", 5_000, true), [NoticeKind::Open]);
    assert_eq!(tell(&mut desk, "a", 5_001, true), []);
    desk.raise(alert("x", Severity::Critical, 5_000));
    assert_eq!(tell(&mut desk, "a", 6_000, true), [NoticeKind::Escalated]);
    desk.raise(warning.clone());
    assert_eq!(tell(&mut desk, "a", 7_000, true), [NoticeKind::Deescalated]);
    assert_eq!(due(&desk, "a", 106_999), []);
    assert_eq!(tell(&mut desk, "a", 107_000, true), [NoticeKind::Reminder]);
    desk.resolve(&warning.episode, 108_000);
    assert_eq!(tell(&mut desk, "a", 108_000, true), [NoticeKind::Resolved]);
    // The other sink has heard nothing, so there is nothing to take back.
    assert_eq!(due(&desk, "b", 109_000), []);
    assert_eq!(desk, self::desk());
}

#[test]
fn what_failed_is_repeated_with_growing_pauses_also_the_end() {
    let mut desk = desk();
    let alert = alert("x", Severity::Critical, 0);
    desk.raise(alert.clone());
    let mut attempts = Vec::new();
    for now_ms in (0..40_000).step_by(500) {
        if !tell(&mut desk, "a", now_ms, false).is_empty() {
            attempts.push(now_ms);
        }
    }
    assert_eq!(attempts, [0, 1_000, 3_000, 7_000, 15_000, 23_000, 31_000, 39_000]);
    // Nothing was accepted, and something may have arrived: the end is told.
    desk.resolve(&alert.episode, 40_000);
    assert_eq!(due(&desk, "a", 46_999), []);
    assert_eq!(tell(&mut desk, "a", 47_000, false), [NoticeKind::Resolved]);
    assert_eq!(desk.behind_since("a"), Some(40_000));
    assert_eq!(desk.give_up("a", &POLICY, 1_040_000), 0);
    assert_eq!(desk.give_up("a", &POLICY, 1_040_001), 1);
    assert_eq!(desk, self::desk());
}

/// An attempt without an answer may have arrived: after it, what was accepted before is news.
#[test]
fn a_severity_that_may_have_arrived_is_taken_back() {
    let mut desk = desk();
    desk.raise(alert("x", Severity::Warning, 0));
    assert_eq!(tell(&mut desk, "a", 0, true), [NoticeKind::Open]);
    desk.raise(alert("x", Severity::Critical, 0));
    assert_eq!(tell(&mut desk, "a", 10_000, false), [NoticeKind::Escalated]);
    desk.raise(alert("x", Severity::Warning, 0));
    assert_eq!(tell(&mut desk, "a", 20_000, false), [NoticeKind::Deescalated]);
    assert_eq!(tell(&mut desk, "a", 30_000, true), [NoticeKind::Deescalated]);
    assert_eq!(due(&desk, "a", 31_000), []);
}

#[test]
fn what_is_refused_is_not_repeated_before_the_next_reminder_or_change() {
    let mut desk = desk();
    let warning = alert("x", Severity::Warning, 0);
    desk.raise(warning.clone());
    let notices = desk.due("a", &POLICY, 0);
    desk.begin("a", &notices[0], &POLICY, 0);
    desk.refused("a", &notices[0], &POLICY, 0);
    assert_eq!(due(&desk, "a", 99_999), []);
    assert_eq!(due(&desk, "a", 100_000), [NoticeKind::Open]);
    desk.resolve(&warning.episode, 100_001);
    assert_eq!(due(&desk, "a", i64::MAX), [], "it never heard of it");
}

/// A silenced alert is not told and is not behind; when the silence ends it is told, and its end if it was told.
#[test]
fn what_is_silenced_is_told_when_the_silence_ends_and_never_its_end_alone() {
    let mut desk = desk();
    let critical = alert("x", Severity::Critical, 0);
    desk.raise(critical.clone());
    let notice = desk.due("a", &POLICY, 0).remove(0);
    assert!(desk.silence("a", &notice, 5_000), "it is new");
    assert!(!desk.silence("a", &notice, 5_000), "it is not new");
    assert_eq!((due(&desk, "a", 4_999), desk.behind_since("a")), (vec![], None));
    assert_eq!(desk.behind_since("b"), Some(0));
    assert_eq!(tell(&mut desk, "a", 5_000, true), [NoticeKind::Open]);
    let reminder = desk.due("a", &POLICY, 105_000).remove(0);
    desk.silence("a", &reminder, 110_000);
    desk.resolve(&critical.episode, 106_000);
    assert_eq!(due(&desk, "a", 106_000), [NoticeKind::Resolved], "it was told");

    let mut desk = self::desk();
    desk.raise(critical.clone());
    desk.silence("a", &notice, 5_000);
    desk.resolve(&critical.episode, 6_000);
    assert_eq!(desk, self::desk());
}

#[test]
fn a_stored_desk_goes_on_where_it_was() {
    let mut desk = desk();
    desk.raise(alert("x", Severity::Critical, 0));
    tell(&mut desk, "a", 0, true);
    // The process dies while it tells b.
    let notice = &desk.due("b", &POLICY, 0)[0];
    desk.begin("b", notice, &POLICY, 0);
    let text = serde_json::to_string(&desk).unwrap();
    let mut again: Desk = serde_json::from_str(&text).unwrap();
    again.set_sinks(["a".to_owned(), "b".to_owned()]);
    assert_eq!(again, desk);
    assert_eq!(due(&again, "a", 1), []);
    assert_eq!(
        (due(&again, "b", 1), due(&again, "b", 1_000)),
        (vec![], vec![NoticeKind::Open])
    );
    // A sink that is no longer configured is forgotten, and a new one hears of what lasts.
    again.set_sinks(["c".to_owned()]);
    assert_eq!(due(&again, "c", 1), [NoticeKind::Open]);
}

/// What may happen, in any order.
#[derive(Debug, Clone)]
enum Event {
    Raise(Severity),
    Resolve,
    Tell { accepted: bool, arrived: bool },
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        Just(Event::Raise(Severity::Warning)),
        Just(Event::Raise(Severity::Critical)),
        Just(Event::Resolve),
        (any::<bool>(), any::<bool>()).prop_map(|(accepted, arrived)| Event::Tell { accepted, arrived }),
        Just(Event::Restart),
    ];
    prop::collection::vec(event, 1..60)
}

proptest! {
    /// Whatever happens and however the sink fails: once it answers again, it knows what is true, it never hears the end of
    /// something that it was not told, and nothing is left behind.
    #[test]
    fn a_sink_that_answers_again_knows_what_is_true(events in events()) {
        let mut desk = desk();
        let mut now_ms = 0;
        // What is true, and what the receiver believes: begin of the episode and severity.
        let mut truth: Option<(i64, Severity)> = None;
        let mut heard: BTreeMap<i64, Severity> = BTreeMap::new();
        let mut hear = |notice: &Notice| {
            let key = notice.alert.starts_at_ms;
            match notice.ends_at_ms {
                Some(_) => { heard.remove(&key); }
                None => { heard.insert(key, notice.alert.severity); }
            }
            heard.clone()
        };
        for event in events.into_iter().chain([
            Event::Tell { accepted: true, arrived: true },
            Event::Tell { accepted: true, arrived: true },
        ]) {
            now_ms += 10_000;
            match event {
                Event::Raise(severity) => {
                    let (start, _) = *truth.get_or_insert((now_ms, severity));
                    truth = Some((start, severity));
                    desk.raise(alert("x", severity, start));
                }
                Event::Resolve => if let Some((start, severity)) = truth.take() {
                    desk.resolve(&alert("x", severity, start).episode, now_ms);
                },
                Event::Tell { accepted, arrived } => for notice in desk.due("a", &POLICY, now_ms) {
                    desk.begin("a", &notice, &POLICY, now_ms);
                    if accepted || arrived {
                        hear(&notice);
                    }
                    if accepted {
                        desk.sent("a", &notice, now_ms);
                    }
                },
                Event::Restart => {
                    let stored = serde_json::to_string(&desk).unwrap();
                    desk = serde_json::from_str(&stored).unwrap();
                    desk.set_sinks(["a".to_owned(), "b".to_owned()]);
                }
            }
        }
        let expected: BTreeMap<i64, Severity> = truth.into_iter().collect();
        prop_assert_eq!(heard, expected);
        prop_assert_eq!(desk.open().count(), usize::from(truth.is_some()));
        prop_assert!(desk.episodes.len() <= 1);
    }
}
