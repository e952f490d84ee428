//! The exact comparison of one account.

use eidos_recon::{Exact, Pair, Presence};
use eidos_types::{Amount, BaseUnits};

use super::account::{AccountKey, BooksValue};
use super::in_flight::Line;
use super::kind::BreakKind;

/// How an account differs.
pub type Difference = eidos_recon::Difference<AccountKey>;

/// How an account compares.
pub type Verdict = eidos_recon::Verdict<AccountKey>;

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

/// Compares one account exactly. Nothing is rounded, at any scale.
#[must_use]
pub fn judge(reading: &Reading, decimals: u8) -> Verdict {
    let unproven = reading.lines.iter().any(|line| line.unproven);
    let pair = Pair {
        left: expected(reading),
        right: reading
            .chain
            .to_amount(decimals)
            .map_err(|error| error.to_string()),
        right_exact: &|| reading.chain.exact(decimals),
        presence: presence(reading),
        lines: &reading.lines,
        unproven: unproven.then_some("the node has not reached a block that the books name"),
    };
    let mut verdict = eidos_recon::judge(pair, &Exact);
    if let Verdict::Differs(difference) = &mut verdict
        && matches!(difference.kind, BreakKind::Shortfall | BreakKind::Surplus)
        && difference
            .diff
            .is_some_and(|diff| diff.scaled().unsigned_abs() < one_unit(decimals))
    {
        difference.kind = BreakKind::Residue;
    }
    verdict
}

/// An empty account is known to the chain only if the chain has shown it a token movement.
fn presence(reading: &Reading) -> Presence {
    match (reading.books.is_present(), reading.chain.is_zero()) {
        (false, false) => Presence::OnlyRight,
        (true, true) if !reading.seen_on_chain => Presence::OnlyLeft,
        _ => Presence::Both,
    }
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

/// The token's smallest unit, scaled by 10^18; 1 for tokens of 18 decimals and more (an amount has no less).
const fn one_unit(decimals: u8) -> u128 {
    if decimals >= 18 {
        1
    } else {
        10_u128.pow(18 - decimals as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimensions::balance::in_flight::LineKind;

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
        assert!(difference.right_exact.ends_with("913129.639935"));
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
