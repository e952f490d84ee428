//! The dimensions of movements inside a run: they are read at the cut of the balances, so that what they find and what the
//! balances find belong together.
//!
//! 1. [`MovementRun::begin`]: which blocks, and from which changes on.
//! 2. [`MovementRun::read`]: the first reading, at the run's cut.
//! 3. [`MovementRun::decide`]: the second reading at a later cut, breaks, confirmations.
//! 4. [`MovementRun::close`]: the checkpoint that the next run starts from, in the step that resolves what is gone.

mod blocks;
mod control;
mod deposits;
mod fees;
mod plan;
mod report;
mod settlement;
mod slot;
mod source;
mod view;
mod withdrawals;

use std::collections::BTreeSet;

use eidos_recon::run::{CARRY_OVER, Closing, Decided};
use eidos_recon::store::{breaks, records};
use eidos_recon::tally::Tally as _;
use eidos_recon::{CutPoint, Found, Source};
use eidos_runtime::{JobContext, JobError};
use eidos_telemetry::metric;
use eidos_types::Total;
use serde_json::json;

use super::branch::Fork;
use super::fault::Fault;
use super::job::Reconciliation;
use super::params::Mode;
use super::run::{View, engine_rules};
use crate::dimensions::balance::point::point_of;
use crate::dimensions::movements::key::{Movement, MovementKey};
use crate::dimensions::movements::tally::MovementTally;

pub use control::{Held, Left};
pub use deposits::{DEPOSIT, Deposit};
pub use fees::{FEE_ACCOUNT, FeeAccount};
pub use plan::Plan;
pub use report::{DimensionReport, MovementBreak, TokenCounts};
pub use settlement::{SETTLEMENT, Settlement};
pub use slot::Slot;
pub use source::{Movements, Side, Sides};
pub use view::{Against, MovementView};
pub use withdrawals::{WITHDRAWAL, Withdrawal};

/// One dimension in a run.
#[derive(Debug)]
pub struct MovementRun<'a, D: Side> {
    job: &'a Reconciliation,
    ctx: &'a JobContext,
    source: Movements<'a, D>,
    engine: eidos_recon::Run<'a, Movements<'a, D>>,
    mode: Mode,
    left: Option<Left>,
    plan: Plan,
    /// The cut that its pages were read at.
    pinned: Option<CutPoint>,
    /// What the first reading gave.
    read: Option<Read>,
}

#[derive(Debug)]
struct Read {
    tally: MovementTally,
    findings: Vec<String>,
    left: Left,
}

/// What was decided about a dimension.
#[derive(Debug)]
pub struct Outcome {
    dimension: &'static str,
    found: Vec<Found<Movement, ()>>,
    decided: Decided<Movement>,
}

impl<'a, D: Side> MovementRun<'a, D> {
    /// Begins. A dimension that has no earlier run, or whose last block is gone and cannot be taken back to the fork, is read
    /// from the first block on.
    pub(super) async fn begin(sides: Sides<'a>, mode: Mode, fork: Option<&Fork>) -> Result<Self, Fault> {
        let Sides { job, ctx, .. } = sides;
        let left = left_on_branch::<D>(job, load_left::<D>(ctx).await?, fork).await?;
        let mode = if left.is_none() { Mode::Full } else { mode };
        let source = Movements::new(sides);
        let (digest, is_resumable) = (job.digest.clone(), mode == Mode::Full);
        let rules = engine_rules(job);
        let (engine, pinned) =
            eidos_recon::Run::begin(ctx, &source, mode.as_str(), digest, rules, is_resumable).await?;
        let mut run = Self {
            job,
            ctx,
            source,
            engine,
            mode,
            left,
            plan: Plan::default(),
            pinned,
            read: None,
        };
        run.plan = run.plan(fork).await?;
        Ok(run)
    }

    /// Follows the chain to another branch, before an attempt at another cut.
    pub(super) async fn follow(&mut self, fork: &Fork) -> Result<(), Fault> {
        self.left = left_on_branch::<D>(self.job, load_left::<D>(self.ctx).await?, Some(fork)).await?;
        if self.left.is_none() && self.mode == Mode::Incremental {
            let gone = anyhow::anyhow!(
                "{}: the block of the last run is gone and there is no state at the fork (block {}): the next execution reads \
                 everything",
                D::NAME,
                fork.common
            );
            return Err(JobError::retry(gone).into());
        }
        self.plan = self.plan(Some(fork)).await?;
        Ok(())
    }

