//! One logical run: what it is, what it holds, and the sentence it follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use eidos_chain::BlockRef;
use eidos_runtime::{JobContext, JobError};
use eidos_types::Address;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::compare::{Against, Suspect};
use super::cut::{Cut, block_at};
pub use super::fault::Fault;
use super::job::Reconciliation;
use super::pages::Reading;
use super::params::Mode;
use super::report::{Finding, IgnoredReport};
use crate::domain::account::AccountKey;
use crate::domain::in_flight::Line;
use crate::domain::merge::{BooksRow, LinesByAccount};
use crate::domain::verdict::{BreakKind, Difference};
use crate::sources::in_flight::InFlight;
use crate::sources::known::{self, Register};
use crate::sources::prices::Prices;
use crate::store::records::RecordOf;
use crate::store::shards::{ShardKey, ShardState};

/// The dimension of this job.
pub const DIMENSION: &str = "balance";

/// An unfinished full run, stored so that the next execution goes on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHead {
    /// Its identity.
    pub run_id: Uuid,
    /// Where it reads the chain.
    pub block: BlockRef,
    /// The settings it began with.
    pub digest: String,
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
    /// Its identity.
    pub run_id: Uuid,
    /// The settings.
    pub digest: String,
    /// Accounts seen on chain.
    register: Option<Register>,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    states: BTreeMap<u16, ShardState>,
    /// Only in a dry run; otherwise they are in checkpoints.
    suspects: Vec<Suspect>,
    suspect_count: usize,
    checked: u64,
    resumed: Option<u64>,
    ignored: Vec<IgnoredReport>,
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
        let digest = job.digest.clone();
        let mut run = Self {
            job,
            ctx,
            mode,
            run_id: ctx.execution_id().as_uuid(),
            digest,
            register: None,
            shared: Mutex::default(),
        };
        if mode == Mode::Full && !ctx.dry_run() {
            let head: Option<RunHead> = ctx.load_checkpoint(HEAD_KEY).await?;
            if let Some(head) = head {
                let canonical = job.chain.verify_canonical(&head.block).await.is_ok();
                if head.digest == run.digest && canonical {
                    tracing::info!(run_id = %head.run_id, block = head.block.number, "an unfinished run is continued");
                    run.run_id = head.run_id;
                    return Ok((run, Some(head.block)));
                }
                tracing::warn!(
                    same_settings = head.digest == run.digest,
                    canonical,
                    "an unfinished run cannot be continued: every shard starts again"
                );
            }
        }
        if !ctx.dry_run() {
            let mut step = ctx.step().await?;
            step.delete_checkpoints(&format!("suspects/{}/", run.mode.as_str()))
                .await?;
            step.delete_checkpoint(HEAD_KEY).await?;
            step.commit().await?;
        }
        Ok((run, None))
    }

    /// Remembers the block of a full run, so that it can be continued.
    pub async fn save_head(&self, block: BlockRef) -> Result<(), Fault> {
        if self.mode != Mode::Full || self.ctx.dry_run() {
            return Ok(());
        }
        let head = RunHead {
            run_id: self.run_id,
            block,
            digest: self.digest.clone(),
        };
        let mut step = self.ctx.step().await?;
        step.save_checkpoint(HEAD_KEY, &head).await?;
        Ok(step.commit().await?)
    }

    /// Brings the register up to the cut. Returns the wallets touched by blocks from `since` on.
    pub async fn update_register(
        &mut self,
        block: BlockRef,
        since: Option<u64>,
    ) -> Result<BTreeSet<Address>, Fault> {
        let chain = &self.job.chain;
        let rules = self.job.rules();
        let vault = chain.settings().vault;
        let mut register = Register::open(
            self.ctx.jobs_db(),
            self.ctx.job(),
            vault,
            rules.vault_deployed_at_block,
        )
        .await?;
        let mut touched = BTreeSet::new();
        let mut from = since.map_or(register.head.next_block, |since| {
            since.min(register.head.next_block)
        });
        while from <= block.number {
            self.ctx.check_cancelled()?;
            let upto = block.number.min(from.saturating_add(rules.event_blocks - 1));
            // A register that ends below the cut would hide accounts, so a block that is not there ends the attempt.
            let last = if upto == block.number {
                block
            } else {
                block_at(chain, upto).await?
            };
            let events = chain.logs(from, &last, &known::filter()).await?;
            for event in &events {
                if since.is_some_and(|since| event.at.block_number >= since) {
                    touched.extend(known::touched(event));
                }
            }
            if upto >= register.head.next_block {
                if self.ctx.dry_run() {
                    register.add(&events, upto, last.hash, None).await?;
                } else {
                    let mut step = self.ctx.step().await?;
                    register.add(&events, upto, last.hash, Some(&mut step)).await?;
                    step.commit().await?;
                }
            }
            from = upto + 1;
        }
        self.register = Some(register);
        Ok(touched)
    }

    /// The register. Only called after [`Run::update_register`]; an empty one otherwise would hide accounts.
    #[expect(
        clippy::expect_used,
        reason = "every attempt updates the register before it reads a page"
    )]
    pub(super) fn register(&self) -> &Register {
        self.register.as_ref().expect("the register is updated first")
    }

    pub(super) fn shard_key(&self, shard: u16) -> ShardKey<'_> {
        ShardKey {
            dimension: DIMENSION,
            mode: self.mode.as_str(),
            shard,
            run: self.run_id,
            digest: &self.digest,
        }
    }

    pub(super) fn record_of(&self) -> RecordOf<'static> {
        RecordOf {
            dimension: DIMENSION,
            mode: self.mode.as_str(),
            run: self.run_id,
            execution: self.ctx.execution_id(),
            now_ms: self.ctx.clock().now_ms(),
        }
    }

    pub(super) fn suspects_prefix(&self) -> String {
        format!("suspects/{}/{}", self.mode.as_str(), self.run_id)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn held_state(&self, shard: u16) -> Option<ShardState> {
        self.shared().states.get(&shard).cloned()
    }

    pub(super) fn states(&self) -> Vec<ShardState> {
        self.shared().states.values().cloned().collect()
    }

    /// Forgets what was read: an incremental run whose cut is gone starts again.
    pub(super) fn forget(&self) {
        let resumed = self.shared().resumed;
        *self.shared() = Shared {
            resumed,
            ..Shared::default()
        };
    }

    pub(super) fn hold(&self, shard: u16, state: ShardState, suspects: Vec<Suspect>) {
        let mut held = self.shared();
        held.suspect_count += suspects.iter().filter(|suspect| suspect.is_judged()).count();
        held.suspects.extend(suspects);
        held.states.insert(shard, state);
    }

    pub(super) fn count_suspects(&self, more: usize) {
        self.shared().suspect_count += more;
    }

    pub(super) fn held_suspects(&self) -> Vec<Suspect> {
        self.shared().suspects.clone()
    }

    pub(super) fn check_suspects(&self) -> Result<(), Fault> {
        let (count, limit) = (self.shared().suspect_count, self.job.rules().max_suspects);
        if count <= limit {
            return Ok(());
        }
        Err(Fault::Job(JobError::fail(format!(
            "{count} accounts differ, more than reconciliation.max_suspects = {limit}: a difference almost \
             everywhere is a wrong setting (vault, chain, profile, decimals) and not that many breaks; check the \
             settings, or raise the limit"
        ))))
    }

    pub(super) fn count(&self, checked: u64) {
        let mut held = self.shared();
        held.checked += checked;
        self.ctx.progress(held.checked, None);
    }

    pub(super) fn note_resumed(&self, checked: u64) {
        let mut held = self.shared();
        held.resumed = Some(held.resumed.unwrap_or_default() + checked);
    }

    pub(super) fn resumed(&self) -> Option<u64> {
        self.shared().resumed
    }

    pub(super) fn note_ignored(&self, dust: &[(AccountKey, Difference)]) {
        let limit = self.job.rules().report_breaks;
        let mut held = self.shared();
        for (key, difference) in dust {
            if held.ignored.len() >= limit {
                return;
            }
            held.ignored.push(IgnoredReport {
                wallet: key.wallet,
                token: self.job.tokens.symbol(key.token).to_owned(),
                kind: difference.kind,
                diff: difference.diff,
            });
        }
    }

    pub(super) fn ignored(&self) -> Vec<IgnoredReport> {
        self.shared().ignored.clone()
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

/// Where an unfinished full run is remembered.
pub const HEAD_KEY: &str = "run/full";
