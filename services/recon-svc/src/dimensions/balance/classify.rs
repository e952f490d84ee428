//! Root-cause hints: what a difference looks like. A hint starts a person's search, it decides nothing.

use std::collections::HashMap;

use eidos_types::{Address, Amount};
use serde::{Deserialize, Serialize};

use super::account::TokenIndex;
use super::kind::BreakKind;
use super::verdict::Difference;

/// The shape of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An equal and opposite break of the same token elsewhere.
    WrongWallet,
    /// A deposit, or the whole value, is off by a power of ten.
    DecimalsSlip,
    /// The chain has a deposit that the balance lacks.
    MissingCredit,
    /// A deposit is in the balance twice.
    DoubleCredit,
    /// A deposit was booked with another amount than the chain's.
    WrongAmount,
    /// A withdrawal left the vault without leaving the balance.
    MissingDebit,
    /// A withdrawal left the balance twice, or was given back although it never left.
    DoubleDebit,
    /// The account's record is missing on one side.
    MissingRecord,
    /// The vault paid without touching balances.
    VaultOutflow,
    /// Nothing in the books explains it: a manual edit, or a cause of another kind.
    Unexplained,
}

impl Cause {
    /// The name in reports and evidence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongWallet => "wrong_wallet",
            Self::DecimalsSlip => "decimals_slip",
            Self::MissingCredit => "missing_credit",
            Self::DoubleCredit => "double_credit",
            Self::WrongAmount => "wrong_amount",
            Self::MissingDebit => "missing_debit",
            Self::DoubleDebit => "double_debit",
            Self::MissingRecord => "missing_record",
            Self::VaultOutflow => "vault_outflow",
            Self::Unexplained => "unexplained",
        }
    }
}

/// A cause and what points to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// What it looks like.
    pub cause: Cause,
    /// The row or account that points to it; empty if nothing does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
}

/// A deposit or withdrawal of the account, from the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// Its id in the books.
    pub reference: String,
    /// Always positive.
    pub amount: Amount,
    /// What the chain side of the books recorded for the same event, if it differs in table.
    pub chain_amount: Option<Amount>,
}

/// What the books know about one account's movements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Movements {
    /// Deposits, newest first.
    pub deposits: Vec<Movement>,
    /// Withdrawals, newest first.
    pub withdrawals: Vec<Movement>,
}

/// The breaks of a run by (token, difference): finds the equal and opposite one.
#[derive(Debug, Default)]
pub struct Opposites(HashMap<(TokenIndex, Amount), Vec<Address>>);

impl Opposites {
    /// Adds one break.
    pub fn add(&mut self, token: TokenIndex, wallet: Address, diff: Amount) {
        self.0.entry((token, diff)).or_default().push(wallet);
    }

    /// The only wallet whose difference cancels this one; `None` if there is none or more than one (an
    /// ambiguous pairing is no evidence).
    #[must_use]
    pub fn of(&self, token: TokenIndex, diff: Amount) -> Option<Address> {
        let twins = self.0.get(&(token, diff)).map_or(0, Vec::len);
        match self.0.get(&(token, diff.negated())).map(Vec::as_slice) {
            Some([only]) if twins == 1 && !diff.is_zero() => Some(*only),
            _ => None,
        }
    }
}

/// Guesses the cause of a confirmed break.
#[must_use]
pub fn classify(difference: &Difference, movements: &Movements, opposite: Option<Address>) -> Hint {
    if difference.kind == BreakKind::Insolvent {
        return hint(Cause::VaultOutflow, "");
    }
    let Some(diff) = difference.diff else {
        return hint(Cause::Unexplained, &difference.note);
    };
    if let Some(other) = opposite {
        return hint(Cause::WrongWallet, &other.to_string());
    }
    let deposit_slip = movements
        .deposits
        .iter()
        .find(|deposit| is_slip(deposit.amount, diff));
    if let Some(deposit) = deposit_slip {
        return hint(Cause::DecimalsSlip, &deposit.reference);
    }
    let other_amount = movements
        .deposits
        .iter()
        .find(|deposit| explains_amount(deposit, diff));
    if let Some(deposit) = other_amount {
        let chain = deposit.chain_amount.unwrap_or_default().scaled();
        let slip = is_power_of_ten_apart(deposit.amount.scaled(), chain);
        let cause = if slip {
            Cause::DecimalsSlip
        } else {
            Cause::WrongAmount
        };
        return hint(cause, &deposit.reference);
    }
    if let Some(found) = by_movement(diff, movements) {
        return found;
    }
    if matches!(
        difference.kind,
        BreakKind::MissingInBooks | BreakKind::MissingOnChain
    ) {
        return hint(Cause::MissingRecord, "");
    }
    if is_whole_slip(difference) {
        return hint(Cause::DecimalsSlip, "the whole value");
    }
    hint(Cause::Unexplained, "")
}

fn hint(cause: Cause, evidence: &str) -> Hint {
    Hint {
        cause,
        evidence: evidence.to_owned(),
    }
}

