//! A dimension of movements as the engine reads it. What differs from one to the other is a [`Side`].

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_chain::{BlockRef, LogFilter, LogProof, VaultEvent};
use eidos_core::outbox::OutboxEvent;
use eidos_recon::outcome::PageOutcome;
use eidos_recon::source::Reread;
use eidos_recon::store::checkpoints::ShardState;
use eidos_recon::{CutPoint, Difference, Found, Identity, Source, Suspect};
use eidos_runtime::JobContext;
use serde_json::{Value, json};

use super::super::events;
use super::super::fault::Fault;
use super::super::job::Reconciliation;
use super::super::run::View;
use super::control::{self, Held};
use super::{Against, MovementBreak, MovementView, Plan};
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::sources::snapshot::BooksSnapshot;
use crate::dimensions::movements::event::movement_filter;
use crate::dimensions::movements::judged::Judged;
use crate::dimensions::movements::key::{Movement, MovementKey};
use crate::dimensions::movements::tally::MovementTally;
use crate::dimensions::movements::weight::weigh_movement;
use crate::settings::ReconciliationSection;
use crate::store::chain_blocks::Derived;

/// What a page of movements gave.
pub(super) type Outcome = PageOutcome<Movement, MovementTally>;

/// The run of a dimension's engine.
pub(super) type Engine<'r, 'a, D> = eidos_recon::Run<'r, Movements<'a, D>>;

/// The shard of what is read by key; those below it are read page by page.
const CARRIED_SHARD: u16 = 9;

/// What a source reads through.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// The job.
    pub job: &'a Reconciliation,
    /// The run's context.
    pub ctx: &'a JobContext,
    /// The cut of an unfinished run that is continued.
    pub kept: Option<BlockRef>,
}

/// The two sides of movements of one kind, as one run reads them.
#[derive(Debug)]
pub struct Movements<'a, D> {
    pub(super) sides: Sides<'a>,
    side: PhantomData<D>,
}

/// What makes deposits deposits, withdrawals withdrawals and trades trades. What is said about events and their control is
/// true of whatever moves tokens into or out of the Vault, unless a dimension says otherwise.
pub trait Side: Sized + Debug + Send + Sync + 'static {
    /// The dimension's name in tables and metrics.
    const NAME: &'static str;
    /// What it compares, in words.
    const MANY: &'static str;
    /// What it means if no event explains how the contracts' sums changed.
    const UNEXPLAINED: &'static str =
        "tokens moved without an event of the Vault (an emergency withdrawal, a transfer to it)";

    /// How long one side may be behind the other.
    fn max_age(rules: &ReconciliationSection) -> Duration;

    /// Why it cannot be read with these settings; `None`: it can.
    fn missing(_job: &Reconciliation) -> Option<&'static str> {
        None
    }

    /// How far back a full run reads events; `None`: from the first one on.
    fn history(_rules: &ReconciliationSection) -> Option<Duration> {
        None
    }

    /// The events that it reads.
    fn filter(proof: LogProof) -> LogFilter {
        movement_filter(proof)
    }

    /// Keys of its movements that a lost block had; none, where these are not kept.
    fn lost(_derived: &Derived) -> BTreeSet<String> {
        BTreeSet::new()
    }

    /// True if an event is in the control sums.
    fn is_counted(event: &VaultEvent) -> bool {
        control::units_of(event).is_some()
    }

    /// The sums that the contracts keep of these events, by contract of the token; `None`: they keep none.
    fn held(job: &Reconciliation, cut: BlockRef) -> impl Future<Output = Result<Option<Held>, Fault>> + Send {
        async move { control::held_by_vault(job, cut).await.map(Some) }
    }

    /// Compares some movements, asked for one by one: by their rows and by the receipts of their transactions.
    fn compare_keys(
        movements: &Movements<'_, Self>,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        keys: &BTreeSet<MovementKey>,
    ) -> impl Future<Output = Result<Outcome, Fault>> + Send;

    /// Compares everything that `plan` names beside what is carried over, page by page.
    fn read_pages<'a>(
        movements: &Movements<'a, Self>,
        engine: &Engine<'_, 'a, Self>,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        plan: &Plan,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

impl<'a, D: Side> Movements<'a, D> {
    /// Movements of a run.
    pub const fn new(sides: Sides<'a>) -> Self {
        Self {
            sides,
            side: PhantomData,
        }
    }

    /// How long one side may be behind the other.
    pub(super) fn max_age_ms(&self) -> i64 {
        i64::try_from(D::max_age(self.sides.job.rules()).as_millis()).unwrap_or(i64::MAX)
    }

    /// Weighs and counts what was judged; `block`: where its event is, if the chain has it.
    pub(super) fn put(
        &self,
        outcome: &mut Outcome,
        against: Against<'_>,
        judged: &Judged,
        block: Option<u64>,
    ) {
        let rules = self.sides.job.rules();
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
        let point = point_of(&against.block);
        let weighed = outcome.sort(judged.movement.clone(), &judged.verdict, weigh, &point);
        outcome.tally.note(&judged.movement, &judged.verdict, weighed);
    }

    /// The first reading.
    pub(super) async fn read(
        &self,
        engine: &Engine<'_, 'a, D>,
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
        let snapshot = &mut view.cut.snapshot;
        if !plan.carried.is_empty() {
            let page = D::compare_keys(self, against, snapshot, &plan.carried).await?;
            let mut state = ShardState::at_start(point_of(&against.block));
            engine
                .commit_page(self, CARRIED_SHARD, &mut state, page, against.at)
                .await?;
        }
        D::read_pages(self, engine, against, snapshot, plan).await
    }
}

impl<D: Side> Source for Movements<'_, D> {
    const NAME: &'static str = D::NAME;
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
        let job = self.sides.job;
        MovementView::open(job, D::max_age(job.rules())).await
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
            let (against, snapshot) = view.split();
            let suspects = D::compare_keys(self, against, snapshot, &chunk).await?.suspects;
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
        let report = MovementBreak::of(D::NAME, found);
        let at = self.sides.ctx.clock().now();
        Some(events::movement_break_opened(&report, at, stored.id))
    }

    fn ignored(&self, _movement: &Movement, _difference: &Difference<Movement>) {}

    fn too_many(&self, count: usize, limit: usize) -> String {
        format!(
            "{count} {} differ, more than reconciliation.max_suspects = {limit}: a difference almost everywhere is a wrong \
             setting (vault, settlement, chain, schema_profile, vault_deployed_at_block) and not that many breaks; check the settings, \
             or raise the limit",
            D::MANY
        )
    }
}
