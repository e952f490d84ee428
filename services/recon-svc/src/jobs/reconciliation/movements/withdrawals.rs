//! Withdrawals as the engine reads them: the trading service's rows with the chain service's transactions on the left, Withdraw
//! events on the right.
//!
//! | shard | reads | by |
//! |---|---|---|
//! | 0 | every event, and what the chain service saw mined | block |
//! | 1 | rows that no such block names: open ones, failed ones, confirmed ones without a block | place in the table |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_chain::{EventBody, EventKind, LogProof, VaultEvent};
use eidos_recon::tally::Tally as _;
use eidos_recon::{Page, Pages};
use eidos_types::{BaseUnits, Hash32};

use super::super::fault::Fault;
use super::blocks::{Blocks, events};
use super::control::units_of;
use super::deposits::key_of;
use super::source::{Engine, Movements, Outcome, Side};
use super::{Against, Plan};
use crate::dimensions::balance::account::TokenList;
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::sources::snapshot::BooksSnapshot;
use crate::dimensions::movements::event::{OnChain, movement_filter};
use crate::dimensions::movements::key::MovementKey;
use crate::dimensions::movements::tally::MovementTally;
use crate::dimensions::withdrawals::pairing::{Claim, Fact, pair};
use crate::dimensions::withdrawals::sources::{Booked, Sent, WithdrawalRows};
use crate::dimensions::withdrawals::verdict::{Reading, State, judge};
use crate::settings::ReconciliationSection;
use crate::store::chain_blocks::Derived;

/// The dimension's name in tables and metrics.
pub const WITHDRAWAL: &str = "withdrawal";

/// Withdrawals.
#[derive(Debug)]
pub enum Withdrawal {}

/// The two sides of the withdrawals, as one run reads them.
type Withdrawals<'a> = Movements<'a, Withdrawal>;

/// Rows and events that belong together, with the block of the event.
struct Located {
    reading: Reading,
    block: Option<u64>,
    /// The event's own key: a break of it ends when a row claims it.
    event: Option<MovementKey>,
    /// The transactions that the row may be in.
    txs: Vec<Hash32>,
}

/// What is put side by side.
#[derive(Default)]
struct Wanted {
    /// Withdrawals of the books.
    ids: BTreeSet<String>,
    /// Transactions.
    hashes: BTreeSet<Hash32>,
    /// Events that are known already; the others are asked for by their transactions.
    events: Vec<VaultEvent>,
}

/// An event as it is compared; `None`: it is not a withdrawal's.
fn withdrawal_of(event: &VaultEvent) -> Option<OnChain> {
    match event.body {
        EventBody::Withdraw { user, token, amount } => Some(OnChain::Moved {
            user,
            token,
            units: amount,
        }),
        EventBody::Unreadable {
            kind: EventKind::Withdraw,
        } => Some(OnChain::Unreadable),
        _ => None,
    }
}

fn fact_of(event: &VaultEvent) -> Fact {
    let (user, token, units) = match withdrawal_of(event) {
        Some(OnChain::Moved { user, token, units }) => (Some(user), Some(token), Some(units)),
        _ => (None, None, None),
    };
    Fact {
        tx: event.at.tx_hash,
        user,
        token,
        units,
    }
}

/// A row with everything that says which event is its own.
struct Claimant {
    booked: Booked,
    /// The transactions that it may be in.
    txs: Vec<Hash32>,
    /// The block that the chain service names.
    block: Option<u64>,
}

impl Claimant {
    fn located(
        self,
        event: Option<&VaultEvent>,
        against: Against<'_>,
        above: &BTreeSet<Hash32>,
        head: u64,
    ) -> Located {
        let named = self.block.unwrap_or_default().max(against.block.number);
        let mut one = located_of(MovementKey::Row(self.booked.row.id.clone()), event, against);
        one.reading.is_above = self.txs.iter().any(|tx| above.contains(tx));
        one.reading.unproven = (head < named)
            .then(|| format!("the node that was asked is at block {head}, the books name block {named}"));
        one.reading.row = Some(self.booked.row);
        one.txs = self.txs;
        one
    }
}

