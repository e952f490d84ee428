//! `reconciliation`: proves, account by account and movement by movement, that the Vault and the books agree.
//!
//! A run is one sentence: pin a cut, learn which accounts the chain has shown, read the first time page by page
//! (each page durable with its checkpoint), compare the vault's holdings with what it owes, read suspects a second
//! time, store breaks with their evidence, wait for the confirmations of critical ones, pause, close. The dimensions of
//! [`movements`] are read at the same cut, between the balances and the second readings.
//!
//! What a crash leaves behind: pages up to the last step, the suspects they gave, and the run's head. The next
//! execution goes on at the same block (the books are rolled back to it by in-flight lines) unless settings or
//! chain changed; then every shard starts again.

mod balance;
mod branch;
mod canaries;
mod chain_breaks;
mod choose;
pub mod compare;
pub mod cut;
pub mod disagreement;
mod disagreements;
pub mod event_log;
pub mod events;
pub mod fault;
pub mod finish;
mod fork;
mod gauges;
mod job;
pub(crate) mod lag;
mod left_behind;
pub mod limits;
pub mod movements;
pub mod pages;
mod params;
pub mod pause_keys;
pub mod provider;
mod recent;
pub mod report;
pub mod run;
pub mod solvency;

use eidos_chain::BlockRef;
use eidos_recon::run::{Decided, Done};
use eidos_recon::severity::Severity;
use eidos_recon::tally::Tally as _;
use eidos_runtime::{Job, JobContext, JobError, Observation};
use eidos_settings::CronLine;
use eidos_telemetry::metric;
use eidos_types::{Address, SlotRange};
use tokio::time::Instant;

use self::branch::{Branch, Fork};
use self::finish::{PauseCause, done_key, newest, next_block};
use self::fork::BranchNews;
pub use self::job::Reconciliation;
pub use self::left_behind::{CURSOR_KEY, SampleCursor};
use self::movements::{
    Deposit, DimensionReport, FeeAccount, MovementBreak, Settlement, Sides, Slot, Withdrawal,
};
use self::params::{MAX_PARAM_WALLETS, choose_mode, covers};
pub use self::params::{Mode, Params};
use self::report::{BreakReport, Coverage, CutReport, Report, RpcReport, render};
use self::run::{Fault, Run, View};
use self::solvency::{Solvency, as_findings};
use crate::dimensions::balance::account::AccountKey;
use crate::dimensions::balance::canary::CanaryReport;
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::tally::Tally;
use crate::settings::Dimension;

impl Job for Reconciliation {
    const NAME: &'static str = "reconciliation";
    type Params = Params;
    type Report = Report;

    fn scheduled_params(&self, slots: &SlotRange) -> Params {
        let full = self.full_cron.as_ref().is_some_and(|cron| covers(cron, slots));
        Params {
            mode: if full { Mode::Full } else { Mode::Incremental },
            ..Params::default()
        }
    }

    fn extra_schedules(&self) -> Vec<CronLine> {
        self.full_cron.iter().cloned().collect()
    }

    fn validate_params(&self, params: &Params) -> Result<(), String> {
        match &params.wallets {
            Some(wallets) if wallets.is_empty() => {
                Err("wallets is empty; leave it out or name some".to_owned())
            }
            Some(wallets) if wallets.len() > MAX_PARAM_WALLETS => Err(format!(
                "wallets has {} entries, at most {MAX_PARAM_WALLETS} are allowed",
                wallets.len()
            )),
            Some(_) if params.full || params.mode == Mode::Full => {
                Err("wallets and full contradict each other; leave one out".to_owned())
            }
            _ => Ok(()),
        }
    }

    async fn run(&self, ctx: &JobContext, params: Params) -> Result<Report, JobError> {
        let reconciling = Box::pin(self.reconcile(ctx, params));
        let outcome = eidos_chain::within(ctx.budget_deadline(), reconciling).await;
        self.keep_limits(ctx).await;
        if let Err(Fault::Disagreement(disagreement)) = &outcome {
            self.record_disagreement(ctx, disagreement).await?;
        }
        Ok(outcome?)
    }

    async fn observe(&self, seen: &Observation<'_>) -> Result<(), JobError> {
        gauges::observe(self, seen).await
    }

    fn series_from_zero(&self) {
        gauges::series_from_zero();
    }

    fn render(&self, report: &Report) -> String {
        render(report)
    }
}

