//! Deposits and withdrawals of one account, each as both sides have it. Pure.

use std::collections::BTreeMap;

use eidos_chain::{EventBody, VaultEvent};
use eidos_recon::explain::{Cause, Event, Known, Posting};
use eidos_types::{Amount, BaseUnits, Hash32};

use super::material::{Material, Pool, entry_posting};
use crate::dimensions::balance::sources::ledger::{Entry, EntryKind};
use crate::dimensions::deposits::sources::Booked as DepositRow;
use crate::dimensions::deposits::verdict::Stage;
use crate::dimensions::movements::key::MovementKey;
use crate::dimensions::withdrawals::pairing::{Claim, Fact, pair};
use crate::dimensions::withdrawals::sources::Booked as WithdrawalRow;
use crate::dimensions::withdrawals::verdict::State;

/// An event of nothing yet.
pub(super) fn blank(what: &str, name: String, place: (u64, u64)) -> Event {
    Event {
        what: what.to_owned(),
        name,
        place,
        right: None,
        left: Vec::new(),
        records: Vec::new(),
        elsewhere: None,
        fee: None,
        known: Known::Plain,
    }
}

/// The deposits: by transaction, so that each of several in one has its own entry.
pub(super) fn deposits(material: &Material, pool: &mut Pool<'_>) -> Vec<Event> {
    let mut by_tx: BTreeMap<Hash32, Vec<(&VaultEvent, BaseUnits)>> = BTreeMap::new();
    for event in &material.events {
        if let EventBody::Deposit { amount, .. } = event.body {
            by_tx.entry(event.at.tx_hash).or_default().push((event, amount));
        }
    }
    let mut found = Vec::new();
    for (tx, events) in &by_tx {
        let entries = pool.take_all(|entry| entry.kind == EntryKind::Deposit && entry.tx == Some(*tx));
        let mut events: Vec<Event> = events
            .iter()
            .map(|(event, units)| {
                let at = (event.at.block_number, event.at.log_index);
                let name = format!("{}:{}", event.at.tx_hash, event.at.log_index);
                let right = Some(material.moved("Deposit", &event.at, *units, false));
                Event {
                    right,
                    ..blank("deposit", name, at)
                }
            })
            .collect();
        share(&mut events, entries);
        for event in &mut events {
            let key = MovementKey::of_text(&event.name);
            with_rows(material, pool, event, key.as_ref());
        }
        found.append(&mut events);
    }
    found.extend(deposits_of_others(material, pool));
    found
}

/// Gives each entry to the event whose amount it has; a further equal one is a second posting of it.
fn share(events: &mut [Event], entries: Vec<&Entry>) {
    let mut rest = Vec::new();
    for entry in entries {
        let own = events.iter_mut().find(|event| {
            event.left.is_empty()
                && event
                    .right
                    .as_ref()
                    .is_some_and(|right| right.amount == entry.amount)
        });
        match own {
            Some(event) => event.left.push(entry_posting(entry)),
            None => rest.push(entry),
        }
    }
    for entry in rest {
        let equal = |event: &Event| {
            event
                .right
                .as_ref()
                .is_some_and(|right| right.amount == entry.amount)
        };
        let place = events
            .iter()
            .position(equal)
            .or_else(|| events.iter().position(|event| event.left.is_empty()))
            .unwrap_or(events.len().saturating_sub(1));
        if let Some(event) = events.get_mut(place) {
            event.left.push(entry_posting(entry));
        }
    }
}

/// What the rows say about a deposit of the account.
fn with_rows(material: &Material, pool: &mut Pool<'_>, event: &mut Event, key: Option<&MovementKey>) {
    let rows = material.deposits.iter().filter(|row| Some(&row.key) == key);
    for row in rows {
        let is_mine = row.row.wallet == Ok(material.wallet) && row.row.token == Ok(material.token.0);
        let posting = deposit_posting(row);
        let is_open = event.left.is_empty();
        match row.row.stage {
            _ if !is_mine => {
                if is_open && row.row.token == Ok(material.token.0) {
                    event.elsewhere = Some(text_of(&row.row.wallet));
                } else if is_open {
                    event.known = Known::As(Cause::WrongUnit);
                }
                event.records.push(posting);
            }
            Stage::Credited if !material.has_ledger() => event.left.push(posting),
            Stage::Credited => {
                let amount = row.row.amount.clone().ok().filter(|_| is_open);
                let entry = amount.and_then(|amount| pool.take_equal(EntryKind::Deposit, amount, None));
                event.left.extend(entry.map(entry_posting));
                event.records.push(posting);
            }
            Stage::Waiting { age_ms } => {
                if is_open {
                    event.known = if age_ms < material.deposit_max_age_ms {
                        Known::InFlight
                    } else {
                        Known::Late
                    };
                }
                event.records.push(posting);
            }
        }
    }
}