fn claim_of(claimant: &Claimant, tokens: &TokenList) -> Claim {
    let row = &claimant.booked.row;
    let token = row.token.as_ref().ok().and_then(|token| tokens.get(*token));
    let amount = row.amount.as_ref().ok();
    Claim {
        txs: claimant.txs.clone(),
        wallet: row.wallet.clone().ok(),
        token: token.map(|token| token.address),
        units: token
            .zip(amount)
            .and_then(|(token, amount)| BaseUnits::from_amount(*amount, token.decimals).ok()),
        is_undone: row.state == State::Undone,
    }
}

impl Withdrawals<'_> {
    fn rows(&self, at: DateTime<Utc>) -> WithdrawalRows {
        let job = self.sides.job;
        WithdrawalRows {
            schema: Arc::clone(&job.schema),
            tokens: Arc::clone(&job.tokens),
            chain_id: job.chain.settings().chain_id,
            now_ms: at.timestamp_millis(),
        }
    }

    /// The rows of some withdrawals, and those in some transactions.
    async fn claimants(
        &self,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        mut ids: BTreeSet<String>,
        hashes: &BTreeSet<Hash32>,
    ) -> Result<Vec<Claimant>, Fault> {
        let rows = self.rows(against.at);
        let sent = rows.sent_for(snapshot.chain(), &ids, hashes).await?;
        ids.extend(sent.iter().map(|sent| sent.id.clone()));
        let mut booked = rows.of_ids(snapshot.trading(), &ids).await?;
        let covered: BTreeSet<Hash32> = sent.iter().filter_map(|sent| sent.tx).collect();
        let unknown: BTreeSet<Hash32> = hashes.difference(&covered).copied().collect();
        booked.extend(rows.of_hashes(snapshot.trading(), &unknown).await?);
        booked.sort_by_key(|booked| booked.place);
        booked.dedup_by_key(|booked| booked.place);
        let sent: BTreeMap<&str, &Sent> = sent.iter().map(|sent| (sent.id.as_str(), sent)).collect();
        let claimant = |booked: Booked| {
            let sent = sent.get(booked.row.id.as_str());
            let txs: BTreeSet<Hash32> = [booked.tx, sent.and_then(|sent| sent.tx)]
                .into_iter()
                .flatten()
                .collect();
            Claimant {
                txs: txs.into_iter().collect(),
                block: sent.and_then(|sent| sent.block),
                booked,
            }
        };
        Ok(booked.into_iter().map(claimant).collect())
    }

    /// Everything that either side knows about some withdrawals and transactions, row by row, and then the events that no
    /// row claims.
    async fn side_by_side(
        &self,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        wanted: Wanted,
    ) -> Result<Vec<Located>, Fault> {
        let (hashes, mut events) = (wanted.hashes, wanted.events);
        let claimants = self.claimants(against, snapshot, wanted.ids, &hashes).await?;
        let known: BTreeSet<Hash32> = events.iter().map(|event| event.at.tx_hash).collect();
        let claimed = claimants.iter().flat_map(|claimant| &claimant.txs);
        let asked: BTreeSet<Hash32> = claimed
            .chain(&hashes)
            .copied()
            .filter(|tx| !known.contains(tx))
            .collect();
        let asked: Vec<Hash32> = asked.into_iter().collect();
        let chain = &self.sides.job.chain;
        let found = chain
            .events_of(&asked, &movement_filter(LogProof::Ranges))
            .await?;
        let mut above = BTreeSet::new();
        for transaction in found.transactions.into_iter().flatten() {
            if transaction.receipt.block_number > against.block.number {
                above.insert(transaction.receipt.tx_hash);
            } else {
                events.extend(transaction.events);
            }
        }
        events.retain(|event| withdrawal_of(event).is_some());
        events.sort_by_key(|event| event.at);
        let facts: Vec<Fact> = events.iter().map(fact_of).collect();
        let claims: Vec<Claim> = claimants
            .iter()
            .map(|claimant| claim_of(claimant, &self.sides.job.tokens))
            .collect();
        let mut free: BTreeSet<usize> = (0..events.len()).collect();
        let mut located = Vec::with_capacity(claimants.len());
        for (claimant, own) in claimants.into_iter().zip(pair(&claims, &facts)) {
            if let Some(own) = own {
                free.remove(&own);
            }
            let event = own.map(|own| &events[own]);
            located.push(claimant.located(event, against, &above, found.head));
        }
        located.extend(free.into_iter().map(|event| {
            let event = &events[event];
            located_of(key_of(event), Some(event), against)
        }));
        Ok(located)
    }

    fn compare(&self, against: Against<'_>, located: impl IntoIterator<Item = Located>) -> Outcome {
        let max_age_ms = self.max_age_ms();
        let mut outcome = Outcome::default();
        for Located { reading, block, .. } in located {
            let judged = judge(&reading, &self.sides.job.tokens, max_age_ms);
            self.put(&mut outcome, against, &judged, block);
        }
        outcome
    }
}

