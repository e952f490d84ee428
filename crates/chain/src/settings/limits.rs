//! How hard the node may be asked.

use std::time::Duration;

use eidos_types::{Address, Hash32};
use serde::{Deserialize, Serialize};

use crate::Rung;

/// How requests are made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpcSettings {
    /// Longest time for one HTTP exchange, answer included.
    #[serde(with = "humantime_text")]
    pub request_timeout: Duration,
    /// Longest time to connect.
    #[serde(with = "humantime_text")]
    pub connect_timeout: Duration,
    /// Largest answer that is read, in bytes after decompression.
    pub max_response_bytes: usize,
    /// Requests under way at once, 1 to 256.
    pub parallel_requests: usize,
    /// Attempts per request, the first included, when the node is out of order: transport errors, 5xx. Rate limits
    /// are waited for instead.
    pub max_attempts: usize,
    /// The first pause between attempts; doubles, with jitter. The same for rate limits.
    #[serde(with = "humantime_text")]
    pub retry_base: Duration,
    /// The longest pause of our own choice. One that the node asks for is kept in full.
    #[serde(with = "humantime_text")]
    pub retry_max: Duration,
    /// How long the start asks again for what the node did not answer, before it gives up.
    #[serde(with = "humantime_text")]
    pub start_patience: Duration,
    /// Longest time that one read waits, without an answer to any part of it, for a node that refuses requests by
    /// rate. The deadline of the run around it ends it earlier.
    #[serde(with = "humantime_text")]
    pub rate_limit_budget: Duration,
    /// Calls in one JSON-RPC batch, 1 to 5000. Nodes and providers allow 3 to 1000; a smaller limit is found by trying.
    pub batch_calls: usize,
}

impl Default for RpcSettings {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            max_response_bytes: 64 << 20,
            parallel_requests: 4,
            max_attempts: 4,
            retry_base: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            start_patience: Duration::from_secs(30),
            rate_limit_budget: Duration::from_mins(2),
            batch_calls: 100,
        }
    }
}

/// How balances are read in bulk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BulkSettings {
    /// The rungs that may be used, best first.
    pub rungs: Vec<Rung>,
    /// Wallets in the first request of a rung; doubles while it works.
    pub start_wallets: usize,
    /// Most wallets in one request, whatever the gas allows.
    pub max_wallets: usize,
    /// Gas that one bulk `eth_call` names, at most. geth and most providers cap it at 50 million, EIP-7825 at
    /// 16,777,216; where the node refuses it, its own figure is used, or half.
    pub call_gas: u64,
    /// Values of every bulk read that are read again by plain calls, at least 1.
    pub sample: usize,
    /// The slot of `mapping(user => mapping(token => uint256))` with the totals, for a Vault whose code is not
    /// that of this repository. Without it, storage is read only if the code is known.
    pub balances_slot: Option<u64>,
    /// Where Multicall3 is.
    pub multicall: Address,
    /// The hash its code must have. A contract at a well-known address is not well known by that.
    pub multicall_code_hash: Hash32,
    /// How long a rung that failed is left alone. One that gave a wrong value is never used again.
    #[serde(with = "humantime_text")]
    pub retry_rung_after: Duration,
}

impl Default for BulkSettings {
    fn default() -> Self {
        Self {
            rungs: Rung::ALL.to_vec(),
            start_wallets: 2_000,
            max_wallets: 20_000,
            call_gas: 50_000_000,
            sample: 32,
            balances_slot: None,
            multicall: Address::new(MULTICALL3_ADDRESS),
            multicall_code_hash: Hash32::new(MULTICALL3_CODE_HASH),
            retry_rung_after: Duration::from_mins(10),
        }
    }
}

/// How logs are read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Blocks in the first `eth_getLogs` range; adapts to what the node accepts.
    pub start_blocks: u64,
    /// Most blocks in one range.
    pub max_blocks: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            start_blocks: 2_000,
            max_blocks: 100_000,
        }
    }
}

/// `0xcA11bde05977b3631167028862bE2a173976CA11`, the same on more than 250 chains.
const MULTICALL3_ADDRESS: [u8; 20] = [
    0xca, 0x11, 0xbd, 0xe0, 0x59, 0x77, 0xb3, 0x63, 0x11, 0x67, 0x02, 0x88, 0x62, 0xbe, 0x2a, 0x17, 0x39,
    0x76, 0xca, 0x11,
];
/// Keccak of the 3,808 bytes of code there.
const MULTICALL3_CODE_HASH: [u8; 32] = [
    0xd5, 0xc1, 0x5d, 0xf6, 0x87, 0xb1, 0x6f, 0x2f, 0xf9, 0x92, 0xfc, 0x8d, 0x76, 0x7b, 0x42, 0x16, 0x32,
    0x31, 0x84, 0xa2, 0xbb, 0xc6, 0xee, 0x2f, 0x9c, 0x39, 0x8c, 0x31, 0x8e, 0x77, 0x08, 0x91,
];

/// Durations as people write them: `100ms`, `5m`.
mod humantime_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!("'{text}' is not a duration such as 500ms or 5m: {error}"))
        })
    }
}
