//! One logical run: what it is, what it holds, and the sentence it follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use eidos_chain::{BlockRef, VaultEvent};
use eidos_recon::{CutPoint, Rules};
use eidos_runtime::JobContext;
use eidos_types::Address;

use super::branch::Branch;
use super::compare::Against;
use super::cut::{Cut, block_at};
pub use super::fault::Fault;
use super::job::Reconciliation;
use super::pages::Reading;
use super::params::Mode;
use super::recent::Recent;
use super::report::{Finding, IgnoredReport};
use crate::dimensions::balance::in_flight::Line;
use crate::dimensions::balance::kind::BreakKind;
use crate::dimensions::balance::merge::{BooksRow, LinesByAccount};
use crate::dimensions::balance::point::block_of;
use crate::dimensions::balance::sources::in_flight::InFlight;
use crate::dimensions::balance::sources::known::{self, Entry, Register};
use crate::dimensions::balance::sources::prices::Prices;

/// The dimension of this job.
pub const DIMENSION: &str = "balance";

/// Dust records per shard: the dust has the sums, the records are examples.
const DUST_RECORDS_PER_SHARD: u32 = 1_000;

/// The two sides of the balances, as one run reads them.
#[derive(Debug)]
pub struct Balance<'a> {
    /// The job.
    pub job: &'a Reconciliation,
    /// The run's context.
    pub ctx: &'a JobContext,
    /// Accounts seen on chain.
    register: Option<Register>,
    /// Whether blocks that had been read before had further accounts when they were read again.
    left_out: bool,
    /// Ignored differences for the report.
    pub(super) ignored: Mutex<Vec<IgnoredReport>>,
}

/// A run in progress.
#[derive(Debug)]
pub struct Run<'a> {
    /// The job.
    pub job: &'a Reconciliation,
    /// Its context.
    pub ctx: &'a JobContext,
    /// What it covers.
    pub mode: Mode,
    /// The cut that its pages were read at.
    pub(super) pinned: Option<BlockRef>,
    /// Its two sides.
    pub balance: Balance<'a>,
    /// Its pages, breaks and checkpoints.
    pub engine: eidos_recon::Run<'a, Balance<'a>>,
}

/// Both sides at one cut, with everything a page needs.
#[derive(Debug)]
pub struct View {
    /// The cut.
    pub cut: Cut,
    /// In-flight lines.
    pub lines: LinesByAccount,
    /// Rows in other places of the order.
    pub strays: Vec<BooksRow>,
    /// What tokens are worth.
    pub prices: Prices,
}

impl View {
    /// What pages read.
    pub fn reading(&self) -> Reading<'_> {
        Reading {
            against: Against {
                block: self.cut.block,
                at: self.cut.taken_at(),
                prices: &self.prices,
            },
            ticket: self.cut.snapshot.ticket(),
            lines: &self.lines,
            strays: &self.strays,
        }
    }

    /// How many accounts have movements in blocks that the node had not reached: they are not judged.
    pub fn node_behind_accounts(&self) -> usize {
        let is_unproven = |lines: &&Vec<Line>| lines.iter().any(|line| line.unproven);
        self.lines.values().filter(is_unproven).count()
    }
}

impl Reconciliation {
    /// Opens a cut and loads what belongs to it.
    pub(super) async fn view(&self, keep: Option<BlockRef>) -> Result<View, Fault> {
        let mut cut = Cut::pin(&self.databases, &self.schema, &self.chain, keep).await?;
        let prices = self.prices(cut.taken_at()).await?;
        let rules = self.rules();
        let in_flight = InFlight {
            schema: &self.schema,
            tokens: &self.tokens,
            chain: &self.chain,
            chain_id: self.chain.settings().chain_id,
            head: cut.head.number,
            fee_recipient: self.chain.fee_recipient(),
            max_age_ms: i64::try_from(rules.in_flight_max_age.as_millis()).unwrap_or(i64::MAX),
            max_lines: rules.max_in_flight_lines,
        };
        let block = cut.block;
        let lines = in_flight.load(&mut cut.snapshot, &block).await?;
        let strays = self
            .books
            .strays(cut.snapshot.trading(), rules.max_in_flight_lines)
            .await?;
        Ok(View {
            cut,
            lines,
            strays,
            prices,
        })
    }
}

impl<'a> Run<'a> {
    /// Begins a run, or goes on with an unfinished full one whose block is still on the chain and whose settings
    /// are the same; otherwise it starts from nothing.
    pub async fn begin(
        job: &'a Reconciliation,
        ctx: &'a JobContext,
        mode: Mode,
    ) -> Result<(Self, Option<BlockRef>), Fault> {
        let balance = Balance {
            job,
            ctx,
            register: None,
            left_out: false,
            ignored: Mutex::default(),
        };
        let (digest, is_resumable) = (job.digest.clone(), mode == Mode::Full);
        let begun = eidos_recon::Run::begin(
            ctx,
            &balance,
            mode.as_str(),
            digest,
            engine_rules(job),
            is_resumable,
        )
        .await?;
        let (engine, kept): (eidos_recon::Run<'_, Balance<'_>>, Option<CutPoint>) = begun;
        let engine = engine.escalating(job.rules().escalate_warnings_after);
        let pinned = kept.as_ref().and_then(block_of);
        let run = Self {
            job,
            ctx,
            mode,
            pinned,
            balance,
            engine,
        };
        Ok((run, pinned))
    }

