//! [`ChainReader`]: one node, one Vault, and what was verified about them before the first read.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy_primitives::{Bytes, keccak256};
use eidos_types::{Address, Hash32};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;

use crate::balances::{Ladder, RungReport};
use crate::block::CurrentAddressing;
use crate::lock::locked;
use crate::logs::range::RangeSize;
use crate::rpc::{LearnedLimits, RequestCounts, RpcClient};
use crate::settings::ChainSettings;
use crate::start::Start;
use crate::state::{StateCheck, StateMemory};
use crate::{Addressing, BlockRef, ChainError, contracts, observe};

/// Reads one chain through one node. Cheap to share behind an `Arc`; every method takes `&self`.
#[derive(Debug)]
pub struct ChainReader {
    pub(crate) settings: ChainSettings,
    pub(crate) rpc: Arc<RpcClient>,
    pub(crate) addressing: CurrentAddressing,
    /// Whether a final block was seen.
    pub(crate) knows_finality: AtomicBool,
    pub(crate) state: StateMemory,
    /// When the node was last asked what it offers.
    probed: Mutex<Instant>,
    /// Where the totals are in storage; `None` if the Vault's code is unknown and no slot is configured.
    pub(crate) balances_slot: Option<u64>,
    pub(crate) codes: ReaderCodes,
    pub(crate) ladder: Ladder,
    pub(crate) range_size: Mutex<RangeSize>,
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
    /// How the node's state is known to be the one of its headers.
    pub state_check: StateCheck,
    /// Every configured rung, best first.
    pub rungs: Vec<RungReport>,
    /// All requests of this reader, whatever for.
    pub requests: RequestCounts,
    /// Requests that are made at once; fewer than the setting once the node limited their rate.
    pub parallel_requests: usize,
    /// What the node's refusals taught.
    pub limits: LearnedLimits,
}

impl ChainReader {
    /// Connects and verifies chain id, state, code, ABI profile, token decimals and fee recipient at a final block.
    /// Answers that say nothing are asked for again for `rpc.start_patience`.
    ///
    /// # Errors
    /// [`ChainError::Refused`] names the setting, its value and the fix; the last error if the node does not answer,
    /// syncs or contradicts itself until the patience ends.
    pub async fn connect(settings: &ChainSettings) -> Result<Self, ChainError> {
        // The sample must not be guessable by the operator of the node.
        Self::connect_with_rng(settings, rand::make_rng()).await
    }

    /// Like [`connect`](Self::connect), with the randomness that chooses the samples: for repeatable tests.
    ///
    /// # Errors
    /// Those of `connect`.
    #[tracing::instrument(skip_all, fields(chain_id = settings.chain_id, vault = %settings.vault))]
    pub async fn connect_with_rng(settings: &ChainSettings, rng: StdRng) -> Result<Self, ChainError> {
        settings.check()?;
        observe::series_from_zero();
        let mut reader = Self {
            settings: settings.clone(),
            rpc: Arc::new(RpcClient::new(settings)?),
            addressing: CurrentAddressing::new(Addressing::Number),
            knows_finality: AtomicBool::new(false),
            state: StateMemory::default(),
            probed: Mutex::new(Instant::now()),
            balances_slot: settings.bulk.balances_slot,
            codes: ReaderCodes::load()?,
            ladder: Ladder::new(&settings.bulk, settings.rpc.batch_calls),
            range_size: Mutex::new(RangeSize::new(&settings.logs)),
            rng: Mutex::new(rng),
            vault_code_hash: Hash32::ZERO,
            fee_recipient: settings.fee_recipient,
            decimals: BTreeMap::new(),
        };
        let start = Start::new(&settings.rpc, Arc::clone(&reader.rpc));
        let block = loop {
            match reader.verify(&start).await {
                Ok(block) => break block,
                Err(error) if error.needs_new_pin() && start.has_time() => {
                    tracing::info!(%error, "another block is pinned for the start");
                    start.pause().await;
                }
                Err(error) => return Err(reader.explain_start(error).await),
            }
        };
        let (addressing, state_check) = (reader.addressing.get(), reader.state.check());
        tracing::info!(
            ?addressing,
            ?state_check,
            block = block.number,
            "the chain is verified"
        );
        Ok(reader)
    }

