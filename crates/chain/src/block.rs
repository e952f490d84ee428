//! Blocks: which one a read is pinned to, and how it is addressed.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::{B256, Bloom, U64};
use alloy_rpc_types_eth::{BlockId, RpcBlockHash};
use eidos_types::Hash32;
use serde::{Deserialize, Serialize};

/// A block that reads are pinned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its number.
    pub number: u64,
    /// Its hash: what really names it.
    pub hash: Hash32,
    /// Its timestamp, in epoch seconds.
    pub timestamp_s: u64,
}

impl fmt::Display for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number, self.hash)
    }
}

/// Which block is old enough to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finality {
    /// The node's `finalized` block.
    #[default]
    Finalized,
    /// The node's `safe` block.
    Safe,
    /// This many blocks behind the head (0 = the head itself): only for chains without finality.
    Depth(u64),
}

impl fmt::Display for Finality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finalized => f.write_str("finalized"),
            Self::Safe => f.write_str("safe"),
            Self::Depth(depth) => write!(f, "{{depth: {depth}}}"),
        }
    }
}

/// How the node is asked about a pinned block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Addressing {
    /// By hash (EIP-1898, canonical required): a node that lags or is on a fork answers with an error.
    Hash,
    /// By number, for nodes without EIP-1898: only the header sandwich protects the read.
    Number,
}

impl Addressing {
    /// The parameter that names `block` in a JSON-RPC call.
    pub(crate) fn of(self, block: &BlockRef) -> BlockId {
        match self {
            Self::Hash => BlockId::Hash(RpcBlockHash::from_hash(
                B256::new(*block.hash.as_bytes()),
                Some(true),
            )),
            Self::Number => BlockId::number(block.number),
        }
    }
}

/// How blocks are addressed now. It is found out at start and may be found out anew later.
#[derive(Debug)]
pub(crate) struct CurrentAddressing {
    by_hash: AtomicBool,
}

impl CurrentAddressing {
    pub(crate) const fn new(addressing: Addressing) -> Self {
        Self {
            by_hash: AtomicBool::new(matches!(addressing, Addressing::Hash)),
        }
    }

    pub(crate) fn get(&self) -> Addressing {
        if self.by_hash.load(Ordering::Relaxed) {
            Addressing::Hash
        } else {
            Addressing::Number
        }
    }

    pub(crate) fn set(&self, addressing: Addressing) {
        self.by_hash
            .store(addressing == Addressing::Hash, Ordering::Relaxed);
    }

    /// The parameter that names `block` in a JSON-RPC call.
    pub(crate) fn of(&self, block: &BlockRef) -> BlockId {
        self.get().of(block)
    }
}

/// The fields of a header that are used here. Chains differ in the others, so they are not even looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    number: Option<U64>,
    hash: Option<B256>,
    pub(crate) parent_hash: B256,
    timestamp: U64,
    #[serde(default)]
    pub(crate) state_root: Option<B256>,
    #[serde(default)]
    pub(crate) logs_bloom: Option<Bloom>,
}

impl Header {
    /// Returns the block. `None`: it is pending and has no number or hash.
    pub(crate) fn block(&self) -> Option<BlockRef> {
        Some(BlockRef {
            number: self.number?.to(),
            hash: Hash32::new(self.hash?.0),
            timestamp_s: self.timestamp.to(),
        })
    }
}