    /// Forgets what was read, also what is durable.
    pub(super) async fn restart(&mut self) -> Result<(), Fault> {
        self.engine.restart().await
    }

    async fn plan(&self, fork: Option<&Fork>) -> Result<Plan, Fault> {
        let deployed = self.job.rules().vault_deployed_at_block;
        let left = self.left.as_ref().filter(|_| self.mode == Mode::Incremental);
        let Some(left) = left else {
            return Ok(Plan {
                first: deployed,
                control_from: deployed,
                ..Plan::default()
            });
        };
        let overlap = i64::try_from(self.job.rules().overlap_window.as_millis()).unwrap_or(i64::MAX);
        let open = breaks::open_groups(self.ctx.jobs_db().control(), D::NAME)
            .await
            .map_err(Fault::own)?;
        let undecided: Option<Vec<String>> = self
            .ctx
            .load_checkpoint(&<Movements<'a, D> as Source>::checkpoint(CARRY_OVER))
            .await?;
        let lost = fork.map(|fork| fork.movements(D::lost)).unwrap_or_default();
        let carried = open.into_iter().chain(undecided.unwrap_or_default()).chain(lost);
        Ok(Plan {
            first: left.next_block,
            control_from: left.cut.number + 1,
            changed_since_ms: Some(left.at.timestamp_millis().saturating_sub(overlap)),
            carried: carried.filter_map(|text| MovementKey::of_text(&text)).collect(),
        })
    }

    /// The first reading at the cut of the balances.
    pub(super) async fn read(&mut self, view: &mut View) -> Result<(), Fault> {
        let block = view.cut.block;
        let point = point_of(&block);
        // Pages of another cut end at another block: the checkpoint that this run leaves would skip what is between them.
        if self.pinned.as_ref().is_some_and(|pinned| *pinned != point) {
            self.engine.restart().await?;
        }
        self.engine.save_head(&point).await?;
        self.pinned = Some(point);
        let max_age = D::max_age(self.job.rules());
        let at = view.cut.taken_at();
        let young_from = view::young_from(self.job, &block, at, max_age).await?;
        if let (None, Some(history)) = (self.plan.changed_since_ms, D::history(self.job.rules())) {
            let oldest = view::young_from(self.job, &block, at, history).await?;
            self.plan.first = self.plan.first.max(oldest);
            self.plan.control_from = self.plan.first;
        }
        self.source
            .read(&self.engine, view, young_from, &self.plan)
            .await?;
        let mut tally = MovementTally::default();
        let states = self.engine.states();
        for state in &states {
            tally.merge(&state.tally);
        }
        let is_one_cut = states
            .iter()
            .all(|state| !state.mixed_cuts && state.point == point_of(&block));
        let before = self.left.as_ref().filter(|_| self.mode == Mode::Incremental);
        let control = control::Control {
            job: self.job,
            cut: block,
            from: self.plan.control_from,
            before,
        };
        let (held, findings) = control.check::<D>(&tally, is_one_cut).await?;
        let left = Left {
            cut: block,
            at: view.cut.taken_at(),
            next_block: tally
                .oldest_in_flight
                .map_or(block.number + 1, |oldest| oldest.min(block.number + 1)),
            held,
        };
        self.read = Some(Read {
            tally,
            findings,
            left,
        });
        Ok(())
    }

    /// The second reading, and what it proves.
    pub(super) async fn decide(&self) -> Result<Outcome, Fault> {
        let (mut decided, newest) = self.engine.second_reading(&self.source).await?;
        // An event and a row that names another block are read in two pages, each time with both.
        let mut seen = BTreeSet::new();
        decided
            .breaks
            .retain(|(suspect, _)| seen.insert(suspect.subject.key.clone()));
        let mut found = match newest {
            Some(mut view) => self.engine.record(&self.source, &mut view, &decided).await?,
            None => Vec::new(),
        };
        self.engine.confirm_critical(&self.source, &mut found).await?;
        Ok(Outcome {
            dimension: D::NAME,
            found,
            decided,
        })
    }

    /// The last step: nothing of the run is unfinished after it. Returns the report of the dimension.
    pub(super) async fn close(&self, outcome: Outcome) -> Result<DimensionReport, Fault> {
        let Some(read) = &self.read else {
            let unread =
                eidos_runtime::JobError::fail(anyhow::anyhow!("{} was closed and not read", D::NAME));
            return Err(unread.into());
        };
        let mut resolved = 0;
        if !self.ctx.dry_run() {
            resolved = self.store(read, &outcome).await?;
            self.gauges(read);
        }
        let limit = self.job.rules().report_breaks;
        let mut report = DimensionReport::of(D::NAME, self.mode, &read.tally, &outcome.found, limit);
        report.lag = outcome.decided.lag;
        report.undecided = outcome.decided.undecided.len() as u64;
        report.resolved = resolved;
        report.findings.clone_from(&read.findings);
        report.resumed_from = self.engine.resumed();
        Ok(report)
    }

    async fn store(&self, read: &Read, outcome: &Outcome) -> Result<u64, Fault> {
        let point = point_of(&read.left.cut);
        let mut step = self.ctx.step().await?;
        // Also of tokens that did not move: a run that had nothing to compare is a clean run.
        for (index, token) in self.job.tokens.iter() {
            let counts = read.tally.tokens.get(&token.symbol);
            let (of, unit) = (self.engine.record_of(), self.job.tokens.token_identity(index));
            let undecided = outcome.decided.undecided.iter();
            let undecided = undecided
                .filter(|suspect| suspect.subject.unit == token.symbol)
                .count();
            let (checked, matched) = counts.map_or((0, 0), |counts| (counts.checked, counts.matched));
            let totals = json!({ "checked": checked, "matched": matched, "undecided": undecided });
            records::totals(step.conn(), of, &unit, totals, &point)
                .await
                .map_err(Fault::own)?;
            if let Some(counts) = counts {
                records::dust(step.conn(), of, &unit, &counts.dust, None, &point)
                    .await
                    .map_err(Fault::own)?;
            }
        }
        step.save_checkpoint(&<Movements<'a, D> as Source>::checkpoint(Left::KEY), &read.left)
            .await?;
        let groups = (self.mode == Mode::Incremental)
            .then(|| self.plan.carried.iter().map(MovementKey::text).collect());
        let closing = Closing {
            point,
            read_at: read.left.at,
            groups,
            undecided: &outcome.decided.undecided,
        };
        self.engine.close(&self.source, step, closing).await
    }

    fn gauges(&self, read: &Read) {
        metric::reconciliation_checked(D::NAME, read.tally.checked());
        for (_, token) in self.job.tokens.iter() {
            let dust = read
                .tally
                .tokens
                .get(&token.symbol)
                .map(|counts| counts.dust.gross);
            let dust = dust
                .and_then(|gross| gross.to_amount().ok())
                .map_or(Total::ZERO, Total::from);
            metric::reconciliation_dust_amount(D::NAME, &token.symbol, dust);
        }
        metric::reconciliation_verified(D::NAME, self.mode.as_str(), read.left.at);
        if self.mode == Mode::Full {
            metric::reconciliation_oldest_verified(D::NAME, read.left.at);
        }
    }
}

/// What the last run of a dimension left.
async fn load_left<D: Side>(ctx: &JobContext) -> Result<Option<Left>, Fault> {
    let key = <Movements<'_, D> as Source>::checkpoint(Left::KEY);
    Ok(ctx.load_checkpoint(&key).await?)
}

/// What the last run left, taken back to the fork if its cut is above it. `None`: it does not hold, and what it would have
/// been at the fork cannot be read.
async fn left_on_branch<D: Side>(
    job: &Reconciliation,
    left: Option<Left>,
    fork: Option<&Fork>,
) -> Result<Option<Left>, Fault> {
    let Some(left) = left else { return Ok(None) };
    let above = fork.filter(|fork| fork.common.number < left.cut.number);
    let Some(fork) = above else {
        let holds = job.chain.verify_canonical(&left.cut).await.is_ok();
        return Ok(holds.then_some(left));
    };
    match D::held(job, fork.common).await {
        Ok(held) => Ok(Some(left.back_to(fork.common, held.unwrap_or_default()))),
        Err(fault) if fault.is_about_old_state() => Ok(None),
        Err(fault) => Err(fault),
    }
}

impl Outcome {
    /// Its breaks, as the report shows them.
    pub(super) fn reports(&self) -> impl Iterator<Item = MovementBreak> {
        self.found
            .iter()
            .map(|found| MovementBreak::of(self.dimension, found))
    }
}