    /// Everything that must hold before the first read, at a final block.
    async fn verify(&mut self, start: &Start) -> Result<BlockRef, ChainError> {
        start.ask(|| self.verify_chain_id()).await?;
        let at = start.ask(|| self.final_block()).await?;
        let addressing = start.ask(|| self.probe_addressing(&at)).await?;
        self.addressing.set(addressing);
        self.verify_vault(start, &at).await?;
        start.ask(|| self.verify_state(&at)).await?;
        self.verify_settlement(start, &at).await?;
        self.decimals = self.verify_tokens(start, &at).await?;
        self.probe_rungs(start, &at).await?;
        Ok(at)
    }

    /// Asks now and then for what the node did not offer: it may have been restarted, or replaced.
    pub(crate) async fn probe_again(&self, at: &BlockRef) {
        let now = Instant::now();
        {
            let mut probed = locked(&self.probed);
            if now.duration_since(*probed) < self.probe_every() {
                return;
            }
            *probed = now;
        }
        if self.addressing.get() == Addressing::Number {
            match self.probe_addressing(at).await {
                Ok(Addressing::Hash) => {
                    tracing::info!("the node takes block hashes (EIP-1898) now");
                    self.addressing.set(Addressing::Hash);
                }
                Ok(Addressing::Number) => {}
                Err(error) => tracing::debug!(%error, "whether the node takes block hashes is not known"),
            }
        }
        if let Err(error) = self.probe_multicall(at).await {
            tracing::debug!(%error, "whether the node has Multicall3 is not known");
        }
    }

    fn probe_every(&self) -> Duration {
        self.settings.bulk.retry_rung_after
    }

    /// Returns the settings it was made with.
    pub const fn settings(&self) -> &ChainSettings {
        &self.settings
    }

    /// Returns the verified decimals of a token. `None`: it is not configured.
    pub fn decimals(&self, token: &Address) -> Option<u8> {
        self.decimals.get(token).copied()
    }

    /// Returns the fee recipient: its Vault balance is the exchange's, not a user's. `None`: no Settlement contract and
    /// none configured.
    pub const fn fee_recipient(&self) -> Option<Address> {
        self.fee_recipient
    }

    /// Returns the Keccak hash of the Vault's code when the reader connected.
    pub const fn vault_code_hash(&self) -> Hash32 {
        self.vault_code_hash
    }

    /// Returns what the ladder does and how much the node was asked so far.
    pub fn ladder_report(&self) -> LadderReport {
        LadderReport {
            addressing: self.addressing.get(),
            state_check: self.state.check(),
            rungs: self.ladder.report(),
            requests: self.rpc.counts(),
            parallel_requests: self.rpc.parallel_requests(),
            limits: self.learned_limits(),
        }
    }

    /// Returns scheme, host and port of the node: its name where limits are stored, without credentials or path.
    pub fn endpoint(&self) -> &str {
        self.rpc.endpoint()
    }

    /// Returns the limits that the node's refusals taught, to be given to the next process.
    pub fn learned_limits(&self) -> LearnedLimits {
        LearnedLimits {
            batch_calls: self.rpc.batch_limit().learned(),
            log_blocks: locked(&self.range_size).learned(),
            call_gas: self.ladder.learned_call_gas(),
        }
    }

    /// Begins with limits that another process learned, so that they are not found by refusals again. A limit can only
    /// lower what the settings allow.
    pub fn recall_limits(&self, limits: &LearnedLimits) {
        if let Some(calls) = limits.batch_calls {
            self.rpc.batch_limit().lower(calls);
        }
        if let Some(gas) = limits.call_gas {
            self.ladder.lower_call_gas(gas);
        }
        if let Some(blocks) = limits.log_blocks {
            locked(&self.range_size).recall(blocks);
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
        let broken = |error: serde_json::Error| {
            let fix = "run scripts/compile-contracts and build again";
            ChainError::refused("crates/chain/contracts/out", "(embedded)", error.to_string(), fix)
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
