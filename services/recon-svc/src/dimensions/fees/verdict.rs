//! One fee account: what is booked against what was paid. Pure.

use eidos_recon::Verdict;
use eidos_types::{Address, Amount};

use crate::dimensions::movements::judged::{Judged, unlike};
use crate::dimensions::movements::key::{Movement, MovementKey};
use crate::dimensions::movements::kind::MovementKind;

/// What is known about the fees in one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fees {
    /// The token's symbol.
    pub token: String,
    /// What the fee account has; or why that is not an amount.
    pub booked: Result<Amount, String>,
    /// What settled trades paid; or why that is not an amount.
    pub paid: Result<Amount, String>,
    /// What was taken out of the account: withdrawals of the fee recipient that are not given back.
    pub withdrawn: Result<Amount, String>,
}

/// Compares. `recipient`: whose account it is.
#[must_use]
pub fn judge(fees: &Fees, recipient: Option<Address>) -> Judged {
    let movement = Movement::new(MovementKey::Fees(fees.token.clone()), &fees.token, recipient);
    let expected = left_of(&fees.paid, &fees.withdrawn);
    let verdict = match (&fees.booked, &expected) {
        (Ok(booked), Ok(expected)) if booked == expected => Verdict::Matched,
        _ => {
            let kind = match (&fees.booked, &expected) {
                (Ok(booked), Ok(expected)) if booked < expected => MovementKind::FeeNotBooked,
                (Ok(_), Ok(_)) => MovementKind::FeeWithoutTrade,
                _ => MovementKind::BeyondDecimal,
            };
            let exact = expected
                .as_ref()
                .map_or_else(|_unreadable| "?".to_owned(), ToString::to_string);
            unlike(kind, fees.booked.clone(), expected, &exact)
        }
    };
    Judged {
        movement,
        verdict,
        in_flight: false,
    }
}

/// What the account should have.
fn left_of(paid: &Result<Amount, String>, withdrawn: &Result<Amount, String>) -> Result<Amount, String> {
    let left = paid.clone()?.checked_sub(withdrawn.clone()?);
    left.map_err(|overflow| overflow.to_string())
}
