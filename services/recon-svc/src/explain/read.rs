//! Reads one account's history within bounds: rows once, events in windows from the newest back until the difference is
//! explained, nothing is left to read, or a bound is reached.

use std::collections::BTreeSet;

use eidos_chain::{Argument, BlockRef, EventBody, EventKind, LogFilter, VaultEvent};
use eidos_recon::explain::{Explanation, History, Opposite, Searched, explain};
use eidos_types::{Address, Amount, Hash32};
use tokio::time::Instant;

use super::account;
use super::explainer::{ExplainError, Explainer, SIDES};
use super::material::{Keeps, Material};
use crate::dimensions::balance::account::{AccountKey, BooksValue, Token, TokenIndex};
use crate::dimensions::balance::sources::SourceError;
use crate::dimensions::balance::sources::changes::fee_totals;
use crate::dimensions::balance::sources::ledger::{self, AccountBooks, EntryKind};
use crate::dimensions::deposits::sources::{DepositRows, blocks_seen};
use crate::dimensions::movements::key::MovementKey;
use crate::dimensions::withdrawals::sources::WithdrawalRows;
use crate::jobs::reconciliation::cut::Cut;

/// Blocks of the first window; the next ones are larger.
const FIRST_WINDOW: u64 = 2_000;
/// How much larger.
const GROWTH: u64 = 4;
/// Transactions of unmatched entries that are looked up, at most.
const MAX_LOOKUPS: usize = 100;
/// An account and how far it may be read.
#[derive(Debug)]
pub(super) struct AccountSearch<'a> {
    pub(super) explainer: &'a Explainer,
    pub(super) wallet: Address,
    pub(super) token: TokenIndex,
    /// The difference that was found; the present one is read too.
    pub(super) stored: Option<Amount>,
    pub(super) opposite: Option<Opposite>,
    pub(super) deadline: Instant,
}

