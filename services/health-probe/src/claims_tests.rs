use std::collections::BTreeMap;

use eidos_alerting::Fingerprint;
use proptest::prelude::*;

use super::*;

const TARGET: &str = "trading";

fn alert(severity: Severity, starts_at_ms: i64) -> Alert {
    let labels = BTreeMap::from([("target".to_owned(), TARGET.to_owned())]);
    let fingerprint = Fingerprint::of("TargetUnhealthy", &labels);
    Alert {
        name: "TargetUnhealthy".to_owned(),
        labels,
        annotations: BTreeMap::new(),
        severity,
        starts_at_ms,
        episode: EpisodeId::of(&fingerprint, starts_at_ms),
    }
}

const fn says(level: Level, agreeing: usize, voters: usize) -> Count {
    Count {
        level,
        agreeing,
        voters,
    }
}

const fn at(fails: bool, together: Option<Count>, dependency_fails: bool) -> Situation {
    Situation {
        fails,
        together,
        dependency_fails,
    }
}

fn open(desk: &Desk) -> Vec<(Severity, i64)> {
    desk.open()
        .map(|alert| (alert.severity, alert.starts_at_ms))
        .collect()
}

#[test]
fn what_too_few_see_waits_and_opens_under_the_begin_that_this_prober_saw() {
    let (mut claims, mut desk) = (Claims::default(), Desk::default());
    claims.claim(TARGET, alert(Severity::Critical, 10));
    assert!(claims.settle(
        TARGET,
        at(true, Some(says(Level::Ok, 2, 3)), false),
        &mut desk,
        11
    ));
    assert_eq!((open(&desk), claims.outvoted()), (vec![], 1));
    assert!(claims.settle(
        TARGET,
        at(true, Some(says(Level::Warning, 2, 3)), false),
        &mut desk,
        12
    ));
    assert_eq!(
        open(&desk),
        [(Severity::Warning, 10)],
        "the level that is carried"
    );
    let text = desk.open().next().unwrap().annotations[VOTES].clone();
    assert_eq!(text, "2 of 3 probers say warning or worse");
    assert!(claims.settle(
        TARGET,
        at(true, Some(says(Level::Critical, 2, 3)), false),
        &mut desk,
        13
    ));
    assert_eq!(open(&desk), [(Severity::Critical, 10)]);
    assert!(!claims.settle(
        TARGET,
        at(true, Some(says(Level::Critical, 2, 3)), false),
        &mut desk,
        14
    ));
}

/// Receivers were told that the first episode is over: the next one is another.
#[test]
fn an_alert_that_is_outvoted_ends_and_begins_anew() {
    let (mut claims, mut desk) = (Claims::default(), Desk::default());
    claims.claim(TARGET, alert(Severity::Critical, 10));
    claims.settle(
        TARGET,
        at(true, Some(says(Level::Critical, 2, 3)), false),
        &mut desk,
        11,
    );
    claims.settle(
        TARGET,
        at(true, Some(says(Level::Ok, 2, 3)), false),
        &mut desk,
        20,
    );
    assert_eq!(open(&desk), []);
    // This prober has seen it fail all the time, and says so once more.
    claims.claim(TARGET, alert(Severity::Critical, 10));
    claims.settle(
        TARGET,
        at(true, Some(says(Level::Critical, 2, 3)), false),
        &mut desk,
        30,
    );
    assert_eq!(open(&desk), [(Severity::Critical, 20)]);
}

#[test]
fn an_alert_lasts_until_the_others_see_it_work_too() {
    let (mut claims, mut desk) = (Claims::default(), Desk::default());
    claims.claim(TARGET, alert(Severity::Critical, 10));
    claims.settle(
        TARGET,
        at(true, Some(says(Level::Critical, 1, 2)), false),
        &mut desk,
        11,
    );
    claims.settle(
        TARGET,
        at(false, Some(says(Level::Critical, 1, 2)), false),
        &mut desk,
        20,
    );
    assert_eq!(
        open(&desk),
        [(Severity::Critical, 10)],
        "another prober sees it fail"
    );
    // It fails here again: the same episode.
    claims.claim(TARGET, alert(Severity::Critical, 25));
    claims.settle(
        TARGET,
        at(true, Some(says(Level::Critical, 2, 2)), false),
        &mut desk,
        25,
    );
    assert_eq!(open(&desk), [(Severity::Critical, 10)]);
    claims.settle(
        TARGET,
        at(false, Some(says(Level::Ok, 2, 2)), false),
        &mut desk,
        30,
    );
    assert_eq!((open(&desk), claims.is_empty()), (vec![], true));
}

proptest! {
    /// The table of the module, read as sentences, after any history.
    #[test]
    fn an_alert_is_open_exactly_as_the_table_says(
        steps in prop::collection::vec((any::<bool>(), 0..4_u8, any::<bool>()), 1..40)
    ) {
        let (mut claims, mut desk, mut is_open) = (Claims::default(), Desk::default(), false);
        for (now_ms, (fails, level, dependency_fails)) in (1_i64..).zip(steps) {
            if fails {
                claims.claim(TARGET, alert(Severity::Critical, now_ms));
            }
            let together = match level {
                0 => None,
                1 => Some(says(Level::Ok, 1, 1)),
                2 => Some(says(Level::Warning, 1, 1)),
                _ => Some(says(Level::Critical, 1, 1)),
            };
            claims.settle(TARGET, at(fails, together, dependency_fails), &mut desk, now_ms);
            is_open = match level {
                0 => is_open,
                1 => false,
                _ => is_open || (fails && !dependency_fails),
            };
            prop_assert_eq!(desk.open().count(), usize::from(is_open));
        }
    }
}
