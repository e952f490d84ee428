//! The merge and the comparison against a naive model.

use std::collections::BTreeMap;

use eidos_types::Amount;
use proptest::prelude::*;

use crate::compare::{Exact, Pair, Presence, Tolerance, Verdict, judge};
use crate::merge::{Merged, merge};
use crate::subject::Relation;
use crate::toy::Counter;

type Side = BTreeMap<String, i64>;

fn any_side() -> impl Strategy<Value = Side> {
    // Few names and values, so that the sides share most of them.
    proptest::collection::btree_map("[a-c]{1,2}", -3_i64..4, 0..12)
}

fn amount(value: i64) -> Amount {
    Amount::from_whole(value).unwrap()
}

/// The verdict on one merged subject; `spoil` changes what is compared.
fn judged(
    (_, left, right): &Merged<String, i64, i64>,
    tolerance: &impl Tolerance,
    spoil: impl FnOnce(&mut Pair<'_, Counter>),
) -> Verdict<Counter> {
    let presence = match (left, right) {
        (Some(_), None) => Presence::OnlyLeft,
        (None, Some(_)) => Presence::OnlyRight,
        _ => Presence::Both,
    };
    let right = right.unwrap_or_default();
    let mut pair = Pair {
        left: Ok(amount(left.unwrap_or_default())),
        right: Ok(amount(right)),
        right_exact: &|| right.to_string(),
        presence,
        lines: &[],
        unproven: None,
    };
    spoil(&mut pair);
    judge(pair, tolerance)
}

/// The engine's answer over pages that end after every name in `ends`.
fn engine(
    left: &Side,
    right: &Side,
    ends: &[String],
    tolerance: &impl Tolerance,
) -> BTreeMap<String, (Relation, Amount)> {
    let mut ends = ends.to_vec();
    ends.sort_unstable();
    ends.push("~".to_owned());
    let mut found = BTreeMap::new();
    let mut after: Option<String> = None;
    for upto in ends {
        let page = |side: &Side| -> Vec<(String, i64)> {
            let inside = |name: &String| *name <= upto && after.as_ref().is_none_or(|after| name > after);
            side.iter()
                .filter(|(name, _)| inside(name))
                .map(|(name, value)| (name.clone(), *value))
                .collect()
        };
        for merged in merge(after.as_ref(), page(left), page(right)).unwrap() {
            if let Verdict::Differs(difference) = judged(&merged, tolerance, |_pair| ()) {
                let twice = found.insert(merged.0, (difference.kind, difference.diff.unwrap()));
                assert_eq!(twice, None, "a subject is compared once");
            }
        }
        after = Some(upto);
    }
    found
}

/// The naive answer: every name of either side, its kind and difference.
fn model(left: &Side, right: &Side, is_equal: impl Fn(i64) -> bool) -> BTreeMap<String, (Relation, Amount)> {
    let mut found = BTreeMap::new();
    for name in left.keys().chain(right.keys()) {
        let (of_left, of_right) = (left.get(name), right.get(name));
        let diff = of_right.unwrap_or(&0) - of_left.unwrap_or(&0);
        let kind = match (of_left, of_right) {
            (None, _) => Relation::MissingLeft,
            (_, None) => Relation::MissingRight,
            _ if diff < 0 => Relation::Below,
            _ => Relation::Above,
        };
        if !is_equal(diff) {
            found.insert(name.clone(), (kind, amount(diff)));
        }
    }
    found
}

/// Differences of one are none.
struct One;

impl Tolerance for One {
    fn accepts(&self, _left: Amount, diff: Amount) -> bool {
        diff.abs() <= amount(1)
    }
}

proptest! {
    #[test]
    fn agrees_with_the_naive_model(left in any_side(), right in any_side(), ends in proptest::collection::vec("[a-c]{1,2}", 0..4)) {
        prop_assert_eq!(engine(&left, &right, &ends, &Exact), model(&left, &right, |diff| diff == 0));
        prop_assert_eq!(engine(&left, &right, &ends, &One), model(&left, &right, |diff| diff.abs() <= 1));
    }
}

#[test]
fn an_answer_that_is_missing_proves_nothing() {
    for right in [0, 5, -9] {
        let merged = ("a".to_owned(), Some(5), Some(right));
        let Verdict::Unproven(difference) = judged(&merged, &Exact, |pair| pair.unproven = Some("no answer"))
        else {
            panic!("judged {right}")
        };
        assert_eq!(
            (difference.kind, difference.note.as_str()),
            (Relation::Unproven, "no answer")
        );
    }
}

#[test]
fn what_is_not_an_amount_is_named_by_its_side() {
    let merged = ("a".to_owned(), Some(5), Some(5));
    let unreadable = |left: Option<&str>, right: Option<&str>| {
        let verdict = judged(&merged, &Exact, |pair| {
            if let Some(reason) = left {
                pair.left = Err(reason.to_owned());
            }
            if let Some(reason) = right {
                pair.right = Err(reason.to_owned());
            }
        });
        let Verdict::Differs(difference) = verdict else {
            panic!("not compared")
        };
        assert_eq!((difference.kind, difference.diff), (Relation::Incomparable, None));
        difference.note
    };
    assert_eq!(unreadable(None, Some("NaN")), "reported: NaN");
    assert_eq!(unreadable(Some("too large"), None), "counted: too large");
    assert_eq!(
        unreadable(Some("too large"), Some("NaN")),
        "counted: too large; reported: NaN"
    );
}

#[test]
fn a_side_out_of_byte_order_is_refused() {
    let row = |name: &str| (name.to_owned(), 1);
    let none = || Vec::<(String, i64)>::new();
    assert!(merge(None, vec![row("a"), row("b")], none()).is_ok());
    assert!(merge(None, none(), vec![row("b"), row("a")]).is_err());
    let after = "a".to_owned();
    assert!(
        merge(Some(&after), vec![row("a")], none()).is_err(),
        "the page before already had it"
    );
}
