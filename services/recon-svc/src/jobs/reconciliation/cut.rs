//! The cut: both sides at one moment (ruling 21, reference 4.1).
//!
//! 1. Open a snapshot of the books; inside it read the indexer's last block.
//! 2. Ask the node for its finalized block.
//! 3. B is the older of the two, addressed by hash. What the books know beyond B is rolled back by in-flight lines.

use chrono::{DateTime, Utc};
use eidos_chain::{BlockRef, ChainError, ChainReader};

use super::report::Finding;
use crate::dimensions::balance::kind::BreakKind;
use crate::dimensions::balance::schema::Schema;
use crate::dimensions::balance::sources::SourceError;
use crate::dimensions::balance::sources::snapshot::{BooksSnapshot, Databases};

/// Both sides, pinned.
#[derive(Debug)]
pub struct Cut {
    /// The chain's side.
    pub block: BlockRef,
    /// The books' side.
    pub snapshot: BooksSnapshot,
    /// The finalized block when it was pinned.
    pub finalized: BlockRef,
    /// The node's newest block, asked after the books were read.
    pub head: BlockRef,
}

impl Cut {
    /// Pins both sides. With `keep`, the block of an unfinished run is kept if the chain still has it: the books
    /// are rolled back to it like to any other.
    pub async fn pin(
        databases: &Databases,
        schema: &Schema,
        chain: &ChainReader,
        keep: Option<BlockRef>,
    ) -> Result<Self, SourceError> {
        let chain_id = chain.settings().chain_id;
        let snapshot = BooksSnapshot::open(databases, schema, chain_id).await?;
        chain.verify_chain_id().await?;
        let finalized = chain.finalized().await?;
        let head = chain.head().await?;
        let indexer = snapshot.indexer;
        let newest = indexer.number.min(finalized.number);
        let block = match keep.filter(|kept| kept.number <= newest) {
            Some(kept) => {
                chain.verify_canonical(&kept).await?;
                kept
            }
            None if newest == finalized.number => finalized,
            None => block_at(chain, newest).await?,
        };
        if block.number == indexer.number {
            super::lag::check(chain, &block, &finalized).await?;
        }
        if let Some(expected) = indexer
            .hash
            .filter(|hash| block.number == indexer.number && *hash != block.hash)
        {
            // The indexer follows another branch: what the books know is not this chain.
            return Err(ChainError::Reorged {
                number: block.number,
                expected,
                found: block.hash,
            }
            .into());
        }
        Ok(Self {
            block,
            snapshot,
            finalized,
            head,
        })
    }

    /// How many finalized blocks the indexer has not applied.
    #[must_use]
    pub const fn indexer_lag(&self) -> u64 {
        self.finalized.number.saturating_sub(self.snapshot.indexer.number)
    }

    /// How many blocks the node lacks that the books' indexer has applied. What the node does not know about them
    /// proves nothing.
    #[must_use]
    pub const fn node_lag(&self) -> u64 {
        self.snapshot.indexer.number.saturating_sub(self.head.number)
    }

    /// A node that has not reached what the books know, and how many `accounts` that leaves open.
    #[must_use]
    pub fn node_behind(&self, accounts: usize) -> Option<Finding> {
        (self.node_lag() > 0 || accounts > 0).then(|| Finding {
            kind: BreakKind::NodeBehind,
            token: None,
            detail: format!(
                "the node's newest block is {} (finalized {}), the books' indexer is at {}: {accounts} accounts have \
                 movements in blocks that the node had not reached and were not judged; they are read again, and the \
                 next run goes on with those still open. Check that the node (each one behind chain.rpc_url) is in sync",
                self.head.number, self.finalized.number, self.snapshot.indexer.number
            ),
        })
    }

    /// When the books were read.
    #[must_use]
    pub const fn taken_at(&self) -> DateTime<Utc> {
        self.snapshot.taken_at
    }
}

/// The block of this number, at or below the finalized one.
pub(crate) async fn block_at(chain: &ChainReader, number: u64) -> Result<BlockRef, SourceError> {
    chain.block(number).await?.ok_or_else(|| {
        let detail = "the node has no block of this number, and its finalized block is newer: a node behind \
                      another one of the same address"
            .to_owned();
        ChainError::StateUnavailable {
            number,
            hash: eidos_types::Hash32::ZERO,
            detail,
        }
        .into()
    })
}
