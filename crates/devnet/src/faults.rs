//! Planting faults: each is a deviation between what happened on chain and what the books made of it.

use alloy_primitives::U256;
use eidos_chain::contracts::{IVault, encode, evm};
use eidos_types::{Address, Amount, BaseUnits};
use rand::RngExt;
use serde_json::json;

use crate::devnet::Devnet;
use crate::genesis::call;
use crate::ledger::Key;
use crate::manifest::{Fault, Planted, PlantedMovement, Severity, severity_of};
use crate::movements::{DepositStage, SettlementStatus, Withdrawal};
use crate::tokens::{HUGE, USDC, WBTC, WETH};

impl Devnet {
    /// Plants one fault on wallets nothing else was planted on, moves the cut past it and returns its entries, which
    /// are also in [`Devnet::manifest`].
    ///
    /// # Errors
    /// If a server refuses or the wallets are used up.
    pub async fn plant(&mut self, fault: Fault) -> anyhow::Result<Vec<Planted>> {
        let planted = match fault {
            Fault::MissingCredit => self.missing_credit().await?,
            Fault::DoubleCredit => self.double_credit().await?,
            Fault::WrongAmount => self.wrong_amount().await?,
            Fault::DecimalsSlip => self.decimals_slip().await?,
            Fault::WrongWallet => self.wrong_wallet().await?,
            Fault::MissingWithdrawalDebit => self.missing_withdrawal_debit().await?,
            Fault::MissingInBooks => self.missing_in_books().await?,
            Fault::MissingOnChain => self.missing_on_chain()?,
            Fault::Dust => self.dust()?,
            Fault::BeyondDecimal => self.beyond_decimal().await?,
            Fault::EmergencyWithdrawal => self.emergency_withdrawal().await?,
            Fault::ManualEdit => self.manual_edit().await?,
            Fault::FeeNotBooked => self.fee_not_booked().await?,
        };
        self.cut().await?;
        self.manifest.faults.extend(planted.iter().cloned());
        Ok(planted)
    }

    /// The chain service saw and passed it on; the trading service lost the message.
    async fn missing_credit(&mut self) -> anyhow::Result<Vec<Planted>> {
        let wallet = self.next_ordinary()?;
        let amount = self.random_amount(USDC, 150_000, 900_000)?;
        for deposit in self.deposit_on_chain(&[(wallet, USDC, amount)]).await? {
            let at = self.tick();
            self.record_on_chain_service(&deposit, DepositStage::Credited, at);
            self.expect_deposit(
                Fault::MissingCredit.as_str(),
                &deposit,
                "missing_in_books",
                amount,
            )?;
        }
        self.entry(Fault::MissingCredit, (wallet, USDC), amount)
    }

    async fn double_credit(&mut self) -> anyhow::Result<Vec<Planted>> {
        let wallet = self.next_ordinary()?;
        let amount = self.random_amount(WETH, 50, 500)?;
        for deposit in self.deposit(&[(wallet, WETH, amount)]).await? {
            let at = self.tick();
            self.credit(&deposit, (wallet, WETH), amount, at)?;
        }
        self.entry(Fault::DoubleCredit, (wallet, WETH), amount.negated())
    }

    async fn wrong_amount(&mut self) -> anyhow::Result<Vec<Planted>> {
        let wallet = self.next_ordinary()?;
        let amount = self.random_amount(USDC, 200_000, 900_000)?;
        let lost = self.random_amount(USDC, 10_000, 90_000)?;
        let booked = amount.checked_sub(lost)?;
        self.credit_wrongly(Fault::WrongAmount, (wallet, USDC), amount, wallet, booked)
            .await?;
        self.entry(Fault::WrongAmount, (wallet, USDC), lost)
    }

    /// Base units of eight decimals read as if they had six: a hundred times too much.
    async fn decimals_slip(&mut self) -> anyhow::Result<Vec<Planted>> {
        let wallet = self.next_ordinary()?;
        let amount = self.random_amount(WBTC, 10, 90)?;
        let booked = Amount::from_scaled(amount.scaled() * 100)?;
        self.credit_wrongly(Fault::DecimalsSlip, (wallet, WBTC), amount, wallet, booked)
            .await?;
        self.entry(Fault::DecimalsSlip, (wallet, WBTC), amount.checked_sub(booked)?)
    }

