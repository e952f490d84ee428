//! Planting faults of single movements: what the books record of a movement is not what happened, while the balances are right.

use anyhow::Context;
use eidos_types::{Amount, Hash32};
use rand::RngExt;
use serde_json::json;

use crate::devnet::Devnet;
use crate::manifest::{MovementFault, PlantedMovement, Severity, severity_of};
use crate::movements::{Deposit, DepositStage, Withdrawal, WithdrawalStatus};
use crate::tokens::{USDC, WBTC, WETH};
use crate::traffic::Mined;

impl Devnet {
    /// Plants one fault and moves the cut past it. What a reconciler must find is in [`Devnet::manifest`].
    ///
    /// # Errors
    /// If a server refuses.
    pub async fn plant_movement(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        match fault {
            MovementFault::TwoRows => self.two_rows(fault).await?,
            MovementFault::NoEvent => self.no_event(fault).await?,
            MovementFault::OrphanedRow => self.orphaned_row(fault).await?,
            MovementFault::OtherToken => self.other_token(fault).await?,
            MovementFault::NoRow => self.no_row(fault).await?,
            MovementFault::NoTransaction => self.no_transaction(fault).await?,
            MovementFault::RefundedAndPaid => self.refunded_and_paid(fault).await?,
            MovementFault::PaidAndOpen => self.paid_and_open(fault).await?,
            MovementFault::NeverPaid => self.never_paid(fault).await?,
            MovementFault::PaidWithoutRow => self.paid_without_row(fault).await?,
            MovementFault::ConfirmedAndUnpaid => self.confirmed_and_unpaid(fault).await?,
            MovementFault::PaidAnotherAmount => self.paid_another_amount(fault).await?,
            MovementFault::PaidAnotherWallet => self.paid_another_wallet(fault).await?,
            MovementFault::PaidAnotherToken => self.paid_another_token(fault).await?,
            of_trades => self.plant_trade(of_trades).await?,
        }
        self.cut().await?;
        Ok(())
    }

    /// A deposit of some ordinary wallet, as it should be: one of these faults does not change balances.
    async fn good_deposit(&mut self, symbol: &'static str) -> anyhow::Result<Deposit> {
        let wallet = *self
            .ordinary
            .first()
            .ok_or_else(|| anyhow::anyhow!("no ordinary wallet"))?;
        let amount = self.random_amount(symbol, 150, 900)?;
        let deposits = self.deposit_on_chain(&[(wallet, symbol, amount)]).await?;
        let deposit = deposits
            .into_iter()
            .next()
            .ok_or_else(|| anyhow::anyhow!("no deposit"))?;
        let at = self.tick();
        self.credit(&deposit, (wallet, symbol), amount, at)?;
        Ok(deposit)
    }

    /// The same deposit under another transaction: the chain never had it.
    fn invented(&mut self, deposit: &Deposit) -> Deposit {
        Deposit {
            tx_hash: Hash32::new(self.rng.random()),
            id: self.new_id(),
            ..deposit.clone()
        }
    }

    /// A row of the trading service alone; `columns` are those that differ from the deposit.
    fn trading_row(&mut self, deposit: &Deposit, columns: &[(&str, serde_json::Value)]) {
        let at = self.tick();
        let mut row = json!({
            "deposit_id": deposit.id, "wallet": self.wallet_text(deposit.wallet), "token": deposit.token,
            "amount": deposit.amount, "tx_hash": deposit.tx_hash, "log_index": deposit.log_index,
            "block_num": deposit.block, "status": 2, "detected_at": at, "confirmed_at": at, "credited_at": at,
            "created_at": at, "updated_at": at,
        });
        for (column, value) in columns {
            row[*column] = value.clone();
        }
        self.row("eidos_trading_deposits", row);
    }

    async fn two_rows(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let deposit = self.good_deposit(USDC).await?;
        let at = self.tick();
        self.record_deposit(
            &deposit,
            deposit.wallet,
            deposit.amount,
            DepositStage::Credited,
            at,
        );
        let shouted = format!("0x{}", deposit.tx_hash.to_string()[2..].to_uppercase());
        let id = self.new_id();
        self.trading_row(
            &deposit,
            &[("tx_hash", json!(shouted)), ("deposit_id", json!(id))],
        );
        self.expect_deposit(
            fault.as_str(),
            &deposit,
            "duplicate_credit",
            deposit.amount.negated(),
        )
    }

    async fn no_event(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let deposit = self.booked_deposit(USDC).await?;
        let invented = self.invented(&deposit);
        self.trading_row(&invented, &[]);
        self.expect_deposit(
            fault.as_str(),
            &invented,
            "missing_on_chain",
            deposit.amount.negated(),
        )
    }

