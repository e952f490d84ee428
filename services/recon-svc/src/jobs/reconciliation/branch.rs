//! [`Branch`]: what became of the blocks that were read. Found out by [`super::fork`].

use std::collections::BTreeSet;

use eidos_chain::BlockRef;
use eidos_types::{Address, Hash32};

use crate::store::chain_blocks::{Derived, KeptBlock};

/// How many blocks are kept: more than a chain with finality takes to finalize one.
pub(super) const KEPT_BLOCKS: u64 = 256;

/// Blocks that are gone, with what they led to.
#[derive(Debug, Clone)]
pub(super) struct Fork {
    /// The newest block of both branches.
    pub(super) common: BlockRef,
    /// What was read of the lost branch.
    pub(super) lost: Vec<KeptBlock>,
}

impl Fork {
    /// Wallets that a lost block touched.
    pub(super) fn wallets(&self) -> BTreeSet<Address> {
        let wallets = self.lost.iter().flat_map(|block| &block.derived.wallets);
        wallets.copied().collect()
    }

    /// Accounts that only the lost blocks have shown.
    pub(super) fn shown(&self) -> BTreeSet<(Address, u16)> {
        let shown = self.lost.iter().flat_map(|block| &block.derived.shown);
        shown.copied().collect()
    }

    /// Keys of movements that lost blocks had, as `of` has them of one block.
    pub(super) fn movements(&self, of: impl Fn(&Derived) -> BTreeSet<String>) -> BTreeSet<String> {
        self.lost.iter().flat_map(|block| of(&block.derived)).collect()
    }

    /// The hashes of the lost blocks.
    pub(super) fn hashes(&self) -> Vec<Hash32> {
        self.lost.iter().map(|block| block.hash).collect()
    }
}

/// What became of the blocks that were read.
#[derive(Debug)]
pub(super) enum Branch {
    /// All are on the chain.
    Same,
    /// Some are lost.
    Forked(Fork),
    /// The fork is below everything that is kept: nothing that was derived holds.
    Unknown,
}

impl Branch {
    /// The fork, if there is one.
    pub(super) const fn fork(&self) -> Option<&Fork> {
        match self {
            Self::Forked(fork) => Some(fork),
            Self::Same | Self::Unknown => None,
        }
    }
}
