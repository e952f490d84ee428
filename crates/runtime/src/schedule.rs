//! When a job is due. Pure: cron lines, the cursor (last claimed slot) and the current time go in, slots come out.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use eidos_settings::{CatchUp, CronLine};
use eidos_types::Slot;

/// Most slots that are remembered one by one; older ones are only counted.
pub(crate) const LISTED_SLOTS: usize = 100;
/// Most slots that are counted. After a longer outage the count is a lower bound.
const COUNTED_SLOTS: u64 = 20_000;
/// A slot noticed within this time is on time, not caught up: loops sleep, pools queue.
pub(crate) const ON_TIME: TimeDelta = TimeDelta::seconds(30);

/// The cron lines of one job: it is due when any of them fires. Two lines that fire together make one slot (ADR 5).
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    lines: Vec<CronLine>,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// The slots to run, oldest first; empty when the catch-up rule lets all of them go.
    pub(crate) run: Vec<Slot>,
    /// The newest slot that has passed, run or not: what a claim moves the cursor to when nothing is run.
    pub(crate) newest: Slot,
    /// Slots that will not run by themselves, newest first, at most [`LISTED_SLOTS`].
    pub(crate) passed_over: Vec<Slot>,
    /// Further passed-over slots, older than the listed ones.
    pub(crate) unlisted: u64,
}

impl Schedule {
    /// The schedule of these lines.
    pub(crate) const fn new(lines: Vec<CronLine>) -> Self {
        Self { lines }
    }

    /// The first slot after `instant`; `None` when no line ever fires again.
    pub(crate) fn next_after(&self, instant: DateTime<Utc>) -> Option<Slot> {
        self.lines
            .iter()
            .filter_map(|line| line.next_after(instant))
            .min()
            .map(Slot::at)
    }

    /// The distance from `slot` to the one that follows it.
    pub(crate) fn period_from(&self, slot: Slot) -> TimeDelta {
        self.next_after(slot.instant())
            .map_or(TimeDelta::days(366), |next| next.instant() - slot.instant())
    }

    /// The slots in `(cursor, now]` under the catch-up rule; `None` when there is none. Slots older than
    /// `window_periods` periods are not caught up.
    pub(crate) fn due(
        &self,
        cursor: DateTime<Utc>,
        now: DateTime<Utc>,
        rule: CatchUp,
        window_periods: u32,
    ) -> Option<Due> {
        let (mut listed, mut unlisted) = self.passed(cursor, now);
        let newest = *listed.back()?;
        let age = now - newest.instant();
        let window = self.period_from(newest) * i32::try_from(window_periods).unwrap_or(i32::MAX);
        let in_window = |slot: Slot| now - slot.instant() <= window;
        let keep = match rule {
            CatchUp::None if age <= ON_TIME => 1,
            CatchUp::None => 0,
            CatchUp::Latest => usize::from(in_window(newest)),
            CatchUp::All(max) => {
                let max = usize::try_from(max).unwrap_or(usize::MAX);
                listed
                    .iter()
                    .rev()
                    .take(max)
                    .take_while(|slot| in_window(**slot))
                    .count()
            }
        };
        let run = Vec::from(listed.split_off(listed.len() - keep));
        let passed_over: Vec<Slot> = listed.iter().rev().take(LISTED_SLOTS).copied().collect();
        unlisted += u64::try_from(listed.len() - passed_over.len()).unwrap_or(u64::MAX);
        Some(Due {
            run,
            newest,
            passed_over,
            unlisted,
        })
    }

    /// The newest slots in `(cursor, now]`, oldest first, and how many older ones there were.
    fn passed(&self, cursor: DateTime<Utc>, now: DateTime<Utc>) -> (VecDeque<Slot>, u64) {
        // One more than may be passed over: the newest one is usually run.
        const KEPT: usize = LISTED_SLOTS * 2;
        let mut kept = VecDeque::with_capacity(8);
        let (mut at, mut older, mut walked) = (cursor, 0, 0);
        while let Some(slot) = self.next_after(at).filter(|slot| slot.instant() <= now) {
            kept.push_back(slot);
            if kept.len() > KEPT {
                kept.pop_front();
                older += 1;
            }
            walked += 1;
            at = slot.instant();
            if walked == COUNTED_SLOTS {
                // Far behind: jump to where the slots that matter are. What lies between stays uncounted.
                at = at.max(now - self.period_from(slot) * (i32::try_from(KEPT).unwrap_or(i32::MAX)));
            }
        }
        (kept, older)
    }
}

