//! Deposits: a transaction into the Vault, what the chain service records of it, what the books credit for it.

use alloy_primitives::U256;
use alloy_sol_types::SolEvent;
use anyhow::Context;
use eidos_chain::contracts::{IVault, encode, evm};
use eidos_types::{Address, Amount};
use serde_json::json;

use crate::devnet::Devnet;
use crate::genesis::{approve_call, call, mint_call};
use crate::ledger::Key;
use crate::movements::{Deposit, DepositStage};
use crate::traffic::Tx;

impl Devnet {
    /// Deposits on chain, all in one block. The books know nothing yet.
    pub(crate) async fn deposit_on_chain(
        &mut self,
        wanted: &[(Address, &'static str, Amount)],
    ) -> anyhow::Result<Vec<Deposit>> {
        let mut txs = Vec::new();
        let mut places = Vec::with_capacity(wanted.len());
        for (wallet, symbol, amount) in wanted {
            txs.extend(self.deposit_txs(*wallet, symbol, *amount)?);
            places.push(txs.len() - 1);
        }
        let mined = self.mine(&txs).await.context("depositing")?;
        let mut deposits = Vec::with_capacity(wanted.len());
        for ((wallet, token, amount), place) in wanted.iter().zip(places) {
            let receipt = mined.get(place).context("a deposit without receipt")?;
            let log = receipt
                .logs
                .iter()
                .find(|log| {
                    log.topics
                        .first()
                        .is_some_and(|topic| topic.as_bytes() == &IVault::Deposit::SIGNATURE_HASH.0)
                })
                .context("a deposit without its event")?;
            deposits.push(Deposit {
                wallet: *wallet,
                token,
                amount: *amount,
                tx_hash: receipt.tx_hash,
                log_index: log.index,
                block: receipt.block,
                block_hash: receipt.block_hash,
                id: self.new_id(),
            });
            self.ledger.move_chain((*wallet, *token), *amount)?;
        }
        Ok(deposits)
    }

    /// The life of a deposit as it should be: on chain, recorded, credited.
    pub(crate) async fn deposit(
        &mut self,
        wanted: &[(Address, &'static str, Amount)],
    ) -> anyhow::Result<Vec<Deposit>> {
        let deposits = self.deposit_on_chain(wanted).await?;
        self.book_deposits(&deposits)?;
        Ok(deposits)
    }

    /// Records and credits what the chain has.
    pub(crate) fn book_deposits(&mut self, deposits: &[Deposit]) -> anyhow::Result<()> {
        for deposit in deposits {
            let (wallet, amount, at) = (deposit.wallet, deposit.amount, self.tick());
            self.record_deposit(deposit, wallet, amount, DepositStage::Credited, at);
            self.credit(deposit, (wallet, deposit.token), amount, at)?;
        }
        Ok(())
    }

    /// Writes the chain service's record and the trading service's row, the latter for `booked_for` and `booked`.
    pub(crate) fn record_deposit(
        &mut self,
        deposit: &Deposit,
        booked_for: Address,
        booked: Amount,
        stage: DepositStage,
        at: i64,
    ) {
        self.record_on_chain_service(deposit, stage, at);
        let credited_at = (stage == DepositStage::Credited).then_some(at);
        self.row(
            "eidos_trading_deposits",
            json!({
                "deposit_id": deposit.id, "wallet": self.wallet_text(booked_for), "token": deposit.token,
                "amount": booked, "tx_hash": deposit.tx_hash, "log_index": deposit.log_index,
                "block_num": deposit.block, "status": status(stage), "detected_at": at, "confirmed_at": at,
                "credited_at": credited_at, "created_at": at, "updated_at": at,
            }),
        );
    }

    /// Writes the chain service's record only.
    pub(crate) fn record_on_chain_service(&mut self, deposit: &Deposit, stage: DepositStage, at: i64) {
        let token_address = self
            .tokens
            .get(deposit.token)
            .map_or(Address::ZERO, |token| token.address);
        let credited_at = (stage == DepositStage::Credited).then_some(at);
        self.row(
            "eidos_chain_deposit_records",
            json!({
                "deposit_id": deposit.id, "wallet_address": deposit.wallet, "token": deposit.token,
                "token_address": token_address, "amount": deposit.amount, "chain_id": self.addresses.chain_id,
                "tx_hash": deposit.tx_hash, "block_number": deposit.block,
                "block_hash": deposit.block_hash, "log_index": deposit.log_index, "confirmations": 12,
                "required_confirmations": 12, "status": status(stage), "credited_at": credited_at,
                "created_at": at, "updated_at": at,
            }),
        );
    }

    /// Adds to the balance, with its log.
    pub(crate) fn credit(
        &mut self,
        deposit: &Deposit,
        key: Key,
        amount: Amount,
        at: i64,
    ) -> anyhow::Result<()> {
        let before = self.ledger.booked(key).available;
        self.ledger.book(key, amount)?;
        let after = self.ledger.booked(key).available;
        let details = [
            ("balance_before", json!(before)),
            ("balance_after", json!(after)),
            ("tx_hash", json!(deposit.tx_hash)),
        ];
        self.log_balance(key, 1, amount, at, &details);
        Ok(())
    }

    /// Books the deposits the indexer had not reached, now that it does.
    pub(crate) fn credit_unindexed(&mut self) -> anyhow::Result<()> {
        let deposits = std::mem::take(&mut self.unindexed);
        self.book_deposits(&deposits)
    }

    fn deposit_txs(
        &mut self,
        wallet: Address,
        symbol: &'static str,
        amount: Amount,
    ) -> anyhow::Result<Vec<Tx>> {
        let token = self.token(symbol)?;
        let (contract, units) = (token.address, token.units(amount)?);
        Ok(self.deposit_units_txs(wallet, symbol, contract, units))
    }

    /// As many units of `symbol` as asked, beyond what an [`Amount`] can say.
    pub(crate) fn deposit_units_txs(
        &mut self,
        wallet: Address,
        symbol: &'static str,
        contract: Address,
        units: U256,
    ) -> Vec<Tx> {
        let vault = self.addresses.vault;
        if contract == Address::ZERO {
            let deposit = call(wallet, vault, encode(&IVault::depositETHCall {}));
            return vec![Tx {
                value: units,
                ..deposit
            }];
        }
        let mut txs = vec![call(wallet, contract, mint_call(wallet, units))];
        if self.approved.insert((wallet, symbol)) {
            txs.push(call(wallet, contract, approve_call(vault)));
        }
        let deposit = IVault::depositCall {
            token: evm(&contract),
            amount: units,
        };
        txs.push(call(wallet, vault, encode(&deposit)));
        txs
    }
}

const fn status(stage: DepositStage) -> i16 {
    match stage {
        DepositStage::Confirmed => 1,
        DepositStage::Credited => 2,
    }
}
