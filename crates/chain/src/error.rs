//! [`ChainError`]: what went wrong, and what the caller should do about it.

use std::fmt;

use eidos_types::{Address, BaseUnits, Hash32};

use crate::Rung;

/// Why a value could not be read from the chain. None of these is ever a difference between chain and books:
/// a value that could not be proven is an error, not a zero.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The node could not be reached, was too slow, overloaded or answered with a server error, after the
    /// bounded retries. Trying again later is right.
    #[error("{endpoint} did not answer {method}: {cause}")]
    Transport {
        /// Scheme, host and port of the node, without credentials or path.
        endpoint: String,
        /// The JSON-RPC method.
        method: String,
        /// What happened.
        cause: String,
    },
    /// The node no longer (or not yet) has the state of this block: pin a newer block and read again.
    #[error(
        "the node has no state for block {number} ({hash}): {detail}; pin a newer block, or use an archive node"
    )]
    StateUnavailable {
        /// The block's number.
        number: u64,
        /// The block's hash.
        hash: Hash32,
        /// The node's words.
        detail: String,
    },
    /// The block is no longer part of the chain: pin again. For a finalized block this is an incident.
    #[error("block {number} was {expected} and is now {found}: the chain was reorganised; pin a new block")]
    Reorged {
        /// The block's number.
        number: u64,
        /// The hash it had when it was pinned.
        expected: Hash32,
        /// The hash it has now.
        found: Hash32,
    },
    /// The node says that it is still catching up: its headers are ahead of the state it has executed.
    #[error(
        "{endpoint} is still syncing ({progress}): its headers may be ahead of its state; read again when it is done"
    )]
    Syncing {
        /// Scheme, host and port of the node.
        endpoint: String,
        /// What it says about its progress.
        progress: String,
    },
    /// The state that the node answers from is not the one that the block's header names. No value of it can be used.
    #[error(
        "the node does not answer from the state of block {number} ({hash}): {detail}; it may still be executing \
         blocks whose headers it has"
    )]
    StaleState {
        /// The block's number.
        number: u64,
        /// The block's hash.
        hash: Hash32,
        /// What gave it away.
        detail: String,
    },
    /// The contract has no code at this block: the block is older than the deployment.
    #[error(
        "there is no contract at {contract} in block {number}: the block is older than the deployment; \
         read again at a block after it"
    )]
    NotDeployed {
        /// The contract.
        contract: Address,
        /// The block's number.
        number: u64,
    },
    /// A setting does not fit the node or the contracts behind it: start is refused.
    #[error("{setting} = {value}: {reason}; {fix}")]
    Refused {
        /// The key of the setting.
        setting: String,
        /// Its value (never a credential).
        value: String,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        fix: String,
    },
    /// The node answered a plain question with an error that has no better name here.
    #[error("{endpoint} refused {method}: {message} (code {code})")]
    Node {
        /// Scheme, host and port of the node.
        endpoint: String,
        /// The JSON-RPC method.
        method: String,
        /// The JSON-RPC error code.
        code: i64,
        /// The node's words, at most 300 characters.
        message: String,
    },
    /// The answer cannot be an answer to the question: another id, another block, a wrong length, not JSON.
    #[error("{endpoint} gave an impossible answer to {method}: {detail}")]
    Malformed {
        /// Scheme, host and port of the node.
        endpoint: String,
        /// The JSON-RPC method.
        method: String,
        /// What is impossible about it.
        detail: String,
    },
    /// The logs of a range cannot be proven complete, so they are not returned.
    #[error("the logs of blocks {from} to {to} are not proven complete: {detail}")]
    LogsIncomplete {
        /// First block of the range.
        from: u64,
        /// Last block of the range.
        to: u64,
        /// Which proof failed.
        detail: String,
    },
    /// A bulk read disagreed with plain calls on every rung that was left.
    #[error(
        "{rung} read {bulk} for wallet {wallet}, token {token} at block {number}, a plain call {plain}: \
         the node contradicts itself; nothing it says about balances can be used"
    )]
    CrossCheckFailed {
        /// The rung that was checked.
        rung: Rung,
        /// The wallet of the sample.
        wallet: Address,
        /// The token of the sample.
        token: Address,
        /// The block both were read at.
        number: u64,
        /// The bulk value in base units.
        bulk: BaseUnits,
        /// The plain call's value in base units.
        plain: BaseUnits,
    },
    /// No rung of the ladder is left.
    #[error("no way to read balances in bulk is left: {}", .reasons.join("; "))]
    LadderExhausted {
        /// Each rung and why it is out.
        reasons: Vec<String>,
    },
}

impl ChainError {
    /// Refuses the start, or a read, for a setting: its key, its value, what is wrong with it and what to do.
    pub(crate) fn refused(
        setting: impl Into<String>,
        value: impl fmt::Display,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::Refused {
            setting: setting.into(),
            value: value.to_string(),
            reason: reason.into(),
            fix: fix.into(),
        }
    }

    /// Refuses what needs the Settlement contract, where none is configured.
    pub(crate) fn no_settlement(reason: &str) -> Self {
        let fix = "set the Settlement contract's address";
        Self::refused("settlement", "(not set)", reason, fix)
    }

    /// True if the same read may succeed later without a change of anything.
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Transport { .. }
                | Self::StateUnavailable { .. }
                | Self::Reorged { .. }
                | Self::Malformed { .. }
                | Self::LogsIncomplete { .. }
                | Self::Syncing { .. }
                | Self::StaleState { .. }
                | Self::NotDeployed { .. }
        )
    }

    /// True if the read must be repeated at a newly pinned block.
    pub const fn needs_new_pin(&self) -> bool {
        matches!(self, Self::StateUnavailable { .. } | Self::Reorged { .. })
    }
}
