//! How far back the node keeps state, found by reading it.

use alloy_primitives::{U64, U256};
use serde_json::json;

use crate::contracts::evm;
use crate::rpc::RpcError;
use crate::{ChainError, ChainReader, Finality};

/// How far behind its head a node still answers from state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateKept {
    /// The head when it was asked.
    pub head: u64,
    /// State is readable this many blocks behind the head.
    pub blocks: u64,
    /// False if it was not asked further back than `blocks`: there may be more.
    pub is_limit: bool,
}

impl ChainReader {
    /// Returns how many blocks behind the head the node answers from state, looking back at most `most` blocks.
    ///
    /// # Errors
    /// If the node does not answer at all.
    pub async fn state_kept(&self, most: u64) -> Result<StateKept, ChainError> {
        let head = self.head().await?.number;
        let most = most.min(head);
        if self.has_state(head - most).await? {
            return Ok(StateKept {
                head,
                blocks: most,
                is_limit: false,
            });
        }
        // State is there `kept` blocks back and not `lost` blocks back.
        let (mut kept, mut lost) = (0, most);
        while lost - kept > 1 {
            let middle = kept + (lost - kept) / 2;
            if self.has_state(head - middle).await? {
                kept = middle;
            } else {
                lost = middle;
            }
        }
        Ok(StateKept {
            head,
            blocks: kept,
            is_limit: true,
        })
    }

    async fn has_state(&self, number: u64) -> Result<bool, ChainError> {
        let method = "eth_getBalance";
        let params = json!([evm(&self.settings.vault), U64::from(number)]);
        match self.rpc.call::<U256>(method, params).await {
            Ok(_balance) => Ok(true),
            Err(RpcError::Node(error)) if !error.kind.passes_by_itself() => Ok(false),
            Err(error) => Err(self.rpc.error(method, error)),
        }
    }

    /// Explains a start that ended because the final block has no state: the node cannot serve the policy.
    pub(crate) async fn explain_start(&self, error: ChainError) -> ChainError {
        let ChainError::StateUnavailable { number, detail, .. } = &error else {
            return error;
        };
        let back = match self.settings.finality {
            Finality::Depth(depth) => depth,
            Finality::Finalized | Finality::Safe => match self.head().await {
                Ok(head) => head.number.saturating_sub(*number),
                Err(_unknown) => return error,
            },
        };
        match self.state_kept(back).await {
            Ok(kept) if kept.is_limit => ChainError::refused(
                "finality",
                self.settings.finality,
                format!(
                    "block {number} is {back} blocks behind the head, and the node at {} keeps the state of the last {} \
                     only ({detail})",
                    self.rpc.endpoint(),
                    kept.blocks
                ),
                format!(
                    "use a node that keeps more state (geth: --history.state or --gcmode archive), or a final block at \
                     most {} behind the head",
                    kept.blocks
                ),
            ),
            _ => error,
        }
    }
}
