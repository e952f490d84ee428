//! Trades as the engine reads them: the trading service's rows with the chain service's batches on the left, the events and
//! views of the Settlement contract on the right.
//!
//! | shard | reads | by |
//! |---|---|---|
//! | 0 | every settled trade, and the batches that the chain service saw settled | block |
//! | 1 | rows of batches that no such block names: open ones, failed ones, settled ones without a block | place in the table |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_chain::{BlockRef, EventBody, LogFilter, LogProof, VaultEvent};
use eidos_recon::tally::Tally as _;
use eidos_recon::{Page, Pages};
use eidos_types::{Address, BaseUnits};

use super::super::fault::Fault;
use super::super::job::Reconciliation;
use super::blocks::{Blocks, events};
use super::control::{Held, sums_of};
use super::source::{Engine, Movements, Outcome, Side};
use super::{Against, Plan};
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::sources::snapshot::BooksSnapshot;
use crate::dimensions::movements::key::MovementKey;
use crate::dimensions::movements::tally::MovementTally;
use crate::dimensions::settlement::on_chain::{KINDS, OnChain, TradeEvent, trades_of};
use crate::dimensions::settlement::sources::{Booked, Sent, TradeRows};
use crate::dimensions::settlement::verdict::{Reading, State, judge};
use crate::settings::ReconciliationSection;

mod lookup;

/// The dimension's name in tables and metrics.
pub const SETTLEMENT: &str = "settlement";

/// Settlement.
#[derive(Debug)]
pub enum Settlement {}

/// The two sides of the trades, as one run reads them.
type Trades<'a> = Movements<'a, Settlement>;

/// A trade, and the block of its event.
struct Located {
    reading: Reading,
    block: Option<u64>,
}

/// The rows of a trade and its event, by key.
type Groups = BTreeMap<MovementKey, (Vec<Booked>, Option<TradeEvent>)>;

fn filter(proof: LogProof) -> LogFilter {
    LogFilter {
        kinds: Some(KINDS.to_vec()),
        proof,
        keep_unreadable: true,
        ..LogFilter::default()
    }
}

/// An event's trade; an unreadable one is only known by its place.
const fn key_of(event: &TradeEvent) -> MovementKey {
    match event.id {
        Some(id) => MovementKey::Trade(id),
        None => MovementKey::Event {
            tx: event.tx,
            index: event.log_index,
        },
    }
}

/// Puts rows and events with one id side by side.
fn grouped(rows: Vec<Booked>, events: &[TradeEvent]) -> Groups {
    let mut groups = Groups::new();
    for event in events {
        groups.entry(key_of(event)).or_default().1 = Some(*event);
    }
    for booked in rows {
        groups
            .entry(MovementKey::Trade(booked.key))
            .or_default()
            .0
            .push(booked);
    }
    groups
}

impl Trades<'_> {
    fn rows(&self, at: DateTime<Utc>) -> TradeRows {
        let job = self.sides.job;
        TradeRows {
            schema: Arc::clone(&job.schema),
            tokens: Arc::clone(&job.tokens),
            chain_id: job.chain.settings().chain_id,
            now_ms: at.timestamp_millis(),
        }
    }

    /// A trade as it is judged, if the absence of its event needs no explanation.
    fn located(
        &self,
        against: Against<'_>,
        key: MovementKey,
        rows: Vec<Booked>,
        event: Option<&TradeEvent>,
    ) -> Located {
        let block = event.map(|event| event.block);
        let recipient = self.sides.job.chain.fee_recipient();
        let is_recipient = |wallet: Address| recipient == Some(wallet);
        let is_fee_unknown = matches!(event.map(|event| event.body), Some(OnChain::Settled(settled))
            if is_recipient(settled.maker) || is_recipient(settled.taker));
        let reading = Reading {
            key,
            rows: rows.into_iter().map(|booked| booked.row).collect(),
            event: event.map(|event| event.body),
            is_young: block.is_some_and(|block| block >= against.young_from),
            is_above: false,
            is_batch_settled: false,
            is_fee_unknown,
            unproven: None,
        };
        Located { reading, block }
    }

    fn compare(&self, against: Against<'_>, located: impl IntoIterator<Item = Located>) -> Outcome {
        let max_age_ms = self.max_age_ms();
        let mut outcome = Outcome::default();
        for Located { reading, block } in located {
            let judged = judge(&reading, &self.sides.job.tokens, max_age_ms);
            self.put(&mut outcome, against, &judged, block);
        }
        outcome
    }
}

