//! An EVM reader that proves what it read.
//!
//! [`ChainReader`] reads one Vault (and its Settlement contract) through one JSON-RPC node, at blocks that are
//! pinned by hash. Its promise is in its errors: a value that cannot be proven is a [`ChainError`], never a zero,
//! never the value of another block, never a part of what was asked.
//!
//! | question | answered in | how it is proven |
//! |---|---|---|
//! | which block is final? | `blocks.rs` | the node's `finalized`/`safe`, or a depth ([`Finality`]) |
//! | what does the Vault owe a million wallets? | `balances/` | ladder of bulk reads, a random sample by plain calls, the header before and after |
//! | how do blocks hang together? | `ancestry.rs` | each header names its parent's hash |
//! | what happened between two blocks? | `logs/` | headers in the same batch, joined by parent hashes, last block by hash, blooms on demand |
//! | is it the right chain, contract, token? | `verify.rs`, `start.rs` | at [`ChainReader::connect`], with patience: chain id, code, views, decimals |
//! | does the node answer from the block's state? | `state.rs` | `eth_syncing`, a Merkle proof of the Vault or the nonces of the block |
//! | how far back is there state? | `retention.rs` | by reading, at start |
//!
//! The contracts themselves live in `contracts/*.sol`, compiled by `scripts/compile-contracts`; [`contracts`]
//! has their bytecode and bindings.

mod ancestry;
mod balances;
mod block;
mod blocks;
pub mod contracts;
mod deadline;
mod error;
mod layout;
mod lock;
mod logs;
mod observe;
mod plain;
mod reader;
mod retention;
mod rpc;
mod rung;
mod settings;
mod start;
mod state;
mod verify;
mod views;

pub use ancestry::Link;
pub use balances::{RungReport, RungState};
pub use block::{Addressing, BlockRef, Finality};
pub use deadline::within;
pub use error::ChainError;
pub use layout::{BalanceSlots, nested_slot, vault_balance_slots};
pub use logs::{
    Argument, EventBody, EventKind, EventsOf, LogFilter, LogPosition, LogProof, TransactionEvents, VaultEvent,
};
pub use reader::{ChainReader, LadderReport, rng};
pub use retention::StateKept;
pub use rpc::{LearnedLimits, RequestCounts};
pub use rung::Rung;
pub use settings::{
    AbiProfile, BulkSettings, ChainSettings, LogSettings, RpcSettings, SettingsProblem, TokenSettings,
};
pub use state::StateCheck;
pub use views::{Receipt, Receipts};
