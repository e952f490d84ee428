//! [`ChainReader`]: one node, one Vault, and what was verified about them before the first read.

use std::collections::BTreeMap;
use std::sync::Mutex;

use alloy_primitives::{Bytes, keccak256};
use eidos_types::{Address, Hash32};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;

use crate::balances::{Ladder, RungReport};
use crate::rpc::{RequestCounts, RpcClient};
use crate::settings::ChainSettings;
use crate::{Addressing, ChainError, contracts};

/// Reads one chain through one node. Cheap to share behind an `Arc`; every method takes `&self`.
#[derive(Debug)]
pub struct ChainReader {
    pub(crate) settings: ChainSettings,
    pub(crate) rpc: RpcClient,
    pub(crate) addressing: Addressing,
    /// Where the totals are in storage; `None` if the Vault's code is unknown and no slot is configured.
    pub(crate) balances_slot: Option<u64>,
    pub(crate) codes: ReaderCodes,
    pub(crate) ladder: Ladder,
    pub(crate) rng: Mutex<StdRng>,
    pub(crate) vault_code_hash: Hash32,
    pub(crate) fee_recipient: Option<Address>,
    decimals: BTreeMap<Address, u8>,
}

/// Runtime code of the two readers that are put in place by a state override.
#[derive(Debug)]
pub(crate) struct ReaderCodes {
    pub(crate) storage_reader: Bytes,
    pub(crate) view_reader: Bytes,
}

/// What the reader does and how much it asked, for reports, logs and benchmarks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LadderReport {
    /// How blocks are addressed.
    pub addressing: Addressing,
    /// Every configured rung, best first.
    pub rungs: Vec<RungReport>,
    /// All requests of this reader, whatever for.
    pub requests: RequestCounts,
}

impl ChainReader {
    /// Connects and verifies chain id, code, ABI profile, token decimals and fee recipient.
    ///
    /// # Errors
    /// [`ChainError::Refused`] names the setting, its value and the fix; [`ChainError::Transport`] if the node
    /// does not answer.
    pub async fn connect(settings: &ChainSettings) -> Result<Self, ChainError> {
        // The sample must not be guessable by whoever runs the node.
        Self::connect_with_rng(settings, rand::make_rng()).await
    }

    /// Like [`connect`](Self::connect), with the randomness that chooses the samples: for repeatable tests.
    ///
    /// # Errors
    /// Those of `connect`.
    #[tracing::instrument(skip_all, fields(chain_id = settings.chain_id, vault = %settings.vault))]
    pub async fn connect_with_rng(settings: &ChainSettings, rng: StdRng) -> Result<Self, ChainError> {
        settings.check()?;
        let mut reader = Self {
            settings: settings.clone(),
            rpc: RpcClient::new(settings)?,
            addressing: Addressing::Number,
            balances_slot: settings.bulk.balances_slot,
            codes: ReaderCodes::load()?,
            ladder: Ladder::new(&settings.bulk, settings.rpc.batch_calls),
            rng: Mutex::new(rng),
            vault_code_hash: Hash32::ZERO,
            fee_recipient: settings.fee_recipient,
            decimals: BTreeMap::new(),
        };
        reader.verify_chain_id().await?;
        let settled = reader.finalized().await?;
        reader.addressing = reader.probe_addressing(&settled).await?;
        let head = reader.head().await?;
        reader.verify_vault(&head).await?;
        reader.verify_settlement(&head).await?;
        reader.decimals = reader.verify_tokens(&head).await?;
        reader.probe_rungs(&head).await?;
        tracing::info!(addressing = ?reader.addressing, head = head.number, "the chain is verified");
        Ok(reader)
    }

    /// The settings it was made with.
    pub const fn settings(&self) -> &ChainSettings {
        &self.settings
    }

    /// The verified decimals of a configured token.
    pub fn decimals(&self, token: &Address) -> Option<u8> {
        self.decimals.get(token).copied()
    }

    /// The fee recipient: its Vault balance is the exchange's, not a user's. `None` without a Settlement contract.
    pub const fn fee_recipient(&self) -> Option<Address> {
        self.fee_recipient
    }

    /// The Keccak hash of the Vault's code when the reader connected.
    pub const fn vault_code_hash(&self) -> Hash32 {
        self.vault_code_hash
    }

    /// What the ladder does and how much the node was asked so far.
    pub fn ladder_report(&self) -> LadderReport {
        LadderReport {
            addressing: self.addressing,
            rungs: self.ladder.report(),
            requests: self.rpc.counts(),
        }
    }

    pub(crate) fn malformed(&self, method: &str, detail: String) -> ChainError {
        ChainError::Malformed {
            endpoint: self.rpc.endpoint().to_owned(),
            method: method.to_owned(),
            detail,
        }
    }
}

impl ReaderCodes {
    fn load() -> Result<Self, ChainError> {
        let broken = |error: serde_json::Error| ChainError::Refused {
            setting: "crates/chain/contracts/out".to_owned(),
            value: "(embedded)".to_owned(),
            reason: error.to_string(),
            fix: "run scripts/compile-contracts and build again".to_owned(),
        };
        Ok(Self {
            storage_reader: contracts::storage_reader_artifact()
                .map_err(broken)?
                .deployed_bytecode,
            view_reader: contracts::view_reader_artifact()
                .map_err(broken)?
                .deployed_bytecode,
        })
    }
}

/// Seeds the choice of samples: `rng(7)` gives the same samples every time.
pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub(crate) fn code_hash(code: &[u8]) -> Hash32 {
    Hash32::new(keccak256(code).0)
}
