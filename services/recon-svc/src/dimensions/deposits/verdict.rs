//! One deposit: the rows that name it against its event. Pure.

use eidos_recon::Verdict;
use eidos_types::{Address, Amount};

use crate::dimensions::balance::account::{TokenIndex, TokenList};
use crate::dimensions::movements::event::{Moved, OnChain};
use crate::dimensions::movements::judged::{Judged, unit_of, unlike, unproven};
use crate::dimensions::movements::key::{Movement, MovementKey};
use crate::dimensions::movements::kind::MovementKind;

/// How far the books are with a deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In the balance.
    Credited,
    /// Known for so long, in milliseconds.
    Waiting {
        /// Since it was detected.
        age_ms: i64,
    },
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
    pub stage: Stage,
}

/// Everything that is known about one deposit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Which one.
    pub key: MovementKey,
    /// Why the rows name no event; empty if they do.
    pub unnamed: String,
    /// The rows that name it.
    pub rows: Vec<Row>,
    /// Its event at or below the cut.
    pub event: Option<OnChain>,
    /// True if the event is younger than the limit: the books may not know it yet.
    pub is_young: bool,
    /// True if the books saw it in a block that is not on the chain any more.
    pub is_orphaned: bool,
    /// Why the absence of the event proves nothing; `None`: it does.
    pub unproven: Option<String>,
}

/// Compares. `max_age_ms`: how long a deposit may be known and not credited.
#[must_use]
pub fn judge(reading: &Reading, tokens: &TokenList, max_age_ms: i64) -> Judged {
    let moved = reading.event.as_ref().and_then(|event| event.moved(tokens));
    let movement = movement(reading, moved.as_ref(), tokens);
    let (verdict, in_flight) = match (&reading.event, moved) {
        (None, _) => without_event(reading, max_age_ms),
        (Some(_), None) => {
            let note = "the log has the topic of a deposit and other arguments".to_owned();
            let found = unlike(
                MovementKind::UnreadableEvent,
                credited_sum(&reading.rows),
                Err(note),
                "?",
            );
            (found, false)
        }
        (Some(_), Some(moved)) => with_event(reading, &moved, max_age_ms),
    };
    Judged {
        movement,
        verdict,
        in_flight,
    }
}

fn without_event(reading: &Reading, max_age_ms: i64) -> (Verdict<Movement>, bool) {
    let rows = &reading.rows;
    let nothing = || Ok(Amount::ZERO);
    if !reading.unnamed.is_empty() {
        let note = Err(reading.unnamed.clone());
        return (
            unlike(MovementKind::UnreadableRow, credited_sum(rows), note, "?"),
            false,
        );
    }
    let is_credited = rows.iter().any(|row| row.stage == Stage::Credited);
    let all_young = rows
        .iter()
        .all(|row| matches!(row.stage, Stage::Waiting { age_ms } if age_ms <= max_age_ms));
    if !is_credited && all_young {
        return (Verdict::Matched, true);
    }
    if let Some(note) = &reading.unproven {
        return (unproven(credited_sum(rows), note), false);
    }
    let kind = if reading.is_orphaned {
        MovementKind::Orphaned
    } else {
        MovementKind::MissingOnChain
    };
    let left = if is_credited {
        credited_sum(rows)
    } else {
        rows.first().map_or_else(nothing, |row| row.amount.clone())
    };
    (unlike(kind, left, nothing(), "0"), false)
}

fn with_event(reading: &Reading, moved: &Moved, max_age_ms: i64) -> (Verdict<Movement>, bool) {
    let rows = &reading.rows;
    let right = || moved.amount.clone();
    let credited: Vec<&Row> = rows.iter().filter(|row| row.stage == Stage::Credited).collect();
    let Some(row) = credited.first().copied().or_else(|| rows.first()) else {
        if reading.is_young {
            return (Verdict::Matched, true);
        }
        let found = unlike(
            MovementKind::MissingInBooks,
            Ok(Amount::ZERO),
            right(),
            &moved.exact,
        );
        return (found, false);
    };
    let wrong = |kind, left| (unlike(kind, left, right(), &moved.exact), false);
    if credited.len() > 1 {
        return wrong(MovementKind::DuplicateCredit, credited_sum(rows));
    }
    if row.wallet.as_ref() != Ok(&moved.user) {
        return wrong(MovementKind::WrongWallet, row.amount.clone());
    }
    if moved.token.is_none_or(|token| row.token != Ok(token)) {
        return wrong(MovementKind::WrongToken, row.amount.clone());
    }
    match (&row.amount, &moved.amount) {
        (Ok(booked), Ok(amount)) if booked == amount => {}
        (Ok(_), Ok(_)) => return wrong(MovementKind::WrongAmount, row.amount.clone()),
        _ => return wrong(MovementKind::BeyondDecimal, row.amount.clone()),
    }
    match row.stage {
        Stage::Credited => (Verdict::Matched, false),
        Stage::Waiting { age_ms } if age_ms <= max_age_ms => (Verdict::Matched, true),
        Stage::Waiting { .. } => wrong(MovementKind::NotCredited, Ok(Amount::ZERO)),
    }
}

/// What the rows put into balances.
fn credited_sum(rows: &[Row]) -> Result<Amount, String> {
    rows.iter()
        .filter(|row| row.stage == Stage::Credited)
        .try_fold(Amount::ZERO, |sum, row| {
            let amount = row.amount.clone()?;
            sum.checked_add(amount).map_err(|overflow| overflow.to_string())
        })
}

/// The movement is the event's; only without one it is the row's.
fn movement(reading: &Reading, moved: Option<&Moved>, tokens: &TokenList) -> Movement {
    let key = reading.key.clone();
    if let Some(moved) = moved {
        return Movement::new(key, &moved.unit, Some(moved.user));
    }
    let row = reading.rows.first();
    let unit = unit_of(row.map(|row| &row.token), tokens);
    Movement::new(key, unit, row.and_then(|row| row.wallet.clone().ok()))
}
