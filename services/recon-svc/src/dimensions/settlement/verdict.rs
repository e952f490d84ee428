//! One trade: the rows whose id is its id on the chain, against its event. Pure.

use eidos_recon::Verdict;
use eidos_types::{Address, Amount, BaseUnits};

use super::on_chain::{OnChain, Settled};
use crate::dimensions::balance::account::{TokenIndex, TokenList};
use crate::dimensions::movements::judged::{Judged, unit_of, unlike, unproven};
use crate::dimensions::movements::key::{Movement, MovementKey};
use crate::dimensions::movements::kind::MovementKind;

/// How far the books are with a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Matched, pending or submitted.
    Open {
        /// How long ago it was matched, in milliseconds.
        age_ms: i64,
    },
    /// In settled balances.
    Settled,
    /// Failed or rolled back.
    Undone,
}

/// A row of the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its id, whole.
    pub id: String,
    /// Whose order rested; or what the column has instead.
    pub maker: Result<Address, String>,
    /// Whose order came in; or what the column has instead.
    pub taker: Result<Address, String>,
    /// True if the maker buys.
    pub maker_buys: bool,
    /// The market's base token; or the market.
    pub base: Result<TokenIndex, String>,
    /// The market's quote token; or the market.
    pub quote: Result<TokenIndex, String>,
    /// In base tokens; or why it is not an amount.
    pub base_amount: Result<Amount, String>,
    /// In quote tokens; or why it is not an amount.
    pub quote_amount: Result<Amount, String>,
    /// What both sides pay in quote tokens; or why it is not an amount.
    pub fee: Result<Amount, String>,
    /// How far it is.
    pub state: State,
}

/// Everything that is known about one trade.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts that are independent of each other"
)]
pub struct Reading {
    /// Which one.
    pub key: MovementKey,
    /// The rows with its id.
    pub rows: Vec<Row>,
    /// Its event at or below the cut.
    pub event: Option<OnChain>,
    /// True if the event is younger than the limit: the books may not have noticed it yet.
    pub is_young: bool,
    /// True if it is settled above the cut.
    pub is_above: bool,
    /// True if the chain has settled the batch that the books name.
    pub is_batch_settled: bool,
    /// True if its fee cannot be told from what it moved: the fee recipient is one of its sides.
    pub is_fee_unknown: bool,
    /// Why the absence of the event proves nothing; `None`: it does.
    pub unproven: Option<String>,
}

/// What was decided, and in which unit.
type Decision = (Verdict<Movement>, bool, Option<String>);

/// Compares. `max_age_ms`: how long a trade may be matched and not settled.
#[must_use]
pub fn judge(reading: &Reading, tokens: &TokenList, max_age_ms: i64) -> Judged {
    let alive: Vec<&Row> = reading
        .rows
        .iter()
        .filter(|row| row.state != State::Undone)
        .collect();
    let row = alive.first().copied().or_else(|| reading.rows.first());
    let (verdict, in_flight, unit) = match (row, reading.event) {
        (_, Some(OnChain::Unreadable)) => {
            let note = Err("the log has the topic of a settled trade and other arguments".to_owned());
            let left = row.map_or(Ok(Amount::ZERO), |row| row.quote_amount.clone());
            (
                unlike(MovementKind::UnreadableEvent, left, note, "?"),
                false,
                None,
            )
        }
        _ if alive.len() > 1 => collision(&alive, reading.event, tokens),
        (None, None) => (Verdict::Matched, false, None),
        (None, Some(OnChain::Settled(_))) if reading.is_young => (Verdict::Matched, true, None),
        (None, Some(OnChain::Settled(settled))) => {
            let side = Leg::Quote.side(&settled, tokens);
            let found = unlike(
                MovementKind::MissingInBooks,
                Ok(Amount::ZERO),
                side.amount,
                &side.exact,
            );
            (found, false, None)
        }
        (Some(row), None) => without_event(reading, row, max_age_ms),
        (Some(row), Some(OnChain::Settled(settled))) => with_both(reading, row, &settled, tokens),
    };
    Judged {
        movement: movement(reading, row, unit, tokens),
        verdict,
        in_flight,
    }
}

/// Which of a trade's tokens is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leg {
    Base,
    Quote,
    Fee,
}

/// The chain's amount of one leg.
struct Side {
    token: Option<TokenIndex>,
    unit: String,
    amount: Result<Amount, String>,
    exact: String,
}

impl Leg {
    fn side(self, settled: &Settled, tokens: &TokenList) -> Side {
        let (address, units) = match self {
            Self::Base => (settled.base, Some(settled.base_units)),
            Self::Quote => (settled.quote, Some(settled.quote_units)),
            Self::Fee => (settled.quote, settled.fee),
        };
        let token = tokens.by_address(address);
        let known = token.and_then(|index| tokens.get(index));
        let beyond = || "more than 2^256 base units".to_owned();
        Side {
            token,
            unit: known.map_or_else(|| address.to_string(), |token| token.symbol.clone()),
            amount: match (known, units) {
                (_, None) => Err(beyond()),
                (None, Some(units)) => Err(format!(
                    "{units} base units of {address}, which is no token of this chain's settings"
                )),
                (Some(token), Some(units)) => {
                    units.to_amount(token.decimals).map_err(|error| error.to_string())
                }
            },
            exact: units.map_or_else(beyond, |units| exact(units, known.map(|token| token.decimals))),
        }
    }
}

