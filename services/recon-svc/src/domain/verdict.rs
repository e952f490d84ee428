//! The exact comparison of one account.

use eidos_types::{Amount, BaseUnits, BaseUnitsError};
use serde::{Deserialize, Serialize};

use super::account::BooksValue;
use super::in_flight::Line;

/// What kind of difference it is; part of a break's stable identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakKind {
    /// The token contract holds less for the vault than the vault owes its users (ruling 27).
    Insolvent,
    /// The chain holds less than the books say.
    Shortfall,
    /// The chain holds it, the books do not know the account.
    MissingInBooks,
    /// The books hold it, the chain never saw the account.
    MissingOnChain,
    /// One side's value is no `DECIMAL(36,18)`: too large, too fine, NaN.
    BeyondDecimal,
    /// The chain holds more than the books say.
    Surplus,
    /// The books hold a fraction of the token's smallest unit, which the chain cannot.
    Residue,
    /// Too many differences below the threshold, added up.
    DustLimit,
    /// The books' indexer is too far behind the chain to compare anything.
    IndexerBehind,
    /// The node has not reached a block that the books name: what it does not know proves nothing.
    NodeBehind,
    /// The books hold a token this service does not know.
    UnknownToken,
}

impl BreakKind {
    /// The name in tables, metrics and alerts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insolvent => "insolvent",
            Self::Shortfall => "shortfall",
            Self::MissingInBooks => "missing_in_books",
            Self::MissingOnChain => "missing_on_chain",
            Self::BeyondDecimal => "beyond_decimal",
            Self::Surplus => "surplus",
            Self::Residue => "residue",
            Self::DustLimit => "dust_limit",
            Self::IndexerBehind => "indexer_behind",
            Self::NodeBehind => "node_behind",
            Self::UnknownToken => "unknown_token",
        }
    }

    /// A record on one side only is never small (ruling 25), nor is a value that cannot be compared.
    #[must_use]
    pub const fn is_never_small(self) -> bool {
        !matches!(self, Self::Shortfall | Self::Surplus | Self::Residue)
    }
}

impl std::fmt::Display for BreakKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Both sides of one account at one cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The books' rows.
    pub books: BooksValue,
    /// What rolls them to the cut.
    pub lines: Vec<Line>,
    /// The vault's total.
    pub chain: BaseUnits,
    /// True if the chain has ever shown this account a token movement.
    pub seen_on_chain: bool,
}

/// A difference between the two sides, with everything needed to argue about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What kind.
    pub kind: BreakKind,
    /// The books with their in-flight lines; `None` if no amount.
    pub expected: Option<Amount>,
    /// The chain; `None` beyond `DECIMAL(36,18)`.
    pub onchain: Option<Amount>,
    /// The chain's value with every digit.
    pub onchain_exact: String,
    /// Chain − expected; `None` if one of them is no amount.
    pub diff: Option<Amount>,
    /// The lines that were applied.
    pub lines: Vec<Line>,
    /// Why a value is no amount; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How one account compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Equal to the last digit.
    Matched,
    /// Different: to be weighed, and read again before it is a break.
    Differs(Box<Difference>),
    /// Not decided: a line rests on a block that the node has not reached. To be read again, equal or not.
    Unproven(Box<Difference>),
}

/// Compares one account exactly. Nothing is rounded, at any scale.
#[must_use]
pub fn judge(reading: &Reading, decimals: u8) -> Verdict {
    let expected = expected(reading);
    let onchain = reading.chain.to_amount(decimals);
    if reading.lines.iter().any(|line| line.unproven) {
        return Verdict::Unproven(Box::new(unproven(reading, expected, onchain, decimals)));
    }
    let difference = match (expected, onchain) {
        (Ok(expected), Ok(onchain)) if expected == onchain => return Verdict::Matched,
        (Ok(expected), Ok(onchain)) => compare(reading, expected, onchain, decimals),
        (expected, onchain) => incomparable(reading, expected, onchain, decimals),
    };
    Verdict::Differs(Box::new(difference))
}

/// The books rolled to the cut.
fn expected(reading: &Reading) -> Result<Amount, String> {
    let start = match &reading.books {
        BooksValue::Absent => Amount::ZERO,
        BooksValue::Exact(amount) => *amount,
        BooksValue::Unreadable(reason) => return Err(reason.clone()),
    };
    reading
        .lines
        .iter()
        .try_fold(start, |sum, line| sum.checked_add(line.amount))
        .map_err(|overflow| overflow.to_string())
}

fn compare(reading: &Reading, expected: Amount, onchain: Amount, decimals: u8) -> Difference {
    let exact = reading.chain.exact(decimals);
    let Ok(diff) = onchain.checked_sub(expected) else {
        let note = "the difference itself needs more than 36 digits".to_owned();
        return Difference {
            kind: BreakKind::BeyondDecimal,
            expected: Some(expected),
            onchain: Some(onchain),
            onchain_exact: exact,
            diff: None,
            lines: reading.lines.clone(),
            note,
        };
    };
    Difference {
        kind: kind_of(reading, diff, decimals),
        expected: Some(expected),
        onchain: Some(onchain),
        onchain_exact: exact,
        diff: Some(diff),
        lines: reading.lines.clone(),
        note: String::new(),
    }
}

fn kind_of(reading: &Reading, diff: Amount, decimals: u8) -> BreakKind {
    if !reading.books.is_present() && !reading.chain.is_zero() {
        BreakKind::MissingInBooks
    } else if reading.books.is_present() && reading.chain.is_zero() && !reading.seen_on_chain {
        BreakKind::MissingOnChain
    } else if diff.scaled().unsigned_abs() < one_unit(decimals) {
        BreakKind::Residue
    } else if diff.is_negative() {
        BreakKind::Shortfall
    } else {
        BreakKind::Surplus
    }
}

