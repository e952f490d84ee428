//! The exact comparison of one subject.

use eidos_types::Amount;
use serde::{Deserialize, Serialize};

use crate::subject::{Relation, Subject};

/// A place where both sides were read: a block, a snapshot, an instant. A later one has a greater number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutPoint {
    /// Its number.
    pub number: u64,
    /// What names it beyond doubt, at most 66 bytes; empty if the number does.
    pub hash: String,
    /// The instant it speaks of, in epoch seconds.
    pub timestamp_s: u64,
}

/// Which differences are none. Exact unless a dimension says otherwise.
pub trait Tolerance {
    /// True if a right side that is `diff` more than `left` counts as equal.
    fn accepts(&self, left: Amount, diff: Amount) -> bool;
}

/// Equal to the last digit, at any scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exact;

impl Tolerance for Exact {
    fn accepts(&self, _left: Amount, diff: Amount) -> bool {
        diff.is_zero()
    }
}

/// Which sides know the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Both, or neither with a value.
    Both,
    /// Only the left one.
    OnlyLeft,
    /// Only the right one.
    OnlyRight,
}

/// Both sides of one subject at one cut.
pub struct Pair<'a, S: Subject> {
    /// What is expected, rolled to the cut; or why it is not an amount.
    pub left: Result<Amount, String>,
    /// What is there; or why it is not an amount.
    pub right: Result<Amount, String>,
    /// The right side with every digit; only asked for a difference.
    pub right_exact: &'a dyn Fn() -> String,
    /// Which sides know the subject.
    pub presence: Presence,
    /// What the left side was rolled with.
    pub lines: &'a [S::Line],
    /// The answer that is missing; `None`: both sides answered.
    pub unproven: Option<&'a str>,
}

/// A difference between the two sides, with everything needed to argue about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Difference<S: Subject> {
    /// What kind.
    pub kind: S::Kind,
    /// What is expected; `None` if it is not an amount.
    pub left: Option<Amount>,
    /// What is there; `None` beyond `DECIMAL(36,18)`.
    pub right: Option<Amount>,
    /// The right side with every digit.
    pub right_exact: String,
    /// Right − left; `None` if one of them is not an amount.
    pub diff: Option<Amount>,
    /// The lines that were applied.
    pub lines: Vec<S::Line>,
    /// Why a value is not an amount; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How one subject compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<S: Subject> {
    /// Equal within the tolerance.
    Matched,
    /// Different: to be weighed, and read again before it is a break.
    Differs(Box<Difference<S>>),
    /// Not decided: an answer is missing. To be read again, equal or not.
    Unproven(Box<Difference<S>>),
}

/// Compares one subject. Nothing is rounded.
#[must_use]
pub fn judge<S: Subject>(pair: Pair<'_, S>, tolerance: &impl Tolerance) -> Verdict<S> {
    if let Some(note) = pair.unproven {
        let note = note.to_owned();
        return Verdict::Unproven(Box::new(difference(pair, Relation::Unproven, note)));
    }
    let (relation, note) = match (&pair.left, &pair.right) {
        (Ok(left), Ok(right)) => match right.checked_sub(*left) {
            Ok(diff) if tolerance.accepts(*left, diff) => return Verdict::Matched,
            Ok(diff) => (relation(pair.presence, diff), String::new()),
            Err(_overflow) => (
                Relation::Incomparable,
                "the difference itself needs more than 36 digits".to_owned(),
            ),
        },
        (left, right) => {
            let note = unreadable::<S>(left.as_ref().err(), right.as_ref().err());
            (Relation::Incomparable, note)
        }
    };
    Verdict::Differs(Box::new(difference(pair, relation, note)))
}

const fn relation(presence: Presence, diff: Amount) -> Relation {
    match presence {
        Presence::OnlyRight => Relation::MissingLeft,
        Presence::OnlyLeft => Relation::MissingRight,
        Presence::Both if diff.is_negative() => Relation::Below,
        Presence::Both => Relation::Above,
    }
}

fn unreadable<S: Subject>(left: Option<&String>, right: Option<&String>) -> String {
    let named = |(side, reason): (&str, Option<&String>)| reason.map(|reason| format!("{side}: {reason}"));
    let sides = [(S::SIDES.0, left), (S::SIDES.1, right)];
    sides.into_iter().filter_map(named).collect::<Vec<_>>().join("; ")
}

fn difference<S: Subject>(pair: Pair<'_, S>, relation: Relation, note: String) -> Difference<S> {
    let (left, right) = (pair.left.ok(), pair.right.ok());
    let diff = right
        .zip(left)
        .and_then(|(right, left)| right.checked_sub(left).ok());
    Difference {
        kind: relation.into(),
        left,
        right,
        right_exact: (pair.right_exact)(),
        diff,
        lines: pair.lines.to_vec(),
        note,
    }
}
