//! A block of the chain as the engine's cut.

use eidos_chain::BlockRef;
use eidos_recon::CutPoint;

/// The cut at a block.
#[must_use]
pub fn point_of(block: &BlockRef) -> CutPoint {
    CutPoint {
        number: block.number,
        hash: block.hash.to_string(),
        timestamp_s: block.timestamp_s,
    }
}

/// The block of a cut; `None`: its hash is not a block's.
#[must_use]
pub fn block_of(point: &CutPoint) -> Option<BlockRef> {
    Some(BlockRef {
        number: point.number,
        hash: point.hash.parse().ok()?,
        timestamp_s: point.timestamp_s,
    })
}
