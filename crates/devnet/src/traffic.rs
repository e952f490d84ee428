//! [`Traffic`]: transactions of any account, mined on request.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Bytes, U256};
use anyhow::{Context, ensure};
use eidos_types::{Address, Hash32};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};

use crate::dialect::{self, Dialect};
use crate::node::{self, Block, Node};
use crate::signer::{self, Legacy};

/// Transactions in one block, at most.
const PER_BLOCK: usize = 1_000;
/// Above what any of our transactions needs, so that no estimate (one more round trip each) is asked for.
/// Below what EIP-7825 lets one transaction take.
const GAS: u64 = 16_000_000;
/// Ten gwei: above anvil's base fee, which only falls while blocks are mostly empty.
const GAS_PRICE: u64 = 10_000_000_000;
/// A block takes a thousand transactions of [`GAS`].
const BLOCK_GAS: &str = "0x4a817c800";
/// Ten thousand ether for each sender.
const PURSE: &str = "0x21e19e0c9bab2400000";

/// Wider than any sender's number of transactions, so that a stuck one is never reached.
const NONCE_GAP: u64 = 1_000_000;

/// A transaction to send.
#[derive(Debug, Clone)]
pub(crate) struct Tx {
    /// The sender; no key is needed where the node impersonates accounts.
    pub(crate) from: Address,
    /// The contract called; `None` creates one.
    pub(crate) to: Option<Address>,
    /// Calldata, or creation code.
    pub(crate) data: Bytes,
    /// Native coin sent along, in wei.
    pub(crate) value: U256,
}

/// A log of a mined transaction.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// Its topics.
    pub(crate) topics: Vec<Hash32>,
    /// Its data, hex with `0x`.
    pub(crate) data: String,
    /// Its index in the block.
    pub(crate) index: u64,
    /// Its block.
    pub(crate) block: u64,
    /// Its transaction.
    pub(crate) tx_hash: Hash32,
}

/// A mined, successful transaction.
#[derive(Debug, Clone)]
pub(crate) struct Mined {
    /// Its hash.
    pub(crate) tx_hash: Hash32,
    /// Its block.
    pub(crate) block: u64,
    /// Its block's hash.
    pub(crate) block_hash: Hash32,
    /// Gas it took.
    pub(crate) gas_used: u64,
    /// The contract it created, if it did.
    pub(crate) contract: Option<Address>,
    /// What it emitted.
    pub(crate) logs: Vec<Log>,
}

/// Sends and mines. Nonces are counted here, so that a block's worth of transactions is one request.
#[derive(Debug)]
pub(crate) struct Traffic {
    node: Node,
    dialect: Dialect,
    chain_id: u64,
    nonces: BTreeMap<Address, u64>,
    /// Senders with gas money.
    funded: BTreeSet<Address>,
    keys: BTreeMap<Address, SigningKey>,
}

impl Traffic {
    /// Takes over mining on `node`.
    pub(crate) async fn take_over(node: Node) -> anyhow::Result<Self> {
        let dialect = node.dialect().await?;
        node.batch(dialect.take_over(BLOCK_GAS))
            .await
            .context("the EVM node does not let us mine on request")?;
        Ok(Self {
            dialect,
            chain_id: node.chain_id().await?,
            node,
            nonces: BTreeMap::new(),
            funded: BTreeSet::new(),
            keys: BTreeMap::new(),
        })
    }

    /// Keeps the key of a sender, for nodes that do not impersonate accounts. Returns its address.
    pub(crate) fn know(&mut self, key: SigningKey) -> Address {
        let address = signer::address(&key);
        self.keys.insert(address, key);
        address
    }

    /// The node behind it.
    pub(crate) const fn node(&self) -> &Node {
        &self.node
    }

    /// Sends the transactions in order, mines them and returns their receipts in that order.
    pub(crate) async fn mine(&mut self, txs: &[Tx]) -> anyhow::Result<Vec<Mined>> {
        let mut mined = Vec::with_capacity(txs.len());
        for block in txs.chunks(PER_BLOCK) {
            mined.extend(self.mine_block(block).await?);
        }
        Ok(mined)
    }

    /// Sends a transaction whose nonce is far too high: the node knows it and never mines it.
    pub(crate) async fn submit_stuck(&mut self, tx: &Tx) -> anyhow::Result<Hash32> {
        self.admit(tx.from).await?;
        let nonce = self.nonces.get(&tx.from).copied().unwrap_or_default() + NONCE_GAP;
        let (method, params) = self.sending(tx, nonce)?;
        node::word(&self.node.call(method, params).await?)
    }

