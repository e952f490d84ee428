//! Deposits as the engine reads them: rows of the books on the left, Deposit events on the right, both by block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_chain::{EventBody, EventKind, LogProof, VaultEvent};
use eidos_recon::tally::Tally as _;
use eidos_recon::{Page, Pages};
use eidos_types::Hash32;

use super::super::fault::Fault;
use super::blocks::{Blocks, events};
use super::control::units_of;
use super::source::{Engine, Movements, Outcome, Side};
use super::{Against, Plan};
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::sources::snapshot::BooksSnapshot;
use crate::dimensions::deposits::sources::{Booked, DepositRows, RowStream, Wanted, blocks_seen};
use crate::dimensions::deposits::verdict::{Reading, judge};
use crate::dimensions::movements::event::{OnChain, movement_filter};
use crate::dimensions::movements::key::MovementKey;
use crate::dimensions::movements::tally::MovementTally;
use crate::settings::ReconciliationSection;
use crate::store::chain_blocks::Derived;

/// The dimension's name in tables and metrics.
pub const DEPOSIT: &str = "deposit";

/// Deposits.
#[derive(Debug)]
pub enum Deposit {}

/// The two sides of the deposits, as one run reads them.
type Deposits<'a> = Movements<'a, Deposit>;

/// A deposit, and the block of its event.
type Located = (Reading, Option<u64>);

/// Everything about the movements of some blocks, by key.
type Groups = BTreeMap<MovementKey, (Vec<Booked>, Option<VaultEvent>)>;

/// An event as it is compared; `None`: it is not a deposit's.
fn deposit_of(event: &VaultEvent) -> Option<OnChain> {
    match event.body {
        EventBody::Deposit { user, token, amount } => Some(OnChain::Moved {
            user,
            token,
            units: amount,
        }),
        EventBody::Unreadable {
            kind: EventKind::Deposit,
        } => Some(OnChain::Unreadable),
        _ => None,
    }
}

pub(super) const fn key_of(event: &VaultEvent) -> MovementKey {
    MovementKey::Event {
        tx: event.at.tx_hash,
        index: event.at.log_index,
    }
}