impl AccountSearch<'_> {
    /// Explains the account at a new cut. Returns the block of it as well.
    pub(super) async fn run(self) -> Result<(Explanation, BlockRef), ExplainError> {
        let explainer = self.explainer;
        let begun = tokio::time::timeout_at(self.deadline, self.begin()).await;
        let longest = explainer.settings.reconciliation.explain_timeout;
        let (mut cut, mut material, difference) =
            begun.map_err(|_elapsed| ExplainError::TooLong(longest))??;
        let floor = explainer.settings.reconciliation.vault_deployed_at_block;
        let max_blocks = explainer.settings.reconciliation.explain_max_blocks;
        let lowest = cut
            .block
            .number
            .saturating_sub(max_blocks.saturating_sub(1))
            .max(floor);
        let mut searched = Searched {
            places: "blocks".to_owned(),
            upto: cut.block.number,
            ..Searched::default()
        };
        if !material.has_all_rows {
            let limit = explainer.settings.reconciliation.explain_max_rows;
            searched.bounds.push(format!(
                "the newest {limit} rows of each table (reconciliation.explain_max_rows)"
            ));
        }
        let (mut upto, mut window) = (cut.block, FIRST_WINDOW);
        loop {
            let from = upto.number.saturating_sub(window.saturating_sub(1)).max(lowest);
            // A window counts when all of it was read.
            let mut wider = material.clone();
            let reading = self.window(&mut cut, &mut wider, from, upto);
            let in_time = match tokio::time::timeout_at(self.deadline, reading).await {
                Ok(read) => read.map(|()| true)?,
                Err(_elapsed) => false,
            };
            if in_time {
                material = wider;
            }
            let is_last = !in_time || from <= lowest;
            if !in_time {
                searched
                    .bounds
                    .push(format!("{longest:?} (reconciliation.explain_timeout)"));
            } else if is_last && !material.is_complete {
                searched
                    .bounds
                    .push(format!("{max_blocks} blocks (reconciliation.explain_max_blocks)"));
            }
            let explanation = self.explained(&material, difference, &searched);
            if is_last || explanation.is_conclusive {
                return Ok((explanation, cut.block));
            }
            upto = block_before(explainer, from).await?;
            window = window.saturating_mul(GROWTH);
        }
    }

    /// The cut, and the rows at it.
    async fn begin(&self) -> Result<(Cut, Material, Option<Amount>), ExplainError> {
        let explainer = self.explainer;
        let mut cut = Cut::pin(&explainer.databases, &explainer.schema, &explainer.chain, None).await?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        ledger::bound(cut.snapshot.trading(), left).await?;
        ledger::bound(cut.snapshot.chain(), left).await?;
        let (material, difference) = self.rows(&mut cut).await?;
        Ok((cut, material, difference))
    }

    fn explained(&self, material: &Material, difference: Option<Amount>, searched: &Searched) -> Explanation {
        let events = account::events(material, difference);
        let mut searched = searched.clone();
        if !material.has_all_others {
            let bound = format!("{MAX_LOOKUPS} transactions of entries without an event of the account");
            searched.bounds.push(bound);
        }
        let history = History {
            difference,
            untold: material.untold(&events),
            opposite: self.opposite.clone(),
            searched: Searched {
                from: material.from,
                is_complete: material.is_complete && material.has_all_rows,
                events: material.events.len(),
                postings: material.entries.len()
                    + material.deposits.len()
                    + material.withdrawals.len()
                    + material.trades.len(),
                ..searched
            },
            events,
        };
        explain(&history, SIDES)
    }

    /// The rows of the account, its value in the books and the difference as it is now.
    async fn rows(&self, cut: &mut Cut) -> Result<(Material, Option<Amount>), ExplainError> {
        let explainer = self.explainer;
        let token = explainer
            .tokens
            .get(self.token)
            .ok_or(ExplainError::UnknownToken)?;
        let is_fees = explainer.chain.fee_recipient() == Some(self.wallet);
        let now_ms = cut.taken_at().timestamp_millis();
        let limit = i64::from(explainer.settings.reconciliation.explain_max_rows);
        let books = AccountBooks {
            schema: &explainer.schema,
            tokens: &explainer.tokens,
            wallet: self.wallet,
            token: self.token,
            is_fees,
            limit: limit + 1,
        };
        let (deposits, withdrawals) = (explainer.deposit_rows(now_ms), explainer.withdrawal_rows(now_ms));
        let conn = cut.snapshot.trading();
        let entries = if is_fees {
            Vec::new()
        } else {
            books.entries(conn).await?
        };
        let deposits = deposits
            .of_account(conn, self.wallet, &token.symbol, limit + 1)
            .await?;
        let withdrawals = withdrawals
            .of_account(conn, self.wallet, &token.symbol, limit + 1)
            .await?;
        let trades = books.trades(conn).await?;
        let value = self.value(cut, is_fees, &token.symbol).await?;
        let batches: BTreeSet<&String> = trades.iter().filter_map(|trade| trade.batch.as_ref()).collect();
        let batches: Vec<String> = batches.into_iter().cloned().collect();
        let batch_blocks = books.batch_blocks(cut.snapshot.chain(), &batches).await?;
        let longest = [entries.len(), deposits.len(), withdrawals.len(), trades.len()]
            .into_iter()
            .max();
        let difference = self.difference(&cut.block, token, value).await?;
        let max_age = explainer.settings.reconciliation.in_flight_max_age;
        let material = Material {
            wallet: self.wallet,
            keeps: if is_fees { Keeps::Sums } else { Keeps::Log },
            token: (self.token, token.address),
            decimals: token.decimals,
            cut: cut.block.number,
            from: cut.block.number + 1,
            has_all_rows: longest.and_then(|longest| i64::try_from(longest).ok()) <= Some(limit),
            deposit_max_age_ms: i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX),
            entries,
            deposits,
            withdrawals,
            trades,
            batch_blocks,
            value,
            has_all_others: true,
            ..Material::default()
        };
        Ok((material, difference))
    }

    /// Chain − books at the cut.
    async fn difference(
        &self,
        at: &BlockRef,
        token: &Token,
        value: Option<Amount>,
    ) -> Result<Option<Amount>, ExplainError> {
        let account = [(self.wallet, token.address)];
        match self.explainer.chain.vault_totals(at, &account).await {
            Ok(held) => {
                let held = held.first().and_then(|held| held.to_amount(token.decimals).ok());
                Ok(held
                    .zip(value)
                    .and_then(|(held, value)| held.checked_sub(value).ok()))
            }
            // The state of the block is gone already: what the run found is what is left to explain.
            Err(error) if error.needs_new_pin() => Ok(self.stored),
            Err(error) => Err(SourceError::from(error).into()),
        }
    }

    /// What the books hold for the account.
    async fn value(
        &self,
        cut: &mut Cut,
        is_fees: bool,
        symbol: &str,
    ) -> Result<Option<Amount>, ExplainError> {
        let conn = cut.snapshot.trading();
        if is_fees {
            let totals = fee_totals(conn, &self.explainer.schema).await?;
            let own = totals.into_iter().find(|(token, _)| token == symbol);
            return Ok(own.map_or(Some(Amount::ZERO), |(_, amount)| amount.ok()));
        }
        let (balances, subaccounts) = self.explainer.books.of_spellings(conn, self.wallet).await?;
        let key = AccountKey {
            wallet: self.wallet,
            token: self.token,
        };
        let mut value = BooksValue::Absent;
        for row in balances
            .into_iter()
            .chain(subaccounts)
            .filter(|row| row.key == key)
        {
            value.add(row.amount);
        }
        Ok(match value {
            BooksValue::Absent => Some(Amount::ZERO),
            BooksValue::Exact(amount) => Some(amount),
            BooksValue::Unreadable(_) => None,
        })
    }

    /// Reads the events of a window, and what belongs to them.
    async fn window(
        &self,
        cut: &mut Cut,
        material: &mut Material,
        from: u64,
        upto: BlockRef,
    ) -> Result<(), ExplainError> {
        let explainer = self.explainer;
        let mut events = explainer.events_of(material.wallet, from, &upto).await?;
        events.retain(|event| token_of(event) == Some(material.token.1));
        events.append(&mut material.events);
        material.events = events;
        material.from = from;
        material.is_complete = from <= explainer.settings.reconciliation.vault_deployed_at_block;
        self.of_transactions(cut, material).await?;
        self.others(cut, material).await
    }

    /// The rows that name the account's transactions, under whatever wallet.
    async fn of_transactions(&self, cut: &mut Cut, material: &mut Material) -> Result<(), ExplainError> {
        let now_ms = cut.taken_at().timestamp_millis();
        let (deposits, withdrawals) = (
            self.explainer.deposit_rows(now_ms),
            self.explainer.withdrawal_rows(now_ms),
        );
        let keys = events_where(&material.events, |body| matches!(body, EventBody::Deposit { .. }));
        let keys: BTreeSet<MovementKey> = keys
            .map(|event| MovementKey::Event {
                tx: event.at.tx_hash,
                index: event.at.log_index,
            })
            .collect();
        for row in deposits.of_keys(cut.snapshot.trading(), &keys).await? {
            if material.deposits.iter().all(|known| known.row.id != row.row.id) {
                material.deposits.push(row);
            }
        }
        let paid = events_where(&material.events, |body| {
            matches!(body, EventBody::Withdraw { .. })
        });
        let mut hashes: BTreeSet<Hash32> = paid.map(|event| event.at.tx_hash).collect();
        let ids: BTreeSet<String> = material
            .withdrawals
            .iter()
            .map(|row| row.row.id.clone())
            .collect();
        material.sent = withdrawals.sent_for(cut.snapshot.chain(), &ids, &hashes).await?;
        let named: BTreeSet<String> = material.sent.iter().map(|sent| sent.id.clone()).collect();
        let mut rows = withdrawals.of_ids(cut.snapshot.trading(), &named).await?;
        rows.extend(withdrawals.of_hashes(cut.snapshot.trading(), &hashes).await?);
        for row in rows {
            hashes.extend(row.tx);
            if material
                .withdrawals
                .iter()
                .all(|known| known.row.id != row.row.id)
            {
                material.withdrawals.push(row);
            }
        }
        Ok(())
    }

    /// Whose the deposits are that entries name and the account has no event of.
    async fn others(&self, cut: &mut Cut, material: &mut Material) -> Result<(), ExplainError> {
        let own: BTreeSet<Hash32> = material.events.iter().map(|event| event.at.tx_hash).collect();
        let blocks = |tx: Hash32| {
            material
                .deposits
                .iter()
                .find(|row| row.key.tx() == Some(tx))
                .map(|row| row.block)
        };
        let deposits = material
            .entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Deposit);
        let unknown: BTreeSet<Hash32> = deposits
            .filter_map(|entry| entry.tx)
            .filter(|tx| !own.contains(tx) && !material.others.contains_key(tx))
            .filter(|tx| material.is_inside(blocks(*tx)))
            .collect();
        material.has_all_others = unknown.len() <= MAX_LOOKUPS;
        let unknown: Vec<Hash32> = unknown.into_iter().take(MAX_LOOKUPS).collect();
        let filter = LogFilter {
            kinds: Some(vec![EventKind::Deposit]),
            keep_unreadable: true,
            ..LogFilter::default()
        };
        let found = self
            .explainer
            .chain
            .events_of(&unknown, &filter)
            .await
            .map_err(SourceError::from)?;
        for (tx, transaction) in unknown.iter().zip(found.transactions) {
            let events = transaction
                .map(|transaction| transaction.events)
                .unwrap_or_default();
            material.others.insert(*tx, events);
        }
        let nowhere: BTreeSet<MovementKey> = material
            .deposits
            .iter()
            .filter(|row| {
                row.key
                    .tx()
                    .is_some_and(|tx| material.others.get(&tx).is_some_and(Vec::is_empty))
            })
            .map(|row| row.key.clone())
            .collect();
        let chain_id = self.explainer.chain.settings().chain_id;
        let seen = blocks_seen(cut.snapshot.chain(), &self.explainer.schema, chain_id, &nowhere).await?;
        for (key, blocks) in seen {
            for (number, hash) in blocks {
                let is_there = self
                    .explainer
                    .chain
                    .block(number)
                    .await
                    .map_err(SourceError::from)?;
                if let Some(tx) = key
                    .tx()
                    .filter(|_| is_there.is_some_and(|block| block.hash != hash))
                {
                    material.orphaned.insert(tx);
                }
            }
        }
        Ok(())
    }
}