/// The token's smallest unit, scaled by 10^18; 1 for tokens of 18 decimals and more (an amount has no less).
const fn one_unit(decimals: u8) -> u128 {
    if decimals >= 18 {
        1
    } else {
        10_u128.pow(18 - decimals as u32)
    }
}

fn unproven(
    reading: &Reading,
    expected: Result<Amount, String>,
    onchain: Result<Amount, BaseUnitsError>,
    decimals: u8,
) -> Difference {
    let (expected, onchain) = (expected.ok(), onchain.ok());
    Difference {
        kind: BreakKind::NodeBehind,
        expected,
        onchain,
        onchain_exact: reading.chain.exact(decimals),
        diff: onchain
            .zip(expected)
            .and_then(|(onchain, expected)| onchain.checked_sub(expected).ok()),
        lines: reading.lines.clone(),
        note: "the node has not reached a block that the books name".to_owned(),
    }
}

fn incomparable(
    reading: &Reading,
    expected: Result<Amount, String>,
    onchain: Result<Amount, BaseUnitsError>,
    decimals: u8,
) -> Difference {
    let note = match (&expected, &onchain) {
        (Err(books), Ok(_)) => format!("books: {books}"),
        (Ok(_), Err(chain)) => format!("chain: {chain}"),
        (Err(books), Err(chain)) => format!("books: {books}; chain: {chain}"),
        (Ok(_), Ok(_)) => String::new(),
    };
    Difference {
        kind: BreakKind::BeyondDecimal,
        expected: expected.ok(),
        onchain: onchain.ok(),
        onchain_exact: reading.chain.exact(decimals),
        diff: None,
        lines: reading.lines.clone(),
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::in_flight::LineKind;

    fn reading(books: Option<&str>, lines: &[&str], units: u128) -> Reading {
        Reading {
            books: books.map_or(BooksValue::Absent, |text| {
                BooksValue::Exact(text.parse().unwrap())
            }),
            lines: lines
                .iter()
                .map(|text| Line {
                    kind: LineKind::WithdrawalNotMined,
                    reference: "w".into(),
                    amount: text.parse().unwrap(),
                    unproven: false,
                })
                .collect(),
            chain: BaseUnits::from(units),
            seen_on_chain: true,
        }
    }

    fn kind(reading: &Reading) -> Option<BreakKind> {
        match judge(reading, 6) {
            Verdict::Matched => None,
            Verdict::Differs(difference) | Verdict::Unproven(difference) => Some(difference.kind),
        }
    }

    #[test]
    fn equal_is_equal_and_direction_is_named() {
        assert_eq!(kind(&reading(Some("1.5"), &[], 1_500_000)), None);
        assert_eq!(
            kind(&reading(Some("1"), &["0.5"], 1_500_000)),
            None,
            "lines count"
        );
        assert_eq!(
            kind(&reading(Some("2"), &[], 1_500_000)),
            Some(BreakKind::Shortfall)
        );
        assert_eq!(
            kind(&reading(Some("1"), &[], 1_500_000)),
            Some(BreakKind::Surplus)
        );
        assert_eq!(
            kind(&reading(None, &[], 0)),
            None,
            "nothing on both sides is no record"
        );
    }

    #[test]
    fn ruling_25_presence_is_its_own_kind() {
        assert_eq!(kind(&reading(None, &[], 1)), Some(BreakKind::MissingInBooks));
        assert_eq!(
            kind(&reading(None, &["0.000001"], 1)),
            None,
            "an uncredited first deposit"
        );
        let never_seen = Reading {
            seen_on_chain: false,
            ..reading(Some("0.005"), &[], 0)
        };
        assert_eq!(kind(&never_seen), Some(BreakKind::MissingOnChain));
        assert_eq!(kind(&reading(Some("0.005"), &[], 0)), Some(BreakKind::Shortfall));
        let zero_row = Reading {
            seen_on_chain: false,
            ..reading(Some("0"), &[], 0)
        };
        assert_eq!(kind(&zero_row), None);
    }

    #[test]
    fn an_account_is_not_judged_by_what_a_node_behind_the_books_does_not_know() {
        for units in [1_000_000, 1_500_000, 9_000_000] {
            let mut reading = reading(Some("1"), &["0.5"], units);
            reading.lines[0].unproven = true;
            let Verdict::Unproven(difference) = judge(&reading, 6) else {
                panic!("judged {units}")
            };
            assert_eq!(difference.kind, BreakKind::NodeBehind, "equal or not");
        }
    }

    #[test]
    fn less_than_one_unit_is_residue() {
        assert_eq!(
            kind(&reading(Some("1.0000001"), &[], 1_000_000)),
            Some(BreakKind::Residue)
        );
        assert_eq!(
            kind(&reading(Some("1.000001"), &[], 1_000_000)),
            Some(BreakKind::Shortfall)
        );
    }

    #[test]
    fn ruling_19_beyond_decimal_keeps_every_digit() {
        let huge = Reading {
            chain: BaseUnits::MAX,
            ..reading(Some("1"), &[], 0)
        };
        let Verdict::Differs(difference) = judge(&huge, 6) else {
            panic!("matched")
        };
        assert_eq!(difference.kind, BreakKind::BeyondDecimal);
        assert!(difference.onchain_exact.ends_with("913129.639935"));
        assert_eq!(difference.diff, None);
        let nan = Reading {
            books: BooksValue::Unreadable("the NUMERIC is NaN".into()),
            ..reading(None, &[], 7)
        };
        let Verdict::Differs(difference) = judge(&nan, 6) else {
            panic!("matched")
        };
        assert!(difference.note.contains("NaN"));
    }
}
