//! Reorganisations: which blocks that were read are no longer on the chain, and what was derived from them.
//!
//! 1. The newest blocks whose events were read are kept, each with its parent, its wallets, accounts and movements.
//! 2. Every attempt at a cut asks for the newest kept block first. If another block has its number, the newest kept block
//!    that is still there is where the branches part.
//! 3. The blocks above it are marked lost in the step that takes the register of accounts back to the fork.
//! 4. The run reads again what the lost blocks touched, as well as the new branch; breaks of the lost branch close by that
//!    reading and by nothing else. A lost block is forgotten when a run that did so is closed.
//!
//! A fork below everything that is kept takes every checkpoint back to the first block. A lost block that the node had
//! called final is a break of its own.

use eidos_chain::{BlockRef, ChainError, Finality};
use eidos_runtime::JobContext;
use serde_json::json;

use super::branch::{Branch, Fork};
use super::chain_breaks::{ChainBreak, FINALITY};
use super::fault::Fault;
use super::finish::done_key;
use super::job::Reconciliation;
use super::movements::{DEPOSIT, FEE_ACCOUNT, Left, SETTLEMENT, WITHDRAWAL};
use super::params::Mode;
use super::report::{BreakReport, Finding};
use crate::dimensions::balance::kind::BreakKind;
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::sources::known::Register;
use crate::store::chain_blocks::{self, ChainKey, Kept, KeptBlock};

/// Lost hashes that evidence names.
const NAMED_BLOCKS: usize = 32;

/// What a run says about the chain's branches.
#[derive(Debug, Default)]
pub(super) struct BranchNews {
    pub(super) breaks: Vec<BreakReport>,
    pub(super) findings: Vec<Finding>,
}

/// What was found out about the kept blocks, before anything is stored.
enum Seen {
    Same,
    /// The newest kept block that is on the chain, and what was there above it.
    Fork(BlockRef, Vec<KeptBlock>),
    Unknown,
}

impl Reconciliation {
    pub(super) fn chain_key(&self) -> ChainKey {
        let chain = self.chain.settings();
        ChainKey {
            chain_id: chain.chain_id,
            vault: chain.vault,
        }
    }

    /// Compares the kept blocks up to `upto` with the chain and stores what is lost.
    pub(super) async fn branch(
        &self,
        ctx: &JobContext,
        upto: &BlockRef,
        news: &mut BranchNews,
    ) -> Result<Branch, Fault> {
        let kept = chain_blocks::load(ctx.jobs_db().control(), self.chain_key())
            .await
            .map_err(Fault::own)?;
        // Blocks of another chain are no fork of this one.
        self.chain.verify_chain_id().await?;
        let (vault, first) = (self.chain.settings().vault, self.rules().vault_deployed_at_block);
        let register = Register::open(ctx.jobs_db(), ctx.job(), vault, first).await?;
        let mut lost = kept.lost.clone();
        match self.look(&kept, &register, upto).await? {
            Seen::Same => {}
            Seen::Unknown => {
                self.lose_everything(ctx, &kept, upto, news).await?;
                return Ok(Branch::Unknown);
            }
            Seen::Fork(common, fresh) => {
                self.lose(ctx, register, common, &fresh, news).await?;
                lost.extend(fresh);
            }
        }
        let Some(lowest) = lost.iter().map(|block| block.number).min() else {
            return Ok(Branch::Same);
        };
        let common = self.chain.blocks([lowest.saturating_sub(1)]).await?;
        let common = common.into_iter().next();
        Ok(common.map_or(Branch::Unknown, |common| Branch::Forked(Fork { common, lost })))
    }

    /// A block above `upto` says nothing: the node may not have it yet.
    async fn look(&self, kept: &Kept, register: &Register, upto: &BlockRef) -> Result<Seen, Fault> {
        let reachable: Vec<&KeptBlock> = kept
            .on_chain
            .iter()
            .filter(|block| block.number <= upto.number)
            .collect();
        let newest = reachable.first().map(|block| block.number);
        if let Some(block) = reachable.first()
            && self.chain.blocks([block.number]).await?[0].hash != block.hash
        {
            return self.search(kept, &reachable).await;
        }
        // What was read by a process that kept no blocks, or ended before it kept these.
        let head = register
            .head
            .next_block
            .checked_sub(1)
            .zip(register.head.last_hash);
        match head
            .filter(|(number, _)| *number <= upto.number && newest.is_none_or(|newest| newest < *number))
        {
            Some((number, hash)) if self.chain.blocks([number]).await?[0].hash != hash => Ok(Seen::Unknown),
            _ => Ok(Seen::Same),
        }
    }

    /// The newest kept block that is still there, and what was kept above it.
    async fn search(&self, kept: &Kept, reachable: &[&KeptBlock]) -> Result<Seen, Fault> {
        let canonical = self
            .chain
            .blocks(reachable.iter().map(|block| block.number))
            .await?;
        let common = reachable
            .iter()
            .zip(canonical)
            .find(|(block, there)| block.hash == there.hash);
        let Some((_, common)) = common else {
            return Ok(Seen::Unknown);
        };
        let lost: Vec<KeptBlock> = kept
            .on_chain
            .iter()
            .filter(|block| block.number > common.number)
            .cloned()
            .collect();
        // A block between them that was read and not kept: nobody knows what was derived from it.
        let is_whole = lost
            .last()
            .is_some_and(|lowest| lowest.number == common.number + 1)
            && lost.windows(2).all(|pair| pair[0].number == pair[1].number + 1);
        Ok(if is_whole {
            Seen::Fork(common, lost)
        } else {
            Seen::Unknown
        })
    }