fn exact(units: BaseUnits, decimals: Option<u8>) -> String {
    decimals.map_or_else(|| units.to_string(), |decimals| units.exact(decimals))
}

/// More than one trade of the books has this id on the chain, and the chain can settle one only.
fn collision(alive: &[&Row], event: Option<OnChain>, tokens: &TokenList) -> Decision {
    let booked = alive
        .iter()
        .filter(|row| row.state == State::Settled)
        .try_fold(Amount::ZERO, |sum, row| {
            let amount = row.quote_amount.clone()?;
            sum.checked_add(amount).map_err(|overflow| overflow.to_string())
        });
    let ids: Vec<&str> = alive.iter().map(|row| row.id.as_str()).collect();
    let (amount, exact) = match event {
        Some(OnChain::Settled(settled)) => {
            let side = Leg::Quote.side(&settled, tokens);
            (side.amount, side.exact)
        }
        _ => (Ok(Amount::ZERO), "0".to_owned()),
    };
    let mut verdict = unlike(MovementKind::IdCollision, booked, amount, &exact);
    if let Verdict::Differs(difference) = &mut verdict {
        let named = format!(
            "{} trades have this id on the chain: {}",
            ids.len(),
            ids.join(", ")
        );
        difference.note = if difference.note.is_empty() {
            named
        } else {
            format!("{named}; {}", difference.note)
        };
    }
    (verdict, false, None)
}

fn without_event(reading: &Reading, row: &Row, max_age_ms: i64) -> Decision {
    let missing = |kind| {
        let found = unlike(kind, row.quote_amount.clone(), Ok(Amount::ZERO), "0");
        (found, false, None)
    };
    match row.state {
        State::Undone => (Verdict::Matched, false, None),
        _ if reading.is_above => (Verdict::Matched, true, None),
        State::Open { age_ms } if age_ms <= max_age_ms => (Verdict::Matched, true, None),
        _ if reading.unproven.is_some() => {
            let note = reading.unproven.as_deref().unwrap_or_default();
            (unproven(row.quote_amount.clone(), note), false, None)
        }
        _ if reading.is_batch_settled => missing(MovementKind::PartlySettled),
        State::Open { .. } => missing(MovementKind::Stuck),
        State::Settled => missing(MovementKind::MissingOnChain),
    }
}

fn with_both(reading: &Reading, row: &Row, settled: &Settled, tokens: &TokenList) -> Decision {
    let (base, quote) = (Leg::Base.side(settled, tokens), Leg::Quote.side(settled, tokens));
    let wrong = |kind| {
        let found = unlike(kind, row.quote_amount.clone(), quote.amount.clone(), &quote.exact);
        (found, false, None)
    };
    if row.state == State::Undone {
        return wrong(MovementKind::UndoneYetSettled);
    }
    if row.maker.as_ref() != Ok(&settled.maker) || row.taker.as_ref() != Ok(&settled.taker) {
        return wrong(MovementKind::WrongWallet);
    }
    let buyer = if row.maker_buys {
        settled.maker
    } else {
        settled.taker
    };
    if settled.buyer.is_some_and(|there| there != buyer) {
        return wrong(MovementKind::WrongSide);
    }
    let is_same =
        |side: &Side, token: &Result<TokenIndex, String>| side.token.is_some_and(|there| *token == Ok(there));
    if !is_same(&base, &row.base) || !is_same(&quote, &row.quote) {
        return wrong(MovementKind::WrongToken);
    }
    let fee = Leg::Fee.side(settled, tokens);
    let legs = [
        (&row.quote_amount, &quote, MovementKind::WrongAmount),
        (&row.base_amount, &base, MovementKind::WrongAmount),
        (&row.fee, &fee, MovementKind::WrongFee),
    ];
    let compared = if reading.is_fee_unknown { 2 } else { legs.len() };
    for (booked, there, kind) in legs.into_iter().take(compared) {
        let kind = match (booked, &there.amount) {
            (Ok(booked), Ok(there)) if booked == there => continue,
            (Ok(_), Ok(_)) => kind,
            _ => MovementKind::BeyondDecimal,
        };
        let found = unlike(kind, booked.clone(), there.amount.clone(), &there.exact);
        return (found, false, Some(there.unit.clone()));
    }
    match row.state {
        State::Open { .. } if reading.is_young => (Verdict::Matched, true, None),
        State::Open { .. } => wrong(MovementKind::SettledYetPending),
        State::Settled | State::Undone => (Verdict::Matched, false, None),
    }
}

/// The movement is the event's; only without one it is the row's. Its unit is the quote token, unless another leg differs.
fn movement(reading: &Reading, row: Option<&Row>, unit: Option<String>, tokens: &TokenList) -> Movement {
    let key = reading.key.clone();
    if let Some(OnChain::Settled(settled)) = reading.event {
        let unit = unit.unwrap_or_else(|| Leg::Quote.side(&settled, tokens).unit);
        return Movement::new(key, &unit, Some(settled.maker));
    }
    let unit = unit_of(row.map(|row| &row.quote), tokens);
    Movement::new(key, unit, row.and_then(|row| row.maker.clone().ok()))
}