fn located_of(key: MovementKey, event: Option<&VaultEvent>, against: Against<'_>) -> Located {
    let block = event.map(|event| event.at.block_number);
    Located {
        reading: Reading {
            key,
            row: None,
            event: event.and_then(withdrawal_of),
            is_young: block.is_some_and(|block| block >= against.young_from),
            is_above: false,
            unproven: None,
        },
        block,
        event: event.map(key_of),
        txs: Vec::new(),
    }
}

impl Side for Withdrawal {
    const NAME: &'static str = WITHDRAWAL;
    const MANY: &'static str = "withdrawals";

    fn max_age(rules: &ReconciliationSection) -> Duration {
        rules.withdrawal_max_age
    }

    fn lost(derived: &Derived) -> BTreeSet<String> {
        derived.withdrawals.clone()
    }

    async fn compare_keys(
        movements: &Withdrawals<'_>,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        keys: &BTreeSet<MovementKey>,
    ) -> Result<Outcome, Fault> {
        let mut wanted = Wanted::default();
        for key in keys {
            if let MovementKey::Row(id) = key {
                wanted.ids.insert(id.clone());
            }
            wanted.hashes.extend(key.tx());
        }
        // Another row of the same transaction may have the better claim to the event.
        let rows = movements.rows(against.at);
        let sent = rows
            .sent_for(snapshot.chain(), &wanted.ids, &wanted.hashes)
            .await?;
        wanted.hashes.extend(sent.iter().filter_map(|sent| sent.tx));
        let booked = rows.of_ids(snapshot.trading(), &wanted.ids).await?;
        wanted.hashes.extend(booked.iter().filter_map(|booked| booked.tx));
        let located = movements.side_by_side(against, snapshot, wanted).await?;
        // A row that claims an event which nobody knew before is compared as well: nothing else may lead to it. So is one
        // whose transaction had an event that is gone: the chain was reorganised.
        let txs: BTreeSet<Hash32> = keys.iter().filter_map(MovementKey::tx).collect();
        let asked = located.into_iter().filter(|one| {
            let is_claimed = one.event.as_ref().is_some_and(|event| keys.contains(event));
            let is_named = one.txs.iter().any(|tx| txs.contains(tx));
            keys.contains(&one.reading.key) || is_claimed || is_named
        });
        Ok(movements.compare(against, asked))
    }

    async fn read_pages<'a>(
        movements: &Withdrawals<'a>,
        engine: &Engine<'_, 'a, Self>,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        plan: &Plan,
    ) -> Result<(), Fault> {
        let point = point_of(&against.block);
        for (shard, by) in [(0, By::Block), (1, By::Place)] {
            let mut pages = WithdrawalPages {
                withdrawals: movements,
                against,
                snapshot,
                plan,
                by,
            };
            engine
                .read_shard(movements, shard, &point, against.at, &mut pages)
                .await?;
        }
        Ok(())
    }
}

/// What a shard is sorted by.
#[derive(Debug, Clone, Copy)]
enum By {
    Block,
    Place,
}

/// The pages of one shard.
struct WithdrawalPages<'r, 'd> {
    withdrawals: &'r Withdrawals<'d>,
    against: Against<'r>,
    snapshot: &'r mut BooksSnapshot,
    plan: &'r Plan,
    by: By,
}

impl<'a> Pages<Withdrawals<'a>> for WithdrawalPages<'_, '_> {
    async fn page(&mut self, after: Option<&u64>) -> Result<Page<Withdrawals<'a>>, Fault> {
        let (outcome, upto, last) = match self.by {
            By::Block => self.blocks(after.copied()).await?,
            By::Place => self.places(after.copied()).await?,
        };
        Ok(Page { outcome, upto, last })
    }
}

