//! One withdrawal: its row against its event. Pure.

use eidos_recon::Verdict;
use eidos_types::{Address, Amount};

use crate::dimensions::balance::account::{TokenIndex, TokenList};
use crate::dimensions::movements::event::{Moved, OnChain};
use crate::dimensions::movements::judged::{Judged, unit_of, unlike, unproven};
use crate::dimensions::movements::key::{Movement, MovementKey};
use crate::dimensions::movements::kind::MovementKind;

/// How far the books are with a withdrawal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Debited: requested, processing or submitted.
    Open {
        /// How long ago it was submitted, in milliseconds; `None`: it was not.
        submitted_ms: Option<i64>,
    },
    /// Seen mined.
    Confirmed,
    /// Failed, cancelled, rejected: given back.
    Undone,
}

/// A row of the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// Whose; or what the column has instead.
    pub wallet: Result<Address, String>,
    /// Of which token; or what the column has instead.
    pub token: Result<TokenIndex, String>,
    /// How much; or why it is not an amount.
    pub amount: Result<Amount, String>,
    /// How far it is.
    pub state: State,
}

/// Everything that is known about one withdrawal: a row, an event, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Which one.
    pub key: MovementKey,
    /// Its row.
    pub row: Option<Row>,
    /// Its event at or below the cut.
    pub event: Option<OnChain>,
    /// True if the event is younger than the limit: the books may not have noticed it yet.
    pub is_young: bool,
    /// True if its transaction is mined above the cut.
    pub is_above: bool,
    /// Why the absence of the event proves nothing; `None`: it does.
    pub unproven: Option<String>,
}

/// Compares. `max_age_ms`: how long a withdrawal may be submitted and not mined.
#[must_use]
pub fn judge(reading: &Reading, tokens: &TokenList, max_age_ms: i64) -> Judged {
    let moved = reading.event.as_ref().and_then(|event| event.moved(tokens));
    let movement = movement(reading, moved.as_ref(), tokens);
    let (verdict, in_flight) = match (&reading.row, &reading.event, &moved) {
        (Some(row), None, _) => without_event(reading, row, max_age_ms),
        (None, None, _) => (Verdict::Matched, false),
        (row, Some(_), None) => {
            let left = row.as_ref().map_or(Ok(Amount::ZERO), |row| row.amount.clone());
            let note = "the log has the topic of a withdrawal and other arguments".to_owned();
            (unlike(MovementKind::UnreadableEvent, left, Err(note), "?"), false)
        }
        (None, Some(_), Some(_)) if reading.is_young => (Verdict::Matched, true),
        (None, Some(_), Some(moved)) => {
            let right = moved.amount.clone();
            let found = unlike(
                MovementKind::MissingInBooks,
                Ok(Amount::ZERO),
                right,
                &moved.exact,
            );
            (found, false)
        }
        (Some(row), Some(_), Some(moved)) => with_both(reading, row, moved),
    };
    Judged {
        movement,
        verdict: as_effect(verdict),
        in_flight,
    }
}

/// A withdrawal takes away: what the chain paid and the books do not have is missing from the Vault.
fn as_effect(verdict: Verdict<Movement>) -> Verdict<Movement> {
    match verdict {
        Verdict::Differs(mut difference) => {
            difference.diff = difference.diff.map(Amount::negated);
            Verdict::Differs(difference)
        }
        other => other,
    }
}

fn without_event(reading: &Reading, row: &Row, max_age_ms: i64) -> (Verdict<Movement>, bool) {
    let missing = |kind| (unlike(kind, row.amount.clone(), Ok(Amount::ZERO), "0"), false);
    match row.state {
        State::Undone => (Verdict::Matched, false),
        _ if reading.is_above => (Verdict::Matched, true),
        State::Open { submitted_ms } if submitted_ms.is_none_or(|age| age <= max_age_ms) => {
            (Verdict::Matched, true)
        }
        _ if reading.unproven.is_some() => {
            let note = reading.unproven.as_deref().unwrap_or_default();
            (unproven(row.amount.clone(), note), false)
        }
        State::Open { .. } => missing(MovementKind::Stuck),
        State::Confirmed => missing(MovementKind::MissingOnChain),
    }
}

fn with_both(reading: &Reading, row: &Row, moved: &Moved) -> (Verdict<Movement>, bool) {
    let wrong = |kind| {
        let found = unlike(kind, row.amount.clone(), moved.amount.clone(), &moved.exact);
        (found, false)
    };
    if row.state == State::Undone {
        return wrong(MovementKind::RefundedYetMined);
    }
    if row.wallet.as_ref() != Ok(&moved.user) {
        return wrong(MovementKind::WrongWallet);
    }
    if moved.token.is_none_or(|token| row.token != Ok(token)) {
        return wrong(MovementKind::WrongToken);
    }
    match (&row.amount, &moved.amount) {
        (Ok(booked), Ok(amount)) if booked == amount => {}
        (Ok(_), Ok(_)) => return wrong(MovementKind::WrongAmount),
        _ => return wrong(MovementKind::BeyondDecimal),
    }
    match row.state {
        State::Open { .. } if reading.is_young => (Verdict::Matched, true),
        State::Open { .. } => wrong(MovementKind::MinedYetPending),
        State::Confirmed | State::Undone => (Verdict::Matched, false),
    }
}

/// The movement is the event's; only without one it is the row's.
fn movement(reading: &Reading, moved: Option<&Moved>, tokens: &TokenList) -> Movement {
    let key = reading.key.clone();
    if let Some(moved) = moved {
        return Movement::new(key, &moved.unit, Some(moved.user));
    }
    let row = reading.row.as_ref();
    let unit = unit_of(row.map(|row| &row.token), tokens);
    Movement::new(key, unit, row.and_then(|row| row.wallet.clone().ok()))
}