/// What one attempt at a cut gave.
struct Attempt {
    view: View,
    canaries: Vec<CanaryReport>,
    tally: Tally,
    solvency: Solvency,
    decided: Decided<AccountKey>,
    wallets: Option<Vec<Address>>,
    chosen: Vec<(&'static str, u64)>,
    cursor: Option<SampleCursor>,
    branch: Branch,
}

/// The dimensions of movements, each in its place.
struct Others<'a> {
    deposits: Slot<'a, Deposit>,
    withdrawals: Slot<'a, Withdrawal>,
    trades: Slot<'a, Settlement>,
    fees: Slot<'a, FeeAccount>,
}

impl<'a> Others<'a> {
    /// A run of named wallets compares only their balances.
    async fn begin(
        sides: Sides<'a>,
        mode: Mode,
        params: &Params,
        fork: Option<&Fork>,
    ) -> Result<Self, Fault> {
        let is_on = |dimension| params.wallets.is_none() && sides.job.rules().dimensions.contains(&dimension);
        Ok(Self {
            deposits: Slot::begin(sides, mode, is_on(Dimension::Deposit), fork).await?,
            withdrawals: Slot::begin(sides, mode, is_on(Dimension::Withdrawal), fork).await?,
            trades: Slot::begin(sides, mode, is_on(Dimension::Settlement), fork).await?,
            fees: Slot::begin(sides, mode, is_on(Dimension::FeeAccount), fork).await?,
        })
    }

    /// Follows the chain to another branch.
    async fn follow(&mut self, fork: &Fork) -> Result<(), Fault> {
        self.deposits.follow(fork).await?;
        self.withdrawals.follow(fork).await?;
        self.trades.follow(fork).await?;
        self.fees.follow(fork).await
    }

    /// Forgets what was read, also what is durable.
    async fn restart(&mut self) -> Result<(), Fault> {
        self.deposits.restart().await?;
        self.withdrawals.restart().await?;
        self.trades.restart().await?;
        self.fees.restart().await
    }

    async fn read(&mut self, view: &mut View) -> Result<(), Fault> {
        self.deposits.read(view).await?;
        self.withdrawals.read(view).await?;
        self.trades.read(view).await?;
        self.fees.read(view).await
    }

    async fn decide(&mut self) -> Result<(), Fault> {
        self.deposits.decide().await?;
        self.withdrawals.decide().await?;
        self.trades.decide().await?;
        self.fees.decide().await
    }

    /// Every break that was decided.
    fn breaks(&self) -> impl Iterator<Item = MovementBreak> {
        let of_events = self.deposits.breaks().chain(self.withdrawals.breaks());
        of_events.chain(self.trades.breaks()).chain(self.fees.breaks())
    }

    async fn close(&mut self) -> Result<Vec<DimensionReport>, Fault> {
        let reports = [
            self.deposits.close().await?,
            self.withdrawals.close().await?,
            self.trades.close().await?,
            self.fees.close().await?,
        ];
        Ok(reports.into_iter().flatten().collect())
    }
}

/// What the end of a run gave.
struct Ending {
    breaks: Vec<BreakReport>,
    dimensions: Vec<DimensionReport>,
    paused: Vec<String>,
    resolved: u64,
}

impl Reconciliation {
    async fn reconcile(&self, ctx: &JobContext, params: Params) -> Result<Report, Fault> {
        let started = Instant::now();
        let requests = self.chain.ladder_report().requests;
        self.events.begin();
        let mut news = BranchNews::default();
        let branch = self
            .branch(ctx, &self.chain.finalized().await?, &mut news)
            .await?;
        let done = newest(
            ctx.load_checkpoint(&done_key(Mode::Full)).await?,
            ctx.load_checkpoint(&done_key(Mode::Incremental)).await?,
        );
        // A dry run deletes no checkpoints that do not hold.
        let done = done.filter(|_| !matches!(branch, Branch::Unknown));
        let (mode, mode_reason) = choose_mode(&params, done.as_ref());
        let (mut run, mut keep) = Run::begin(self, ctx, mode).await?;
        let sides = Sides {
            job: self,
            ctx,
            kept: keep,
        };
        let mut others = Others::begin(sides, mode, &params, branch.fork()).await?;
        let mut repins = 0;
        let (mut attempt, repins) = loop {
            match self
                .attempt(&mut run, &mut others, keep, &params, done.as_ref(), &mut news)
                .await
            {
                Err(fault) if fault.needs_new_pin() && repins < self.rules().repin_attempts => {
                    repins += 1;
                    keep = None;
                    let Fault::Source(error) = fault else { continue };
                    metric::reconciliation_repinned(gauges::CHAIN);
                    tracing::warn!(%error, repins, "a new cut is pinned");
                }
                Err(fault) if fault.is_about_events() => {
                    // Pages that were compared with such events must not be what the next execution continues.
                    run.engine.restart().await?;
                    others.restart().await?;
                    return Err(fault);
                }
                other => break (other?, repins),
            }
        };
        let ending = self.end(&run, &mut others, &mut attempt).await?;
        news.findings.extend(self.events.control().finding());
        if !ctx.dry_run() && params.wallets.is_none() {
            self.prove(&run, &attempt).await?;
        }
        let last_full: Option<Done> = ctx.load_checkpoint(&done_key(Mode::Full)).await?;
        let mut report = self.report(&run, attempt, ending, news);
        report.mode_reason = mode_reason;
        report.coverage.oldest_verified = last_full.map(|done| done.at);
        let ladder = self.chain.ladder_report();
        report.rpc = RpcReport::between(requests, ladder.requests, ladder.rungs);
        report.repins = repins;
        report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(report)
    }