impl Deposits<'_> {
    fn rows(&self, at: DateTime<Utc>) -> DepositRows {
        DepositRows {
            schema: Arc::clone(&self.sides.job.schema),
            tokens: Arc::clone(&self.sides.job.tokens),
            now_ms: at.timestamp_millis(),
        }
    }

    /// Everything that either side knows about some deposits. The chain is asked by transaction and not by range.
    async fn of_keys(
        &self,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        keys: &BTreeSet<MovementKey>,
    ) -> Result<Vec<Located>, Fault> {
        let job = self.sides.job;
        let booked = self.rows(against.at).of_keys(snapshot.trading(), keys).await?;
        let mut groups: Groups = keys.iter().map(|key| (key.clone(), (Vec::new(), None))).collect();
        for booked in booked {
            if let Some((rows, _)) = groups.get_mut(&booked.key) {
                rows.push(booked);
            }
        }
        let hashes: BTreeSet<Hash32> = keys.iter().filter_map(MovementKey::tx).collect();
        let hashes: Vec<Hash32> = hashes.into_iter().collect();
        let found = job
            .chain
            .events_of(&hashes, &movement_filter(LogProof::Ranges))
            .await?;
        // A deposit above the cut is not missing, and not compared yet.
        let mut above = BTreeSet::new();
        for event in found
            .transactions
            .into_iter()
            .flatten()
            .flat_map(|found| found.events)
        {
            let key = key_of(&event);
            if event.at.block_number > against.block.number {
                above.insert(key);
            } else if let Some((_, place)) = groups.get_mut(&key) {
                *place = Some(event);
            }
        }
        groups.retain(|key, _| !above.contains(key));
        let orphaned = self.orphaned(snapshot, &groups).await?;
        let (indexer, max_age_ms) = (snapshot.indexer.number, self.max_age_ms());
        Ok(groups
            .into_iter()
            .map(|(key, (rows, event))| {
                let named = rows.iter().map(|booked| booked.block).max().unwrap_or_default();
                // A block that not even the indexer has reached is no excuse for ever.
                let is_recent = |booked: &Booked| booked.block <= indexer || booked.age_ms <= max_age_ms;
                let is_ahead = found.head < named && rows.iter().any(is_recent);
                let behind = is_ahead || found.head < against.block.number;
                let unproven = behind.then(|| {
                    format!(
                        "the node that was asked is at block {}, the books name block {named}",
                        found.head
                    )
                });
                let is_orphaned = orphaned.contains(&key);
                reading(key, rows, event.as_ref(), against, is_orphaned, unproven)
            })
            .collect())
    }

    /// The deposits without an event whose block, as the chain service saw it, is not on the chain.
    async fn orphaned(
        &self,
        snapshot: &mut BooksSnapshot,
        groups: &Groups,
    ) -> Result<BTreeSet<MovementKey>, Fault> {
        let chain = &self.sides.job.chain;
        let gone: BTreeSet<MovementKey> = groups
            .iter()
            .filter(|(_, (rows, event))| event.is_none() && !rows.is_empty())
            .map(|(key, _)| key.clone())
            .collect();
        let schema = &self.sides.job.schema;
        let seen = blocks_seen(snapshot.chain(), schema, chain.settings().chain_id, &gone).await?;
        let mut canonical: BTreeMap<u64, Option<Hash32>> = BTreeMap::new();
        let mut orphaned = BTreeSet::new();
        for (key, blocks) in seen {
            for (number, hash) in blocks {
                let there = match canonical.get(&number) {
                    Some(there) => *there,
                    None => chain.block(number).await?.map(|block| block.hash),
                };
                canonical.insert(number, there);
                if there.is_some_and(|there| there != hash) {
                    orphaned.insert(key.clone());
                }
            }
        }
        Ok(orphaned)
    }

    fn compare(&self, against: Against<'_>, readings: Vec<Located>) -> Outcome {
        let max_age_ms = self.max_age_ms();
        let mut outcome = Outcome::default();
        for (reading, block) in readings {
            let judged = judge(&reading, &self.sides.job.tokens, max_age_ms);
            self.put(&mut outcome, against, &judged, block);
        }
        outcome
    }
}

/// One deposit as it is judged.
fn reading(
    key: MovementKey,
    rows: Vec<Booked>,
    event: Option<&VaultEvent>,
    against: Against<'_>,
    is_orphaned: bool,
    unproven: Option<String>,
) -> Located {
    let block = event.map(|event| event.at.block_number);
    let unnamed = rows
        .first()
        .map(|booked| booked.unnamed.clone())
        .unwrap_or_default();
    let reading = Reading {
        key,
        unnamed,
        rows: rows.into_iter().map(|booked| booked.row).collect(),
        event: event.and_then(deposit_of),
        is_young: block.is_some_and(|block| block >= against.young_from),
        is_orphaned,
        unproven,
    };
    (reading, block)
}

impl Side for Deposit {
    const NAME: &'static str = DEPOSIT;
    const MANY: &'static str = "deposits";

    fn max_age(rules: &ReconciliationSection) -> Duration {
        rules.in_flight_max_age
    }

    fn lost(derived: &Derived) -> BTreeSet<String> {
        derived.deposits.clone()
    }

    async fn compare_keys(
        movements: &Deposits<'_>,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        keys: &BTreeSet<MovementKey>,
    ) -> Result<Outcome, Fault> {
        let readings = movements.of_keys(against, snapshot, keys).await?;
        Ok(movements.compare(against, readings))
    }

