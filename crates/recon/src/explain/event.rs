//! What is known about a subject's events, as the dimension that read them says it.

use eidos_types::Amount;
use serde::Serialize;

use super::cause::Cause;

/// What one side did for an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Posting {
    /// What it is: `Deposit event`, `ledger entry`, `withdrawal`.
    pub what: String,
    /// Where it is found: a transaction, a row's id.
    pub reference: String,
    /// What it did to the value, signed; or the digits that are not an amount.
    pub amount: Result<Amount, String>,
    /// When and how, for a person; may be empty.
    pub detail: String,
}

/// What the dimension knows about an event beyond its amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Known {
    /// Nothing else.
    #[default]
    Plain,
    /// The left side has not counted it yet and is in time, or counted it ahead: a delay and no fault.
    InFlight,
    /// The left side knows it and has not counted it for longer than it may.
    Late,
    /// The left side's record names a block that a reorganisation removed.
    Orphaned,
    /// The left side gave it back.
    Refunded,
    /// The comparison found the cause itself.
    As(Cause),
}

/// One event that moved a subject, as both sides have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What kind: `deposit`, `withdrawal`, `settlement`.
    pub what: String,
    /// What names it.
    pub name: String,
    /// Its place in the order of events: a block and an index in it, a time.
    pub place: (u64, u64),
    /// What the right side did; `None`: it has no such event.
    pub right: Option<Posting>,
    /// What the left side did for it; empty: nothing.
    pub left: Vec<Posting>,
    /// Records that belong to it and move nothing, such as a waiting row.
    pub records: Vec<Posting>,
    /// The subject under which the left side has it, if that is another one.
    pub elsewhere: Option<String>,
    /// The fee that it carries, if any.
    pub fee: Option<Amount>,
    /// What else is known.
    pub known: Known,
}

impl Event {
    /// The sum of what the left side did; `None`: one of it is not an amount.
    #[must_use]
    pub fn left_sum(&self) -> Option<Amount> {
        sum(self
            .left
            .iter()
            .map(|posting| posting.amount.as_ref().ok().copied()))
    }

    /// Right − left: what the event contributes to the difference; `None`: not an amount.
    #[must_use]
    pub fn gap(&self) -> Option<Amount> {
        let right = match &self.right {
            Some(posting) => posting.amount.as_ref().ok().copied()?,
            None => Amount::ZERO,
        };
        right.checked_sub(self.left_sum()?).ok()
    }

    /// True if both sides did the same.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.gap().is_some_and(Amount::is_zero) && !matches!(self.known, Known::As(_))
    }
}

/// The sum; `None`: one of them is not an amount, or it does not fit.
pub fn sum(amounts: impl Iterator<Item = Option<Amount>>) -> Option<Amount> {
    let mut sum = Amount::ZERO;
    for amount in amounts {
        sum = sum.checked_add(amount?).ok()?;
    }
    Some(sum)
}

/// A break of the same size and the other sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Opposite {
    /// Its id.
    pub break_id: String,
    /// Its subject.
    pub subject: String,
}

/// What was read, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Searched {
    /// What places are: `blocks`.
    pub places: String,
    /// The first place that was read.
    pub from: u64,
    /// The last one.
    pub upto: u64,
    /// True if there is nothing before it.
    pub is_complete: bool,
    /// Events of the right side.
    pub events: usize,
    /// Postings and records of the left side.
    pub postings: usize,
    /// Each bound that ended the search, with its setting.
    pub bounds: Vec<String>,
}

/// Everything that was read about a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Right − left, movements in flight included; `None`: not an amount.
    pub difference: Option<Amount>,
    /// The events, in any order.
    pub events: Vec<Event>,
    /// The left value minus all its postings; `None`: not all of them were read.
    pub untold: Option<Amount>,
    /// The only unresolved break that this one cancels.
    pub opposite: Option<Opposite>,
    /// How far was read.
    pub searched: Searched,
}

/// One thing that shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Which side has it; empty for what is neither's.
    pub side: &'static str,
    /// What it is.
    pub what: String,
    /// Where it is found.
    pub reference: String,
    /// What it did to the value, exactly; empty: nothing.
    pub amount: String,
    /// When and how.
    pub detail: String,
}

impl Evidence {
    pub(super) fn of(side: &'static str, posting: &Posting, moves: bool) -> Self {
        let amount = match &posting.amount {
            Ok(amount) => amount.to_string(),
            Err(digits) => digits.clone(),
        };
        Self {
            side,
            what: posting.what.clone(),
            reference: posting.reference.clone(),
            amount: if moves { amount } else { String::new() },
            detail: posting.detail.clone(),
        }
    }
}