    async fn wrong_wallet(&mut self) -> anyhow::Result<Vec<Planted>> {
        let (depositor, credited) = (self.next_ordinary()?, self.next_ordinary()?);
        let amount = self.random_amount(USDC, 300_000, 800_000)?;
        self.credit_wrongly(Fault::WrongWallet, (depositor, USDC), amount, credited, amount)
            .await?;
        let mut entries = self.entry(Fault::WrongWallet, (depositor, USDC), amount)?;
        entries.extend(self.entry(Fault::WrongWallet, (credited, USDC), amount.negated())?);
        Ok(entries)
    }

    async fn missing_withdrawal_debit(&mut self) -> anyhow::Result<Vec<Planted>> {
        let key = (self.next_ordinary()?, WETH);
        let amount = self.random_amount(WETH, 50, 300)?;
        // A deposit first, so that the Vault can certainly pay; of another size, so that nothing else explains the gap.
        let enough = amount.checked_add("0.25".parse()?)?;
        self.deposit(&[(key.0, WETH, enough)]).await?;
        for mined in self.withdraw_on_chain(&[(key, amount)]).await? {
            let gone = Withdrawal {
                id: String::new(),
                wallet: key.0,
                token: key.1,
                amount,
                mined: true,
            };
            self.expect_unknown_withdrawal(Fault::MissingWithdrawalDebit.as_str(), &gone, &mined)?;
        }
        self.entry(Fault::MissingWithdrawalDebit, key, amount.negated())
    }

    /// Neither service noticed: the indexer logged an error and moved on.
    async fn missing_in_books(&mut self) -> anyhow::Result<Vec<Planted>> {
        let wallet = self.next_untouched()?;
        let amount = self.random_amount(WETH, 100, 500)?;
        for deposit in self.deposit_on_chain(&[(wallet, WETH, amount)]).await? {
            self.expect_deposit(
                Fault::MissingInBooks.as_str(),
                &deposit,
                "missing_in_books",
                amount,
            )?;
        }
        self.presence_entry(Fault::MissingInBooks, (wallet, WETH), amount)
    }

    /// Half a cent only, because a record on one side is never small (ruling 25).
    fn missing_on_chain(&mut self) -> anyhow::Result<Vec<Planted>> {
        let key = (self.next_untouched()?, USDC);
        let amount = "0.005".parse::<Amount>()?;
        self.ledger.book(key, amount)?;
        self.presence_entry(Fault::MissingOnChain, key, amount.negated())
    }

    fn dust(&mut self) -> anyhow::Result<Vec<Planted>> {
        let key = (self.next_ordinary()?, USDC);
        let amount =
            Amount::from_scaled(i128::from(self.rng.random_range(1_000..9_000_u32)) * 10_i128.pow(12))?;
        self.ledger.book(key, amount)?;
        let at = self.tick();
        let remark = json!("fee rounded the wrong way");
        self.log_balance(key, 6, amount, at, &[("remark", remark)]);
        self.entry(Fault::Dust, key, amount.negated())
    }

    /// A quintillion whole tokens and a bit: 37 digits with the decimals, one more than the books can hold. Their row
    /// says zero, because the insert of the credit failed.
    async fn beyond_decimal(&mut self) -> anyhow::Result<Vec<Planted>> {
        let wallet = self.next_untouched()?;
        let contract = self.token(HUGE)?.address;
        let units = U256::from(10_u8).pow(U256::from(36)) + U256::from(self.rng.random_range(1..u64::MAX));
        let txs = self.deposit_units_txs(wallet, HUGE, contract, units);
        let mined = self.mine(&txs).await?;
        self.ledger.book((wallet, HUGE), Amount::ZERO)?;
        let difference = BaseUnits::from_be_bytes(units.to_be_bytes()).exact(18);
        for log in mined.iter().flat_map(|mined| &mined.logs) {
            if crate::genesis::event_type(log.topics.first()) == "Deposit" {
                self.manifest.movements.push(PlantedMovement {
                    class: Fault::BeyondDecimal.as_str().to_owned(),
                    dimension: "deposit".to_owned(),
                    subject: format!("{}:{}", log.tx_hash, log.index),
                    token: HUGE.to_owned(),
                    kind: "missing_in_books".to_owned(),
                    difference: difference.clone(),
                    severity: Severity::Critical,
                });
            }
        }
        Ok(vec![Planted {
            class: Fault::BeyondDecimal,
            wallet: Some(wallet),
            token: HUGE.to_owned(),
            kind: "beyond_decimal".to_owned(),
            difference,
            severity: Severity::Critical,
        }])
    }

