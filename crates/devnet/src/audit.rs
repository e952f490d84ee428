//! A second opinion: the naive reconciliation, one question per account, straight from the tables and the node.
//!
//! It shares no code with the oracle and none with the real reconciler. It is slow, and so simple that it can be read in
//! one go. What it finds is what is really there; the tests hold the oracle and the manifest against it.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use anyhow::{Context, ensure};
use eidos_chain::contracts::{ISettlement, IToken, IVault, evm};
use eidos_types::{Address, Amount, BaseUnits};
use serde_json::json;

use crate::devnet::Devnet;
use crate::node::{self, Block};
use crate::tokens::{MARKETS, USDC};
use crate::trades::bytes32;

/// A wallet, or `None` for the Vault as a whole, and a token's symbol.
pub type AuditKey = (Option<Address>, String);

/// What the naive reconciliation found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// How many wallets and tokens were compared.
    pub checked: usize,
    /// On-chain minus off-chain, every digit, where it is not zero.
    pub differences: BTreeMap<AuditKey, String>,
}

type Expected = BTreeMap<(Address, String), Amount>;

impl Devnet {
    /// Reconciles naively at the cut.
    ///
    /// # Errors
    /// If a server refuses or a row makes no sense.
    pub async fn audit(&self) -> anyhow::Result<Audit> {
        let cut = self.cut_block()?;
        let mut expected = self.books().await?;
        self.add_withdrawals(&mut expected, cut).await?;
        self.add_deposits(&mut expected, cut).await?;
        self.add_trades(&mut expected, cut).await?;
        for (wallet, token) in self.depositors(cut).await? {
            expected.entry((wallet, token)).or_default();
        }
        let keys: Vec<(Address, String)> = expected.keys().cloned().collect();
        let totals = self.vault_totals(cut, &keys).await?;
        let mut differences = BTreeMap::new();
        let mut owed: BTreeMap<String, U256> = BTreeMap::new();
        for ((key, expected), total) in expected.iter().zip(&totals) {
            let sum = owed.entry(key.1.clone()).or_default();
            *sum = sum
                .checked_add(*total)
                .context("the Vault owes more than a uint256")?;
            if let Some(difference) = difference(*total, *expected, self.token(&key.1)?.decimals)? {
                differences.insert((Some(key.0), key.1.clone()), difference);
            }
        }
        self.add_insolvency(&mut differences, cut, &owed).await?;
        Ok(Audit {
            checked: keys.len(),
            differences,
        })
    }

    /// Fails unless oracle, books and chain agree about everything.
    pub(crate) async fn ensure_consistent(&self) -> anyhow::Result<()> {
        let audit = self.audit().await?;
        let oracle = self.ledger.differences(self.addresses.fee_recipient)?;
        ensure!(
            audit.differences.is_empty(),
            "books and chain disagree before any fault: {:?}",
            audit.differences
        );
        ensure!(
            oracle.is_empty(),
            "the oracle disagrees with itself before any fault: {oracle:?}"
        );
        ensure!(
            audit.checked >= self.ledger.pairs().len(),
            "the audit missed accounts the oracle knows"
        );
        Ok(())
    }

