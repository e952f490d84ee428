//! Disagreements of two providers as breaks: how they are stored, and when they end.

use eidos_chain::BlockRef;
use eidos_runtime::{JobContext, JobError};

use super::chain_breaks::{ChainBreak, resolve};
use super::disagreement::Disagreement;
use super::event_log::Control;
use super::fault::Fault;
use super::job::Reconciliation;
use crate::dimensions::balance::kind::BreakKind;
use crate::dimensions::balance::point::point_of;

/// The dimension of disagreements. A later reading of the same blocks, in which both agree, ends such a break.
const PROVIDERS: &str = "providers";

impl Reconciliation {
    /// Stores that two providers disagree.
    pub(super) async fn record_disagreement(
        &self,
        ctx: &JobContext,
        disagreement: &Disagreement,
    ) -> Result<(), JobError> {
        if ctx.dry_run() {
            return Ok(());
        }
        let found = break_of(disagreement, self.chain.settings().chain_id);
        let mut step = ctx.step().await?;
        found.record(ctx, &mut step, &disagreement.point()).await?;
        Ok(step.commit().await?)
    }

    /// Closes the disagreements about blocks that both providers agree about now: a run that is contradicted leaves its
    /// checkpoints where they are, so that the next one reads the same blocks.
    pub(super) async fn end_disagreements(&self, ctx: &JobContext, block: &BlockRef) -> Result<(), Fault> {
        let has_agreed = matches!(self.events.control(), Control::Agreed(ranges) if ranges > 0);
        if !has_agreed {
            return Ok(());
        }
        let mut step = ctx.step().await?;
        resolve(ctx, &mut step, PROVIDERS, &point_of(block)).await?;
        Ok(step.commit().await?)
    }
}

fn break_of(disagreement: &Disagreement, chain_id: u64) -> ChainBreak {
    ChainBreak {
        dimension: PROVIDERS,
        kind: BreakKind::ProvidersDisagree,
        subject: format!("{chain_id}/{}", disagreement.block),
        evidence: disagreement.evidence.clone(),
        because: disagreement.what.clone(),
    }
}
