//! Whether the node answers from the state that a block's header names.
//!
//! A node that is still executing has the headers of blocks whose state it does not have yet; some answer from an older
//! state without a word. So the node is asked whether it is syncing, and before the first read at a block one value of
//! its state is checked against the header:
//!
//! 1. the account of the Vault with its Merkle proof, against the header's state root (`eth_getProof`);
//! 2. where that is not offered: the nonces of the block's senders, which cannot be lower than in their transactions.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use alloy_primitives::{Address as EvmAddress, B256, Bytes, KECCAK256_EMPTY, U64, U256, keccak256};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use eidos_types::Hash32;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::contracts::evm;
use crate::lock::locked;
use crate::rpc::{NodeErrorKind, Question, RpcError};
use crate::{BlockRef, ChainError, ChainReader};

/// Blocks whose state was checked and need not be checked again.
const REMEMBERED_BLOCKS: usize = 16;
/// A proof takes go-ethereum a millisecond; anvil builds the whole trie anew for each, which takes seconds with a million
/// slots. Slower than this, it is left out for a while.
const SLOW_PROOF: Duration = Duration::from_secs(1);
/// How far back a transaction is looked for whose nonce can be compared.
const NONCE_BLOCKS: u64 = 4;
/// Senders that are compared.
const NONCE_SENDERS: usize = 4;

/// How the state of the newest block that was read is known to be the one of its header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StateCheck {
    /// Not asked yet.
    #[default]
    Unknown,
    /// The Vault's account is proven against the header's state root.
    Proof,
    /// The node gives no proofs (its words); the nonces of the block's senders fit.
    Nonces(String),
    /// Neither was possible, and why. Then only `eth_syncing` speaks for the node.
    NotPossible(String),
}

/// What is remembered about the node's state.
#[derive(Debug, Default)]
pub(crate) struct StateMemory(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    checked: Vec<Hash32>,
    check: StateCheck,
    /// Proofs are not asked for before this instant, and why.
    no_proofs: Option<(Instant, String)>,
}

