//! Trades: matched off chain, settled in batches on chain, booked when the batch is confirmed.

use anyhow::Context;
use eidos_chain::contracts::{ISettlement, IVault, Trade as ChainTrade, encode, evm};
use eidos_types::{Address, Amount};
use rand::RngExt;
use serde_json::{Value, json};

use crate::devnet::Devnet;
use crate::genesis::call;
use crate::ledger::Key;
use crate::movements::{Batch, SettlementStatus, Trade};
use crate::tokens::{Market, USDC};
use crate::traffic::Tx;

/// Buckets of the platform's fee accounts.
const FEE_BUCKETS: u8 = 16;

impl Devnet {
    /// Matches a trade: both sides' payments are frozen, what they get is pending. `None` if one of them is too poor.
    pub(crate) fn match_trade(
        &mut self,
        market: Market,
        maker: Address,
        taker: Address,
    ) -> anyhow::Result<Option<Trade>> {
        // Four decimals of size and two of price make six of quote, which is what USDC has.
        let size_e4 = i128::from(self.rng.random_range(10..400_u32)) * 3_000 / i128::from(market.price_usdc);
        let price_cents =
            i128::from(market.price_usdc) * 100 + i128::from(self.rng.random_range(-500..500_i32));
        let quote_units = size_e4 * price_cents;
        let trade = Trade {
            id: self.new_id(),
            market,
            maker,
            taker,
            maker_buys: self.rng.random(),
            price: Amount::from_scaled(price_cents * 10_i128.pow(16))?,
            amount: Amount::from_scaled(size_e4 * 10_i128.pow(14))?,
            quote: Amount::from_scaled(quote_units * 10_i128.pow(12))?,
            fee: Amount::from_scaled(quote_units / 1_000 * 10_i128.pow(12))?,
        };
        for (key, delta) in trade.deltas(self.addresses.fee_recipient)? {
            if delta.is_negative() && self.ledger.booked(key).available < delta.abs() {
                return Ok(None);
            }
        }
        if size_e4 == 0 || maker == taker {
            return Ok(None);
        }
        for (key, delta) in self.user_deltas(&trade)? {
            self.ledger.change_books(key, |row| {
                if delta.is_negative() {
                    row.available = row.available.checked_add(delta)?;
                    row.frozen = row.frozen.checked_sub(delta)?;
                } else {
                    row.pending = row.pending.checked_add(delta)?;
                }
                Ok(())
            })?;
        }
        Ok(Some(trade))
    }

    /// Groups trades into a batch.
    pub(crate) fn batch(&mut self, trades: Vec<Trade>) -> Batch {
        Batch {
            id: self.new_id(),
            trades,
            settled: None,
        }
    }

    /// Locks what the batch needs and settles it, in one block.
    pub(crate) async fn settle_on_chain(&mut self, batch: &mut Batch) -> anyhow::Result<()> {
        let mut txs = Vec::new();
        for trade in &batch.trades {
            txs.extend(self.lock_txs(trade)?);
        }
        txs.push(self.settle_tx(batch)?);
        let mined = self
            .mine(&txs)
            .await
            .with_context(|| format!("settling batch {}", batch.id))?;
        for trade in &batch.trades {
            for (key, delta) in trade.deltas(self.addresses.fee_recipient)? {
                self.ledger.move_chain(key, delta)?;
            }
        }
        batch.settled = mined.into_iter().last();
        Ok(())
    }

    /// Books a settled batch: what was frozen is gone, what was pending is available, the platform owes its fees.
    pub(crate) fn book_batch(&mut self, batch: &Batch, at: i64) -> anyhow::Result<()> {
        self.book_trades(batch, at)?;
        for trade in &batch.trades {
            let bucket = self.rng.random_range(0..FEE_BUCKETS);
            self.ledger.book_fee(bucket, USDC, trade.fees()?)?;
        }
        Ok(())
    }

    /// Books what both sides of a settled batch's trades get and pay, and not the platform's fees.
    pub(crate) fn book_trades(&mut self, batch: &Batch, at: i64) -> anyhow::Result<()> {
        for trade in &batch.trades {
            for (key, delta) in self.user_deltas(trade)? {
                self.ledger.change_books(key, |row| {
                    if delta.is_negative() {
                        row.frozen = row.frozen.checked_add(delta)?;
                    } else {
                        row.pending = row.pending.checked_sub(delta)?;
                        row.available = row.available.checked_add(delta)?;
                    }
                    Ok(())
                })?;
                self.log_balance(key, 7, delta, at, &[("trade_id", json!(trade.id))]);
            }
        }
        Ok(())
    }

    /// Writes the rows of the trades and of their batch, in both services.
    pub(crate) fn record_batch(
        &mut self,
        batch: &Batch,
        status: SettlementStatus,
        tx_hash: &str,
        at: i64,
    ) -> anyhow::Result<()> {
        for trade in &batch.trades {
            self.record_trade(trade, batch, status, tx_hash, at, &[])?;
        }
        self.record_batch_alone(batch, status, tx_hash, at)
    }