fn events_where(
    events: &[VaultEvent],
    is_it: impl Fn(&EventBody) -> bool,
) -> impl Iterator<Item = &VaultEvent> {
    events.iter().filter(move |event| is_it(&event.body))
}

const fn token_of(event: &VaultEvent) -> Option<Address> {
    match event.body {
        EventBody::Deposit { token, .. }
        | EventBody::Withdraw { token, .. }
        | EventBody::SettlementTransfer { token, .. } => Some(token),
        _ => None,
    }
}

async fn block_before(explainer: &Explainer, number: u64) -> Result<BlockRef, ExplainError> {
    Ok(crate::jobs::reconciliation::cut::block_at(&explainer.chain, number.saturating_sub(1)).await?)
}

impl Explainer {
    pub(super) fn deposit_rows(&self, now_ms: i64) -> DepositRows {
        DepositRows {
            schema: std::sync::Arc::clone(&self.schema),
            tokens: std::sync::Arc::clone(&self.tokens),
            now_ms,
        }
    }

    pub(super) fn withdrawal_rows(&self, now_ms: i64) -> WithdrawalRows {
        WithdrawalRows {
            schema: std::sync::Arc::clone(&self.schema),
            tokens: std::sync::Arc::clone(&self.tokens),
            chain_id: self.chain.settings().chain_id,
            now_ms,
        }
    }

    /// The events that move one wallet's balances, in chain order. The node is asked for this wallet's only.
    async fn events_of(
        &self,
        wallet: Address,
        from: u64,
        upto: &BlockRef,
    ) -> Result<Vec<VaultEvent>, ExplainError> {
        let filter = |kinds: &[EventKind], about| LogFilter {
            kinds: Some(kinds.to_vec()),
            about: Some(about),
            ..LogFilter::default()
        };
        let own = filter(
            &[
                EventKind::Deposit,
                EventKind::Withdraw,
                EventKind::SettlementTransfer,
            ],
            Argument::First(wallet),
        );
        let received = filter(&[EventKind::SettlementTransfer], Argument::Second(wallet));
        let mut events = self
            .chain
            .logs(from, upto, &own)
            .await
            .map_err(SourceError::from)?;
        events.extend(
            self.chain
                .logs(from, upto, &received)
                .await
                .map_err(SourceError::from)?,
        );
        events.sort_by_key(|event| event.at);
        events.dedup();
        Ok(events)
    }
}