    /// Forgets what was read: an incremental run whose cut is gone starts again.
    pub(super) fn forget(&self) {
        self.engine.forget();
        self.balance
            .ignored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Findings about the cut itself.
    pub(super) fn cut_findings(&self, view: &View) -> Vec<Finding> {
        let cut = &view.cut;
        let lag = cut.indexer_lag();
        let limit = self.job.indexer_lag_limit;
        let behind = (lag > limit).then(|| Finding {
            kind: BreakKind::IndexerBehind,
            token: None,
            detail: format!(
                "the books' indexer is at block {}, {lag} blocks behind the finalized {}; the comparison was made \
                 at its block",
                cut.snapshot.indexer.number, cut.finalized.number
            ),
        });
        behind
            .into_iter()
            .chain(cut.node_behind(view.node_behind_accounts()))
            .collect()
    }
}

pub(super) fn engine_rules(job: &Reconciliation) -> Rules {
    let rules = job.rules();
    Rules {
        max_suspects: rules.max_suspects,
        dust_records_per_shard: DUST_RECORDS_PER_SHARD,
        recheck_attempts: rules.recheck_attempts,
        recheck_delay: rules.recheck_delay,
        critical_confirmations: rules.critical_confirmations,
        confirm_wait: rules.confirm_wait,
        confirm_poll: rules.confirm_poll,
    }
}

impl Balance<'_> {
    /// Brings the register up to the cut, and keeps the newest blocks with what was derived from them. Returns the wallets
    /// touched by blocks from `since` on.
    pub(super) async fn update_register(
        &mut self,
        block: BlockRef,
        since: Option<u64>,
        branch: &Branch,
    ) -> Result<BTreeSet<Address>, Fault> {
        let (vault, rules) = (self.job.chain.settings().vault, self.job.rules());
        let first = rules.vault_deployed_at_block;
        let mut register = Register::open(self.ctx.jobs_db(), self.ctx.job(), vault, first).await?;
        if self.ctx.dry_run() {
            match branch {
                Branch::Same => {}
                Branch::Forked(fork) => register.rewind(&fork.common, &fork.shown(), None).await?,
                Branch::Unknown => register.start_over(first),
            }
        }
        let mut touched = BTreeSet::new();
        let unread = register.start();
        let mut from = since.map_or(unread, |since| since.min(unread));
        let (mut recent, read_before) = (Recent::from(from, &block), register.head.next_block);
        self.left_out = false;
        while from <= block.number {
            self.ctx.check_cancelled()?;
            let upto = block.number.min(from.saturating_add(rules.event_blocks - 1));
            // A register that ends below the cut would hide accounts, so a block that is not there ends the attempt.
            let last = if upto == block.number {
                block
            } else {
                block_at(&self.job.chain, upto).await?
            };
            let events = self.job.events.all(from, &last, since.is_some()).await?;
            for event in &events {
                if since.is_some_and(|since| event.at.block_number >= since) {
                    touched.extend(known::touched(event));
                }
            }
            recent.note(&events);
            if upto >= unread {
                let shown = self
                    .store_register(&mut register, &mut recent, &events, last, upto == block.number)
                    .await?;
                self.left_out |= shown.values().any(|block| *block < read_before);
            }
            from = upto + 1;
        }
        self.register = Some(register);
        Ok(touched)
    }

    /// Stores what a range has shown; with the last one, the blocks that are kept.
    async fn store_register(
        &self,
        register: &mut Register,
        recent: &mut Recent,
        events: &[VaultEvent],
        last: BlockRef,
        is_last: bool,
    ) -> Result<BTreeMap<Entry, u64>, Fault> {
        if self.ctx.dry_run() {
            return Ok(register.add(events, last.number, last.hash, None).await?);
        }
        let mut step = self.ctx.step().await?;
        let shown = register
            .add(events, last.number, last.hash, Some(&mut step))
            .await?;
        recent.note_shown(&shown);
        if is_last {
            recent.keep(self.job, self.ctx, &mut step, &last).await?;
        }
        step.commit().await?;
        Ok(shown)
    }

    /// Whether accounts were left out when their blocks were read first: pages were compared without them.
    pub(super) const fn accounts_were_left_out(&self) -> bool {
        self.left_out
    }

    /// The register. Only called after [`Balance::update_register`]; an empty one otherwise would hide accounts.
    #[expect(
        clippy::expect_used,
        reason = "every attempt updates the register before it reads a page"
    )]
    pub(super) fn register(&self) -> &Register {
        self.register.as_ref().expect("the register is updated first")
    }

    /// Notes that the events of the register were controlled by the run that read them.
    pub(super) async fn prove_register(&self, block: &BlockRef) -> Result<(), Fault> {
        let mut step = self.ctx.step().await?;
        self.register().prove(block.number, &mut step).await?;
        Ok(step.commit().await?)
    }

    /// Ignored differences, at most `reconciliation.report_breaks`.
    pub(super) fn ignored(&self) -> Vec<IgnoredReport> {
        self.ignored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
