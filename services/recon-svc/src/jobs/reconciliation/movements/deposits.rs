//! Deposits as the engine reads them: rows of the books on the left, Deposit events on the right, both by block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use eidos_chain::{BlockRef, EventBody, EventKind, LogProof, VaultEvent};
use eidos_core::outbox::OutboxEvent;
use eidos_recon::outcome::PageOutcome;
use eidos_recon::source::Reread;
use eidos_recon::store::checkpoints::ShardState;
use eidos_recon::{CutPoint, Difference, Found, Identity, Page, Pages, Source, Suspect};
use eidos_types::{Address, BaseUnits, Hash32};
use serde_json::{Value, json};

use super::super::cut::block_at;
use super::super::events;
use super::super::fault::Fault;
use super::super::run::View;
use super::control::filter;
use super::{Against, MovementBreak, MovementSource, MovementView, Plan, Sides};
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::sources::snapshot::BooksSnapshot;
use crate::dimensions::deposits::sources::{Booked, DepositRows, RowStream, Wanted, blocks_seen};
use crate::dimensions::deposits::verdict::{Reading, judge};
use crate::dimensions::movements::event::OnChain;
use crate::dimensions::movements::key::{Movement, MovementKey};
use crate::dimensions::movements::tally::MovementTally;
use crate::dimensions::movements::weight::weigh_movement;

/// The dimension's name in tables and metrics.
pub const DEPOSIT: &str = "deposit";

/// The shard of what is read by key; the other one, 0, is read by block.
const CARRIED_SHARD: u16 = 1;

/// The two sides of the deposits, as one run reads them.
#[derive(Debug)]
pub struct Deposits<'a> {
    sides: Sides<'a>,
}

/// What a page of deposits gave.
type Outcome = PageOutcome<Movement, MovementTally>;

/// A deposit, and the block of its event.
type Located = (Reading, Option<u64>);

/// Everything about the movements of some blocks, by key.
type Groups = BTreeMap<MovementKey, (Vec<Booked>, Option<VaultEvent>)>;

/// The amount of an event that moves tokens; `None`: it is not readable.
pub(super) const fn units_of(event: &VaultEvent) -> Option<(Address, BaseUnits, bool)> {
    match event.body {
        EventBody::Deposit { token, amount, .. } => Some((token, amount, true)),
        EventBody::Withdraw { token, amount, .. } => Some((token, amount, false)),
        _ => None,
    }
}

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

fn key_of(event: &VaultEvent) -> MovementKey {
    MovementKey::Event {
        tx: event.at.tx_hash,
        index: event.at.log_index,
    }
}

impl<'a> Deposits<'a> {
    /// Deposits of a run.
    pub const fn new(sides: Sides<'a>) -> Self {
        Self { sides }
    }

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
        let found = job.chain.events_of(&hashes, &filter(LogProof::Ranges)).await?;
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