    /// Marks blocks as lost, and takes the register back to the fork.
    async fn lose(
        &self,
        ctx: &JobContext,
        mut register: Register,
        common: BlockRef,
        lost: &[KeptBlock],
        news: &mut BranchNews,
    ) -> Result<(), Fault> {
        let found = self.final_change(lost).await?;
        news.findings.push(reorganised(&common, lost));
        tracing::warn!(
            common = common.number,
            lost = lost.len(),
            "the chain was reorganised"
        );
        if ctx.dry_run() {
            news.breaks.extend(found.map(|found| found.report()));
            return Ok(());
        }
        let fork = Fork {
            common,
            lost: lost.to_vec(),
        };
        let mut step = ctx.step().await?;
        if let Some(found) = found {
            let report = found.record(ctx, &mut step, &point_of(&common)).await?;
            news.breaks.push(report);
        }
        chain_blocks::lose(step.conn(), self.chain_key(), common.number, ctx.clock().now())
            .await
            .map_err(Fault::own)?;
        register
            .rewind(&fork.common, &fork.shown(), Some(&mut step))
            .await?;
        Ok(step.commit().await?)
    }

    /// Takes every checkpoint back to the first block.
    async fn lose_everything(
        &self,
        ctx: &JobContext,
        kept: &Kept,
        upto: &BlockRef,
        news: &mut BranchNews,
    ) -> Result<(), Fault> {
        let found = self.final_change(&kept.on_chain).await?;
        let detail = format!(
            "the chain was reorganised below every block that was kept ({} of them): everything is read again from the \
             first block on",
            kept.on_chain.len()
        );
        tracing::error!("{detail}");
        news.findings.push(Finding {
            kind: BreakKind::Reorganised,
            token: None,
            detail,
        });
        if ctx.dry_run() {
            news.breaks.extend(found.map(|found| found.report()));
            return Ok(());
        }
        let mut step = ctx.step().await?;
        if let Some(found) = found {
            let report = found.record(ctx, &mut step, &point_of(upto)).await?;
            news.breaks.push(report);
        }
        chain_blocks::forget_all(step.conn(), self.chain_key())
            .await
            .map_err(Fault::own)?;
        step.delete_checkpoints(&Register::prefix(self.chain.settings().vault))
            .await?;
        for key in [done_key(Mode::Full), done_key(Mode::Incremental)] {
            step.delete_checkpoint(&key).await?;
        }
        for dimension in [DEPOSIT, WITHDRAWAL, SETTLEMENT, FEE_ACCOUNT] {
            step.delete_checkpoint(&format!("{dimension}/{}", Left::KEY))
                .await?;
        }
        Ok(step.commit().await?)
    }

    /// The break of the lowest lost block that the node had called final.
    async fn final_change(&self, lost: &[KeptBlock]) -> Result<Option<ChainBreak>, Fault> {
        let Some(lowest) = lost
            .iter()
            .filter(|block| block.is_final)
            .min_by_key(|block| block.number)
        else {
            return Ok(None);
        };
        let now = self.chain.block(lowest.number).await?.map(|block| block.hash);
        let (chain_id, endpoint) = (self.chain.settings().chain_id, self.chain.endpoint());
        let named: Vec<String> = lost
            .iter()
            .take(NAMED_BLOCKS)
            .map(|block| format!("{} {}", block.number, block.hash))
            .collect();
        Ok(Some(ChainBreak {
            dimension: FINALITY,
            kind: BreakKind::FinalizedBlockChanged,
            subject: format!("{chain_id}/{}", lowest.number),
            evidence: json!({
                "chain_id": chain_id, "number": lowest.number, "hash_when_final": lowest.hash, "parent": lowest.parent,
                "hash_now": now, "endpoint": endpoint, "lost_blocks": lost.len(), "lost": named,
            }),
            because: format!(
                "block {} was final as {} and is {} now, as {endpoint} says: either the node follows another chain, or \
                 finality was broken",
                lowest.number,
                lowest.hash,
                now.map_or_else(|| "gone".to_owned(), |hash| hash.to_string())
            ),
        }))
    }

    /// Whether the blocks that this job reads are final by the node's word.
    pub(super) fn reads_final_blocks(&self) -> bool {
        self.chain.settings().finality == Finality::Finalized
    }

    /// Forgets lost blocks whose consequences a closed run has read again.
    pub(super) async fn forget_lost(&self, ctx: &JobContext, fork: &Fork) -> Result<(), Fault> {
        let mut step = ctx.step().await?;
        chain_blocks::forget(step.conn(), self.chain_key(), &fork.hashes())
            .await
            .map_err(Fault::own)?;
        Ok(step.commit().await?)
    }

    /// Makes sure that a cut is still on the chain.
    pub(super) async fn is_on_chain(&self, block: &BlockRef) -> Result<bool, Fault> {
        match self.chain.verify_canonical(block).await {
            Ok(()) => Ok(true),
            Err(ChainError::Reorged { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn reorganised(common: &BlockRef, lost: &[KeptBlock]) -> Finding {
    Finding {
        kind: BreakKind::Reorganised,
        token: None,
        detail: format!(
            "the chain was reorganised above block {common}: {} blocks that were read are gone; what was derived from \
             them is read again",
            lost.len()
        ),
    }
}