    /// Writes the rows of a batch in both services, without those of its trades.
    pub(crate) fn record_batch_alone(
        &mut self,
        batch: &Batch,
        status: SettlementStatus,
        tx_hash: &str,
        at: i64,
    ) -> anyhow::Result<()> {
        let confirmed_at = (status == SettlementStatus::Settled).then_some(at);
        let mined = batch.settled.as_ref().filter(|_| confirmed_at.is_some());
        let mut total = Amount::ZERO;
        for trade in &batch.trades {
            total = total.checked_add(trade.quote)?;
        }
        let ids: Vec<&str> = batch.trades.iter().map(|trade| trade.id.as_str()).collect();
        self.row(
            "eidos_trading_settlement_batches",
            json!({
                "batch_id": batch.id, "trade_count": ids.len(), "total_amount": total, "status": status as i16,
                "tx_hash": tx_hash, "gas_used": mined.map(|mined| mined.gas_used), "retry_count": 0,
                "submitted_at": at, "confirmed_at": confirmed_at, "created_at": at, "updated_at": at,
            }),
        );
        self.row(
            "eidos_chain_settlement_batches",
            json!({
                "batch_id": batch.id, "trade_count": ids.len(), "trade_ids": serde_json::to_string(&ids)?,
                "chain_id": self.addresses.chain_id, "tx_hash": tx_hash,
                "block_number": mined.map(|mined| mined.block), "gas_used": mined.map(|mined| mined.gas_used),
                "status": if confirmed_at.is_some() { 2 } else { 1 }, "retry_count": 0, "submitted_at": at,
                "confirmed_at": confirmed_at, "created_at": at, "updated_at": at,
            }),
        );
        Ok(())
    }

    /// The life of a batch as it should be: settled, booked, confirmed.
    pub(crate) async fn settle(&mut self, trades: Vec<Trade>) -> anyhow::Result<()> {
        if trades.is_empty() {
            return Ok(());
        }
        let mut batch = self.batch(trades);
        self.settle_on_chain(&mut batch).await?;
        let at = self.tick();
        self.book_batch(&batch, at)?;
        self.record_batch(&batch, SettlementStatus::Settled, &batch.tx_hash(), at)
    }

    fn user_deltas(&self, trade: &Trade) -> anyhow::Result<Vec<(Key, Amount)>> {
        let recipient = self.addresses.fee_recipient;
        Ok(trade
            .deltas(recipient)?
            .into_iter()
            .filter(|(key, _)| key.0 != recipient)
            .collect())
    }

    fn lock_txs(&self, trade: &Trade) -> anyhow::Result<Vec<Tx>> {
        let mut txs = Vec::with_capacity(2);
        for ((wallet, symbol), delta) in self.user_deltas(trade)? {
            if delta.is_negative() {
                let token = self.token(symbol)?;
                let lock = IVault::lockFundsCall {
                    user: evm(&wallet),
                    token: evm(&token.address),
                    amount: token.units(delta.abs())?,
                    orderId: bytes32(&trade.id).into(),
                };
                txs.push(call(self.addresses.operator, self.addresses.vault, encode(&lock)));
            }
        }
        Ok(txs)
    }

    /// The transaction that settles a batch.
    pub(crate) fn settle_tx(&self, batch: &Batch) -> anyhow::Result<Tx> {
        let trades = batch
            .trades
            .iter()
            .map(|trade| {
                let (base, usdc) = (self.token(trade.market.base)?, self.token(USDC)?);
                Ok(ChainTrade {
                    tradeId: bytes32(&trade.id).into(),
                    maker: evm(&trade.maker),
                    taker: evm(&trade.taker),
                    baseToken: evm(&base.address),
                    quoteToken: evm(&usdc.address),
                    baseAmount: base.units(trade.amount)?,
                    quoteAmount: usdc.units(trade.quote)?,
                    makerFee: usdc.units(trade.fee)?,
                    takerFee: usdc.units(trade.fee)?,
                    isBuy: trade.maker_buys,
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let settle = ISettlement::settleBatchCall {
            batchId: bytes32(&batch.id).into(),
            trades,
        };
        Ok(call(
            self.addresses.operator,
            self.addresses.settlement,
            encode(&settle),
        ))
    }

    /// Writes the row of a trade; `columns` are those that differ from it.
    pub(crate) fn record_trade(
        &mut self,
        trade: &Trade,
        batch: &Batch,
        status: SettlementStatus,
        tx_hash: &str,
        at: i64,
        columns: &[(&str, Value)],
    ) -> anyhow::Result<()> {
        let settled_at = (status == SettlementStatus::Settled).then_some(at);
        let orders = [self.new_id(), self.new_id()];
        let mut row = json!({
                "trade_id": trade.id, "market": trade.market.symbol, "maker_order_id": orders[0],
                "taker_order_id": orders[1], "maker_wallet": self.wallet_text(trade.maker),
                "taker_wallet": self.wallet_text(trade.taker), "price": trade.price, "amount": trade.amount,
                "quote_amount": trade.quote, "maker_fee": trade.fee, "taker_fee": trade.fee, "fee_token": USDC,
                "maker_side": if trade.maker_buys { 1 } else { 2 }, "settlement_status": status as i16,
                "batch_id": batch.id, "tx_hash": tx_hash, "matched_at": at, "settled_at": settled_at,
                "created_at": at, "updated_at": at,
        });
        for (column, value) in columns {
            row[*column] = value.clone();
        }
        if status == SettlementStatus::Settled {
            for fee in [&row["maker_fee"], &row["taker_fee"]] {
                let fee: Amount = serde_json::from_value(fee.clone())?;
                self.ledger.pay_fee(USDC, fee)?;
            }
        }
        self.row("eidos_trading_trades", row);
        self.row(
            "eidos_market_trades",
            json!({
                "trade_id": trade.id, "market": trade.market.symbol, "price": trade.price, "amount": trade.amount,
                "quote_amount": trade.quote, "side": i16::from(trade.maker_buys), "timestamp": at, "created_at": at,
            }),
        );
        Ok(())
    }
}

/// An id on the chain: 64 hex digits are its 32 bytes; of other text, such as a UUID, these are the first 32 characters.
pub(crate) fn bytes32(id: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    if id.len() == 64 && hex::decode_to_slice(id, &mut bytes).is_ok() {
        return bytes;
    }
    bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(id.bytes()) {
        *to = from;
    }
    bytes
}
