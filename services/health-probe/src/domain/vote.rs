//! [`Rule`]: how several probers that look at the same targets decide together. Pure.
//!
//! Each prober says of each target how bad it is, or that it does not know. A level is carried if enough of those that know say
//! that the target is at least as bad.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::reducer::Level;

/// How many probers must see a target fail before anyone is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// One is enough, and the alert ends when none sees it fail any more.
    Any,
    /// More than half of those that know.
    Majority,
    /// All that know.
    All,
}

impl Rule {
    /// Every rule, from the soonest to tell to the latest.
    pub const ALL: &[Self] = &[Self::Any, Self::Majority, Self::All];

    const fn is_met(self, agreeing: usize, voters: usize) -> bool {
        match self {
            Self::Any => agreeing > 0,
            Self::Majority => agreeing > voters / 2,
            Self::All => agreeing == voters,
        }
    }
}

/// What one prober says of every target. A target that it does not name works, as far as it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// Which targets it looks at: a hash of their names and kinds. Probers of other targets do not vote together.
    pub targets: String,
    /// Targets that do not work, and how bad they are.
    pub failing: BTreeMap<String, Level>,
    /// Targets of which it knows nothing.
    pub unknown: BTreeSet<String>,
}

impl Ballot {
    /// What it says of a target; `None`: nothing.
    #[must_use]
    pub fn of(&self, target: &str) -> Option<Level> {
        if self.unknown.contains(target) {
            return None;
        }
        Some(self.failing.get(target).copied().unwrap_or_default())
    }
}

/// What the probers say together of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The worst level that is carried.
    pub level: Level,
    /// Probers that say so, or worse; of a target that works, those that say so.
    pub agreeing: usize,
    /// Probers that know.
    pub voters: usize,
}

/// Counts what the probers say of a target; `None`: none of them knows.
#[must_use]
pub fn count(rule: Rule, says: &[Option<Level>]) -> Option<Count> {
    let known: Vec<Level> = says.iter().copied().flatten().collect();
    let voters = known.len();
    if voters == 0 {
        return None;
    }
    let say = |level: Level| known.iter().filter(|said| **said >= level).count();
    let carried = [Level::Critical, Level::Warning]
        .into_iter()
        .map(|level| (level, say(level)))
        .find(|(_, agreeing)| rule.is_met(*agreeing, voters));
    let (level, agreeing) = carried.unwrap_or((Level::Ok, voters - say(Level::Warning)));
    Some(Count {
        level,
        agreeing,
        voters,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Level::{Critical, Warning};

    const WORKS: Level = Level::Ok;

    #[test]
    fn each_rule_asks_for_its_number_of_votes() {
        let cases: &[(Rule, &[Level], Level)] = &[
            (Rule::Any, &[Critical, WORKS, WORKS], Critical),
            (Rule::Any, &[Warning, WORKS], Warning),
            (Rule::Any, &[WORKS, WORKS], WORKS),
            (Rule::Majority, &[Critical], Critical),
            (Rule::Majority, &[Critical, WORKS], WORKS),
            (Rule::Majority, &[Critical, Critical, WORKS], Critical),
            (Rule::Majority, &[Critical, Warning, WORKS], Warning),
            (Rule::Majority, &[Critical, Critical, WORKS, WORKS], WORKS),
            (Rule::All, &[Critical, Critical], Critical),
            (Rule::All, &[Critical, Warning], Warning),
            (Rule::All, &[Critical, Critical, WORKS], WORKS),
        ];
        for (rule, says, level) in cases {
            let says: Vec<Option<Level>> = says.iter().copied().map(Some).collect();
            assert_eq!(count(*rule, &says).unwrap().level, *level, "{rule:?} {says:?}");
        }
        assert_eq!(count(Rule::Majority, &[None, None]), None);
    }

    #[test]
    fn whoever_knows_nothing_of_a_target_says_nothing() {
        let ballot = Ballot {
            targets: "x".to_owned(),
            failing: BTreeMap::from([("a".to_owned(), Critical), ("b".to_owned(), Critical)]),
            unknown: BTreeSet::from(["b".to_owned()]),
        };
        assert_eq!(
            ["a", "b", "c"].map(|target| ballot.of(target)),
            [Some(Critical), None, Some(WORKS)]
        );
    }

    fn said() -> impl Strategy<Value = Option<Level>> {
        prop_oneof![
            Just(None),
            Just(Some(WORKS)),
            Just(Some(Warning)),
            Just(Some(Critical))
        ]
    }

    proptest! {
        /// Against the sentence of each rule, level by level.
        #[test]
        fn the_worst_level_that_enough_say_is_carried(says in prop::collection::vec(said(), 0..9)) {
            for rule in Rule::ALL {
                let knowing = says.iter().filter(|said| said.is_some()).count();
                let carries = |level: Level| {
                    let mut left = says.iter().flatten();
                    let at_least = says.iter().flatten().filter(|said| **said >= level).count();
                    match rule {
                        Rule::Any => left.any(|said| *said >= level),
                        Rule::Majority => 2 * at_least > knowing,
                        Rule::All => left.all(|said| *said >= level),
                    }
                };
                let expected = match knowing {
                    0 => None,
                    _ if carries(Critical) => Some(Critical),
                    _ if carries(Warning) => Some(Warning),
                    _ => Some(WORKS),
                };
                prop_assert_eq!(count(*rule, &says).map(|count| count.level), expected);
            }
        }

        /// What `all` carries `majority` carries, and what that carries `any` carries; the order of probers says nothing.
        #[test]
        fn a_stricter_rule_carries_no_more(says in prop::collection::vec(said(), 1..9)) {
            let mut turned = says.clone();
            turned.reverse();
            let [any, majority, all] = [Rule::Any, Rule::Majority, Rule::All].map(|rule| {
                assert_eq!(count(rule, &says), count(rule, &turned));
                count(rule, &says).map(|count| count.level)
            });
            prop_assert!(all <= majority && majority <= any);
        }
    }
}