    async fn books(&self) -> anyhow::Result<Expected> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT lower(wallet), token, sum(value)::text FROM (
                 SELECT wallet, token, settled_available + settled_frozen AS value FROM eidos_trading_balances
                 UNION ALL
                 SELECT wallet, token, available + frozen FROM eidos_trading_subaccount_balances
                 UNION ALL
                 SELECT $1, token, balance FROM eidos_trading_fee_accounts
             ) AS row GROUP BY 1, 2",
        )
        .bind(self.addresses.fee_recipient.to_string())
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(wallet, token, value)| Ok(((wallet.parse()?, token), value.parse()?)))
            .collect()
    }

    async fn add_withdrawals(&self, expected: &mut Expected, cut: Block) -> anyhow::Result<()> {
        let rows: Vec<(String, String, String, Option<String>)> = sqlx::query_as(
            "SELECT lower(wallet), token, amount::text, tx_hash FROM eidos_trading_withdrawals
             WHERE status IN (0, 1, 2, 3)",
        )
        .fetch_all(&self.pool)
        .await?;
        for (wallet, token, amount, tx_hash) in rows {
            let mined_at = match tx_hash {
                Some(hash) => self.mined_at(&hash).await?,
                None => None,
            };
            if mined_at.is_none_or(|block| block > cut.number) {
                add(expected, (wallet.parse()?, token), amount.parse()?)?;
            }
        }
        Ok(())
    }

    async fn add_deposits(&self, expected: &mut Expected, cut: Block) -> anyhow::Result<()> {
        let rows: Vec<(String, String, String, i16, i64)> = sqlx::query_as(
            "SELECT lower(wallet), token, amount::text, status, block_num FROM eidos_trading_deposits",
        )
        .fetch_all(&self.pool)
        .await?;
        for (wallet, token, amount, status, block) in rows {
            let amount: Amount = amount.parse()?;
            let above = u64::try_from(block)? > cut.number;
            if status == 2 && above {
                add(expected, (wallet.parse()?, token), amount.negated())?;
            } else if status < 2 && !above {
                add(expected, (wallet.parse()?, token), amount)?;
            }
        }
        Ok(())
    }

    async fn add_trades(&self, expected: &mut Expected, cut: Block) -> anyhow::Result<()> {
        type Row = (
            String,
            String,
            String,
            String,
            String,
            String,
            String,
            i16,
            i16,
            String,
            Option<i64>,
        );
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT lower(maker_wallet), lower(taker_wallet), market, amount::text, quote_amount::text,
                    maker_fee::text, taker_fee::text, maker_side, settlement_status, batch_id,
                    (SELECT block_number FROM eidos_chain_settlement_batches AS batches
                     WHERE batches.batch_id = trades.batch_id)
             FROM eidos_trading_trades AS trades",
        )
        .fetch_all(&self.pool)
        .await?;
        for (maker, taker, market, base, quote, maker_fee, taker_fee, maker_side, status, batch, block) in
            rows
        {
            let settled = self.is_settled(cut, &batch).await?;
            let above = block.is_some_and(|block| u64::try_from(block).is_ok_and(|block| block > cut.number));
            let sign = match (settled, status) {
                (true, 0..=2) => 1,
                (false, 3) if above => -1,
                // What the books undid, or settled without the chain, is no movement under way.
                _ => continue,
            };
            let market = MARKETS
                .iter()
                .find(|known| known.symbol == market)
                .context("an unknown market")?;
            let (maker, taker): (Address, Address) = (maker.parse()?, taker.parse()?);
            let scaled = |text: &str| -> anyhow::Result<i128> { Ok(text.parse::<Amount>()?.scaled()) };
            let (base, quote) = (scaled(&base)?, scaled(&quote)?);
            let (maker_fee, taker_fee) = (scaled(&maker_fee)?, scaled(&taker_fee)?);
            // Who buys gets base for quote; both pay their fee in quote.
            let maker_sign = if maker_side == 1 { 1 } else { -1 };
            for (wallet, token, value) in [
                (maker, market.base, maker_sign * base),
                (taker, market.base, -maker_sign * base),
                (maker, USDC, -maker_sign * quote - maker_fee),
                (taker, USDC, maker_sign * quote - taker_fee),
                (self.addresses.fee_recipient, USDC, maker_fee + taker_fee),
            ] {
                add(
                    expected,
                    (wallet, token.to_owned()),
                    Amount::from_scaled(sign * value)?,
                )?;
            }
        }
        Ok(())
    }

    /// Who ever deposited what, from the Vault's own logs.
    async fn depositors(&self, cut: Block) -> anyhow::Result<BTreeSet<(Address, String)>> {
        let by_contract: BTreeMap<Address, &str> = self
            .tokens
            .values()
            .map(|token| (token.address, token.symbol))
            .collect();
        let mut found = BTreeSet::new();
        for log in self.traffic.logs(self.addresses.vault, 0, cut.number).await? {
            if crate::genesis::event_type(log.topics.first()) == "Deposit"
                && let [_, user, token] = log.topics.as_slice()
                && let Some(symbol) = by_contract.get(&address_in(token))
            {
                found.insert((address_in(user), (*symbol).to_owned()));
            }
        }
        Ok(found)
    }

    async fn vault_totals(&self, cut: Block, keys: &[(Address, String)]) -> anyhow::Result<Vec<U256>> {
        let calls = keys
            .iter()
            .map(|(wallet, symbol)| {
                let question = IVault::getTotalBalanceCall {
                    user: evm(wallet),
                    token: evm(&self.token(symbol)?.address),
                };
                Ok((self.addresses.vault, question.abi_encode()))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        self.node().read(cut.hash, &calls).await
    }

    async fn add_insolvency(
        &self,
        differences: &mut BTreeMap<AuditKey, String>,
        cut: Block,
        owed: &BTreeMap<String, U256>,
    ) -> anyhow::Result<()> {
        for (symbol, owed) in owed {
            let token = self.token(symbol)?;
            let held = if token.address == Address::ZERO {
                self.node().native_balance(cut.hash, self.addresses.vault).await?
            } else {
                let question = IToken::balanceOfCall {
                    owner: evm(&self.addresses.vault),
                };
                let answers = self
                    .node()
                    .read(cut.hash, &[(token.address, question.abi_encode())])
                    .await?;
                *answers.first().context("no answer")?
            };
            if let Some(missing) = owed.checked_sub(held).filter(|missing| !missing.is_zero()) {
                let exact = BaseUnits::from_be_bytes(missing.to_be_bytes()).exact(token.decimals);
                differences.insert((None, symbol.clone()), format!("-{exact}"));
            }
        }
        Ok(())
    }

    async fn mined_at(&self, tx_hash: &str) -> anyhow::Result<Option<u64>> {
        let receipt = self
            .node()
            .call("eth_getTransactionReceipt", json!([tx_hash]))
            .await?;
        if receipt.is_null() || receipt["status"] != "0x1" {
            return Ok(None);
        }
        node::quantity(&receipt["blockNumber"]).map(Some)
    }

    async fn is_settled(&self, cut: Block, batch: &str) -> anyhow::Result<bool> {
        let question = ISettlement::isBatchSettledCall {
            batchId: bytes32(batch).into(),
        };
        let answers = self
            .node()
            .read(cut.hash, &[(self.addresses.settlement, question.abi_encode())])
            .await?;
        Ok(answers.first().is_some_and(|answer| !answer.is_zero()))
    }
}

fn add(expected: &mut Expected, key: (Address, String), amount: Amount) -> anyhow::Result<()> {
    let value = expected.entry(key).or_default();
    *value = value.checked_add(amount)?;
    Ok(())
}

/// The exact difference in whole tokens, `None` if there is none.
fn difference(on_chain: U256, expected: Amount, decimals: u8) -> anyhow::Result<Option<String>> {
    let units = BaseUnits::from_be_bytes(on_chain.to_be_bytes());
    let Ok(on_chain) = units.to_amount(decimals) else {
        ensure!(
            expected.is_zero(),
            "{} on chain against {expected}: only zero is handled",
            units.exact(decimals)
        );
        return Ok(Some(units.exact(decimals)));
    };
    let difference = on_chain.checked_sub(expected)?;
    Ok((!difference.is_zero()).then(|| difference.to_string()))
}

fn address_in(topic: &eidos_types::Hash32) -> Address {
    let mut bytes = [0; 20];
    bytes.copy_from_slice(&topic.as_bytes()[12..]);
    Address::new(bytes)
}
