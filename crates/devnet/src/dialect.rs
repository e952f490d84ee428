//! What differs between the development nodes: how a block is asked for, how an account gets money, who signs.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use eidos_types::Address;
use serde_json::{Value, json};

use crate::node::{Node, quantity};

/// A thousand transactions take each of the nodes far less.
const MINED_WITHIN: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(5);

/// A kind of development node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Anvil,
    Hardhat,
    Ganache,
    /// `geth --dev`: it makes a block as soon as there is a transaction, or a withdrawal of the consensus layer.
    Geth,
}

impl Dialect {
    /// Reads it out of `web3_clientVersion`.
    pub(crate) fn of(client_version: &str) -> Option<Self> {
        let version = client_version.to_lowercase();
        [
            ("anvil", Self::Anvil),
            ("hardhat", Self::Hardhat),
            ("ganache", Self::Ganache),
            ("geth", Self::Geth),
        ]
        .into_iter()
        .find_map(|(name, dialect)| version.starts_with(name).then_some(dialect))
    }

    /// True if it sends as any account; for the others transactions are signed here.
    pub(crate) const fn impersonates(self) -> bool {
        matches!(self, Self::Anvil)
    }

    /// True if a block may be named by its hash (EIP-1898).
    pub(crate) const fn takes_hashes(self) -> bool {
        !matches!(self, Self::Ganache)
    }

    /// The requests that give mining into our hands.
    pub(crate) fn take_over(self, block_gas: &str) -> Vec<(&'static str, Value)> {
        match self {
            Self::Anvil => vec![
                ("evm_setAutomine", json!([false])),
                ("anvil_autoImpersonateAccount", json!([true])),
                ("evm_setBlockGasLimit", json!([block_gas])),
            ],
            Self::Hardhat => vec![
                ("evm_setAutomine", json!([false])),
                ("evm_setBlockGasLimit", json!([block_gas])),
            ],
            Self::Ganache => vec![("miner_stop", json!([]))],
            Self::Geth => Vec::new(),
        }
    }

    /// Mines `blocks` blocks.
    pub(crate) async fn mine(self, node: &Node, blocks: u64) -> anyhow::Result<()> {
        let count = format!("{blocks:#x}");
        match self {
            Self::Anvil => node.call("anvil_mine", json!([count, "0x1"])).await.map(drop),
            Self::Hardhat => node.call("hardhat_mine", json!([count, "0x1"])).await.map(drop),
            Self::Ganache => node.call("evm_mine", json!([{"blocks": blocks}])).await.map(drop),
            Self::Geth => {
                for _ in 0..blocks {
                    self.one_more_block(node).await?;
                }
                Ok(())
            }
        }
    }

    /// A withdrawal of the consensus layer is put into a block of its own.
    async fn one_more_block(self, node: &Node) -> anyhow::Result<()> {
        let before = node.block(None).await?.number;
        let withdrawal = json!([{"index": format!("{before:#x}"), "validatorIndex": "0x1",
                                 "address": "0x00000000000000000000000000000000000000ee", "amount": "0x1"}]);
        node.call("dev_addWithdrawal", withdrawal).await?;
        let deadline = Instant::now() + MINED_WITHIN;
        while node.block(None).await?.number == before {
            ensure!(
                Instant::now() < deadline,
                "no block after {before} within {} s",
                MINED_WITHIN.as_secs()
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Mines what was sent and waits for the receipts, which it returns.
    pub(crate) async fn mine_sent(self, node: &Node, hashes: &[Value]) -> anyhow::Result<Vec<Value>> {
        if self != Self::Geth {
            self.mine(node, 1).await?;
        }
        let deadline = Instant::now() + MINED_WITHIN;
        loop {
            let questions = hashes
                .iter()
                .map(|hash| ("eth_getTransactionReceipt", json!([hash])));
            match node.batch(questions.collect()).await {
                Ok(receipts) if self != Self::Geth || receipts.iter().all(|receipt| !receipt.is_null()) => {
                    return Ok(receipts);
                }
                // geth has no receipts before it has indexed the block.
                Err(error) if self != Self::Geth => return Err(error),
                Ok(_) | Err(_) => {}
            }
            ensure!(
                Instant::now() < deadline,
                "{} transactions are not mined within {} s",
                hashes.len(),
                MINED_WITHIN.as_secs()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Gives `sender` gas money.
    pub(crate) async fn fill_purse(self, node: &Node, sender: Address, purse: &str) -> anyhow::Result<()> {
        let method = match self {
            Self::Anvil => "anvil_setBalance",
            Self::Hardhat => "hardhat_setBalance",
            Self::Ganache => "evm_setAccountBalance",
            Self::Geth => {
                let accounts = node.call("eth_accounts", json!([])).await?;
                let rich = accounts[0].as_str().context("geth --dev has no account")?;
                let transfer = json!([{"from": rich, "to": sender, "value": purse}]);
                let sent = node.call("eth_sendTransaction", transfer).await?;
                self.mine_sent(node, &[sent]).await?;
                return Ok(());
            }
        };
        node.call(method, json!([sender, purse])).await.map(drop)
    }

    /// Makes the next block's time `seconds`, where the node lets us.
    pub(crate) async fn set_time(self, node: &Node, seconds: u64) -> anyhow::Result<()> {
        match self {
            Self::Anvil | Self::Hardhat => node
                .call("evm_setNextBlockTimestamp", json!([seconds]))
                .await
                .map(drop),
            // Their blocks have the time of the clock, which is later.
            Self::Ganache | Self::Geth => Ok(()),
        }
    }
}

/// The dialect of `node`.
pub(crate) async fn ask(node: &Node) -> anyhow::Result<(Dialect, String)> {
    let version = node.call("web3_clientVersion", json!([])).await?;
    let version = version.as_str().unwrap_or_default().to_owned();
    match Dialect::of(&version) {
        Some(dialect) => Ok((dialect, version)),
        None => bail!(
            "the EVM node is {version}; it must be anvil, Hardhat, Ganache or geth --dev: it has to mine when asked to"
        ),
    }
}

/// The nonce a sender has.
pub(crate) async fn nonce(node: &Node, sender: Address) -> anyhow::Result<u64> {
    quantity(
        &node
            .call("eth_getTransactionCount", json!([sender, "latest"]))
            .await?,
    )
}
