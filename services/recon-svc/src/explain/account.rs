//! One account's events, each as both sides have it. Pure.

use std::collections::BTreeMap;

use eidos_chain::EventBody;
use eidos_recon::explain::event::sum;
use eidos_recon::explain::{Event, Known, Posting};
use eidos_types::{Amount, Hash32};

use super::fees::fees;
use super::material::{Keeps, Material, Pool, entry_posting};
use super::movements_of::{blank, deposits, withdrawals};
use crate::dimensions::balance::sources::batch_id;
use crate::dimensions::balance::sources::ledger::{Entry, EntryKind, TradeRow, TradeStage};

/// Every event of the account. `difference` is chain − books; `None`: not an amount.
pub(super) fn events(material: &Material, difference: Option<Amount>) -> Vec<Event> {
    let mut pool = Pool::of(&material.entries);
    let mut events = deposits(material, &mut pool);
    events.extend(withdrawals(material, &mut pool));
    let settled = settlements(material, &mut pool);
    if material.keeps == Keeps::Sums {
        let others = sum(events.iter().map(Event::gap));
        let rest = difference.and_then(|difference| difference.checked_sub(others?).ok());
        events.extend(fees(settled, rest, material));
    } else {
        events.extend(settled);
    }
    events.extend(leftovers(material, pool));
    events
}

/// What a batch did to the account.
#[derive(Debug, Default)]
struct Batch<'a> {
    /// Its name in the books.
    id: Option<&'a str>,
    trades: Vec<&'a TradeRow>,
    entries: Vec<&'a Entry>,
    moved: Vec<Posting>,
    place: Option<(u64, u64)>,
}

/// Settlements, by batch: the chain names nothing smaller.
fn settlements(material: &Material, pool: &mut Pool<'_>) -> Vec<Event> {
    let mut batches: BTreeMap<Hash32, Batch<'_>> = BTreeMap::new();
    let mut batch_of: BTreeMap<&str, Hash32> = BTreeMap::new();
    for trade in &material.trades {
        if let Some(id) = &trade.batch {
            let key = batch_id::on_chain(id);
            let batch = batches.entry(key).or_default();
            batch.id = Some(id);
            batch.trades.push(trade);
            batch_of.insert(&trade.id, key);
        }
    }
    for event in &material.events {
        if let EventBody::SettlementTransfer {
            from,
            to,
            amount,
            settlement_id,
            ..
        } = event.body
        {
            let batch = batches.entry(settlement_id).or_default();
            let sides = [(from, true), (to, false)];
            let mine = sides.into_iter().filter(|(wallet, _)| *wallet == material.wallet);
            batch.moved.extend(
                mine.map(|(_, is_out)| material.moved("SettlementTransfer", &event.at, amount, is_out)),
            );
            batch
                .place
                .get_or_insert((event.at.block_number, event.at.log_index));
        }
    }
    for entry in pool.take_all(|entry| {
        entry
            .trade
            .as_ref()
            .is_some_and(|trade| batch_of.contains_key(trade.as_str()))
    }) {
        let trade = entry.trade.as_deref().unwrap_or_default();
        if let Some(batch) = batch_of.get(trade).and_then(|key| batches.get_mut(key)) {
            batch.entries.push(entry);
        }
    }
    batches
        .into_iter()
        .filter_map(|(key, batch)| settlement(material, key, &batch))
        .collect()
}

fn settlement(material: &Material, key: Hash32, batch: &Batch<'_>) -> Option<Event> {
    let named = batch.id.and_then(|id| material.batch_blocks.get(id)).copied();
    let block = batch.place.map(|(block, _)| block).or(named);
    let place = batch.place.unwrap_or((block.unwrap_or(material.cut), 0));
    let mut event = blank(
        "settlement",
        batch.id.map_or_else(|| key.to_string(), ToOwned::to_owned),
        place,
    );
    event.fee = sum(batch.trades.iter().map(|trade| Some(trade.fee)));
    event.right = net(&batch.moved);
    event.left = batch.entries.iter().map(|entry| entry_posting(entry)).collect();
    let rows = batch.trades.iter().map(|trade| trade_posting(trade));
    if material.has_ledger() {
        event.records = rows.collect();
    } else {
        let settled = batch
            .trades
            .iter()
            .zip(rows)
            .filter(|(trade, _)| trade.stage == TradeStage::Settled);
        event.left.extend(settled.map(|(_, posting)| posting));
    }
    let is_open = batch.trades.iter().any(|trade| trade.stage == TradeStage::Open);
    if event.left.is_empty() && is_open {
        event.known = Known::InFlight;
    }
    if event.right.is_none() {
        if event.left.is_empty() || !material.is_inside(block) {
            return None;
        }
        if block.is_some_and(|block| block > material.cut) {
            event.known = Known::InFlight;
        }
    }
    Some(event)
}

/// Several transfers of one batch as one movement.
fn net(moved: &[Posting]) -> Option<Posting> {
    let first = moved.first()?;
    if moved.len() == 1 {
        return Some(first.clone());
    }
    let amount = sum(moved.iter().map(|posting| posting.amount.clone().ok()));
    Some(Posting {
        what: format!("{} SettlementTransfer events", moved.len()),
        amount: amount.ok_or_else(|| "not an amount".to_owned()),
        ..first.clone()
    })
}

fn trade_posting(trade: &TradeRow) -> Posting {
    let stage = match trade.stage {
        TradeStage::Open => "open",
        TradeStage::Settled => "settled",
        TradeStage::Undone => "undone",
    };
    Posting {
        what: "trade".to_owned(),
        reference: trade.id.clone(),
        amount: trade.delta.ok_or_else(|| "not an amount".to_owned()),
        detail: stage.to_owned(),
    }
}

/// Entries that belong to no event; only where everything was read does that mean anything.
fn leftovers(material: &Material, pool: Pool<'_>) -> Vec<Event> {
    if !material.is_complete || !material.has_all_rows {
        return Vec::new();
    }
    let mut rest = pool.rest();
    for refund in rest
        .clone()
        .into_iter()
        .filter(|entry| entry.kind == EntryKind::Refund)
    {
        let debit = rest.iter().position(|entry| {
            let back = entry.amount.clone().map(Amount::negated);
            entry.kind == EntryKind::Withdrawal && back == refund.amount
        });
        if let Some(debit) = debit {
            rest.remove(debit);
            rest.retain(|entry| entry.id != refund.id);
        }
    }
    rest.into_iter()
        .map(|entry| {
            let id = u64::try_from(entry.id).unwrap_or_default();
            let mut event = blank("ledger entry", entry.id.to_string(), (material.cut, id));
            event.left.push(entry_posting(entry));
            event
        })
        .collect()
}