    /// Asks for every sender's nonce again: the chain has lost transactions.
    pub(crate) fn forget_nonces(&mut self) {
        self.nonces.clear();
    }

    /// Every log of `address` in the blocks `from..=to`.
    pub(crate) async fn logs(&self, address: Address, from: u64, to: u64) -> anyhow::Result<Vec<Log>> {
        let filter =
            json!([{"address": address, "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}")}]);
        let logs = self.node.call("eth_getLogs", filter).await?;
        logs.as_array()
            .context("eth_getLogs answered no list")?
            .iter()
            .map(log)
            .collect()
    }

    /// Makes the next block's time `seconds`, unless the chain is already there.
    pub(crate) async fn advance_time_to(&self, seconds: u64) -> anyhow::Result<()> {
        let head: Block = self.node.block(None).await?;
        if seconds > head.timestamp_s + 1 {
            self.dialect.set_time(&self.node, seconds).await?;
        }
        Ok(())
    }

    async fn mine_block(&mut self, txs: &[Tx]) -> anyhow::Result<Vec<Mined>> {
        for tx in txs {
            self.admit(tx.from).await?;
        }
        let mut requests = Vec::with_capacity(txs.len());
        for tx in txs {
            let nonce = self.nonces.get(&tx.from).copied().unwrap_or_default();
            requests.push(self.sending(tx, nonce)?);
            self.nonces.insert(tx.from, nonce + 1);
        }
        let hashes = self.node.batch(requests).await?;
        let receipts = self.dialect.mine_sent(&self.node, &hashes).await?;
        receipts
            .iter()
            .enumerate()
            .map(|(place, receipt)| {
                mined(receipt).with_context(|| format!("transaction {place} of {}", txs.len()))
            })
            .collect()
    }

    /// Gives a new sender gas money and learns its nonce.
    async fn admit(&mut self, sender: Address) -> anyhow::Result<()> {
        if self.nonces.contains_key(&sender) {
            return Ok(());
        }
        // Once: it changes the state of the newest block, and not its header.
        if self.funded.insert(sender) {
            self.dialect.fill_purse(&self.node, sender, PURSE).await?;
        }
        let nonce = dialect::nonce(&self.node, sender).await?;
        self.nonces.insert(sender, nonce);
        Ok(())
    }

    /// The request that sends `tx`: signed by the node, or here.
    fn sending(&self, tx: &Tx, nonce: u64) -> anyhow::Result<(&'static str, Value)> {
        if self.dialect.impersonates() {
            return Ok(("eth_sendTransaction", json!([request(tx, nonce)])));
        }
        let key = self
            .keys
            .get(&tx.from)
            .with_context(|| format!("no key of {}, and the node sends for nobody", tx.from))?;
        let legacy = Legacy {
            nonce,
            gas_price: GAS_PRICE,
            gas: GAS,
            to: tx.to,
            value: tx.value,
            data: tx.data.to_vec(),
            chain_id: self.chain_id,
        };
        Ok(("eth_sendRawTransaction", json!([legacy.sign(key)?])))
    }
}

fn request(tx: &Tx, nonce: u64) -> Value {
    let mut request = json!({
        "from": tx.from,
        "data": tx.data,
        "value": format!("{:#x}", tx.value),
        "nonce": format!("{nonce:#x}"),
        "gas": format!("{GAS:#x}"),
        "gasPrice": format!("{GAS_PRICE:#x}"),
    });
    if let Some(to) = tx.to {
        request["to"] = json!(to);
    }
    request
}

fn mined(receipt: &Value) -> anyhow::Result<Mined> {
    ensure!(!receipt.is_null(), "was not mined");
    ensure!(receipt["status"] == "0x1", "reverted: {receipt}");
    Ok(Mined {
        tx_hash: node::word(&receipt["transactionHash"])?,
        block: node::quantity(&receipt["blockNumber"])?,
        block_hash: node::word(&receipt["blockHash"])?,
        gas_used: node::quantity(&receipt["gasUsed"])?,
        contract: receipt["contractAddress"].as_str().map(str::parse).transpose()?,
        logs: receipt["logs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(log)
            .collect::<anyhow::Result<_>>()?,
    })
}

fn log(value: &Value) -> anyhow::Result<Log> {
    Ok(Log {
        topics: value["topics"]
            .as_array()
            .into_iter()
            .flatten()
            .map(node::word)
            .collect::<anyhow::Result<_>>()?,
        data: value["data"].as_str().unwrap_or("0x").to_owned(),
        index: node::quantity(&value["logIndex"])?,
        block: node::quantity(&value["blockNumber"])?,
        tx_hash: node::word(&value["transactionHash"])?,
    })
}