    async fn read_pages<'a>(
        movements: &Deposits<'a>,
        engine: &Engine<'_, 'a, Self>,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        plan: &Plan,
    ) -> Result<(), Fault> {
        let mut pages = BlockPages {
            deposits: movements,
            against,
            snapshot,
            plan,
            open: None,
        };
        let point = point_of(&against.block);
        engine
            .read_shard(movements, 0, &point, against.at, &mut pages)
            .await
    }
}

/// Deposits by block, rows and events side by side.
struct BlockPages<'r, 'd> {
    deposits: &'r Deposits<'d>,
    against: Against<'r>,
    snapshot: &'r mut BooksSnapshot,
    plan: &'r Plan,
    open: Option<RowStream>,
}

impl<'a> Pages<Deposits<'a>> for BlockPages<'_, '_> {
    async fn page(&mut self, after: Option<&u64>) -> Result<Page<Deposits<'a>>, Fault> {
        let job = self.deposits.sides.job;
        let cut = self.against.block;
        let stream = self.open.get_or_insert_with(|| {
            let wanted = Wanted {
                after: after.copied(),
                since: self
                    .plan
                    .changed_since_ms
                    .map(|changed| (self.plan.first, changed)),
            };
            self.deposits
                .rows(self.against.at)
                .stream(self.snapshot.ticket(), wanted)
        });
        let complete = stream.feed.fill(job.rules().page_accounts).await?;
        let first = after.map_or(self.plan.first, |after| {
            self.plan.first.max(after.saturating_add(1))
        });
        let end = first.saturating_add(job.rules().event_blocks - 1).min(cut.number);
        // Rows that name a block above the cut come last; no events belong to them.
        let (upto, last) = match complete {
            Some(complete) if first > cut.number => (complete, false),
            Some(complete) => (complete.min(end), false),
            None if end >= cut.number => (u64::MAX, true),
            None => (end, false),
        };
        let rows = stream.feed.take_upto(&upto);
        let blocks = Blocks {
            first,
            end: end.min(upto),
        };
        let events = events::<Deposit>(job, self.against, blocks).await?;
        let outcome = self.compare(first, rows, events).await?;
        Ok(Page { outcome, upto, last })
    }
}

impl BlockPages<'_, '_> {
    /// Puts rows and events of some blocks side by side. What only one side has is asked for by its key: a row may name a
    /// wrong block, and a range may have left out an event.
    async fn compare(
        &mut self,
        first: u64,
        rows: Vec<Booked>,
        events: Vec<VaultEvent>,
    ) -> Result<Outcome, Fault> {
        let (against, plan) = (self.against, self.plan);
        let mut tally = MovementTally::default();
        let mut groups = Groups::new();
        for event in events {
            if let Some((token, units, is_in)) = units_of(&event)
                && event.at.block_number >= plan.control_from
            {
                tally.paid(token, units, is_in);
            }
            if deposit_of(&event).is_some() {
                groups.entry(key_of(&event)).or_default().1 = Some(event);
            }
        }
        for booked in rows {
            groups.entry(booked.key.clone()).or_default().0.push(booked);
        }
        groups.retain(|key, _| !plan.carried.contains(key));
        let mut alone = BTreeSet::new();
        let mut readings = Vec::with_capacity(groups.len());
        for (key, (rows, event)) in groups {
            let is_young = event
                .as_ref()
                .is_some_and(|event| event.at.block_number >= against.young_from);
            // A row below the first block may be one of several of its event.
            let is_whole = event.is_some() && (is_young || !rows.is_empty());
            if is_whole && rows.iter().all(|booked| booked.block >= first) {
                readings.push(reading(key, rows, event.as_ref(), against, false, None));
            } else {
                alone.insert(key);
            }
        }
        readings.extend(self.deposits.of_keys(against, self.snapshot, &alone).await?);
        let mut outcome = self.deposits.compare(against, readings);
        let compared = std::mem::take(&mut outcome.tally);
        outcome.tally = tally;
        outcome.tally.merge(&compared);
        Ok(outcome)
    }
}
