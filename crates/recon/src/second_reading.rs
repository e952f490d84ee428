//! Second reading, hot subjects and confirmations (ruling 24).
//!
//! A suspect is read again on both sides, at a new cut, before it is a break. Either side may simply have been
//! late; only a difference that does not change is real.

use serde::{Deserialize, Serialize};

use crate::compare::{Difference, Verdict};
use crate::subject::{Relation, Subject};

/// What a second reading says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Both sides agree now: it was lag.
    Lag,
    /// The same difference again: it is a break.
    Break,
    /// Another difference: the subject is changing. Ask again later.
    Hot,
}

/// Compares the second reading with the first.
#[must_use]
pub fn decide<S: Subject>(first: &Difference<S>, second: &Verdict<S>) -> Decision {
    match second {
        Verdict::Matched => Decision::Lag,
        // A first reading that was not proven is none: this is the first one.
        Verdict::Differs(second) if first.kind != Relation::Unproven.into() && is_same(first, second) => {
            Decision::Break
        }
        Verdict::Differs(_) | Verdict::Unproven(_) => Decision::Hot,
    }
}

/// The same difference: of the same size where both are amounts, of the same exact sides where one is none.
/// The sides themselves may have moved together (a deposit that both saw changes nothing about a shortfall).
#[must_use]
pub fn is_same<S: Subject>(first: &Difference<S>, second: &Difference<S>) -> bool {
    match (first.diff, second.diff) {
        (Some(first), Some(second)) => first == second,
        (None, None) => {
            first.right_exact == second.right_exact && first.left == second.left && first.note == second.note
        }
        _ => false,
    }
}

/// How often a break was confirmed, each time at a later cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confirmations {
    /// Readings that agreed, at distinct cuts.
    pub count: u32,
    /// The number of the newest of those cuts.
    pub last_point: u64,
}

impl Confirmations {
    /// Counts a reading at the cut `point`, unless that cut (or a newer one) was counted already: reading one cut
    /// twice proves nothing new. Returns whether it counted.
    pub const fn confirm_at(&mut self, point: u64) -> bool {
        if self.count > 0 && point <= self.last_point {
            return false;
        }
        self.count = self.count.saturating_add(1);
        self.last_point = point;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::Counter;
    use eidos_types::Amount;
    use proptest::prelude::*;

    fn difference(left: &str, right: &str) -> Difference<Counter> {
        let (left, right): (Amount, Amount) = (left.parse().unwrap(), right.parse().unwrap());
        Difference {
            kind: Relation::Below,
            left: Some(left),
            right: Some(right),
            right_exact: right.to_string(),
            diff: Some(right.checked_sub(left).unwrap()),
            lines: Vec::new(),
            note: String::new(),
        }
    }

    #[test]
    fn ruling_24_only_a_difference_that_does_not_change_is_a_break() {
        let first = difference("10", "7");
        let again = |second: Difference<Counter>| decide(&first, &Verdict::Differs(Box::new(second)));
        assert_eq!(decide(&first, &Verdict::Matched), Decision::Lag);
        assert_eq!(again(difference("10", "7")), Decision::Break);
        assert_eq!(
            again(difference("15", "12")),
            Decision::Break,
            "both moved together"
        );
        assert_eq!(again(difference("10", "8")), Decision::Hot);
        assert_eq!(again(difference("9", "7")), Decision::Hot);
        let unknown = Difference {
            diff: None,
            ..difference("10", "7")
        };
        assert_eq!(again(unknown), Decision::Hot);
    }

    proptest! {
        /// The count is the number of distinct, ever newer blocks.
        #[test]
        fn ruling_24_confirmations_need_distinct_blocks(blocks in proptest::collection::vec(1_u64..20, 0..40)) {
            let mut confirmations = Confirmations::default();
            let (mut newest, mut distinct) = (0, 0);
            for block in blocks {
                let counted = confirmations.confirm_at(block);
                prop_assert_eq!(counted, block > newest);
                if block > newest { newest = block; distinct += 1; }
            }
            prop_assert_eq!(confirmations.count, distinct);
        }
    }
}