impl Side for Settlement {
    const NAME: &'static str = SETTLEMENT;
    const MANY: &'static str = "settled trades";
    const UNEXPLAINED: &'static str = "the Settlement contract collected fees without a settled trade";

    fn max_age(rules: &ReconciliationSection) -> Duration {
        rules.settlement_max_age
    }

    fn history(rules: &ReconciliationSection) -> Option<Duration> {
        Some(rules.settlement_history)
    }

    fn missing(job: &Reconciliation) -> Option<&'static str> {
        let settlement = job.chain.settings().settlement;
        settlement.is_none_or(|address| address == Address::ZERO).then_some(
            "trades were not compared: chain.settlement names no Settlement contract; set it, or take settlement out of \
             reconciliation.dimensions",
        )
    }

    fn filter(proof: LogProof) -> LogFilter {
        filter(proof)
    }

    fn is_counted(event: &VaultEvent) -> bool {
        matches!(event.body, EventBody::TradeSettled { .. })
    }

    /// What the contract says that it collected as fees.
    async fn held(job: &Reconciliation, cut: BlockRef) -> Result<Option<Held>, Fault> {
        let tokens: Vec<Address> = job.tokens.iter().map(|(_, token)| token.address).collect();
        let collected = job.chain.fees_collected(&cut, &tokens).await?;
        Ok(Some(sums_of(&tokens, collected)))
    }

    async fn compare_keys(
        movements: &Trades<'_>,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        keys: &BTreeSet<MovementKey>,
    ) -> Result<Outcome, Fault> {
        let located = movements.of_keys(against, snapshot, keys).await?;
        Ok(movements.compare(against, located))
    }

    async fn read_pages<'a>(
        movements: &Trades<'a>,
        engine: &Engine<'_, 'a, Self>,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        plan: &Plan,
    ) -> Result<(), Fault> {
        let point = point_of(&against.block);
        for (shard, by) in [(0, By::Block), (1, By::Place)] {
            let mut pages = TradePages {
                trades: movements,
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
struct TradePages<'r, 'd> {
    trades: &'r Trades<'d>,
    against: Against<'r>,
    snapshot: &'r mut BooksSnapshot,
    plan: &'r Plan,
    by: By,
}

impl<'a> Pages<Trades<'a>> for TradePages<'_, '_> {
    async fn page(&mut self, after: Option<&u64>) -> Result<Page<Trades<'a>>, Fault> {
        let (outcome, upto, last) = match self.by {
            By::Block => self.blocks(after.copied()).await?,
            By::Place => self.places(after.copied()).await?,
        };
        Ok(Page { outcome, upto, last })
    }
}

impl TradePages<'_, '_> {
    fn limit(&self) -> usize {
        self.trades.sides.job.rules().page_accounts.max(1)
    }

    /// True if the pages by block read the trades of this block.
    fn is_read_by_block(&self, block: Option<u64>) -> bool {
        block.is_some_and(|block| (self.plan.first..=self.against.block.number).contains(&block))
    }

    /// True if the page of its block compares a trade as well. With several rows it may have found one of them only.
    fn is_read_elsewhere(&self, one: &Located) -> bool {
        self.is_read_by_block(one.block) && one.reading.rows.len() <= 1
    }

    /// The next blocks: the trades settled in them, and the batches that the chain service saw settled in them.
    async fn blocks(&mut self, after: Option<u64>) -> Result<(Outcome, u64, bool), Fault> {
        let (job, cut) = (self.trades.sides.job, self.against.block);
        let Some(blocks) = Blocks::next(job, self.against, self.plan, after) else {
            return Ok((Outcome::default(), cut.number, true));
        };
        let (blocks, sent) = self.batches(blocks).await?;
        let settled = trades_of(&events::<Settlement>(job, self.against, blocks).await?);
        let tally = self.control_sums(&settled);
        let rows = self.trades.rows(self.against.at);
        let booked = rows.of_batches(self.snapshot.trading(), &sent).await?;
        let mut groups = grouped(booked, &settled);
        groups.retain(|key, _| !self.plan.carried.contains(key));
        let (mut located, mut alone) = (Vec::with_capacity(groups.len()), BTreeSet::new());
        for (key, (rows, event)) in groups {
            // What only one side has is asked for by its key: a row may name another batch, a range may have left out an event.
            let is_whole = event
                .as_ref()
                .is_some_and(|event| !rows.is_empty() || event.block >= self.against.young_from);
            if is_whole {
                located.push(self.trades.located(self.against, key, rows, event.as_ref()));
            } else {
                alone.insert(key);
            }
        }
        let found = self.trades.of_keys(self.against, self.snapshot, &alone).await?;
        let is_own = |one: &Located| {
            !self.is_read_elsewhere(one) || one.block.is_some_and(|block| blocks.contains(block))
        };
        located.extend(found.into_iter().filter(is_own));
        let mut outcome = self.trades.compare(self.against, located);
        let compared = std::mem::replace(&mut outcome.tally, tally);
        outcome.tally.merge(&compared);
        Ok((outcome, blocks.end, blocks.end == cut.number))
    }

    /// The batches of some blocks, and as many of these blocks as have a page of trades.
    async fn batches(&mut self, blocks: Blocks) -> Result<(Blocks, Vec<Sent>), Fault> {
        let (rows, limit) = (self.trades.rows(self.against.at), self.limit());
        let mut sent = rows
            .sent_in(self.snapshot.chain(), blocks.first, blocks.end, Some(limit + 1))
            .await?;
        let mut trades = 0_u64;
        let most = u64::try_from(limit).unwrap_or(u64::MAX);
        let too_many = sent.iter().find(|sent| {
            // A batch without trades is a batch all the same.
            trades = trades.saturating_add(sent.trades.max(1));
            trades > most
        });
        let Some(beyond) = too_many.and_then(|sent| sent.block) else {
            return Ok((blocks, sent));
        };
        // The last block may not be whole; a single one is read whole, however much it has.
        let fewer = blocks.before(beyond);
        sent = rows
            .sent_in(self.snapshot.chain(), fewer.first, fewer.end, None)
            .await?;
        Ok((fewer, sent))
    }

    /// What the events say that the contract collected.
    fn control_sums(&self, settled: &[TradeEvent]) -> MovementTally {
        let mut tally = MovementTally::default();
        for event in settled
            .iter()
            .filter(|event| event.block >= self.plan.control_from)
        {
            if let OnChain::Settled(settled) = event.body {
                tally.paid(settled.quote, settled.fee.unwrap_or(BaseUnits::ZERO), true);
            }
        }
        tally
    }

    /// The next rows whose batch no block of the other shard names.
    async fn places(&mut self, after: Option<u64>) -> Result<(Outcome, u64, bool), Fault> {
        let (rows, limit) = (self.trades.rows(self.against.at), self.limit());
        let since = self.plan.changed_since_ms;
        let booked = rows.after(self.snapshot.trading(), after, since, limit).await?;
        let is_last = booked.len() < limit;
        let upto = booked.last().map(|booked| booked.place);
        let upto = upto.and_then(|place| u64::try_from(place).ok());
        let batches: BTreeSet<String> = booked.iter().filter_map(|booked| booked.batch.clone()).collect();
        let sent = rows.sent_for(self.snapshot.chain(), &batches).await?;
        let named: BTreeSet<&str> = sent
            .iter()
            .filter(|sent| self.is_read_by_block(sent.block))
            .map(|sent| sent.id.as_str())
            .collect();
        let is_named = |booked: &Booked| booked.batch.as_deref().is_some_and(|batch| named.contains(batch));
        let keys: BTreeSet<MovementKey> = booked
            .iter()
            .filter(|booked| !is_named(booked))
            .map(|booked| MovementKey::Trade(booked.key))
            .filter(|key| !self.plan.carried.contains(key))
            .collect();
        let located = self.trades.of_keys(self.against, self.snapshot, &keys).await?;
        let own = located.into_iter().filter(|one| !self.is_read_elsewhere(one));
        let outcome = self.trades.compare(self.against, own);
        Ok((outcome, upto.unwrap_or(u64::MAX), is_last))
    }
}
