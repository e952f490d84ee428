//! What the node was found to accept: remembered while the process lives, and given to the next one.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Limits of a node that were found by being refused. `None`: no refusal taught one yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LearnedLimits {
    /// Calls in one JSON-RPC batch; 1: the node takes no batches.
    pub batch_calls: Option<u64>,
    /// Blocks in one range of `eth_getLogs`.
    pub log_blocks: Option<u64>,
    /// Gas that one `eth_call` may name.
    pub call_gas: Option<u64>,
}

/// One limit: the setting, lowered by what the node refused.
#[derive(Debug)]
pub(crate) struct Limit {
    setting: u64,
    /// Equal to `setting` until something was learned.
    now: AtomicU64,
}

impl Limit {
    pub(crate) const fn new(setting: u64) -> Self {
        Self {
            setting,
            now: AtomicU64::new(setting),
        }
    }

    /// What may be asked for now.
    pub(crate) fn get(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Lowers it to `value`, at least 1; never raises it.
    pub(crate) fn lower(&self, value: u64) {
        self.now.fetch_min(value.max(1), Ordering::Relaxed);
    }

    /// What was learned; `None` while it is as set.
    pub(crate) fn learned(&self) -> Option<u64> {
        Some(self.get()).filter(|now| *now < self.setting)
    }
}