fn deposit_posting(row: &DepositRow) -> Posting {
    let stage = match row.row.stage {
        Stage::Credited => "credited".to_owned(),
        Stage::Waiting { age_ms } => format!("not credited for {} s", age_ms / 1_000),
    };
    Posting {
        what: "deposit row".to_owned(),
        reference: row.row.id.clone(),
        amount: row.row.amount.clone(),
        detail: format!(
            "{}, wallet {}, block {}",
            stage,
            text_of(&row.row.wallet),
            row.block
        ),
    }
}

pub(super) fn text_of<T: std::fmt::Display>(value: &Result<T, String>) -> String {
    match value {
        Ok(value) => value.to_string(),
        Err(text) => format!("'{text}'"),
    }
}

/// Entries for deposits that are no event of this account.
fn deposits_of_others(material: &Material, pool: &mut Pool<'_>) -> Vec<Event> {
    let mut by_tx: BTreeMap<Hash32, Vec<&Entry>> = BTreeMap::new();
    for entry in pool.take_all(|entry| entry.kind == EntryKind::Deposit && entry.tx.is_some()) {
        by_tx
            .entry(entry.tx.unwrap_or(Hash32::ZERO))
            .or_default()
            .push(entry);
    }
    let mut found = Vec::new();
    for (tx, entries) in by_tx {
        // What was not looked up proves nothing.
        let Some(others) = material.others.get(&tx) else {
            continue;
        };
        let rows: Vec<&DepositRow> = material
            .deposits
            .iter()
            .filter(|row| row.key.tx() == Some(tx))
            .collect();
        let named = rows.iter().map(|row| row.block).find(|block| *block > 0);
        let other = others.iter().find_map(|event| match event.body {
            EventBody::Deposit { user, token, .. } => Some((event, user, token)),
            _ => None,
        });
        let block = other.map(|(event, ..)| event.at.block_number).or(named);
        if !material.is_inside(block) {
            continue;
        }
        let (name, at) = match other {
            Some((event, ..)) => (format!("{tx}:{}", event.at.log_index), event.at.log_index),
            None => (tx.to_string(), 0),
        };
        let mut event = blank("deposit", name, (block.unwrap_or(material.cut), at));
        event.left = entries.into_iter().map(entry_posting).collect();
        event.records = rows.iter().map(|row| deposit_posting(row)).collect();
        match other {
            _ if block.is_some_and(|block| block > material.cut) => event.known = Known::InFlight,
            Some((_, user, token)) if token == material.token.1 && user != material.wallet => {
                event.elsewhere = Some(user.to_string());
            }
            Some((_, user, token)) if user == material.wallet && token != material.token.1 => {
                event.known = Known::As(Cause::WrongUnit);
            }
            None if material.orphaned.contains(&tx) => event.known = Known::Orphaned,
            _ => {}
        }
        found.push(event);
    }
    found
}

/// The withdrawals: each row with the event that is its own.
pub(super) fn withdrawals(material: &Material, pool: &mut Pool<'_>) -> Vec<Event> {
    let paid: Vec<(&VaultEvent, BaseUnits)> = material
        .events
        .iter()
        .filter_map(|event| match event.body {
            EventBody::Withdraw { amount, .. } => Some((event, amount)),
            _ => None,
        })
        .collect();
    let facts: Vec<Fact> = paid
        .iter()
        .map(|(event, units)| Fact {
            tx: event.at.tx_hash,
            user: Some(material.wallet),
            token: Some(material.token.1),
            units: Some(*units),
        })
        .collect();
    let claims: Vec<Claim> = material
        .withdrawals
        .iter()
        .map(|row| claim(material, row))
        .collect();
    let pairs = pair(&claims, &facts);
    let mut found = Vec::new();
    for (row, fact) in material.withdrawals.iter().zip(&pairs) {
        let own = fact.and_then(|index| paid.get(index));
        found.extend(withdrawal(material, pool, row, own.copied()));
    }
    for (index, (event, units)) in paid.iter().enumerate() {
        if !pairs.contains(&Some(index)) {
            let mut unknown = payment(material, event, *units);
            let amount = unknown.right.as_ref().and_then(|right| right.amount.clone().ok());
            let entry = amount
                .and_then(|amount| pool.take_equal(EntryKind::Withdrawal, amount, Some(event.at.tx_hash)));
            unknown.left.extend(entry.map(entry_posting));
            found.push(unknown);
        }
    }
    found
}

