//! What a node means: JSON-RPC error codes are used differently by every client, so the words count too.

use std::time::Duration;

use serde_json::Value;

use super::hints;

/// A JSON-RPC error object of the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code})")]
pub(crate) struct NodeError {
    /// The JSON-RPC code.
    pub(crate) code: i64,
    /// The message, at most [`MAX_MESSAGE_CHARS`] characters.
    pub(crate) message: String,
    /// What it means.
    pub(crate) kind: NodeErrorKind,
    /// The pause the node asks for.
    pub(crate) pause: Option<Duration>,
}

/// What an error of the node means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeErrorKind {
    /// The block or its state is not here (pruned, reorganised away, or the node lags).
    StateUnavailable,
    /// The log range is too large; the node may have proposed another.
    RangeTooLarge {
        /// The proposed first and last block.
        suggested: Option<(u64, u64)>,
    },
    /// The call needs more gas than the node grants.
    OutOfGas,
    /// The call names more gas than the node takes.
    GasTooHigh,
    /// The request or its answer is larger than the node allows, or took the node too long.
    TooLarge,
    /// The batch has more calls than the node takes, or none may be sent at all.
    BatchTooLarge,
    /// Too many requests: wait, then ask the same again.
    RateLimited,
    /// EIP-1474 "limit exceeded" without a word on which limit: a pause serves a rate, asking for less a size.
    LimitExceeded,
    /// The node is busy with itself (it builds an index): the same question is answered later.
    NotReady,
    /// The node does not have this method or this parameter.
    Unsupported,
    /// The contract refused the call: it has no such view, or the view reverts.
    Reverted,
    /// Anything else. It says nothing about the question.
    Other,
}

impl NodeErrorKind {
    /// True if the same question is answered later without a change of anything.
    pub(crate) const fn passes_by_itself(self) -> bool {
        matches!(self, Self::RateLimited | Self::LimitExceeded | Self::NotReady)
    }
}

/// Messages may carry whole traces.
const MAX_MESSAGE_CHARS: usize = 300;

/// The words of geth, erigon, nethermind, reth, besu, anvil, Hardhat, Ganache, Bor, Nitro and the large providers.
const STATE_UNAVAILABLE: &[&str] = &[
    "invalid block tag",
    "block with hash",
    "block with number",
    "unknown blockhash",
    "header for number not found",
    "finalized block not found",
    "safe block not found",
    "missing trie node",
    "header not found",
    "header for hash not found",
    "block not found",
    "unknown block",
    "resource not found",
    "state not available",
    "state is not available",
    "state unavailable",
    "historical state",
    "distance to target block exceeds",
    "state already discarded",
    "state at block",
    "no state available",
    "pruned",
    "is not canonical",
    "not currently canonical",
    "hash is not currently canonical",
    "block is out of range",
    "blockoutofrange",
    "block number out of range",
    "beyond head",
    "beyond current head",
    "after last accepted block",
    "could not find block",
];
const RANGE_TOO_LARGE: &[&str] = &[
    "block range",
    "blocks range",
    "range is too",
    "range too",
    "query returned more than",
    "log response size exceeded",
    "too many blocks",
    "max results",
    "exceeds max results",
    "exceed maximum block range",
    "query exceeds",
    "eth_getlogs is limited",
    "limit exceeded with",
    "too many logs",
    "query must be smaller",
];
/// Together with one of [`LIMITS`].
const COUNTED_IN_BLOCKS: &[&str] = &["range", "blocks", "distance"];
const LIMITS: &[&str] = &[
    "exceed",
    "limit",
    "maximum",
    "max ",
    "too ",
    "at most",
    "more than",
    "not supported",
    "not allowed",
    "smaller",
    "less than",
    "over ",
    "up to",
    "number of requested",
];
const OUT_OF_GAS: &[&str] = &[
    "out of gas",
    "outofgas",
    "gas required exceeds",
    "gas uint64 overflow",
    "intrinsic gas",
];
/// Words about gas that are not about how much of it a call may use.
const OTHER_GAS: &[&str] = &["revert", "gas price", "gasprice", "per gas", "pergas", "base fee"];
const TOO_LARGE: &[&str] = &[
    "execution timeout",
    "execution aborted",
    "timed out",
    "timeout",
    "response too large",
    "response is too big",
    "response size",
    "request too large",
    "request entity too large",
    "too many slots",
    "exceeds the maximum",
    "result limit",
    "payload too large",
];
const RATE_LIMITED: &[&str] = &[
    "rate limit",
    "rate-limit",
    "ratelimit",
    "too many requests",
    "too many concurrent",
    "request limit",
    "requests limit",
    "requests per",
    "request count exceeded",
    "per second",
    "/second",
    "/sec",
    "throughput",
    "compute units",
    "credits",
    "quota",
    "over capacity",
    "capacity exceeded",
    "capacity limit",
    "slow down",
];
/// 429 as in HTTP; the others are those of single providers.
const RATE_LIMITED_CODES: &[i64] = &[429, -32_007, -32_012, -32_090, -32_097];
const NOT_READY: &[&str] = &[
    "indexing is in progress",
    "is still indexing",
    "not yet indexed",
    "still syncing",
    "is syncing",
    "node is not ready",
    "not synced",
    "starting up",
];
const REVERTED: &[&str] = &[
    "execution reverted",
    "revert",
    "vm exception",
    "vm execution error",
    "invalid opcode",
    "opcode not found",
    "opcodenotfound",
    "invalidfeopcode",
    "invalid jump",
    "invalidjump",
    "stack underflow",
    "stackunderflow",
    "function selector was not recognized",
    "non-contract account",
];
const UNSUPPORTED: &[&str] = &[
    "method not found",
    "does not exist",
    "is not available",
    "not supported",
    "unsupported",
];