    /// How long a deposit may be known and not credited.
    fn max_age_ms(&self) -> i64 {
        let limit = self.sides.job.rules().in_flight_max_age;
        i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)
    }

    fn compare(&self, against: Against<'_>, readings: Vec<Located>) -> Outcome {
        let job = self.sides.job;
        let rules = job.rules();
        let max_age_ms = self.max_age_ms();
        let point = point_of(&against.block);
        let mut outcome = Outcome::default();
        for (reading, block) in readings {
            let judged = judge(&reading, &job.tokens, max_age_ms);
            if judged.in_flight {
                outcome.tally.wait(block);
            }
            let weigh = |difference: &Difference<Movement>| {
                let price = against.prices.of(&judged.movement.unit);
                weigh_movement(
                    difference,
                    price,
                    against.at,
                    rules.max_price_age,
                    rules.thresholds(),
                )
            };
            let movement = judged.movement.clone();
            let weighed = outcome.sort(movement, &judged.verdict, weigh, &point);
            outcome.tally.note(&judged.movement, &judged.verdict, weighed);
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

impl Source for Deposits<'_> {
    const NAME: &'static str = DEPOSIT;
    type Subject = Movement;
    type Tally = MovementTally;
    type Cut = MovementView;
    type Cursor = u64;
    type Hint = ();
    type Fault = Fault;

    fn identity(&self, movement: &Movement) -> Identity {
        movement.identity()
    }

    async fn open(&self) -> Result<MovementView, Fault> {
        MovementView::open(self.sides.job).await
    }

    async fn can_read_at(&self, point: &CutPoint) -> bool {
        self.sides.kept.is_some_and(|kept| point_of(&kept) == *point)
    }

    async fn newest(&self) -> Result<u64, Fault> {
        Ok(self.sides.job.chain.finalized().await?.number)
    }

    fn point(view: &MovementView) -> CutPoint {
        point_of(&view.cut.block)
    }

    fn read_at(view: &MovementView) -> DateTime<Utc> {
        view.cut.taken_at()
    }

    async fn read_again(
        &self,
        view: &mut MovementView,
        suspects: &[Suspect<Movement>],
    ) -> Result<Reread<Self>, Fault> {
        let keys: Vec<&MovementKey> = suspects.iter().map(|suspect| &suspect.subject.key).collect();
        let mut found = Reread::<Self>::new();
        for chunk in keys.chunks(self.sides.job.rules().page_accounts.max(1)) {
            self.sides.ctx.check_cancelled()?;
            let chunk: BTreeSet<MovementKey> = chunk.iter().copied().cloned().collect();
            let MovementView {
                cut,
                prices,
                young_from,
            } = &mut *view;
            let against = Against {
                block: cut.block,
                at: cut.taken_at(),
                prices,
                young_from: *young_from,
            };
            let readings = self.of_keys(against, &mut cut.snapshot, &chunk).await?;
            let suspects = self.compare(against, readings).suspects;
            found.extend(
                suspects
                    .into_iter()
                    .map(|suspect| (suspect.subject.clone(), suspect)),
            );
        }
        Ok(found)
    }

    async fn hints(
        &self,
        _view: &mut MovementView,
        breaks: &[(Suspect<Movement>, CutPoint)],
    ) -> Result<Vec<()>, Fault> {
        Ok(vec![(); breaks.len()])
    }

    fn evidence(&self, view: &MovementView, suspect: &Suspect<Movement>, first: &CutPoint, (): &()) -> Value {
        let difference = &suspect.difference;
        json!({
            "block": suspect.point, "first_block": first, "snapshot": view.cut.snapshot.id,
            "snapshot_time": view.cut.taken_at(), "note": difference.note, "onchain_exact": difference.right_exact,
            "price": view.prices.of(&suspect.subject.unit), "because": suspect.weight.because,
            "settings_digest": self.sides.job.digest,
        })
    }

    fn opened(&self, found: &Found<Movement, ()>) -> Option<OutboxEvent> {
        let stored = found.stored?;
        let report = MovementBreak::of(DEPOSIT, found);
        Some(events::movement_break_opened(
            &report,
            self.sides.ctx.clock().now(),
            stored.id,
        ))
    }

    fn ignored(&self, _movement: &Movement, _difference: &Difference<Movement>) {}

    fn too_many(&self, count: usize, limit: usize) -> String {
        format!(
            "{count} deposits differ, more than reconciliation.max_suspects = {limit}: a difference almost everywhere is a \
             wrong setting (vault, chain, schema_profile, vault_deployed_at_block) and not that many breaks; check the \
             settings, or raise the limit"
        )
    }
}

impl MovementSource for Deposits<'_> {
    async fn read(
        &self,
        engine: &eidos_recon::Run<'_, Self>,
        view: &mut View,
        young_from: u64,
        plan: &Plan,
    ) -> Result<(), Fault> {
        let against = Against {
            block: view.cut.block,
            at: view.cut.taken_at(),
            prices: &view.prices,
            young_from,
        };
        let point = point_of(&against.block);
        if !plan.carried.is_empty() {
            let readings = self
                .of_keys(against, &mut view.cut.snapshot, &plan.carried)
                .await?;
            let mut state = ShardState::at_start(point.clone());
            let page = self.compare(against, readings);
            engine
                .commit_page(self, CARRIED_SHARD, &mut state, page, against.at)
                .await?;
        }
        let mut pages = BlockPages {
            deposits: self,
            against,
            snapshot: &mut view.cut.snapshot,
            plan,
            open: None,
        };
        engine.read_shard(self, 0, &point, against.at, &mut pages).await
    }
}

/// Deposits by block, rows and events side by side.
struct BlockPages<'r> {
    deposits: &'r Deposits<'r>,
    against: Against<'r>,
    snapshot: &'r mut BooksSnapshot,
    plan: &'r Plan,
    open: Option<RowStream>,
}

impl<'a> Pages<Deposits<'a>> for BlockPages<'_> {
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
        let events = self.events(first, end.min(upto)).await?;
        let outcome = self.compare(first, rows, events).await?;
        Ok(Page { outcome, upto, last })
    }
}

impl BlockPages<'_> {
    async fn events(&self, first: u64, end: u64) -> Result<Vec<VaultEvent>, Fault> {
        if first > end {
            return Ok(Vec::new());
        }
        let (chain, cut) = (&self.deposits.sides.job.chain, self.against.block);
        let last: BlockRef = if end == cut.number {
            cut
        } else {
            block_at(chain, end).await?
        };
        Ok(chain.logs(first, &last, &filter(LogProof::Ranges)).await?)
    }

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
        eidos_recon::tally::Tally::merge(&mut outcome.tally, &compared);
        Ok(outcome)
    }
}
