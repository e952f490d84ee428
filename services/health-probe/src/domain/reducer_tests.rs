use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    failures: 3,
    successes: 2,
    flap_limit: 3,
    flap_window_ms: 1_800_000,
};
/// No target flaps.
const STEADY: Rules = Rules {
    flap_limit: u32::MAX,
    ..RULES
};
const ROUND_MS: i64 = 30_000;

use Seen::{Degraded, Failed, Good, Unknown};

/// The level after each result.
fn levels(results: &[Seen], rules: &Rules) -> Vec<Level> {
    let mut state = TargetState::default();
    let mut now_ms = 0;
    let after = results.iter().map(|seen| {
        now_ms += ROUND_MS;
        step(&mut state, *seen, now_ms, rules);
        state.level
    });
    after.collect()
}

/// The rules of the requirement, read off the whole list of results.
fn naive(results: &[Seen], rules: &Rules) -> Vec<Level> {
    let mut level = Level::Ok;
    let mut known = Vec::new();
    let mut after = Vec::new();
    for seen in results {
        if *seen != Unknown {
            known.push(*seen);
            let last = |count: u32, is: &dyn Fn(Seen) -> bool| {
                let count = count as usize;
                known.len() >= count && known[known.len() - count..].iter().all(|seen| is(*seen))
            };
            if last(rules.failures, &|seen| seen == Failed) {
                level = Level::Critical;
            } else if last(rules.successes, &|seen| seen == Good) {
                level = Level::Ok;
            } else {
                level = match level {
                    Level::Critical if last(rules.successes, &|seen| seen != Failed) => Level::Warning,
                    Level::Ok if *seen == Degraded => Level::Warning,
                    _ => level,
                };
            }
        }
        after.push(level);
    }
    after
}

fn result() -> impl Strategy<Value = Seen> {
    prop_oneof![4 => Just(Failed), 4 => Just(Good), 1 => Just(Degraded), 1 => Just(Unknown)]
}

proptest! {
    #[test]
    fn levels_are_those_of_the_naive_model(
        results in prop::collection::vec(result(), 0..200),
        failures in 1_u32..5,
        successes in 1_u32..4,
    ) {
        let rules = Rules { failures, successes, ..STEADY };
        prop_assert_eq!(levels(&results, &rules), naive(&results, &rules));
    }

    /// With damping: never critical without three failures in a row, never changed by an unknown result, and transitions tell
    /// the whole story of the level.
    #[test]
    fn transitions_tell_the_story_and_episodes_do_not_overlap(results in prop::collection::vec(result(), 0..300)) {
        let mut state = TargetState::default();
        let (mut now_ms, mut failures, mut open) = (0, 0, None);
        for seen in results {
            now_ms += ROUND_MS;
            let before = state.clone();
            let transition = step(&mut state, seen, now_ms, &RULES);
            failures = match seen { Failed => failures + 1, Unknown => failures, _ => 0 };
            if seen == Unknown {
                prop_assert!(transition.is_none());
            }
            match transition {
                None => prop_assert_eq!(state.level, before.level),
                Some(Transition::Raised { opened_at_ms, level }) => {
                    prop_assert_eq!(opened_at_ms, open.unwrap_or(now_ms));
                    prop_assert_eq!(level, state.level);
                    prop_assert!(level != Level::Critical || failures >= RULES.failures);
                    open = Some(opened_at_ms);
                }
                Some(Transition::Resolved { opened_at_ms }) => {
                    prop_assert_eq!(Some(opened_at_ms), open.take());
                    prop_assert_eq!(state.level, Level::Ok);
                }
            }
            prop_assert_eq!(state.opened_at_ms, open);
            prop_assert!(state.worse_at_ms.len() <= 60, "bounded by the window");
        }
    }

    /// A target that goes up and down for ever opens a bounded number of episodes per window.
    #[test]
    fn a_flapping_target_keeps_one_episode(down in 3_usize..6, up in 2_usize..9) {
        let mut state = TargetState::default();
        let mut opened = Vec::new();
        let mut now_ms = 0;
        for round in 0..240 {
            let seen = if round % (down + up) < down { Failed } else { Good };
            now_ms += ROUND_MS;
            if let Some(Transition::Raised { opened_at_ms, .. }) = step(&mut state, seen, now_ms, &RULES)
                && opened.last() != Some(&opened_at_ms)
            {
                opened.push(opened_at_ms);
            }
        }
        // Two hours: four windows.
        prop_assert!(opened.len() <= 4 * (RULES.flap_limit as usize + 1), "{} episodes", opened.len());
    }
}

#[test]
fn ruling_42_three_failures_in_a_row_are_critical_and_two_good_answers_recover() {
    use Level::{Critical, Ok, Warning};
    for (results, expected) in [
        (
            vec![Failed, Failed, Failed, Good, Good],
            vec![Ok, Ok, Critical, Critical, Ok],
        ),
        (vec![Failed, Failed, Good, Failed, Failed], vec![Ok; 5]),
        (
            vec![Failed, Failed, Unknown, Unknown, Unknown, Failed],
            vec![Ok, Ok, Ok, Ok, Ok, Critical],
        ),
        (
            vec![Degraded, Good, Degraded, Good, Good],
            vec![Warning, Warning, Warning, Warning, Ok],
        ),
        (
            vec![Failed, Failed, Failed, Degraded, Good, Good],
            vec![Ok, Ok, Critical, Critical, Warning, Ok],
        ),
        (vec![Unknown; 50], vec![Ok; 50]),
    ] {
        assert_eq!(levels(&results, &RULES), expected, "{results:?}");
    }
}

#[test]
fn results_before_a_long_silence_are_not_in_a_row_with_those_after_it() {
    let mut state = TargetState::default();
    step(&mut state, Failed, 1_000, &RULES);
    step(&mut state, Failed, 31_000, &RULES);
    assert_eq!(step(&mut state, Failed, 31_000 + SILENCE_MS + 1, &RULES), None);
    // What was open stays open.
    let mut now_ms = 1_000_000;
    for _ in 0..3 {
        now_ms += ROUND_MS;
        step(&mut state, Failed, now_ms, &RULES);
    }
    assert_eq!(state.level, Level::Critical);
    now_ms += SILENCE_MS * 10;
    assert_eq!(step(&mut state, Failed, now_ms, &RULES), None);
    assert_eq!(state.level, Level::Critical);
}