impl WithdrawalPages<'_, '_> {
    fn limit(&self) -> usize {
        self.withdrawals.sides.job.rules().page_accounts.max(1)
    }

    /// The next blocks: their events, and what the chain service saw mined in them.
    async fn blocks(&mut self, after: Option<u64>) -> Result<(Outcome, u64, bool), Fault> {
        let (job, cut) = (self.withdrawals.sides.job, self.against.block);
        let Some(mut blocks) = Blocks::next(job, self.against, self.plan, after) else {
            return Ok((Outcome::default(), cut.number, true));
        };
        let (rows, limit) = (self.withdrawals.rows(self.against.at), self.limit());
        let mut sent = rows
            .sent_in(self.snapshot.chain(), blocks.first, blocks.end, Some(limit + 1))
            .await?;
        if sent.len() > limit {
            // The last block may not be whole; a single one is read whole, however many it has.
            blocks = blocks.before(sent.last().and_then(|sent| sent.block).unwrap_or(blocks.end));
            sent = rows
                .sent_in(self.snapshot.chain(), blocks.first, blocks.end, None)
                .await?;
        }
        let events = events::<Withdrawal>(job, self.against, blocks).await?;
        let mut tally = MovementTally::default();
        for event in &events {
            if let Some((token, units, is_in)) = units_of(event)
                && event.at.block_number >= self.plan.control_from
            {
                tally.paid(token, units, is_in);
            }
        }
        let events: Vec<VaultEvent> = events
            .into_iter()
            .filter(|event| withdrawal_of(event).is_some())
            .collect();
        let wanted = Wanted {
            ids: sent.into_iter().map(|sent| sent.id).collect(),
            hashes: events.iter().map(|event| event.at.tx_hash).collect(),
            events,
        };
        let located = self
            .withdrawals
            .side_by_side(self.against, self.snapshot, wanted)
            .await?;
        // An event of another block is only here because its row is.
        let own = located.into_iter().filter(|one| {
            let is_here = one.block.is_none_or(|block| blocks.contains(block));
            (is_here || one.reading.row.is_some()) && !self.plan.carried.contains(&one.reading.key)
        });
        let mut outcome = self.withdrawals.compare(self.against, own);
        let compared = std::mem::replace(&mut outcome.tally, tally);
        outcome.tally.merge(&compared);
        Ok((outcome, blocks.end, blocks.end == cut.number))
    }

    /// The next rows that no block of the other shard names.
    async fn places(&mut self, after: Option<u64>) -> Result<(Outcome, u64, bool), Fault> {
        let (rows, limit) = (self.withdrawals.rows(self.against.at), self.limit());
        let (since, first, cut) = (
            self.plan.changed_since_ms,
            self.plan.first,
            self.against.block.number,
        );
        let booked = rows.after(self.snapshot.trading(), after, since, limit).await?;
        let is_last = booked.len() < limit;
        let upto = booked.last().map(|booked| booked.place);
        let upto = upto.and_then(|place| u64::try_from(place).ok());
        let ids: BTreeSet<String> = booked.into_iter().map(|booked| booked.row.id).collect();
        let sent = rows
            .sent_for(self.snapshot.chain(), &ids, &BTreeSet::new())
            .await?;
        let is_named = |sent: &&Sent| sent.block.is_some_and(|block| (first..=cut).contains(&block));
        let named: BTreeSet<String> = sent.iter().filter(is_named).map(|sent| sent.id.clone()).collect();
        let wanted = Wanted {
            ids: ids.difference(&named).cloned().collect(),
            ..Wanted::default()
        };
        let located = self
            .withdrawals
            .side_by_side(self.against, self.snapshot, wanted)
            .await?;
        let own = located.into_iter().filter(|one| {
            let is_read = one.block.is_some_and(|block| (first..=cut).contains(&block));
            one.reading.row.is_some() && !is_read && !self.plan.carried.contains(&one.reading.key)
        });
        let outcome = self.withdrawals.compare(self.against, own);
        Ok((outcome, upto.unwrap_or(u64::MAX), is_last))
    }
}
