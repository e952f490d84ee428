//! The events of some blocks, as every dimension's pages read them.

use eidos_chain::{LogProof, VaultEvent};

use super::super::cut::block_at;
use super::super::fault::Fault;
use super::super::job::Reconciliation;
use super::source::Side;
use super::{Against, Plan};

/// The blocks of one page: both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) first: u64,
    pub(super) end: u64,
}

impl Blocks {
    /// The blocks after `after`, at most as many as are read together. `None`: all up to the cut are read.
    pub(super) fn next(
        job: &Reconciliation,
        against: Against<'_>,
        plan: &Plan,
        after: Option<u64>,
    ) -> Option<Self> {
        let first = after.map_or(plan.first, |after| plan.first.max(after.saturating_add(1)));
        let end = first
            .saturating_add(job.rules().event_blocks - 1)
            .min(against.block.number);
        (first <= against.block.number).then_some(Self { first, end })
    }

    /// Ends before a block that may not be whole, and has at least one block.
    pub(super) fn before(self, block: u64) -> Self {
        Self {
            end: block.saturating_sub(1).max(self.first),
            ..self
        }
    }

    pub(super) const fn contains(&self, block: u64) -> bool {
        self.first <= block && block <= self.end
    }
}

/// The events of a dimension in some blocks at or below the cut.
pub(super) async fn events<D: Side>(
    job: &Reconciliation,
    against: Against<'_>,
    blocks: Blocks,
) -> Result<Vec<VaultEvent>, Fault> {
    if blocks.first > blocks.end {
        return Ok(Vec::new());
    }
    let chain = &job.chain;
    let last = if blocks.end == against.block.number {
        against.block
    } else {
        block_at(chain, blocks.end).await?
    };
    job.events
        .of(blocks.first, &last, &D::filter(LogProof::Ranges))
        .await
}
