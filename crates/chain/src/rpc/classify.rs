//! What a node means: JSON-RPC error codes are used differently by every client, so the words count too.

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
    /// The request or its answer is larger than the node allows, or took the node too long.
    TooLarge,
    /// Too many requests.
    RateLimited,
    /// The node does not have this method or this parameter.
    Unsupported,
    /// Anything else, reverts included.
    Other,
}

/// Messages may carry whole traces.
const MAX_MESSAGE_CHARS: usize = 300;

/// The words of geth, erigon, nethermind, reth, besu, anvil, Bor, Nitro and the large providers.
const STATE_UNAVAILABLE: &[&str] = &[
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
];
const OUT_OF_GAS: &[&str] = &[
    "out of gas",
    "outofgas",
    "gas required exceeds",
    "gas uint64 overflow",
    "intrinsic gas",
];
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
    "batch too large",
    "batch limit",
    "batch size",
    "too many slots",
    "too many requests in batch",
    "exceeds the maximum",
    "result limit",
    "payload too large",
];
const RATE_LIMITED: &[&str] = &[
    "rate limit",
    "too many requests",
    "request limit",
    "requests per second",
    "throughput",
    "over capacity",
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
        let kind = classify(code, &message.to_lowercase());
        Self {
            code,
            message: message.chars().take(MAX_MESSAGE_CHARS).collect(),
            kind,
        }
    }
}

fn classify(code: i64, words: &str) -> NodeErrorKind {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if code == -32_601 {
        NodeErrorKind::Unsupported
    } else if says(OUT_OF_GAS) {
        NodeErrorKind::OutOfGas
    } else if code == -32_001 || says(STATE_UNAVAILABLE) {
        NodeErrorKind::StateUnavailable
    } else if says(&["too many requests in batch"]) {
        NodeErrorKind::TooLarge
    } else if code == 429 || code == -32_097 || says(RATE_LIMITED) {
        NodeErrorKind::RateLimited
    } else if says(RANGE_TOO_LARGE) {
        NodeErrorKind::RangeTooLarge {
            suggested: suggested_range(words),
        }
    } else if says(TOO_LARGE) {
        NodeErrorKind::TooLarge
    } else if code == -32_005 {
        // EIP-1474 "limit exceeded": providers use it both for rates and for sizes; a pause serves both.
        NodeErrorKind::RateLimited
    } else if code == -32_602 || says(UNSUPPORTED) {
        NodeErrorKind::Unsupported
    } else {
        NodeErrorKind::Other
    }
}

/// The range some providers propose: the last `[0x.., 0x..]`, or the last two hex numbers of the message.
fn suggested_range(words: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> = words
        .split("0x")
        .skip(1)
        .filter_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
            u64::from_str_radix(&digits, 16).ok()
        })
        .collect();
    match numbers.as_slice() {
        [.., from, to] if from <= to => Some((*from, *to)),
        _ => None,
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
        use NodeErrorKind::{Other, OutOfGas, RateLimited, StateUnavailable, TooLarge, Unsupported};
        let cases = [
            (-32_000, "missing trie node 5f1b (path )", StateUnavailable), // geth
            (-32_000, "header not found", StateUnavailable),
            (-32_000, "header for hash not found", StateUnavailable),
            (-32_000, "hash 0x12 is not currently canonical", StateUnavailable),
            (
                -32_000,
                "distance to target block exceeds maximum proof window",
                StateUnavailable,
            ), // reth
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
            (-32_600, "batch too large", TooLarge),
            (-32_602, "too many slots (max 1024)", TooLarge),
            (
                -32_601,
                "the method eth_getStorageValues does not exist/is not available",
                Unsupported,
            ),
            (-32_602, "too many arguments, want at most 2", Unsupported),
            (3, "execution reverted", Other),
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
        assert_eq!(suggested("exceed maximum block range: 5000"), None);
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