impl StateMemory {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        locked(&self.0)
    }

    pub(crate) fn check(&self) -> StateCheck {
        self.memory().check.clone()
    }

    fn knows(&self, hash: &Hash32) -> bool {
        self.memory().checked.contains(hash)
    }

    fn remember(&self, hash: Hash32, check: StateCheck) {
        let mut memory = self.memory();
        if memory.checked.len() >= REMEMBERED_BLOCKS {
            memory.checked.remove(0);
        }
        memory.checked.push(hash);
        if memory.check != check {
            tracing::info!(?check, "how the node's state is checked against its headers");
            memory.check = check;
        }
    }

    fn without_proofs(&self, now: Instant) -> Option<String> {
        let memory = self.memory();
        let (until, why) = memory.no_proofs.as_ref()?;
        (now < *until).then(|| why.clone())
    }

    fn rest_proofs(&self, now: Instant, rest: Duration, why: &str) {
        self.memory().no_proofs = Some((now + rest, why.to_owned()));
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofWire {
    account_proof: Vec<Bytes>,
    balance: U256,
    nonce: U64,
    code_hash: B256,
    storage_hash: B256,
}

#[derive(Debug, Deserialize)]
struct FullBlock {
    hash: B256,
    transactions: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Sent {
    from: EvmAddress,
    nonce: U64,
    #[serde(rename = "type", default)]
    kind: U64,
}

impl ChainReader {
    /// Refuses what `eth_syncing` says if headers may be ahead of the state.
    pub(crate) fn judge_syncing(&self, answer: &Value) -> Result<(), ChainError> {
        match syncing(answer) {
            None => Ok(()),
            Some(progress) => Err(ChainError::Syncing {
                endpoint: self.rpc.endpoint().to_owned(),
                progress,
            }),
        }
    }

    /// Checks, once for each block, that the node answers from the state that the header of `at` names, and that the
    /// Vault exists there.
    ///
    /// # Errors
    /// [`ChainError::StaleState`] and [`ChainError::NotDeployed`]; otherwise as any read at a block.
    pub async fn verify_state(&self, at: &BlockRef) -> Result<(), ChainError> {
        if self.state.knows(&at.hash) {
            return Ok(());
        }
        if self.code(at, &self.settings.vault).await?.is_empty() {
            return Err(ChainError::NotDeployed {
                contract: self.settings.vault,
                number: at.number,
            });
        }
        let now = Instant::now();
        let rest = self.settings.bulk.retry_rung_after;
        let why = match self.state.without_proofs(now) {
            _ if !self.settings.state_proof => "state_proof is false".to_owned(),
            Some(why) => why,
            None => match self.prove_vault(at).await? {
                Ok(()) => {
                    self.state.remember(at.hash, StateCheck::Proof);
                    let took = now.elapsed();
                    if took > SLOW_PROOF {
                        let why = format!("eth_getProof took {} ms", took.as_millis());
                        self.state.rest_proofs(Instant::now(), rest, &why);
                    }
                    return Ok(());
                }
                Err(why) => {
                    self.state.rest_proofs(now, rest, &why);
                    why
                }
            },
        };
        let check = match self.compare_nonces(at).await? {
            Ok(()) => StateCheck::Nonces(why),
            Err(reason) => StateCheck::NotPossible(format!("{why}; {reason}")),
        };
        self.state.remember(at.hash, check);
        Ok(())
    }

    /// Proves the Vault's account against the header of `at`. The inner error says why there is no proof to look at.
    async fn prove_vault(&self, at: &BlockRef) -> Result<Result<(), String>, ChainError> {
        let method = "eth_getProof";
        let vault = evm(&self.settings.vault);
        let no_slots: [B256; 0] = [];
        let params = (vault, no_slots, self.addressing.of(at));
        let ask = || self.rpc.call::<ProofWire>(method, params);
        let proof = match ask().await {
            Ok(proof) => proof,
            Err(error) if error.is_outage() => return Err(self.rpc.error(method, error)),
            Err(RpcError::Node(error)) if error.kind != NodeErrorKind::Unsupported => {
                // Not yet, not for this block, or never: the state itself must be there, and the answer must stay.
                self.code(at, &self.settings.vault).await?;
                match ask().await {
                    Ok(proof) => proof,
                    Err(RpcError::Node(again)) if again == error => {
                        return Ok(Err(format!("{method}: {error}")));
                    }
                    Err(other) => return Err(self.explain(at, self.rpc.error(method, other)).await),
                }
            }
            Err(error) => return Ok(Err(format!("{method}: {error}"))),
        };
        let header = self.header_by_number(at.number).await?;
        let of_this_block =
            |header: &crate::block::Header| header.block().is_some_and(|block| block.hash == at.hash);
        let Some(header) = header.filter(of_this_block) else {
            // The error is the one that says what became of the block.
            self.verify_canonical(at).await?;
            return Ok(Err("the header changed meanwhile".to_owned()));
        };
        let Some(root) = header.state_root.filter(|root| !root.is_zero()) else {
            return Ok(Err("the header has no state root".to_owned()));
        };
        proof
            .verify(vault, root)
            .map(Ok)
            .map_err(|detail| ChainError::StaleState {
                number: at.number,
                hash: at.hash,
                detail: format!("the Vault's account does not fit its state root {root}: {detail}"),
            })
    }

    /// Compares the nonces of the block's senders: state that is older than the block has lower ones. The inner error
    /// says why none could be compared.
    async fn compare_nonces(&self, at: &BlockRef) -> Result<Result<(), String>, ChainError> {
        let sent = self.senders(at).await?;
        if sent.is_empty() {
            return Ok(Err(format!(
                "no transaction in blocks {} to {} whose nonce could be compared",
                at.number.saturating_sub(NONCE_BLOCKS - 1),
                at.number
            )));
        }
        let method = "eth_getTransactionCount";
        let questions: Vec<Question> = sent
            .keys()
            .map(|sender| Question::new(method, json!((sender, self.addressing.of(at)))))
            .collect();
        let counts: Vec<U64> = match self.ask_all(&questions).await {
            Ok(counts) => counts,
            Err(error) => return Err(self.explain(at, self.rpc.error(method, error)).await),
        };
        // One that fits is enough: chains have senders of their own, whose nonces mean other things.
        if sent.values().zip(&counts).any(|(nonce, count)| count > nonce) {
            return Ok(Ok(()));
        }
        let of = |((sender, nonce), count): ((&EvmAddress, &U64), &U64)| {
            format!("{sender} sent nonce {nonce} by then, its count is {count}")
        };
        Err(ChainError::StaleState {
            number: at.number,
            hash: at.hash,
            detail: sent.iter().zip(&counts).map(of).collect::<Vec<_>>().join(", "),
        })
    }

    /// The newest nonces of a few senders, in `at` or one of the blocks before it.
    async fn senders(&self, at: &BlockRef) -> Result<BTreeMap<EvmAddress, U64>, ChainError> {
        let mut sent = BTreeMap::new();
        for number in (at.number.saturating_sub(NONCE_BLOCKS - 1)..=at.number).rev() {
            let block: Option<FullBlock> = self
                .query("eth_getBlockByNumber", (U64::from(number), true))
                .await?;
            let Some(block) =
                block.filter(|block| number != at.number || block.hash.0 == *at.hash.as_bytes())
            else {
                self.verify_canonical(at).await?;
                return Ok(BTreeMap::new());
            };
            // Other kinds are the chain's own (deposits of rollups and the like).
            let ordinary = block
                .transactions
                .into_iter()
                .filter_map(|transaction| serde_json::from_value::<Sent>(transaction).ok())
                .filter(|sent| sent.kind <= U64::from(4) && sent.from != EvmAddress::ZERO);
            for one in ordinary {
                if sent.len() < NONCE_SENDERS || sent.contains_key(&one.from) {
                    let newest = sent.entry(one.from).or_insert(one.nonce);
                    *newest = one.nonce.max(*newest);
                }
            }
            if !sent.is_empty() {
                break;
            }
        }
        Ok(sent)
    }
}

impl ProofWire {
    fn verify(&self, account: EvmAddress, root: B256) -> Result<(), String> {
        let key = Nibbles::unpack(keccak256(account));
        if self.account_proof.is_empty() {
            return Err("the proof is empty".to_owned());
        }
        let is_there = self.code_hash != KECCAK256_EMPTY || !self.nonce.is_zero() || !self.balance.is_zero();
        let value = is_there.then(|| {
            alloy_rlp::encode(TrieAccount {
                nonce: self.nonce.to(),
                balance: self.balance,
                storage_root: self.storage_hash,
                code_hash: self.code_hash,
            })
        });
        if self.account_proof.first().map(keccak256) != Some(root) {
            return Err("the node proves it against another root".to_owned());
        }
        // The words of the error hold whole nodes of the trie.
        verify_proof(root, key, value, &self.account_proof).map_err(|_error| "the proof is broken".to_owned())
    }
}

/// Returns how far the node is. `None`: it does not sync, or only builds indexes over blocks that it has executed (geth).
fn syncing(answer: &Value) -> Option<String> {
    let progress = match answer {
        Value::Null | Value::Bool(false) => return None,
        Value::Object(progress) => progress,
        other => return Some(other.to_string()),
    };
    let number = |key: &str| {
        let text = progress.get(key)?.as_str()?.strip_prefix("0x")?;
        u64::from_str_radix(text, 16).ok()
    };
    let (current, highest) = (number("currentBlock"), number("highestBlock"));
    let is_indexing = [
        "txIndexRemainingBlocks",
        "stateIndexRemaining",
        "trienodeIndexRemaining",
    ]
    .into_iter()
    .any(|key| number(key).is_some_and(|left| left > 0));
    match (current, highest) {
        (Some(current), Some(highest)) if is_indexing && current >= highest => None,
        (Some(current), Some(highest)) => Some(format!("block {current} of {highest}")),
        _ => Some("it names no block".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_indexing_over_executed_blocks_is_not_syncing() {
        assert_eq!(syncing(&json!(false)), None);
        let geth_indexes = json!({"startingBlock": "0x0", "currentBlock": "0x64", "highestBlock": "0x64",
                                  "txIndexFinishedBlocks": "0x10", "txIndexRemainingBlocks": "0x54"});
        assert_eq!(syncing(&geth_indexes), None);
        // A fresh `geth --dev`.
        let empty = json!({"startingBlock": "0x0", "currentBlock": "0x0", "highestBlock": "0x0",
                           "txIndexFinishedBlocks": "0x0", "txIndexRemainingBlocks": "0x1"});
        assert_eq!(syncing(&empty), None);
        let behind = json!({"startingBlock": "0x0", "currentBlock": "0x5f", "highestBlock": "0x64",
                            "txIndexRemainingBlocks": "0x54"});
        assert_eq!(syncing(&behind), Some("block 95 of 100".to_owned()));
        // EthereumJS names its newest header as the current block.
        let executing = json!({"startingBlock": "0x0", "currentBlock": "0x64", "highestBlock": "0x64"});
        assert_eq!(syncing(&executing), Some("block 100 of 100".to_owned()));
        for odd in [json!(true), json!({}), json!({"stages": []}), json!("yes")] {
            assert!(syncing(&odd).is_some(), "{odd}");
        }
    }
}
