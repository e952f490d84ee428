//! Trades asked for one by one: everything that either side knows about their ids.
//!
//! The chain is asked by the transactions that the books name. Where these have no such trade, the contract's views say
//! whether it is settled at all, and only then all blocks are searched for its event.

use std::collections::{BTreeMap, BTreeSet};

use eidos_chain::{ChainError, EventsOf, LogProof};
use eidos_types::Hash32;

use super::{Booked, Groups, Located, Sent, State, TradeEvent, Trades, filter, grouped, key_of, trades_of};
use crate::dimensions::balance::sources::batch_id::on_chain;
use crate::dimensions::balance::sources::snapshot::BooksSnapshot;
use crate::dimensions::movements::key::MovementKey;
use crate::jobs::reconciliation::fault::Fault;
use crate::jobs::reconciliation::movements::Against;

/// What is known about trades beside their rows and events.
#[derive(Default)]
struct Known {
    /// The batches of the rows, as the chain service has them.
    sent: BTreeMap<String, Sent>,
    /// Trades that are settled above the cut.
    above: BTreeSet<MovementKey>,
    /// The batches that the contract calls settled at the cut.
    settled_batches: BTreeSet<String>,
    /// The newest block of the node that was asked for transactions.
    head: u64,
}

impl Trades<'_> {
    /// Everything that either side knows about some trades.
    pub(super) async fn of_keys(
        &self,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        keys: &BTreeSet<MovementKey>,
    ) -> Result<Vec<Located>, Fault> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.rows(against.at);
        let ids: BTreeSet<Hash32> = keys.iter().filter_map(trade_of).collect();
        let booked = rows.of_keys(snapshot.trading(), &ids).await?;
        let batches: BTreeSet<String> = booked.iter().filter_map(|booked| booked.batch.clone()).collect();
        let sent = rows.sent_for(snapshot.chain(), &batches).await?;
        let mut known = Known {
            sent: sent.into_iter().map(|sent| (sent.id.clone(), sent)).collect(),
            ..Known::default()
        };
        let own = booked.iter().filter_map(|booked| booked.tx);
        let hashes = own
            .chain(known.sent.values().filter_map(|sent| sent.tx))
            .chain(keys.iter().filter_map(MovementKey::tx));
        let mut events = self.events_of(against, hashes.collect(), &mut known).await?;
        events.retain(|event| keys.contains(&key_of(event)));
        let found: BTreeSet<Hash32> = events.iter().filter_map(|event| event.id).collect();
        let lost: BTreeSet<Hash32> = ids.difference(&found).copied().collect();
        events.extend(self.search(against, &lost, &known).await?);
        let mut groups = grouped(booked, &events);
        for key in keys {
            groups.entry(key.clone()).or_default();
        }
        known.settled_batches = self.settled_batches(against, &groups).await?;
        Ok(groups
            .into_iter()
            .map(|(key, (rows, event))| self.explained(against, key, rows, event.as_ref(), &known))
            .collect())
    }

    /// The trades of some transactions at or below the cut; notes those above it.
    async fn events_of(
        &self,
        against: Against<'_>,
        hashes: BTreeSet<Hash32>,
        known: &mut Known,
    ) -> Result<Vec<TradeEvent>, Fault> {
        let hashes: Vec<Hash32> = hashes.into_iter().collect();
        let chain = &self.sides.job.chain;
        let EventsOf { transactions, head } = chain.events_of(&hashes, &filter(LogProof::Ranges)).await?;
        known.head = head;
        let mut below = Vec::new();
        for transaction in transactions.into_iter().flatten() {
            let trades = trades_of(&transaction.events);
            if transaction.receipt.block_number > against.block.number {
                known.above.extend(trades.iter().map(key_of));
            } else {
                below.extend(trades);
            }
        }
        Ok(below)
    }

    /// The events of trades that the contract calls settled at the cut, wherever they are.
    ///
    /// # Errors
    /// [`ChainError::LogsIncomplete`] if the logs have no event of such a trade.
    async fn search(
        &self,
        against: Against<'_>,
        lost: &BTreeSet<Hash32>,
        known: &Known,
    ) -> Result<Vec<TradeEvent>, Fault> {
        let chain = &self.sides.job.chain;
        let lost: Vec<Hash32> = lost
            .iter()
            .filter(|id| !known.above.contains(&MovementKey::Trade(**id)))
            .copied()
            .collect();
        let flags = chain.trades_settled(&against.block, &lost).await?;
        let settled: Vec<Hash32> = lost
            .into_iter()
            .zip(flags)
            .filter(|(_, is_settled)| *is_settled)
            .map(|(id, _)| id)
            .collect();
        let from = self.sides.job.rules().vault_deployed_at_block;
        let hashes = chain
            .transactions_of_trades(from, &against.block, &settled)
            .await?;
        let mut at = Known::default();
        let mut events = self
            .events_of(against, hashes.into_iter().collect(), &mut at)
            .await?;
        events.retain(|event| event.id.is_some_and(|id| settled.contains(&id)));
        let found: BTreeSet<Hash32> = events.iter().filter_map(|event| event.id).collect();
        if let Some(id) = settled.iter().find(|id| !found.contains(id)) {
            return Err(ChainError::LogsIncomplete {
                from,
                to: against.block.number,
                detail: format!("the contract calls trade {id} settled, and no log has it"),
            }
            .into());
        }
        Ok(events)
    }

    /// The batches of open and settled trades without an event that the contract calls settled.
    async fn settled_batches(
        &self,
        against: Against<'_>,
        groups: &Groups,
    ) -> Result<BTreeSet<String>, Fault> {
        let without = groups.values().filter(|(_, event)| event.is_none());
        let alive = without
            .flat_map(|(rows, _)| rows)
            .filter(|booked| booked.row.state != State::Undone);
        let batches: BTreeSet<String> = alive.filter_map(|booked| booked.batch.clone()).collect();
        let ids: Vec<Hash32> = batches.iter().map(|batch| on_chain(batch)).collect();
        let flags = self.sides.job.chain.batches_settled(&against.block, &ids).await?;
        let settled = batches
            .into_iter()
            .zip(flags)
            .filter(|(_, is_settled)| *is_settled);
        Ok(settled.map(|(batch, _)| batch).collect())
    }

    /// A trade with the reasons why it may have no event.
    fn explained(
        &self,
        against: Against<'_>,
        key: MovementKey,
        rows: Vec<Booked>,
        event: Option<&TradeEvent>,
        known: &Known,
    ) -> Located {
        let alive: Vec<&Booked> = rows
            .iter()
            .filter(|booked| booked.row.state != State::Undone)
            .collect();
        let sent: Vec<&Sent> = alive
            .iter()
            .filter_map(|booked| known.sent.get(booked.batch.as_ref()?))
            .collect();
        let cut = against.block.number;
        let named = sent
            .iter()
            .filter_map(|sent| sent.block)
            .max()
            .unwrap_or_default();
        // Without a transaction only the books can say that a trade is settled above the cut.
        let is_said_above = named > cut
            && alive.iter().all(|booked| booked.tx.is_none())
            && sent.iter().all(|sent| sent.tx.is_none());
        let is_above = known.above.contains(&key) || is_said_above;
        let is_batch_settled = alive.iter().any(|booked| {
            booked
                .batch
                .as_ref()
                .is_some_and(|batch| known.settled_batches.contains(batch))
        });
        let unproven = (known.head < named.max(cut)).then(|| {
            format!(
                "the node that was asked is at block {}, the books name block {named}",
                known.head
            )
        });
        let mut one = self.located(against, key, rows, event);
        one.reading.is_above = is_above;
        one.reading.is_batch_settled = is_batch_settled;
        one.reading.unproven = unproven;
        one
    }
}

const fn trade_of(key: &MovementKey) -> Option<Hash32> {
    match key {
        MovementKey::Trade(id) => Some(*id),
        _ => None,
    }
}
