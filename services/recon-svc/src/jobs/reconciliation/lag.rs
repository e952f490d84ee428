//! How far the indexer may be behind: the comparison is made at its block, whose state the node must still have.

use eidos_chain::{BlockRef, ChainError, ChainReader};
use eidos_telemetry::metric;

use crate::dimensions::balance::sources::SourceError;

/// How far the indexer may be behind the finalized block before that is a finding: `wanted` blocks, or fewer where the
/// node forgets state sooner. Half of what is readable, so that the finding is reported while runs still succeed.
///
/// # Errors
/// If the node does not answer.
pub(crate) async fn limit(chain: &ChainReader, wanted: u64) -> Result<u64, ChainError> {
    let finalized = chain.finalized().await?.number;
    let head = chain.head().await?.number;
    let kept = chain
        .state_kept(head.saturating_sub(finalized).saturating_add(wanted))
        .await?;
    let readable = kept.blocks.saturating_sub(kept.head.saturating_sub(finalized));
    if !kept.is_limit || readable >= wanted {
        return Ok(wanted);
    }
    let limit = (readable / 2).max(1);
    tracing::warn!(
        indexer_max_lag_blocks = wanted,
        state_blocks_behind_head = kept.blocks,
        state_blocks_behind_finalized = readable,
        limit,
        "reconciliation.indexer_max_lag_blocks is more than the node keeps state for: an indexer is reported as behind at \
         the limit named here, and further behind than the state nothing can be compared; lower the setting, or use a \
         node that keeps more state"
    );
    Ok(limit)
}

/// Makes sure that the node has the state of the indexer's block `at`. If it has not, that is the indexer's lag and not
/// a passing gap: a newly pinned cut would be at the same block.
///
/// # Errors
/// [`SourceError::IndexerBehindState`].
pub(super) async fn check(
    chain: &ChainReader,
    at: &BlockRef,
    finalized: &BlockRef,
) -> Result<(), SourceError> {
    let lag = finalized.number.saturating_sub(at.number);
    match chain.verify_state(at).await {
        Err(ChainError::StateUnavailable { detail, .. }) if lag > 0 => {
            metric::reconciliation_indexer_lag(lag);
            Err(SourceError::IndexerBehindState {
                indexer: at.number,
                finalized: finalized.number,
                lag,
                detail,
            })
        }
        other => Ok(other?),
    }
}