fn claim(material: &Material, row: &WithdrawalRow) -> Claim {
    let sent = material
        .sent
        .iter()
        .filter(|sent| sent.id == row.row.id)
        .filter_map(|sent| sent.tx);
    let is_token = row.row.token == Ok(material.token.0);
    let units = row.row.amount.as_ref().ok();
    Claim {
        txs: row.tx.into_iter().chain(sent).collect(),
        wallet: row.row.wallet.clone().ok(),
        token: is_token.then_some(material.token.1),
        units: units.and_then(|amount| BaseUnits::from_amount(*amount, material.decimals).ok()),
        is_undone: row.row.state == State::Undone,
    }
}

fn payment(material: &Material, event: &VaultEvent, units: BaseUnits) -> Event {
    let name = format!("{}:{}", event.at.tx_hash, event.at.log_index);
    let right = Some(material.moved("Withdraw", &event.at, units, true));
    Event {
        right,
        ..blank("withdrawal", name, (event.at.block_number, event.at.log_index))
    }
}

/// One row with its payment, if there is one; `None`: it says nothing about this account up to the cut.
fn withdrawal(
    material: &Material,
    pool: &mut Pool<'_>,
    row: &WithdrawalRow,
    paid: Option<(&VaultEvent, BaseUnits)>,
) -> Option<Event> {
    let is_mine = row.row.wallet == Ok(material.wallet) && row.row.token == Ok(material.token.0);
    let block = material
        .sent
        .iter()
        .filter(|sent| sent.id == row.row.id)
        .find_map(|sent| sent.block);
    let mut event = match paid {
        Some((event, units)) => payment(material, event, units),
        None if !is_mine => return None,
        None => blank(
            "withdrawal",
            row.row.id.clone(),
            (block.unwrap_or(material.cut), 0),
        ),
    };
    event.records.push(withdrawal_posting(row));
    let booked = if is_mine {
        row.row.amount.clone().ok()
    } else {
        None
    };
    let debit = booked
        .map(Amount::negated)
        .or_else(|| event.right.as_ref()?.amount.clone().ok());
    let tx = row.tx.or_else(|| paid.map(|(event, _)| event.at.tx_hash));
    let entry = debit.and_then(|debit| pool.take_equal(EntryKind::Withdrawal, debit, tx));
    event.left.extend(entry.map(entry_posting));
    if !is_mine {
        if event.left.is_empty() {
            event.elsewhere = Some(text_of(&row.row.wallet));
        }
        return Some(event);
    }
    if row.row.state == State::Undone {
        let refund = booked.and_then(|amount| pool.take_equal(EntryKind::Refund, amount, tx));
        event.left.extend(refund.map(entry_posting));
        event.known = Known::Refunded;
        return (paid.is_some() || !event.left.is_empty()).then_some(event);
    }
    if event.left.is_empty() && !material.has_ledger() {
        let row = event.records.pop();
        event.left.extend(row);
    }
    let is_above = block.is_some_and(|block| block > material.cut);
    if paid.is_none() && (matches!(row.row.state, State::Open { .. }) || is_above) {
        event.known = Known::InFlight;
    }
    let is_read = paid.is_some() || event.known == Known::InFlight || material.is_inside(block);
    is_read.then_some(event)
}

fn withdrawal_posting(row: &WithdrawalRow) -> Posting {
    let state = match row.row.state {
        State::Open { .. } => "open",
        State::Confirmed => "confirmed",
        State::Undone => "given back",
    };
    Posting {
        what: "withdrawal row".to_owned(),
        reference: row.row.id.clone(),
        amount: row.row.amount.clone().map(Amount::negated),
        detail: format!("{state}, wallet {}", text_of(&row.row.wallet)),
    }
}