/// An equal movement: chain above books by a deposit means it was not credited, and so on.
fn by_movement(diff: Amount, movements: &Movements) -> Option<Hint> {
    let equal = |list: &[Movement]| {
        list.iter()
            .find(|movement| movement.amount == diff.abs())
            .map(|movement| movement.reference.clone())
    };
    let (for_deposit, for_withdrawal) = if diff.is_negative() {
        (Cause::DoubleCredit, Cause::MissingDebit)
    } else {
        (Cause::MissingCredit, Cause::DoubleDebit)
    };
    let deposit = equal(&movements.deposits).map(|reference| hint(for_deposit, &reference));
    deposit.or_else(|| equal(&movements.withdrawals).map(|reference| hint(for_withdrawal, &reference)))
}

/// A deposit credited 10^k times too large or too small leaves `amount − amount × 10^k`.
fn is_slip(amount: Amount, diff: Amount) -> bool {
    let credited = amount.scaled().checked_sub(diff.scaled());
    credited.is_some_and(|credited| is_power_of_ten_apart(amount.scaled(), credited))
}

/// The deposit was booked with another amount than the chain's, and the gap is this difference.
fn explains_amount(deposit: &Movement, diff: Amount) -> bool {
    deposit
        .chain_amount
        .and_then(|chain| chain.checked_sub(deposit.amount).ok())
        .is_some_and(|gap| gap == diff && !gap.is_zero())
}

fn is_whole_slip(difference: &Difference) -> bool {
    match (difference.left, difference.right) {
        (Some(expected), Some(onchain)) => is_power_of_ten_apart(expected.scaled(), onchain.scaled()),
        _ => false,
    }
}

/// True if one is the other times 10^k, k from 1 to 18.
fn is_power_of_ten_apart(one: i128, other: i128) -> bool {
    let (low, high) = (one.min(other), one.max(other));
    low > 0 && (1..=18_u32).any(|k| low.checked_mul(10_i128.pow(k)) == Some(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    fn difference(kind: BreakKind, expected: &str, onchain: &str) -> Difference {
        let (expected, onchain) = (amount(expected), amount(onchain));
        Difference {
            kind,
            left: Some(expected),
            right: Some(onchain),
            right_exact: onchain.to_string(),
            diff: Some(onchain.checked_sub(expected).unwrap()),
            lines: Vec::new(),
            note: String::new(),
        }
    }

    fn moved(reference: &str, size: &str) -> Movement {
        Movement {
            reference: reference.into(),
            amount: amount(size),
            chain_amount: None,
        }
    }

    fn cause(expected: &str, onchain: &str, movements: &Movements) -> Cause {
        let kind = if amount(onchain) < amount(expected) {
            BreakKind::Shortfall
        } else {
            BreakKind::Surplus
        };
        classify(&difference(kind, expected, onchain), movements, None).cause
    }

    #[test]
    fn every_shape_has_its_name() {
        let movements = Movements {
            deposits: vec![moved("d1", "250"), moved("d2", "40")],
            withdrawals: vec![moved("w1", "30")],
        };
        assert_eq!(cause("100", "350", &movements), Cause::MissingCredit);
        assert_eq!(cause("350", "100", &movements), Cause::DoubleCredit);
        assert_eq!(cause("130", "100", &movements), Cause::MissingDebit);
        assert_eq!(cause("100", "130", &movements), Cause::DoubleDebit);
        assert_eq!(
            cause("100.00004", "140", &movements),
            Cause::DecimalsSlip,
            "40 booked as 0.00004"
        );
        assert_eq!(cause("1234", "1.234", &Movements::default()), Cause::DecimalsSlip);
        assert_eq!(cause("7", "8.5", &movements), Cause::Unexplained);
    }

    #[test]
    fn a_wrong_amount_is_seen_between_the_two_tables() {
        let deposit = Movement {
            chain_amount: Some(amount("50")),
            ..moved("d3", "45")
        };
        let movements = Movements {
            deposits: vec![deposit],
            withdrawals: vec![],
        };
        assert_eq!(cause("45", "50", &movements), Cause::WrongAmount);
    }

    #[test]
    fn only_an_unambiguous_opposite_is_evidence() {
        let (token, one, two) = (TokenIndex(0), Address::new([1; 20]), Address::new([2; 20]));
        let mut opposites = Opposites::default();
        opposites.add(token, one, amount("5"));
        opposites.add(token, two, amount("-5"));
        assert_eq!(opposites.of(token, amount("5")), Some(two));
        assert_eq!(opposites.of(token, amount("-5")), Some(one));
        assert_eq!(
            opposites.of(TokenIndex(1), amount("5")),
            None,
            "tokens are never mixed"
        );
        opposites.add(token, Address::new([3; 20]), amount("-5"));
        assert_eq!(opposites.of(token, amount("5")), None);
        assert_eq!(opposites.of(token, amount("-5")), None);
    }
}