    async fn orphaned_row(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let deposit = self.booked_deposit(WETH).await?;
        let lost = Deposit {
            block_hash: Hash32::new(self.rng.random()),
            ..self.invented(&deposit)
        };
        let at = self.tick();
        self.record_deposit(&lost, lost.wallet, lost.amount, DepositStage::Credited, at);
        self.expect_deposit(fault.as_str(), &lost, "orphaned", deposit.amount.negated())
    }

    async fn other_token(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let deposit = self.good_deposit(WETH).await?;
        self.trading_row(&deposit, &[("token", json!(WBTC))]);
        self.expect_deposit(fault.as_str(), &deposit, "wrong_token", Amount::ZERO)
    }

    async fn no_row(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let deposit = self.good_deposit(USDC).await?;
        self.expect_deposit(fault.as_str(), &deposit, "missing_in_books", deposit.amount)
    }

    async fn no_transaction(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let deposit = self.booked_deposit(USDC).await?;
        self.flush().await?;
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO eidos_trading_deposits
                 (deposit_id, wallet, token, amount, tx_hash, log_index, block_num, status, detected_at, created_at,
                  updated_at)
             VALUES ($1, $2, $3, $4::text::numeric, 'pending', -1, 0, 2, 0, 0, 0) RETURNING id",
        )
        .bind(self.new_id())
        .bind(self.wallet_text(deposit.wallet))
        .bind(deposit.token)
        .bind(deposit.amount.to_string())
        .fetch_one(&self.pool)
        .await?;
        self.manifest.movements.push(PlantedMovement {
            class: fault.as_str().to_owned(),
            dimension: "deposit".to_owned(),
            subject: format!("row:{id}"),
            token: deposit.token.to_owned(),
            kind: "unreadable_row".to_owned(),
            difference: "?".to_owned(),
            severity: Severity::Critical,
        });
        Ok(())
    }

    /// A deposit as it should be, rows and all.
    async fn booked_deposit(&mut self, symbol: &'static str) -> anyhow::Result<Deposit> {
        let deposit = self.good_deposit(symbol).await?;
        let at = self.tick();
        self.record_deposit(
            &deposit,
            deposit.wallet,
            deposit.amount,
            DepositStage::Credited,
            at,
        );
        Ok(deposit)
    }

    /// A withdrawal of what was just deposited: debited and paid, and in no table.
    async fn paid(&mut self) -> anyhow::Result<(Withdrawal, Mined)> {
        let deposit = self.booked_deposit(USDC).await?;
        let (key, at) = ((deposit.wallet, deposit.token), self.tick());
        let withdrawal = self.request_withdrawal(key, deposit.amount, at)?;
        let mined = self.withdraw_on_chain(&[(key, deposit.amount)]).await?.pop();
        Ok((withdrawal, mined.context("a withdrawal without receipt")?))
    }

    /// Writes the rows of both services for a transaction.
    fn record_paid(&mut self, withdrawal: &Withdrawal, status: WithdrawalStatus, mined: &Mined) {
        let (hash, at) = (mined.tx_hash.to_string(), self.tick());
        self.record_withdrawal(withdrawal, status, Some(&hash), Some(mined), at);
    }

    async fn refunded_and_paid(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (withdrawal, mined) = self.paid().await?;
        self.record_paid(&withdrawal, WithdrawalStatus::Failed, &mined);
        let subject = format!("row:{}", withdrawal.id);
        self.expect_withdrawal(
            fault.as_str(),
            subject,
            &withdrawal,
            "refunded_yet_mined",
            Amount::ZERO,
        )
    }

    async fn paid_and_open(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (withdrawal, mined) = self.paid().await?;
        self.record_paid(&withdrawal, WithdrawalStatus::Submitted, &mined);
        let subject = format!("row:{}", withdrawal.id);
        self.expect_withdrawal(
            fault.as_str(),
            subject,
            &withdrawal,
            "mined_yet_pending",
            Amount::ZERO,
        )
    }

    async fn never_paid(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let deposit = self.booked_deposit(USDC).await?;
        let (key, at) = ((deposit.wallet, deposit.token), self.tick());
        let withdrawal = self.request_withdrawal(key, deposit.amount, at)?;
        let tx = self.withdraw_tx(key, deposit.amount)?;
        let hash = self.traffic.submit_stuck(&tx).await?.to_string();
        self.record_withdrawal(&withdrawal, WithdrawalStatus::Submitted, Some(&hash), None, at);
        self.ledger.fly(key, deposit.amount)?;
        let subject = format!("row:{}", withdrawal.id);
        self.expect_withdrawal(fault.as_str(), subject, &withdrawal, "stuck", deposit.amount)
    }

    async fn paid_without_row(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (withdrawal, mined) = self.paid().await?;
        self.expect_unknown_withdrawal(fault.as_str(), &withdrawal, &mined)
    }

    /// The row names a transaction that is on the chain and pays nobody.
    async fn confirmed_and_unpaid(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let deposit = self.booked_deposit(USDC).await?;
        let withdrawal = Withdrawal {
            id: self.new_id(),
            wallet: deposit.wallet,
            token: deposit.token,
            amount: deposit.amount,
            mined: false,
        };
        let mined = Mined {
            tx_hash: deposit.tx_hash,
            block: deposit.block,
            block_hash: deposit.block_hash,
            gas_used: 0,
            contract: None,
            logs: Vec::new(),
        };
        self.record_paid(&withdrawal, WithdrawalStatus::Confirmed, &mined);
        let subject = format!("row:{}", withdrawal.id);
        self.expect_withdrawal(
            fault.as_str(),
            subject,
            &withdrawal,
            "missing_on_chain",
            deposit.amount,
        )
    }

    async fn paid_another_amount(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (withdrawal, mined) = self.paid().await?;
        let more: Amount = "0.1".parse()?;
        let booked = Withdrawal {
            amount: withdrawal.amount.checked_add(more)?,
            ..withdrawal.clone()
        };
        self.record_paid(&booked, WithdrawalStatus::Confirmed, &mined);
        let subject = format!("row:{}", withdrawal.id);
        self.expect_withdrawal(fault.as_str(), subject, &withdrawal, "wrong_amount", more)
    }

    async fn paid_another_wallet(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (withdrawal, mined) = self.paid().await?;
        let booked = Withdrawal {
            wallet: *self.ordinary.get(1).context("one ordinary wallet only")?,
            ..withdrawal.clone()
        };
        self.record_paid(&booked, WithdrawalStatus::Confirmed, &mined);
        let subject = format!("row:{}", withdrawal.id);
        self.expect_withdrawal(fault.as_str(), subject, &withdrawal, "wrong_wallet", Amount::ZERO)
    }

    async fn paid_another_token(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (withdrawal, mined) = self.paid().await?;
        let booked = Withdrawal {
            token: WETH,
            ..withdrawal.clone()
        };
        self.record_paid(&booked, WithdrawalStatus::Confirmed, &mined);
        let subject = format!("row:{}", withdrawal.id);
        self.expect_withdrawal(fault.as_str(), subject, &withdrawal, "wrong_token", Amount::ZERO)
    }

    /// Notes that no row knows the event of this transaction.
    pub(crate) fn expect_unknown_withdrawal(
        &mut self,
        class: &str,
        withdrawal: &Withdrawal,
        mined: &Mined,
    ) -> anyhow::Result<()> {
        let log = mined
            .logs
            .iter()
            .find(|log| crate::genesis::event_type(log.topics.first()) == "Withdraw")
            .context("a withdrawal without its event")?;
        let subject = format!("{}:{}", mined.tx_hash, log.index);
        let gone = withdrawal.amount.negated();
        self.expect_withdrawal(class, subject, withdrawal, "missing_in_books", gone)
    }

    /// Notes what a reconciler must find about a withdrawal; `difference` is what the Vault has more than the books expect.
    fn expect_withdrawal(
        &mut self,
        class: &str,
        subject: String,
        withdrawal: &Withdrawal,
        kind: &str,
        difference: Amount,
    ) -> anyhow::Result<()> {
        let at_stake = if difference.is_zero() {
            withdrawal.amount.negated()
        } else {
            difference
        };
        let is_of_status = ["stuck", "mined_yet_pending"].contains(&kind);
        let severity = if is_of_status {
            Severity::Warning
        } else {
            severity_of(at_stake, self.token(withdrawal.token)?.price_usdc).max(Severity::Warning)
        };
        self.manifest.movements.push(PlantedMovement {
            class: class.to_owned(),
            dimension: "withdrawal".to_owned(),
            subject,
            token: withdrawal.token.to_owned(),
            kind: kind.to_owned(),
            difference: difference.to_string(),
            severity,
        });
        Ok(())
    }

    /// Notes what a reconciler must find about a deposit.
    pub(crate) fn expect_deposit(
        &mut self,
        class: &str,
        deposit: &Deposit,
        kind: &str,
        difference: Amount,
    ) -> anyhow::Result<()> {
        // Where the sum is right and the owner or the token is not, the whole amount is at stake.
        let at_stake = if difference.is_zero() {
            deposit.amount.negated()
        } else {
            difference
        };
        let price = self.token(deposit.token)?.price_usdc;
        let severity = severity_of(at_stake, price).max(Severity::Warning);
        self.manifest.movements.push(PlantedMovement {
            class: class.to_owned(),
            dimension: "deposit".to_owned(),
            subject: format!("{}:{}", deposit.tx_hash, deposit.log_index),
            token: deposit.token.to_owned(),
            kind: kind.to_owned(),
            difference: difference.to_string(),
            severity,
        });
        Ok(())
    }
}
