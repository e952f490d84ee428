//! Ordinary traffic, before anything is planted, and the sub-accounts.

use anyhow::Context;
use eidos_types::{Address, Amount};
use rand::RngExt;
use serde_json::json;

use crate::devnet::Devnet;
use crate::ledger::Key;
use crate::tokens::{ETH, MARKETS, USDC, WBTC, WETH};

/// Trades in one batch, at most.
const BATCH_TRADES: usize = 10;

impl Devnet {
    /// Makes every ordinary wallet deposit. Many trade; some withdraw, freeze funds in orders or use sub-accounts.
    pub(crate) async fn live(&mut self) -> anyhow::Result<()> {
        let wallets = self.ordinary.clone();
        self.first_deposits(&wallets).await?;
        self.trade(&wallets).await?;
        self.some_withdraw(&wallets).await?;
        for wallet in wallets.iter().step_by(4) {
            self.place_order((*wallet, USDC))?;
        }
        for wallet in wallets.iter().step_by(5) {
            let amount = self.random_amount(WETH, 100, 200)?;
            self.transfer_to_sub_account((*wallet, WETH), amount, Amount::ZERO)?;
        }
        self.flush().await
    }

    /// Gives every wallet an account in all three trading tokens, every third one in native coin too.
    pub(crate) async fn first_deposits(&mut self, wallets: &[Address]) -> anyhow::Result<()> {
        let mut wanted = Vec::new();
        for (place, wallet) in wallets.iter().enumerate() {
            wanted.push((*wallet, USDC, self.random_amount(USDC, 5_000_000, 50_000_000)?));
            wanted.push((*wallet, WETH, self.random_amount(WETH, 1_000, 20_000)?));
            wanted.push((*wallet, WBTC, self.random_amount(WBTC, 100, 2_000)?));
            if place % 3 == 0 {
                wanted.push((*wallet, ETH, self.random_amount(ETH, 100, 3_000)?));
            }
        }
        self.deposit(&wanted).await?;
        Ok(())
    }

    async fn trade(&mut self, wallets: &[Address]) -> anyhow::Result<()> {
        let mut matched = Vec::new();
        for _ in 0..wallets.len() {
            let pick = |devnet: &mut Self| wallets.get(devnet.rng.random_range(0..wallets.len())).copied();
            let market = MARKETS[usize::from(self.rng.random::<bool>())];
            if let (Some(maker), Some(taker)) = (pick(self), pick(self))
                && let Some(trade) = self.match_trade(market, maker, taker)?
            {
                matched.push(trade);
            }
            if matched.len() == BATCH_TRADES {
                self.settle(std::mem::take(&mut matched)).await?;
            }
        }
        self.settle(matched).await
    }

    async fn some_withdraw(&mut self, wallets: &[Address]) -> anyhow::Result<()> {
        let mut wanted = Vec::new();
        for (place, wallet) in wallets.iter().enumerate() {
            if place % 3 == 0 {
                wanted.push(((*wallet, USDC), self.random_amount(USDC, 10_000, 900_000)?));
            }
            if place % 6 == 0 {
                wanted.push(((*wallet, ETH), self.random_amount(ETH, 10, 50)?));
            }
        }
        self.withdraw(&wanted).await
    }

    /// Freezes a part of what is available in an open order.
    fn place_order(&mut self, key: Key) -> anyhow::Result<()> {
        let frozen = self.random_amount(key.1, 100_000, 400_000)?;
        self.ledger.change_books(key, |row| {
            row.available = row.available.checked_sub(frozen)?;
            row.frozen = row.frozen.checked_add(frozen)?;
            Ok(())
        })?;
        let (id, at, nonce) = (self.new_id(), self.tick(), self.rng.random_range(1..1_000_000));
        self.row(
            "eidos_trading_orders",
            json!({
                "order_id": id, "wallet": self.wallet_text(key.0), "market": MARKETS[0].symbol, "side": 1,
                "order_type": 1, "price": "1", "amount": frozen, "filled_amount": "0", "filled_quote": "0",
                "remaining_amount": frozen, "avg_price": "0", "status": 1, "time_in_force": 1, "nonce": nonce,
                "expire_at": 0, "freeze_token": key.1, "freeze_amount": frozen, "accepted_at": at, "created_at": at,
                "updated_at": at,
            }),
        );
        self.log_balance(key, 3, frozen.negated(), at, &[("order_id", json!(id))]);
        Ok(())
    }

    /// Moves funds out of the wallet's own row into a new sub-account, `frozen` of them into its orders.
    pub(crate) fn transfer_to_sub_account(
        &mut self,
        key: Key,
        amount: Amount,
        frozen: Amount,
    ) -> anyhow::Result<()> {
        let free = amount.checked_sub(frozen).context("more is frozen than moved")?;
        let sub_account = self.new_id();
        self.ledger.book(key, amount.negated())?;
        self.ledger.change_sub(key, &sub_account, |sub| {
            sub.available = sub.available.checked_add(free)?;
            sub.frozen = sub.frozen.checked_add(frozen)?;
            Ok(())
        })?;
        let (transfer, at, wallet) = (self.new_id(), self.tick(), self.wallet_text(key.0));
        self.row(
            "eidos_trading_subaccounts",
            json!({
                "sub_account_id": sub_account, "wallet": wallet, "name": "strategy 1", "status": 1, "created_at": at,
                "updated_at": at,
            }),
        );
        self.row(
            "eidos_trading_subaccount_transfers",
            json!({
                "transfer_id": transfer, "wallet": wallet, "sub_account_id": sub_account, "token": key.1,
                "amount": amount, "direction": 1, "created_at": at,
            }),
        );
        self.row(
            "eidos_trading_subaccount_balance_logs",
            json!({
                "sub_account_id": sub_account, "wallet": wallet, "token": key.1, "type": 1, "amount": amount,
                "created_at": at,
            }),
        );
        Ok(())
    }
}
