//! A local exchange with an oracle: chain traffic, books, planted faults and traps.
//!
//! [`Devnet::build`] makes a small exchange out of real servers: tokens, Vault and Settlement on an EVM node, the
//! neighbours' tables in PostgreSQL. Wallets deposit, trade, withdraw and use sub-accounts through real transactions. An
//! exact ledger (the oracle, [`Devnet::ledger`]) records every event once; before anything is planted, the oracle, the tables and
//! the node are proved to agree. Then faults are planted and traps set, and each is
//! written into the [`Manifest`]: what a reconciler must find to the last digit, and what it must not report.
//!
//! ```no_run
//! # async fn test(anvil_url: &str, pool: sqlx::PgPool) -> anyhow::Result<()> {
//! use eidos_devnet::{Devnet, DevnetOptions, Fault, Trap};
//!
//! let mut devnet = Devnet::build(7, anvil_url, pool, DevnetOptions::clean(40)).await?;
//! let expected = devnet.plant(Fault::DoubleCredit).await?; // moves the cut past it
//! devnet.set_trap(Trap::InFlightWithdrawal).await?;
//! devnet.let_everything_arrive().await?; // confirmations, above the cut
//! devnet.cut().await?; // the indexer catches up
//! # let _ = expected;
//! # Ok(())
//! # }
//! ```
//!
//! The node must be anvil (or, for `scripts/test-nodes`, geth --dev, Hardhat or Ganache) without another user meanwhile;
//! the database must be empty. Nothing here is for production: it sends transactions as any account, and any account may
//! mint its tokens.

mod arrivals;
mod audit;
mod books;
pub mod bulk;
mod canary;
mod days;
mod deposits;
mod devnet;
mod dialect;
mod faults;
mod genesis;
pub mod history;
mod indexer;
mod ledger;
mod life;
mod manifest;
pub mod market;
pub mod matching;
mod movement_faults;
mod movements;
pub mod neighbours;
pub mod node;
pub mod orders;
pub mod quickstart;
mod reorg;
mod signer;
mod tokens;
mod trade_faults;
mod trades;
mod traffic;
mod traps;
mod withdrawals;

pub use audit::{Audit, AuditKey};
pub use devnet::{Addresses, Devnet, DevnetOptions};
pub use ledger::{Key, Ledger};
pub use manifest::{
    Canary, Fault, Manifest, MovementFault, Planted, PlantedMovement, Severity, Trap, Trapped, cause_of,
};
pub use reorg::{Doomed, KeptCredit};
pub use tokens::Token;
