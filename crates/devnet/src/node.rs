//! [`Node`]: JSON-RPC to the EVM node, in batches, with every answer checked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_primitives::U256;
use anyhow::{Context, bail, ensure};
use eidos_types::{Address, Hash32};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::dialect::{self, Dialect};

/// Requests in one HTTP body. Far below what anvil accepts, far above where the round trip matters.
const BATCH: usize = 500;
/// A block with a thousand transactions takes anvil well under a second.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// A client of an EVM development node. Unlike the reader of `eidos-chain` it writes, and asks for things only a
/// development node does (mining on request, sending as any account).
#[derive(Debug)]
pub struct Node {
    url: String,
    http: reqwest::Client,
    next_id: AtomicU64,
    dialect: OnceCell<Dialect>,
}

/// A block by number and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: Hash32,
    /// Its time in seconds since the epoch.
    pub timestamp_s: u64,
}

impl Node {
    /// A client for `url`; nothing is sent yet.
    ///
    /// # Errors
    /// Only if the HTTP client cannot be built.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        // Loopback needs no TLS, yet reqwest refuses to build without a provider. A second call does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .no_proxy()
            .build()?;
        Ok(Self {
            url: url.to_owned(),
            http,
            next_id: AtomicU64::new(1),
            dialect: OnceCell::new(),
        })
    }

    /// One request.
    ///
    /// # Errors
    /// Transport failures and JSON-RPC errors, with the method and the node's words.
    pub async fn call(&self, method: &'static str, params: Value) -> anyhow::Result<Value> {
        let mut answers = self.batch(vec![(method, params)]).await?;
        answers.pop().with_context(|| format!("{method}: no answer"))
    }

    /// Many requests, answers in the order asked.
    pub(crate) async fn batch(&self, requests: Vec<(&'static str, Value)>) -> anyhow::Result<Vec<Value>> {
        let mut answers = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(BATCH) {
            answers.extend(self.send(chunk).await?);
        }
        Ok(answers)
    }

    async fn send(&self, requests: &[(&'static str, Value)]) -> anyhow::Result<Vec<Value>> {
        let count = u64::try_from(requests.len())?;
        let first = self.next_id.fetch_add(count, Ordering::Relaxed);
        let body: Vec<Value> = (first..)
            .zip(requests)
            .map(|(id, (method, params))| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .collect();
        let reply: Vec<Value> = self
            .http
            .post(&self.url)
            .json(&body)
            .send()
            .await
            .with_context(|| format!("the EVM node at {} does not answer", self.url))?
            .error_for_status()?
            .json()
            .await?;
        let mut answers: Vec<Option<Value>> = vec![None; requests.len()];
        for mut answer in reply {
            let place = answer["id"]
                .as_u64()
                .and_then(|id| id.checked_sub(first))
                .and_then(|place| usize::try_from(place).ok())
                .filter(|place| *place < requests.len())
                .with_context(|| format!("an answer to no question of ours: {answer}"))?;
            let method = requests[place].0;
            if let Some(error) = answer.get("error") {
                bail!("{method} was refused: {error}");
            }
            answers[place] = Some(answer["result"].take());
        }
        answers
            .into_iter()
            .zip(requests)
            .map(|(answer, (method, _))| answer.with_context(|| format!("{method}: no answer in the batch")))
            .collect()
    }

    /// The chain id.
    pub(crate) async fn chain_id(&self) -> anyhow::Result<u64> {
        quantity(&self.call("eth_chainId", json!([])).await?)
    }

    /// A block by number, or the head for `None`.
    ///
    /// # Errors
    /// As [`Self::call`], and if there is no such block.
    pub async fn block(&self, number: Option<u64>) -> anyhow::Result<Block> {
        let tag = number.map_or_else(|| "latest".to_owned(), |number| format!("{number:#x}"));
        let block = self.call("eth_getBlockByNumber", json!([tag, false])).await?;
        ensure!(!block.is_null(), "the node has no block {tag}");
        Ok(Block {
            number: quantity(&block["number"])?,
            hash: word(&block["hash"])?,
            timestamp_s: quantity(&block["timestamp"])?,
        })
    }

    /// The number of the newest finalized block.
    pub(crate) async fn finalized(&self) -> anyhow::Result<u64> {
        let block = self
            .call("eth_getBlockByNumber", json!(["finalized", false]))
            .await?;
        quantity(&block["number"]).context("the node knows no finalized block")
    }

    /// Mines `blocks` blocks, one second apart where the node lets us.
    pub(crate) async fn mine(&self, blocks: u64) -> anyhow::Result<()> {
        self.dialect().await?.mine(self, blocks).await
    }

    /// What `web3_clientVersion` says.
    pub(crate) async fn client_version(&self) -> anyhow::Result<String> {
        Ok(dialect::ask(self).await?.1)
    }

    pub(crate) async fn dialect(&self) -> anyhow::Result<Dialect> {
        self.dialect
            .get_or_try_init(async || Ok(dialect::ask(self).await?.0))
            .await
            .copied()
    }

    /// What `calls` of (contract, calldata) answer at the state after `block`.
    ///
    /// # Errors
    /// As [`Self::call`]; a revert is an error.
    pub async fn read(&self, block: Hash32, calls: &[(Address, Vec<u8>)]) -> anyhow::Result<Vec<U256>> {
        let at = self.at(block).await?;
        let requests = calls
            .iter()
            .map(|(to, data)| {
                let call = json!({"to": to, "data": format!("0x{}", hex::encode(data))});
                ("eth_call", json!([call, at]))
            })
            .collect();
        self.batch(requests).await?.iter().map(number).collect()
    }

    /// The native coin `owner` holds at the state after `block`.
    pub(crate) async fn native_balance(&self, block: Hash32, owner: Address) -> anyhow::Result<U256> {
        let at = self.at(block).await?;
        number(&self.call("eth_getBalance", json!([owner, at])).await?)
    }

    /// Names a block for the node: by hash, or by number where it does not know EIP-1898.
    async fn at(&self, block: Hash32) -> anyhow::Result<Value> {
        if self.dialect().await?.takes_hashes() {
            return Ok(json!({"blockHash": block}));
        }
        let header = self.call("eth_getBlockByHash", json!([block, false])).await?;
        Ok(header["number"].clone())
    }
}

/// A JSON-RPC quantity that fits 64 bits.
pub(crate) fn quantity(value: &Value) -> anyhow::Result<u64> {
    let text = value
        .as_str()
        .with_context(|| format!("{value} is not a quantity"))?;
    let digits = text
        .strip_prefix("0x")
        .with_context(|| format!("{text} is not a quantity"))?;
    u64::from_str_radix(digits, 16).with_context(|| format!("{text} is not a quantity"))
}

/// A 32-byte word.
pub(crate) fn word(value: &Value) -> anyhow::Result<Hash32> {
    let text = value
        .as_str()
        .with_context(|| format!("{value} is not a 32-byte word"))?;
    Ok(text.parse()?)
}

/// A 256-bit number, as a quantity or as returned bytes.
fn number(value: &Value) -> anyhow::Result<U256> {
    let text = value
        .as_str()
        .with_context(|| format!("{value} is not a number"))?;
    let digits = text
        .strip_prefix("0x")
        .with_context(|| format!("{text} is not a number"))?;
    ensure!(
        !digits.is_empty(),
        "the call answered nothing: is there a contract at that address?"
    );
    U256::from_str_radix(digits, 16).with_context(|| format!("{text} is not a number"))
}