/// How far ahead of this clock a slot that somebody names may be: the clocks of two machines differ a little.
const AHEAD_MS: i64 = 60_000;

/// Refuses a named slot that has not come: whatever is young now would be old in it. Says so in a sentence.
pub fn has_come(slot: Slot, now_ms: i64) -> Result<(), String> {
    if slot.ms() <= now_ms.saturating_add(AHEAD_MS) {
        return Ok(());
    }
    Err(format!(
        "slot {slot} lies in the future, and a run works for a slot that has come; only a dry run may look ahead"
    ))
}

/// How long to sleep until `slot`, in steps of at most `longest`: the clock is read again after each, so a clock
/// step, a suspended machine or a changed schedule is noticed.
pub(crate) fn sleep_until(slot: Option<Slot>, now: DateTime<Utc>, longest: Duration) -> Duration {
    slot.map_or(longest, |slot| {
        (slot.instant() - now)
            .to_std()
            .unwrap_or(Duration::ZERO)
            .min(longest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn schedule(lines: &[&str]) -> Schedule {
        Schedule::new(lines.iter().map(|line| line.parse().unwrap()).collect())
    }

    fn texts(slots: &[Slot]) -> Vec<String> {
        slots.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_is_due_before_the_next_slot() {
        let hourly = schedule(&["0 0 * * * *"]);
        assert_eq!(
            hourly.due(
                at("2026-01-01T10:00:00Z"),
                at("2026-01-01T10:59:59Z"),
                CatchUp::Latest,
                2
            ),
            None
        );
    }

    #[test]
    fn latest_runs_one_slot_and_says_what_it_passed_over() {
        let hourly = schedule(&["0 0 * * * *"]);
        let due = hourly
            .due(
                at("2026-01-01T06:00:00Z"),
                at("2026-01-01T10:07:00Z"),
                CatchUp::Latest,
                2,
            )
            .unwrap();
        assert_eq!(texts(&due.run), ["2026-01-01T10:00:00Z"]);
        assert_eq!(
            texts(&due.passed_over),
            [
                "2026-01-01T09:00:00Z",
                "2026-01-01T08:00:00Z",
                "2026-01-01T07:00:00Z"
            ]
        );
    }

    #[test]
    fn all_is_bounded_by_its_number_and_by_two_periods() {
        let hourly = schedule(&["0 0 * * * *"]);
        let (cursor, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T10:07:00Z"));
        let all = hourly.due(cursor, now, CatchUp::All(5), 2).unwrap();
        assert_eq!(texts(&all.run), ["2026-01-01T09:00:00Z", "2026-01-01T10:00:00Z"]);
        assert_eq!(all.passed_over.len(), 8);
        let one = hourly.due(cursor, now, CatchUp::All(1), 2).unwrap();
        assert_eq!(texts(&one.run), ["2026-01-01T10:00:00Z"]);
    }

    #[test]
    fn none_runs_a_slot_only_on_time_but_still_accounts_for_it() {
        let hourly = schedule(&["0 0 * * * *"]);
        let cursor = at("2026-01-01T09:00:00Z");
        let on_time = hourly
            .due(cursor, at("2026-01-01T10:00:02Z"), CatchUp::None, 2)
            .unwrap();
        assert_eq!(texts(&on_time.run), ["2026-01-01T10:00:00Z"]);
        let late = hourly
            .due(cursor, at("2026-01-01T10:07:00Z"), CatchUp::None, 2)
            .unwrap();
        assert_eq!(
            (late.run.len(), texts(&late.passed_over)),
            (0, vec!["2026-01-01T10:00:00Z".to_owned()])
        );
        assert_eq!(late.newest, Slot::at(at("2026-01-01T10:00:00Z")));
    }

    #[test]
    fn two_lines_that_fire_together_make_one_slot() {
        let both = schedule(&["0 0 * * * *", "0 0 2 * * *"]);
        let due = both
            .due(
                at("2026-01-01T01:00:00Z"),
                at("2026-01-01T02:00:30Z"),
                CatchUp::All(10),
                2,
            )
            .unwrap();
        assert_eq!(texts(&due.run), ["2026-01-01T02:00:00Z"]);
    }

    #[test]
    fn a_long_outage_is_bounded() {
        let fast = schedule(&["* * * * * *"]);
        let due = fast
            .due(
                at("2026-01-01T00:00:00Z"),
                at("2026-03-01T00:00:00Z"),
                CatchUp::Latest,
                2,
            )
            .unwrap();
        assert_eq!(texts(&due.run), ["2026-03-01T00:00:00Z"]);
        assert_eq!(due.passed_over.len(), LISTED_SLOTS);
        assert!(due.unlisted >= COUNTED_SLOTS - 200);
    }

    #[test]
    fn sleeping_is_bounded_and_never_negative() {
        let now = at("2026-01-01T00:00:00Z");
        let longest = Duration::from_secs(30);
        assert_eq!(sleep_until(None, now, longest), longest);
        assert_eq!(
            sleep_until(Some(Slot::at(at("2025-01-01T00:00:00Z"))), now, longest),
            Duration::ZERO
        );
        assert_eq!(
            sleep_until(Some(Slot::at(at("2026-01-01T00:00:07Z"))), now, longest),
            Duration::from_secs(7)
        );
    }

    /// A cron field as the walker below understands it.
    #[derive(Debug, Clone)]
    enum Field {
        Any,
        Every(u32),
        At(u32),
        Between(u32, u32),
    }

    impl Field {
        fn text(&self) -> String {
            match self {
                Self::Any => "*".to_owned(),
                Self::Every(step) => format!("*/{step}"),
                Self::At(value) => value.to_string(),
                Self::Between(low, high) => format!("{low}-{high}"),
            }
        }

        fn matches(&self, value: u32) -> bool {
            match self {
                Self::Any => true,
                Self::Every(step) => value.is_multiple_of(*step),
                Self::At(at) => value == *at,
                Self::Between(low, high) => (*low..=*high).contains(&value),
            }
        }
    }

    fn field(limit: u32) -> impl Strategy<Value = Field> {
        prop_oneof![
            Just(Field::Any),
            (1..limit).prop_map(Field::Every),
            (0..limit).prop_map(Field::At),
            (0..limit, 0..limit).prop_map(|(a, b)| Field::Between(a.min(b), a.max(b))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Every slot the schedule finds, and no other, is found by walking every second of the window.
        #[test]
        fn due_slots_are_those_of_a_brute_force_walker(
            second in proptest::option::of(field(60)), minute in field(60), hour in field(24),
            start in 0..86_400_i64, length_s in 1..20_000_i64,
        ) {
            use chrono::Timelike;
            let line = match &second {
                Some(second) => format!("{} {} {} * * *", second.text(), minute.text(), hour.text()),
                None => format!("{} {} * * *", minute.text(), hour.text()),
            };
            let cursor = at("2026-02-28T00:00:00Z") + TimeDelta::seconds(start);
            let now = cursor + TimeDelta::seconds(length_s);
            let walked: Vec<Slot> = (1..=length_s)
                .map(|step| cursor + TimeDelta::seconds(step))
                .filter(|instant| {
                    second.as_ref().map_or(instant.second() == 0, |second| second.matches(instant.second()))
                        && minute.matches(instant.minute())
                        && hour.matches(instant.hour())
                })
                .map(Slot::at)
                .collect();
            let due = schedule(&[&line]).due(cursor, now, CatchUp::All(u32::MAX), 2);
            match due {
                None => prop_assert!(walked.is_empty(), "{line}: {walked:?}"),
                Some(due) => {
                    prop_assert_eq!(Some(&due.newest), walked.last());
                    let mut found: Vec<Slot> = due.passed_over.iter().rev().chain(&due.run).copied().collect();
                    found.dedup();
                    prop_assert_eq!(u64::try_from(walked.len()).unwrap(), due.unlisted + u64::try_from(found.len()).unwrap());
                    prop_assert_eq!(&found[..], &walked[walked.len() - found.len()..]);
                }
            }
        }
    }
}
