//! Completes what is in flight: withdrawals are mined, batches settle, waiting deposits are credited.

use anyhow::Context;

use crate::devnet::{Devnet, now_ms};
use crate::movements::{Batch, Withdrawal};
use crate::tokens::USDC;
use crate::traffic::Mined;

impl Devnet {
    /// Completes everything in flight: withdrawals, batches, credits. The next [`Devnet::cut`] sees it all.
    ///
    /// # Errors
    /// If a server refuses.
    pub async fn let_everything_arrive(&mut self) -> anyhow::Result<()> {
        self.confirm_withdrawals().await?;
        self.confirm_batches().await?;
        self.credit_waiting_deposits().await
    }

    /// Completes every open withdrawal: mines what is not mined, and confirms in the books.
    async fn confirm_withdrawals(&mut self) -> anyhow::Result<()> {
        for withdrawal in std::mem::take(&mut self.open_withdrawals) {
            let key = (withdrawal.wallet, withdrawal.token);
            let mut mined = None;
            if !withdrawal.mined {
                mined = self.withdraw_on_chain(&[(key, withdrawal.amount)]).await?.pop();
                // Mined above the cut: it stays in flight until the next cut.
                self.ledger.fly(key, withdrawal.amount.negated())?;
                self.ledger.fly_until_cut(key, withdrawal.amount)?;
                self.ledger.move_above_cut(key, withdrawal.amount.negated())?;
            }
            self.confirm_withdrawal(&withdrawal, mined.as_ref()).await?;
        }
        Ok(())
    }

    async fn confirm_withdrawal(&self, withdrawal: &Withdrawal, mined: Option<&Mined>) -> anyhow::Result<()> {
        let tx_hash = mined.map(|mined| mined.tx_hash.to_string());
        let block = mined.map(|mined| i64::try_from(mined.block)).transpose()?;
        sqlx::query(
            "UPDATE eidos_trading_withdrawals SET status = 3, tx_hash = coalesce($2, tx_hash), confirmed_at = $3,
                 updated_at = $3 WHERE withdraw_id = $1",
        )
        .bind(&withdrawal.id)
        .bind(tx_hash.as_deref())
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        sqlx::query(
            "UPDATE eidos_chain_withdrawal_txs SET status = 2, tx_hash = coalesce($2, tx_hash),
                 block_number = $3, confirmed_at = $4, updated_at = $4 WHERE withdraw_id = $1",
        )
        .bind(&withdrawal.id)
        .bind(tx_hash.as_deref())
        .bind(block)
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Completes every open batch: settles what is not settled, and books it.
    async fn confirm_batches(&mut self) -> anyhow::Result<()> {
        for mut batch in std::mem::take(&mut self.open_batches) {
            let late = batch.settled.is_none();
            if late {
                self.settle_on_chain(&mut batch).await?;
            }
            self.book_batch(&batch, now_ms())?;
            for trade in &batch.trades {
                for (key, delta) in trade.deltas(self.addresses.fee_recipient)? {
                    if late {
                        self.ledger.move_above_cut(key, delta)?;
                        self.ledger.fly_until_cut(key, delta.negated())?;
                    } else {
                        self.ledger.fly(key, delta.negated())?;
                    }
                }
            }
            self.flush().await?;
            for trade in &batch.trades {
                self.ledger.pay_fee(USDC, trade.fees()?)?;
            }
            self.confirm_batch(&batch).await?;
        }
        Ok(())
    }

    async fn confirm_batch(&self, batch: &Batch) -> anyhow::Result<()> {
        let mined = batch
            .settled
            .as_ref()
            .context("a batch without its transaction")?;
        let (tx_hash, block) = (mined.tx_hash.to_string(), i64::try_from(mined.block)?);
        let mut transaction = self.pool.begin().await?;
        for statement in [
            "UPDATE eidos_trading_trades SET settlement_status = 3, tx_hash = $2, settled_at = $3, updated_at = $3
             WHERE batch_id = $1",
            "UPDATE eidos_trading_settlement_batches SET status = 3, tx_hash = $2, confirmed_at = $3, updated_at = $3
             WHERE batch_id = $1",
        ] {
            sqlx::query(statement)
                .bind(&batch.id)
                .bind(&tx_hash)
                .bind(now_ms())
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(
            "UPDATE eidos_chain_settlement_batches SET status = 2, tx_hash = $2, block_number = $3,
                 confirmed_at = $4, updated_at = $4 WHERE batch_id = $1",
        )
        .bind(&batch.id)
        .bind(&tx_hash)
        .bind(block)
        .bind(now_ms())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Credits the deposits that were waiting ([`crate::Trap::DepositNotCredited`]).
    async fn credit_waiting_deposits(&mut self) -> anyhow::Result<()> {
        for deposit in std::mem::take(&mut self.waiting_deposits) {
            let (key, at) = ((deposit.wallet, deposit.token), now_ms());
            self.credit(&deposit, key, deposit.amount, at)?;
            self.ledger.fly(key, deposit.amount.negated())?;
            self.flush().await?;
            for statement in [
                "UPDATE eidos_trading_deposits SET status = 2, credited_at = $2, updated_at = $2 WHERE deposit_id = $1",
                "UPDATE eidos_chain_deposit_records SET status = 2, credited_at = $2, updated_at = $2
                 WHERE deposit_id = $1",
            ] {
                sqlx::query(statement)
                    .bind(&deposit.id)
                    .bind(at)
                    .execute(&self.pool)
                    .await?;
            }
        }
        Ok(())
    }
}
