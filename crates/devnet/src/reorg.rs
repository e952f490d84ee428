//! Blocks that a reorganisation removes, and what the books make of that.

use anyhow::{Context, ensure};
use eidos_types::{Address, Amount};
use serde_json::json;

use crate::devnet::Devnet;
use crate::movements::Deposit;
use crate::tokens::ETH;

/// Blocks that will be lost, with a deposit of the native coin in each.
#[derive(Debug)]
pub struct Doomed {
    /// The last block that stays.
    kept: u64,
    deposits: Vec<Deposit>,
}

/// A credit that the books kept although its block is gone.
#[derive(Debug, Clone)]
pub struct KeptCredit {
    /// Whose.
    pub wallet: Address,
    /// Symbol of the token.
    pub token: &'static str,
    /// How much.
    pub amount: Amount,
    /// `tx_hash:log_index`, as it was.
    pub subject: String,
}

impl Devnet {
    /// Mines blocks that [`Devnet::lose`] takes away again; the books credit what is in them, as they should.
    ///
    /// # Errors
    /// If a server refuses.
    pub async fn mine_doomed(&mut self, blocks: usize) -> anyhow::Result<Doomed> {
        let kept = self.node().block(None).await?.number;
        let is_known = |wallet: &&Address| !self.ledger.on_chain((**wallet, ETH)).is_zero();
        let wallets: Vec<Address> = self.ordinary.iter().filter(is_known).copied().collect();
        ensure!(!wallets.is_empty(), "no ordinary wallet has {ETH} in the Vault");
        let mut deposits = Vec::with_capacity(blocks);
        for wallet in wallets.into_iter().cycle().take(blocks) {
            let amount = self.random_amount(ETH, 100, 900)?;
            deposits.extend(self.deposit(&[(wallet, ETH, amount)]).await?);
        }
        self.cut().await?;
        Ok(Doomed { kept, deposits })
    }

    /// Reorganises the chain above the block before them. The books take every credit back, or all but the first one.
    ///
    /// # Errors
    /// If a server refuses.
    pub async fn lose(&mut self, doomed: Doomed, keeps_a_credit: bool) -> anyhow::Result<Option<KeptCredit>> {
        let head = self.node().block(None).await?.number;
        let depth = head.saturating_sub(doomed.kept);
        self.node().call("anvil_reorg", json!([depth, []])).await?;
        self.traffic.forget_nonces();
        self.indexed_to = doomed.kept;
        sqlx::query("DELETE FROM eidos_chain_events WHERE block_number > $1")
            .bind(i64::try_from(doomed.kept)?)
            .execute(&self.pool)
            .await?;
        let mut deposits = doomed.deposits.into_iter();
        let kept = if keeps_a_credit {
            let deposit = deposits.next().context("no deposit was lost")?;
            self.ledger
                .move_chain((deposit.wallet, ETH), deposit.amount.negated())?;
            self.ordinary.retain(|wallet| *wallet != deposit.wallet);
            Some(KeptCredit {
                wallet: deposit.wallet,
                token: ETH,
                amount: deposit.amount,
                subject: format!("{}:{}", deposit.tx_hash, deposit.log_index),
            })
        } else {
            None
        };
        for deposit in deposits {
            let (key, back) = ((deposit.wallet, ETH), deposit.amount.negated());
            self.ledger.move_chain(key, back)?;
            self.ledger.book(key, back)?;
            let at = self.tick();
            self.log_balance(key, 8, back, at, &[("tx_hash", json!(deposit.tx_hash))]);
            self.forget(&deposit).await?;
        }
        self.cut().await?;
        Ok(kept)
    }

    /// Both services forget a deposit that was none: their tables have no state for it.
    async fn forget(&self, deposit: &Deposit) -> anyhow::Result<()> {
        for statement in [
            "DELETE FROM eidos_trading_deposits WHERE deposit_id = $1",
            "DELETE FROM eidos_chain_deposit_records WHERE deposit_id = $1",
        ] {
            sqlx::query(statement)
                .bind(&deposit.id)
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }
}