    /// Everything was read up to the cut, and is closed: what was provisional until then is proven.
    async fn prove(&self, run: &Run<'_>, attempt: &Attempt) -> Result<(), Fault> {
        let block = &attempt.view.cut.block;
        self.end_disagreements(run.ctx, block).await?;
        run.balance.prove_register(block).await?;
        match attempt.branch.fork() {
            Some(fork) => self.forget_lost(run.ctx, fork).await,
            None => Ok(()),
        }
    }

    /// From decided suspects to stored breaks, pauses and the closed run.
    async fn end(
        &self,
        run: &Run<'_>,
        others: &mut Others<'_>,
        attempt: &mut Attempt,
    ) -> Result<Ending, Fault> {
        let ctx = run.ctx;
        let mut breaks = run.record_solvency(&attempt.view, &attempt.solvency).await?;
        let (engine, balance) = (&run.engine, &run.balance);
        let mut found = engine
            .record(balance, &mut attempt.view, &attempt.decided)
            .await?;
        engine.confirm_critical(balance, &mut found).await?;
        breaks.extend(found.iter().map(|found| balance.report_of(found)));
        others.decide().await?;
        let mut paused = Vec::new();
        if !ctx.dry_run() {
            let mut causes: Vec<PauseCause> = breaks.iter().map(PauseCause::from).collect();
            causes.extend(others.breaks().map(|found| PauseCause::from(&found)));
            paused = run.pause(&causes).await?;
        }
        let (view, wallets) = (&attempt.view, attempt.wallets.as_deref());
        let resolved = run
            .close(view, &attempt.tally, &attempt.decided, wallets, attempt.cursor)
            .await?;
        let dimensions = others.close().await?;
        if !ctx.dry_run() {
            self.sync_pause_keys(ctx).await;
            self.gauges(ctx.jobs_db(), run.mode, view, &attempt.tally)
                .await
                .map_err(Fault::own)?;
            if !attempt.canaries.is_empty() {
                canaries::gauge(attempt.canaries.iter().map(|canary| canary.found));
            }
        }
        let worst = |found: &BreakReport| {
            use std::cmp::Reverse;
            (Reverse(found.severity), found.kind, Reverse(found.usdc))
        };
        breaks.sort_by_key(worst);
        Ok(Ending {
            breaks,
            dimensions,
            paused,
            resolved,
        })
    }

    /// Everything the run knows about itself; the caller adds what only it knows.
    fn report(&self, run: &Run<'_>, attempt: Attempt, ending: Ending, news: BranchNews) -> Report {
        let mut findings = run.cut_findings(&attempt.view);
        findings.extend(news.findings);
        findings.extend(as_findings(&attempt.solvency.findings));
        findings.extend(run.token_findings(&attempt.view, &attempt.tally));
        findings.extend(canaries::findings(&attempt.canaries));
        let critical = |found: &&BreakReport| found.severity == Severity::Critical;
        let ladder = self.chain.ladder_report();
        let mut breaks = news.breaks;
        breaks.extend(ending.breaks);
        let (breaks_found, critical) = (breaks.len() as u64, breaks.iter().filter(critical).count() as u64);
        breaks.truncate(self.rules().report_breaks);
        Report {
            mode: run.mode.as_str(),
            mode_reason: String::new(),
            run_id: run.engine.id,
            dry_run: run.ctx.dry_run(),
            cut: CutReport::of(attempt.view.cut.block, &attempt.view.cut),
            checked: attempt.tally.checked(),
            matched: attempt.tally.matched(),
            lag: attempt.decided.lag,
            undecided: attempt.decided.undecided.len() as u64,
            node_behind_accounts: attempt.view.node_behind_accounts() as u64,
            breaks_found,
            critical,
            resolved: ending.resolved,
            tokens: run.token_reports(&attempt.tally, &attempt.solvency),
            ignored: run.balance.ignored(),
            canaries: attempt.canaries,
            dimensions: ending.dimensions,
            findings,
            paused: ending.paused,
            coverage: Coverage {
                complete: run.mode == Mode::Full,
                chosen: attempt.chosen,
                oldest_verified: None,
            },
            rpc: RpcReport::between(ladder.requests, ladder.requests, Vec::new()),
            resumed_from: run.engine.resumed(),
            repins: 0,
            duration_ms: 0,
            breaks,
        }
    }

