//! The settlements of the fee account. It holds sums and keeps no log, so that nothing in the books says which batch's fee is in
//! it: each fee is taken for booked as the chain moved it, except the one that is the difference. Pure.

use eidos_recon::explain::event::sum;
use eidos_recon::explain::{Cause, Event, Known, Posting};
use eidos_types::Amount;

use super::material::Material;
use super::movements_of::blank;

/// What the books did, in the word of the table.
const FEE_ACCOUNT: &str = "fee account";

/// Tells of these settlements which one the fee account lacks, or has and should not. `rest` is what the account's other events
/// leave of the difference; `None`: not an amount.
pub(super) fn fees(settlements: Vec<Event>, rest: Option<Amount>, material: &Material) -> Vec<Event> {
    let (in_flight, settled): (Vec<Event>, Vec<Event>) = settlements
        .into_iter()
        .partition(|event| event.known == Known::InFlight);
    let delayed = sum(in_flight.iter().map(Event::gap));
    let rest = rest.and_then(|rest| rest.checked_sub(delayed?).ok());
    let mut found = in_flight;
    let Some(rest) = rest.filter(|rest| !rest.is_zero()) else {
        found.extend(settled.into_iter().filter_map(booked));
        return found;
    };
    let is_it = |event: &&Event| unbooked(event).is_some_and(|amount| amount == rest);
    let only = match settled.iter().filter(is_it).collect::<Vec<_>>().as_slice() {
        [only] => Some(only.name.clone()),
        _ => None,
    };
    if only.is_none() && material.is_complete {
        found.extend(of_all(&settled, rest, material));
    }
    for event in settled {
        if only.as_ref() == Some(&event.name) {
            found.push(diverging(event));
        } else {
            found.extend(booked(event));
        }
    }
    found
}

/// What the difference is if this one alone is wrong in the fee account.
fn unbooked(event: &Event) -> Option<Amount> {
    match &event.right {
        Some(posting) => posting.amount.clone().ok(),
        None => event.left_sum().map(Amount::negated),
    }
}

/// With a fee that was booked as it was moved; `None`: the chain moved none, so that the fee account has none.
fn booked(mut event: Event) -> Option<Event> {
    let moved = event.right.clone()?;
    event.left = vec![Posting {
        what: FEE_ACCOUNT.to_owned(),
        detail: "the account has no log; taken for booked".to_owned(),
        ..moved
    }];
    Some(event)
}

/// The one that is the difference.
fn diverging(mut event: Event) -> Event {
    if event.right.is_some() {
        event.left.clear();
        event.known = Known::As(Cause::FeeNotBooked);
    }
    event
}

/// No single batch is the difference: the sums themselves are what differs.
fn of_all(settled: &[Event], rest: Amount, material: &Material) -> Option<Event> {
    let moved = sum(settled
        .iter()
        .filter_map(|event| event.right.as_ref())
        .map(|posting| posting.amount.clone().ok()))?;
    let posted = moved.checked_sub(rest).ok()?;
    let posting = |what: &str, amount: Amount| Posting {
        what: what.to_owned(),
        reference: String::new(),
        amount: Ok(amount),
        detail: format!("of {} batches", settled.len()),
    };
    let cause = if rest.is_negative() {
        Cause::WrongAmount
    } else {
        Cause::FeeNotBooked
    };
    Some(Event {
        right: Some(posting("SettlementTransfer events", moved)),
        left: vec![posting(FEE_ACCOUNT, posted)],
        known: Known::As(cause),
        ..blank(
            "sum of fees",
            format!("up to block {}", material.cut),
            (material.cut, 0),
        )
    })
}