    async fn emergency_withdrawal(&mut self) -> anyhow::Result<Vec<Planted>> {
        let taken = self.random_amount(WBTC, 20, 90)?;
        let bitcoin = self.token(WBTC)?;
        let withdraw = IVault::emergencyWithdrawCall {
            token: evm(&bitcoin.address),
            amount: bitcoin.units(taken)?,
            to: evm(&self.addresses.owner),
        };
        let (owner, vault) = (self.addresses.owner, self.addresses.vault);
        self.mine(&[call(owner, vault, encode(&withdraw))]).await?;
        Ok(vec![Planted {
            class: Fault::EmergencyWithdrawal,
            wallet: None,
            token: WBTC.to_owned(),
            kind: "insolvent".to_owned(),
            difference: taken.negated().to_string(),
            severity: Severity::Critical,
        }])
    }

    /// Edits as a person with database access would: no log, no new version, not even a new `updated_at`.
    async fn manual_edit(&mut self) -> anyhow::Result<Vec<Planted>> {
        let key = (self.next_ordinary()?, WBTC);
        let amount = self.random_amount(WBTC, 5, 40)?;
        self.flush().await?;
        let edited = sqlx::query(
            "UPDATE eidos_trading_balances SET settled_available = settled_available + $3::text::numeric
             WHERE wallet = $1 AND token = $2",
        )
        .bind(self.wallet_text(key.0))
        .bind(key.1)
        .bind(amount.to_string())
        .execute(&self.pool)
        .await?;
        anyhow::ensure!(
            edited.rows_affected() == 1,
            "{} has no {} row to edit",
            key.0,
            key.1
        );
        self.ledger.book_elsewhere(key, amount)?;
        self.entry(Fault::ManualEdit, key, amount.negated())
    }

    /// The trades were booked and the update of the fee account was lost.
    async fn fee_not_booked(&mut self) -> anyhow::Result<Vec<Planted>> {
        let mut batch = self.match_poor_trade().await?;
        self.settle_on_chain(&mut batch).await?;
        let at = self.tick();
        self.book_trades(&batch, at)?;
        self.record_batch(&batch, SettlementStatus::Settled, &batch.tx_hash(), at)?;
        self.expect_fees()?;
        let mut lost = Amount::ZERO;
        for trade in &batch.trades {
            lost = lost.checked_add(trade.fees()?)?;
        }
        self.entry(Fault::FeeNotBooked, (self.addresses.fee_recipient, USDC), lost)
    }

    /// Deposits `amount` for `key` on chain and credits `booked` to `credited`.
    async fn credit_wrongly(
        &mut self,
        class: Fault,
        key: Key,
        amount: Amount,
        credited: Address,
        booked: Amount,
    ) -> anyhow::Result<()> {
        let is_elsewhere = credited != key.0;
        let kind = if is_elsewhere {
            "wrong_wallet"
        } else {
            "wrong_amount"
        };
        for deposit in self.deposit_on_chain(&[(key.0, key.1, amount)]).await? {
            self.expect_deposit(class.as_str(), &deposit, kind, amount.checked_sub(booked)?)?;
            let at = self.tick();
            self.record_deposit(&deposit, credited, booked, DepositStage::Credited, at);
            self.credit(&deposit, (credited, key.1), booked, at)?;
        }
        Ok(())
    }

    fn entry(&self, class: Fault, key: Key, difference: Amount) -> anyhow::Result<Vec<Planted>> {
        let severity = severity_of(difference, self.token(key.1)?.price_usdc);
        let kind = match severity {
            Severity::Ignored => "dust",
            _ if difference.is_negative() => "shortfall",
            _ => "surplus",
        };
        Ok(vec![planted(class, key, kind, difference, severity)])
    }

    fn presence_entry(&self, class: Fault, key: Key, difference: Amount) -> anyhow::Result<Vec<Planted>> {
        let severity = severity_of(difference, self.token(key.1)?.price_usdc).max(Severity::Warning);
        Ok(vec![planted(class, key, class.as_str(), difference, severity)])
    }
}

fn planted(class: Fault, key: Key, kind: &str, difference: Amount, severity: Severity) -> Planted {
    Planted {
        class,
        wallet: Some(key.0),
        token: key.1.to_owned(),
        kind: kind.to_owned(),
        difference: difference.to_string(),
        severity,
    }
}
