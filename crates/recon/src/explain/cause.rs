//! The kinds of mistake that make two sides differ.

use eidos_types::Amount;
use serde::{Deserialize, Serialize};

use super::event::{Event, Known};

/// What kind of mistake it is. Left is what is expected, right what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// One side has the event and the other has not.
    Missing,
    /// The left side counted one event more than once.
    Duplicate,
    /// Both have it, a power of ten apart.
    Decimals,
    /// Both have it, with other amounts.
    WrongAmount,
    /// The left side has it under another subject.
    WrongAccount,
    /// Both have it, in different units.
    WrongUnit,
    /// The left side left out exactly the fee.
    FeeNotBooked,
    /// The left side knows it and has not counted it in time, or a status did not follow in time.
    Late,
    /// The left side counted what a reorganisation removed.
    Reorg,
    /// The left side gave it back, and it happened.
    Refunded,
    /// The left value is not the sum of its own postings.
    ManualEdit,
    /// Custody lost it without any subject moving.
    Outflow,
    /// A record that cannot be read stands where the event should be.
    Unreadable,
    /// The two sides agree by now.
    Agreed,
    /// Nothing that was read explains it.
    Unknown,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 15] = [
        Self::Missing,
        Self::Duplicate,
        Self::Decimals,
        Self::WrongAmount,
        Self::WrongAccount,
        Self::WrongUnit,
        Self::FeeNotBooked,
        Self::Late,
        Self::Reorg,
        Self::Refunded,
        Self::ManualEdit,
        Self::Outflow,
        Self::Unreadable,
        Self::Agreed,
        Self::Unknown,
    ];

    /// The name in answers and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Duplicate => "duplicate",
            Self::Decimals => "decimals",
            Self::WrongAmount => "wrong_amount",
            Self::WrongAccount => "wrong_account",
            Self::WrongUnit => "wrong_unit",
            Self::FeeNotBooked => "fee_not_booked",
            Self::Late => "late",
            Self::Reorg => "reorg",
            Self::Refunded => "refunded",
            Self::ManualEdit => "manual_edit",
            Self::Outflow => "outflow",
            Self::Unreadable => "unreadable",
            Self::Agreed => "agreed",
            Self::Unknown => "unknown",
        }
    }

    /// What a person does about it.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Missing => {
                "Find out why the side that lacks the event did not record it (a lost message, a failed insert, an event that never was), and record or reverse it there."
            }
            Self::Duplicate => {
                "Reverse the surplus posting, and find out why the event was not recognised the second time."
            }
            Self::Decimals => {
                "Correct the amount by the power of ten, and check the token's decimals where the posting was made."
            }
            Self::WrongAmount => {
                "Correct the amount to that of the event, and look at what computed the posting."
            }
            Self::WrongAccount => "Move the amount to the account that the event names.",
            Self::WrongUnit => "Reverse the posting, and post the event in its own token.",
            Self::FeeNotBooked => "Post the fee.",
            Self::Late => {
                "Have the waiting record completed; if it is stuck, look at the service that completes it."
            }
            Self::Reorg => "Reverse what was posted for the removed event.",
            Self::Refunded => "Take the refund back: the payment happened.",
            Self::ManualEdit => {
                "Ask who changed the value without a posting (the database's audit log), and post or undo the change."
            }
            Self::Outflow => {
                "Ask the owners of the custody contract who moved the tokens and why, and return them."
            }
            Self::Unreadable => "Repair the record that cannot be read; the next run compares it.",
            Self::Agreed => "Nothing: the next clean run closes the break.",
            Self::Unknown => "Look at the evidence of the break, or explain again with wider bounds.",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The mistake that a diverging event shows.
pub(super) fn of_event(event: &Event) -> Cause {
    match event.known {
        Known::As(cause) => return cause,
        Known::Late => return Cause::Late,
        Known::Orphaned => return Cause::Reorg,
        Known::Refunded => return Cause::Refunded,
        Known::Plain | Known::InFlight => {}
    }
    if event.elsewhere.is_some() {
        return Cause::WrongAccount;
    }
    let left: Vec<Option<Amount>> = event
        .left
        .iter()
        .map(|posting| posting.amount.clone().ok())
        .collect();
    let (Some(right), [first, ..]) = (&event.right, left.as_slice()) else {
        return Cause::Missing;
    };
    let Ok(right) = right.amount else {
        return Cause::WrongAmount;
    };
    if left.len() > 1 && left.iter().all(|amount| amount == first) && *first == Some(right) {
        return Cause::Duplicate;
    }
    let Some(left) = event.left_sum() else {
        return Cause::WrongAmount;
    };
    if is_power_of_ten_apart(left.scaled(), right.scaled()) {
        return Cause::Decimals;
    }
    let gap = right.checked_sub(left).ok().map(Amount::abs);
    if event
        .fee
        .is_some_and(|fee| !fee.is_zero() && gap == Some(fee.abs()))
    {
        return Cause::FeeNotBooked;
    }
    Cause::WrongAmount
}

/// True if one is the other times 10^k, k from 1 to 36.
fn is_power_of_ten_apart(one: i128, other: i128) -> bool {
    if one.signum() != other.signum() || one == other {
        return false;
    }
    let (mut small, large) = (
        one.unsigned_abs().min(other.unsigned_abs()),
        one.unsigned_abs().max(other.unsigned_abs()),
    );
    while small > 0 && small < large {
        match small.checked_mul(10) {
            Some(next) => small = next,
            None => return false,
        }
    }
    small == large
}
