//! What a dimension of movements decides about one of them, and how it says it.

use eidos_recon::{Difference, Verdict};
use eidos_types::Amount;

use super::key::Movement;
use super::kind::MovementKind;
use crate::dimensions::balance::account::{TokenIndex, TokenList};

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The movement, with its token and wallet.
    pub movement: Movement,
    /// How the sides compare.
    pub verdict: Verdict<Movement>,
    /// True if one side is behind within its limit; the verdict is then a match.
    pub in_flight: bool,
}

/// A difference of this kind between the books (`left`) and the chain (`right`, with every digit in `right_exact`).
#[must_use]
pub fn unlike(
    kind: MovementKind,
    left: Result<Amount, String>,
    right: Result<Amount, String>,
    right_exact: &str,
) -> Verdict<Movement> {
    let sides = [("books", left.as_ref().err()), ("chain", right.as_ref().err())];
    let reasons = sides
        .into_iter()
        .filter_map(|(side, reason)| Some(format!("{side}: {}", reason?)));
    let note = reasons.collect::<Vec<_>>().join("; ");
    let (left, right) = (left.ok(), right.ok());
    Verdict::Differs(Box::new(Difference {
        kind,
        left,
        right,
        right_exact: right_exact.to_owned(),
        diff: right
            .zip(left)
            .and_then(|(right, left)| right.checked_sub(left).ok()),
        lines: Vec::new(),
        note,
    }))
}

/// What cannot be decided, because the node had not reached what the books know.
#[must_use]
pub fn unproven(left: Result<Amount, String>, note: &str) -> Verdict<Movement> {
    Verdict::Unproven(Box::new(Difference {
        kind: MovementKind::NodeBehind,
        left: left.ok(),
        right: None,
        right_exact: "?".to_owned(),
        diff: None,
        lines: Vec::new(),
        note: note.to_owned(),
    }))
}

/// The unit of a row: its token's symbol, or what the column has instead.
#[must_use]
pub fn unit_of<'a>(token: Option<&'a Result<TokenIndex, String>>, tokens: &'a TokenList) -> &'a str {
    match token {
        Some(Ok(token)) => tokens.symbol(*token),
        Some(Err(text)) if !text.is_empty() => text,
        _ => "?",
    }
}
