//! Withdrawals: the debit when they are requested, the transaction out of the Vault, the confirmation.

use anyhow::Context;
use eidos_chain::contracts::{IVault, encode, evm};
use eidos_types::{Address, Amount};
use serde_json::json;

use crate::devnet::Devnet;
use crate::genesis::call;
use crate::ledger::Key;
use crate::movements::{Withdrawal, WithdrawalStatus};
use crate::traffic::{Mined, Tx};

impl Devnet {
    /// Debits the books; the chain knows nothing yet.
    pub(crate) fn request_withdrawal(
        &mut self,
        key: Key,
        amount: Amount,
        at: i64,
    ) -> anyhow::Result<Withdrawal> {
        let id = self.new_id();
        self.ledger.book(key, amount.negated())?;
        self.log_balance(key, 2, amount.negated(), at, &[]);
        Ok(Withdrawal {
            id,
            wallet: key.0,
            token: key.1,
            amount,
            mined: false,
        })
    }

    /// Gives the debit back.
    pub(crate) fn refund_withdrawal(&mut self, withdrawal: &Withdrawal, at: i64) -> anyhow::Result<()> {
        let key = (withdrawal.wallet, withdrawal.token);
        self.ledger.book(key, withdrawal.amount)?;
        self.log_balance(key, 9, withdrawal.amount, at, &[]);
        Ok(())
    }

    /// Takes it out of the Vault.
    pub(crate) async fn withdraw_on_chain(&mut self, wanted: &[(Key, Amount)]) -> anyhow::Result<Vec<Mined>> {
        let txs = wanted
            .iter()
            .map(|(key, amount)| self.withdraw_tx(*key, *amount))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mined = self.mine(&txs).await.context("withdrawing")?;
        for (key, amount) in wanted {
            self.ledger.move_chain(*key, amount.negated())?;
        }
        Ok(mined)
    }

    /// The transaction that takes it out of the Vault.
    pub(crate) fn withdraw_tx(&self, key: Key, amount: Amount) -> anyhow::Result<Tx> {
        let token = self.token(key.1)?;
        let units = token.units(amount)?;
        let data = if token.address == Address::ZERO {
            encode(&IVault::withdrawETHCall { amount: units })
        } else {
            encode(&IVault::withdrawCall {
                token: evm(&token.address),
                amount: units,
            })
        };
        Ok(call(key.0, self.addresses.vault, data))
    }

    /// Writes the rows of both services.
    pub(crate) fn record_withdrawal(
        &mut self,
        withdrawal: &Withdrawal,
        status: WithdrawalStatus,
        tx_hash: Option<&str>,
        mined: Option<&Mined>,
        at: i64,
    ) {
        let confirmed_at = (status == WithdrawalStatus::Confirmed).then_some(at);
        let refunded_at = (status == WithdrawalStatus::Failed).then_some(at);
        // A block number appears in the chain service's row once it has confirmed the transaction, not before.
        let confirmed = mined.filter(|_| confirmed_at.is_some());
        let nonce = self.withdrawal_nonces.entry(withdrawal.wallet).or_default();
        *nonce += 1;
        let nonce = *nonce;
        self.row(
            "eidos_trading_withdrawals",
            json!({
                "withdraw_id": withdrawal.id, "wallet": self.wallet_text(withdrawal.wallet),
                "token": withdrawal.token, "amount": withdrawal.amount, "to_address": withdrawal.wallet,
                "nonce": nonce, "status": status as i16, "tx_hash": tx_hash, "refunded_at": refunded_at,
                "submitted_at": at, "confirmed_at": confirmed_at, "created_at": at, "updated_at": at,
            }),
        );
        let token_address = self
            .tokens
            .get(withdrawal.token)
            .map_or(Address::ZERO, |token| token.address);
        let chain_status = match status {
            WithdrawalStatus::Submitted => 1,
            WithdrawalStatus::Confirmed => 2,
            WithdrawalStatus::Failed => 3,
        };
        self.row(
            "eidos_chain_withdrawal_txs",
            json!({
                "withdraw_id": withdrawal.id, "wallet_address": withdrawal.wallet,
                "to_address": withdrawal.wallet, "token": withdrawal.token, "token_address": token_address,
                "amount": withdrawal.amount, "chain_id": self.addresses.chain_id, "tx_hash": tx_hash,
                "block_number": confirmed.map(|mined| mined.block), "gas_used": confirmed.map(|mined| mined.gas_used),
                "status": chain_status, "submitted_at": at, "confirmed_at": confirmed_at, "created_at": at,
                "updated_at": at,
            }),
        );
    }

    /// The life of a withdrawal as it should be: debited, mined, confirmed.
    ///
    /// # Errors
    /// If the node refuses.
    pub async fn withdraw(&mut self, wanted: &[(Key, Amount)]) -> anyhow::Result<()> {
        let mut requested = Vec::with_capacity(wanted.len());
        for (key, amount) in wanted {
            let at = self.tick();
            requested.push((self.request_withdrawal(*key, *amount, at)?, at));
        }
        let mined = self.withdraw_on_chain(wanted).await?;
        for ((withdrawal, at), mined) in requested.iter().zip(&mined) {
            let tx_hash = mined.tx_hash.to_string();
            self.record_withdrawal(
                withdrawal,
                WithdrawalStatus::Confirmed,
                Some(&tx_hash),
                Some(mined),
                *at,
            );
        }
        Ok(())
    }
}