    /// One cut, read to the end.
    async fn attempt(
        &self,
        run: &mut Run<'_>,
        others: &mut Others<'_>,
        keep: Option<BlockRef>,
        params: &Params,
        done: Option<&Done>,
        news: &mut BranchNews,
    ) -> Result<Attempt, Fault> {
        self.events.forget();
        let mut view = self.view(keep).await?;
        let block = view.cut.block;
        let branch = self.follow(run, others, &block, news).await?;
        let fork = branch.fork();
        run.engine.save_head(&point_of(&block)).await?;
        let since = (run.mode == Mode::Incremental).then(|| {
            let since = done.map_or(0, next_block);
            fork.map_or(since, |fork| since.min(fork.common.number + 1))
        });
        let touched = run.balance.update_register(block, since, &branch).await?;
        if run.balance.accounts_were_left_out() {
            tracing::warn!("events that an earlier execution read were not all: every shard starts again");
            run.engine.restart().await?;
            run.engine.save_head(&point_of(&block)).await?;
        }
        let (mut wallets, mut chosen, mut cursor) = (None, vec![("all", 0)], None);
        if run.mode == Mode::Full {
            run.read_shards(&view.reading()).await?;
        } else {
            run.forget();
            let lost = fork.map(Fork::wallets).unwrap_or_default();
            let choice = self
                .choose(run.ctx, &mut view, params, done, touched, lost)
                .await?;
            let mut session = view.cut.snapshot.ticket().join().await?;
            run.read_wallets(&view.reading(), &mut session, &choice.wallets)
                .await?;
            (wallets, chosen, cursor) = (Some(choice.wallets), choice.chosen, choice.cursor);
        }
        run.read_fees_once(&view.reading()).await?;
        let mut tally = Tally::default();
        for state in run.engine.states() {
            tally.merge(&state.tally);
        }
        let solvency = match run.mode {
            Mode::Full => run.solvency(&view, &tally).await?,
            // Sums over some accounts decide nothing; the daily full run does.
            Mode::Incremental => Solvency::default(),
        };
        others.read(&mut view).await?;
        // Pages read by hash fail while the chain changes; one that changed after the last page is found here.
        self.chain.verify_canonical(&block).await?;
        let (mut decided, newest) = run.engine.second_reading(&run.balance).await?;
        let canaries = self.take_canaries(&mut decided, wallets.as_deref());
        let view = match newest {
            Some(newest) if run.mode == Mode::Incremental => View {
                prices: newest.prices,
                ..view
            },
            _ => view,
        };
        Ok(Attempt {
            view,
            canaries,
            tally,
            solvency,
            decided,
            wallets,
            chosen,
            cursor,
            branch,
        })
    }

    /// Finds out whether the chain is the one that was read before, and takes back what was derived from another branch.
    async fn follow(
        &self,
        run: &mut Run<'_>,
        others: &mut Others<'_>,
        block: &BlockRef,
        news: &mut BranchNews,
    ) -> Result<Branch, Fault> {
        if let Some(pinned) = run.pinned.replace(*block).filter(|pinned| pinned != block)
            && !self.is_on_chain(&pinned).await?
        {
            run.engine.restart().await?;
        }
        let branch = self.branch(run.ctx, block, news).await?;
        match &branch {
            Branch::Forked(fork) => others.follow(fork).await?,
            Branch::Unknown if run.mode == Mode::Incremental => {
                let gone = anyhow::anyhow!(
                    "the chain was reorganised below every block that was kept: the next execution reads everything"
                );
                return Err(JobError::retry(gone).into());
            }
            Branch::Same | Branch::Unknown => {}
        }
        Ok(branch)
    }

    /// Makes the pause keys equal to the table. It does not decide the run's result.
    async fn sync_pause_keys(&self, ctx: &JobContext) {
        if let Err(error) = self.pause_keys.sync(ctx.jobs_db().control(), &[]).await {
            tracing::error!(%error, "the pause keys could not be written to Redis; the next run writes them");
        }
    }
}