impl NodeError {
    /// Reads the meaning out of code and words.
    pub(crate) fn new(code: i64, message: &str) -> Self {
        Self::with_data(code, message, &Value::Null)
    }

    /// Reads the meaning out of code, words and the error's `data`.
    ///
    /// Some clients put the words that matter into `data` and "internal error" into `message`; providers put a link
    /// to the limits of the plan there.
    pub(crate) fn with_data(code: i64, message: &str, data: &Value) -> Self {
        let more = match data {
            Value::String(text) if !text.starts_with("0x") => Some(text.as_str()),
            Value::Object(fields) => ["message", "reason", "details", "see"]
                .iter()
                .find_map(|key| fields.get(*key).and_then(Value::as_str)),
            _ => None,
        };
        let message = more.map_or_else(|| message.to_owned(), |more| format!("{message}: {more}"));
        let words = message.to_lowercase();
        Self {
            code,
            kind: classify(code, &words),
            pause: hints::pause_in_data(data).or_else(|| hints::pause_in_words(&words)),
            message: message.chars().take(MAX_MESSAGE_CHARS).collect(),
        }
    }
}

fn classify(code: i64, words: &str) -> NodeErrorKind {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if code == -32_601 {
        NodeErrorKind::Unsupported
    } else if code == 3 || words.starts_with("execution reverted") {
        // First, because what follows may be the contract's own words.
        NodeErrorKind::Reverted
    } else if says(&["gas too high"]) {
        NodeErrorKind::GasTooHigh
    } else if says(OUT_OF_GAS) {
        NodeErrorKind::OutOfGas
    } else if says(NOT_READY) {
        NodeErrorKind::NotReady
    } else if code == -32_001 || says(STATE_UNAVAILABLE) {
        NodeErrorKind::StateUnavailable
    } else if says(&["gas"]) && code != 3 && !says(OTHER_GAS) {
        NodeErrorKind::GasTooHigh
    } else if says(&["batch"]) && says(LIMITS) && !says(&["rate limit"])
        || says(&["too many requests in batch"])
    {
        NodeErrorKind::BatchTooLarge
    } else if says(RATE_LIMITED) {
        NodeErrorKind::RateLimited
    } else if says(RANGE_TOO_LARGE) || says(COUNTED_IN_BLOCKS) && says(LIMITS) {
        NodeErrorKind::RangeTooLarge {
            suggested: hints::suggested_range(words),
        }
    } else if says(TOO_LARGE) {
        NodeErrorKind::TooLarge
    } else if RATE_LIMITED_CODES.contains(&code) {
        // After the words: some providers use the code for sizes too.
        NodeErrorKind::RateLimited
    } else if code == -32_005 {
        NodeErrorKind::LimitExceeded
    } else if says(REVERTED) {
        NodeErrorKind::Reverted
    } else if code == -32_602 || says(UNSUPPORTED) {
        NodeErrorKind::Unsupported
    } else {
        NodeErrorKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: i64, message: &str) -> NodeErrorKind {
        NodeError::new(code, message).kind
    }

    #[test]
    fn words_of_real_nodes() {
        use NodeErrorKind::{
            Other, OutOfGas, RateLimited, Reverted, StateUnavailable, TooLarge, Unsupported,
        };
        let cases = [
            (-32_000, "missing trie node 5f1b (path )", StateUnavailable), // geth
            (-32_000, "header not found", StateUnavailable),
            (-32_000, "header for hash not found", StateUnavailable),
            (-32_000, "hash 0x12 is not currently canonical", StateUnavailable),
            (
                -32_000,
                "distance to target block exceeds maximum proof window",
                StateUnavailable,
            ),
            (-32_001, "Resource not found", StateUnavailable), // anvil
            (
                -32_602,
                "BlockOutOfRangeError: block height is 2 but requested was 80",
                StateUnavailable,
            ),
            (-32_000, "unknown block", StateUnavailable),
            (-32_000, "state already discarded for block 12", StateUnavailable),
            (-32_603, "EVM error OutOfGas", OutOfGas),
            (-32_000, "out of gas: gas required exceeds: 50000000", OutOfGas),
            (-32_005, "rate limit exceeded", RateLimited),
            (429, "slow down", RateLimited),
            (-32_000, "execution aborted (timeout = 5s)", TooLarge),
            (
                3,
                "execution reverted: not enough gas for the inner call",
                Reverted,
            ),
            (-32_602, "too many slots (max 1024)", TooLarge),
            (
                -32_601,
                "the method eth_getStorageValues does not exist/is not available",
                Unsupported,
            ),
            (-32_602, "too many arguments, want at most 2", Unsupported),
            (3, "execution reverted", Reverted),
            (3, "execution reverted: block not found", Reverted), // the contract's words, not the node's
            (-32_000, "Execution reverted", Reverted),            // besu
            (-32_015, "VM execution error.: Reverted 0x", Reverted), // nethermind
            (
                -32_000,
                "VM Exception while processing transaction: revert",
                Reverted,
            ), // Ganache
            (
                -32_603,
                "VM Exception while processing transaction: reverted with reason string 'x'",
                Reverted,
            ), // Hardhat
            (-32_603, "EVM error InvalidFEOpcode", Reverted),     // anvil
            (-32_603, "Internal error", Other),
            (
                -32_602,
                "Received invalid block tag 12. Latest block number is 11",
                StateUnavailable,
            ), // Hardhat
        ];
        for (code, message, expected) in cases {
            assert_eq!(kind(code, message), expected, "{message}");
        }
    }

    #[test]
    fn a_block_that_is_unknown_here_is_pinned_again_and_an_index_is_waited_for() {
        use NodeErrorKind::{NotReady, StateUnavailable};
        let cases = [
            (
                -32_000,
                "historical state 5f1b is not available",
                StateUnavailable,
            ),
            (-32_000, "header for hash not found", StateUnavailable),
            (-32_000, "finalized block not found", StateUnavailable), // geth after a restart
            (-32_000, "transaction indexing is in progress", NotReady), // geth
        ];
        for (code, message, expected) in cases {
            assert_eq!(kind(code, message), expected, "{message}");
        }
    }

    #[test]
    fn limits_of_nodes_and_providers() {
        use NodeErrorKind::{BatchTooLarge, GasTooHigh, LimitExceeded, RateLimited, StateUnavailable};
        let cases = [
            (-32_600, "batch too large", BatchTooLarge),
            (
                -32_600,
                "Batch of more than 3 requests are not allowed",
                BatchTooLarge,
            ),
            (-32_000, "too many requests in batch (max 100)", BatchTooLarge),
            (-32_005, "limit exceeded", LimitExceeded),
            (-32_007, "50/second request limit reached", RateLimited),
            (-32_012, "credits limited to 6000/sec", RateLimited),
            (-32_016, "over rate limit", RateLimited),
            (
                -32_005,
                "daily request count exceeded, request rate limited",
                RateLimited,
            ),
            (-32_007, "", RateLimited),
            (-32_000, "rate limit exceeded for batch requests", RateLimited),
            (
                -32_602,
                "block range extends beyond current head block",
                StateUnavailable,
            ), // geth: it is behind
            (
                -32_000,
                "Transaction gas limit is 50000000 and exceeds transaction gas cap of 16777216",
                GasTooHigh,
            ), // Hardhat
            (
                -32_000,
                "intrinsic gas too high -- CallerGasLimitMoreThanBlock",
                GasTooHigh,
            ), // revm
        ];
        for (code, message, expected) in cases {
            assert_eq!(kind(code, message), expected, "{message}");
        }
    }

    #[test]
    fn ranges_and_their_suggestions() {
        let suggested = |message: &str| match kind(-32_602, message) {
            NodeErrorKind::RangeTooLarge { suggested } => suggested,
            other => panic!("{other:?}: {message}"),
        };
        assert_eq!(
            suggested("Log response size exceeded. this block range should work: [0x10, 0x20]"),
            Some((16, 32))
        );
        assert_eq!(
            suggested("query returned more than 10000 results. Try with this block range [0x1, 0xff]."),
            Some((1, 255))
        );
        for words in [
            "exceed maximum block range: 5000",
            "range 221 exceeds limit of 10000",
            "maximum [from, to] blocks distance: 10000",
            "ranges over 10000 blocks are not supported on freetier",
            "number of requested blocks is 1000",
            "please limit the query to at most 1,000 blocks",
            "query must be smaller than size 1024",
        ] {
            assert_eq!(suggested(words), None, "{words}");
        }
        assert_eq!(suggested("eth_getLogs is limited to a 10,000 range"), None);
        assert_eq!(
            suggested("block range too large [0x20, 0x10]"),
            None,
            "a range that runs backwards"
        );
    }

    #[test]
    fn long_messages_are_cut() {
        assert_eq!(
            NodeError::new(1, &"é".repeat(5_000)).message.chars().count(),
            MAX_MESSAGE_CHARS
        );
    }
}
