//! Setting traps: situations in which both sides differ at some instant and nothing is wrong.

use alloy_primitives::{Bytes, U256};
use anyhow::{Context, ensure};
use eidos_chain::contracts::{self, Call3, IMulticall3, IVault, encode, evm};
use eidos_types::{Address, Amount};
use rand::RngExt;

use crate::devnet::{Devnet, now_ms, recent_ms};
use crate::genesis::{approve_call, call, mint_call};
use crate::ledger::Key;
use crate::manifest::{Trap, Trapped};
use crate::movements::{
    Batch, Deposit, DepositStage, LateCommit, SettlementStatus, Withdrawal, WithdrawalStatus,
};
use crate::tokens::{MARKETS, USDC, WBTC, WETH};
use crate::traffic::{Log, Tx};

/// How much older than now a late row's timestamps are: older than a run that starts meanwhile.
const LATE_MS: i64 = 5 * 60_000;

impl Trap {
    /// True for situations that exist above the indexer's checkpoint or outside committed data: the next
    /// [`Devnet::cut`] ends them, so they are set last.
    pub(crate) const fn is_above_cut(self) -> bool {
        matches!(
            self,
            Self::CreditAboveCut | Self::LaggingIndexer | Self::LateCommit
        )
    }
}

impl Devnet {
    /// Sets one trap on wallets nothing else was planted on. Unless it lives above the cut, the cut moves past it.
    ///
    /// # Errors
    /// If a server refuses or the wallets are used up.
    pub async fn set_trap(&mut self, trap: Trap) -> anyhow::Result<Vec<Trapped>> {
        self.enter_the_present().await?;
        let keys = match trap {
            Trap::InFlightWithdrawal => self.in_flight_withdrawal().await?,
            Trap::WithdrawalNotConfirmed => self.withdrawal_not_confirmed().await?,
            Trap::BatchNotBooked => self.batch_not_booked().await?,
            Trap::BatchNotSettled => self.batch_not_settled().await?,
            Trap::SubAccountTransfer => self.sub_account_transfer()?,
            Trap::DisplayScale => self.display_scale()?,
            Trap::MixedCaseWallet => self.mixed_case_wallet().await?,
            Trap::SameAmountTwice => self.same_amount_twice().await?,
            Trap::TwoInOneTransaction => self.two_in_one_transaction().await?,
            Trap::DepositNotCredited => self.deposit_not_credited().await?,
            Trap::RefundedWithdrawal => self.refunded_withdrawal()?,
            Trap::RetriedBatch => self.retried_batch().await?,
            Trap::HexId => self.hex_id().await?,
            Trap::CreditAboveCut => self.credit_above_cut().await?,
            Trap::LaggingIndexer => self.lagging_indexer().await?,
            Trap::LateCommit => self.open_late_transaction().await?,
        };
        if trap.is_above_cut() {
            self.flush().await?;
        } else {
            self.cut().await?;
        }
        let trapped: Vec<Trapped> = keys
            .into_iter()
            .map(|(wallet, token)| Trapped {
                trap,
                wallet,
                token: token.to_owned(),
                reason: trap.reason().to_owned(),
            })
            .collect();
        self.manifest.traps.extend(trapped.iter().cloned());
        Ok(trapped)
    }

    /// Commits the transaction of [`Trap::LateCommit`]: its rows appear now, with timestamps from before.
    ///
    /// # Errors
    /// If there is none, or the database refuses.
    pub async fn commit_late(&mut self) -> anyhow::Result<()> {
        let late = self.late.take().context("no late transaction is open")?;
        late.transaction.commit().await?;
        self.ledger.book_elsewhere(late.key, late.amount.negated())?;
        self.ledger.fly(late.key, late.amount)?;
        Ok(())
    }

    async fn in_flight_withdrawal(&mut self) -> anyhow::Result<Vec<Key>> {
        let key = (self.next_ordinary()?, USDC);
        let amount = self.random_amount(USDC, 50_000, 200_000)?;
        let at = recent_ms();
        let withdrawal = self.request_withdrawal(key, amount, at)?;
        let tx = self.withdraw_tx(key, amount)?;
        let tx_hash = self.traffic.submit_stuck(&tx).await?.to_string();
        self.record_withdrawal(&withdrawal, WithdrawalStatus::Submitted, Some(&tx_hash), None, at);
        self.ledger.fly(key, amount)?;
        self.open_withdrawals.push(withdrawal);
        Ok(vec![key])
    }

    async fn withdrawal_not_confirmed(&mut self) -> anyhow::Result<Vec<Key>> {
        let key = (self.next_ordinary()?, WETH);
        let amount = self.random_amount(WETH, 50, 200)?;
        self.deposit(&[(key.0, WETH, amount)]).await?;
        let at = recent_ms();
        let withdrawal = self.request_withdrawal(key, amount, at)?;
        let mined = self
            .withdraw_on_chain(&[(key, amount)])
            .await?
            .pop()
            .context("a withdrawal without receipt")?;
        let tx_hash = mined.tx_hash.to_string();
        self.record_withdrawal(
            &withdrawal,
            WithdrawalStatus::Submitted,
            Some(&tx_hash),
            Some(&mined),
            at,
        );
        self.open_withdrawals.push(Withdrawal {
            mined: true,
            ..withdrawal
        });
        Ok(vec![key])
    }

    async fn batch_not_booked(&mut self) -> anyhow::Result<Vec<Key>> {
        let (mut batch, keys) = self.match_pair().await?;
        self.settle_on_chain(&mut batch).await?;
        for trade in &batch.trades {
            for (key, delta) in trade.deltas(self.addresses.fee_recipient)? {
                self.ledger.fly(key, delta)?;
            }
        }
        self.record_batch(&batch, SettlementStatus::Submitted, &batch.tx_hash(), recent_ms())?;
        self.open_batches.push(batch);
        Ok(keys)
    }

    async fn batch_not_settled(&mut self) -> anyhow::Result<Vec<Key>> {
        let (batch, keys) = self.match_pair().await?;
        let tx = self.settle_tx(&batch)?;
        let tx_hash = self.traffic.submit_stuck(&tx).await?.to_string();
        self.record_batch(&batch, SettlementStatus::Submitted, &tx_hash, recent_ms())?;
        self.open_batches.push(batch);
        Ok(keys)
    }

    async fn retried_batch(&mut self) -> anyhow::Result<Vec<Key>> {
        let (batch, keys) = self.match_pair().await?;
        let at = self.tick();
        self.record_batch_alone(&batch, SettlementStatus::Failed, "", at)?;
        self.settle(batch.trades).await?;
        Ok(keys)
    }

    async fn hex_id(&mut self) -> anyhow::Result<Vec<Key>> {
        let (mut batch, keys) = self.match_pair().await?;
        for trade in &mut batch.trades {
            trade.id = hex::encode(self.rng.random::<[u8; 32]>());
        }
        self.settle(batch.trades).await?;
        Ok(keys)
    }

    /// A batch of one trade between two wallets of their own, who can certainly afford it.
    async fn match_pair(&mut self) -> anyhow::Result<(Batch, Vec<Key>)> {
        let (maker, taker) = (self.next_ordinary()?, self.next_ordinary()?);
        let enough = [(USDC, "1000"), (WETH, "1")];
        let mut wanted = Vec::new();
        for wallet in [maker, taker] {
            for (token, amount) in enough {
                wanted.push((wallet, token, amount.parse()?));
            }
        }
        self.deposit(&wanted).await?;
        let trade = self
            .match_trade(MARKETS[0], maker, taker)?
            .context("the pair cannot afford its trade")?;
        let batch = self.batch(vec![trade]);
        Ok((batch, vec![(maker, USDC), (taker, WETH)]))
    }

    fn sub_account_transfer(&mut self) -> anyhow::Result<Vec<Key>> {
        let key = (self.next_ordinary()?, WBTC);
        let amount = self.ledger.booked(key).available;
        ensure!(!amount.is_zero(), "{} has no {} to move", key.0, key.1);
        self.transfer_to_sub_account(key, amount, Amount::ZERO)?;
        Ok(vec![key])
    }

    /// `available` is stored as it is written, `frozen` with eighteen decimals: 1.5 and 1.500000000000000000.
    fn display_scale(&mut self) -> anyhow::Result<Vec<Key>> {
        let key = (self.next_ordinary()?, USDC);
        self.transfer_to_sub_account(key, "3".parse()?, "1.5".parse()?)?;
        Ok(vec![key])
    }

    async fn mixed_case_wallet(&mut self) -> anyhow::Result<Vec<Key>> {
        let wallet = self.next_ordinary()?;
        self.flush().await?;
        self.mixed_case.insert(wallet);
        for statement in [
            "UPDATE eidos_trading_balances SET wallet = $2 WHERE wallet = $1",
            "UPDATE eidos_trading_balance_logs SET wallet = $2 WHERE wallet = $1",
            "UPDATE eidos_trading_deposits SET wallet = $2 WHERE wallet = $1",
            "UPDATE eidos_trading_withdrawals SET wallet = $2 WHERE wallet = $1",
            "UPDATE eidos_trading_orders SET wallet = $2 WHERE wallet = $1",
            "UPDATE eidos_trading_trades SET maker_wallet = $2 WHERE maker_wallet = $1",
            "UPDATE eidos_trading_trades SET taker_wallet = $2 WHERE taker_wallet = $1",
            "UPDATE eidos_trading_subaccounts SET wallet = $2 WHERE wallet = $1",
            "UPDATE eidos_trading_subaccount_balances SET wallet = $2 WHERE wallet = $1",
            "UPDATE eidos_trading_subaccount_transfers SET wallet = $2 WHERE wallet = $1",
            "UPDATE eidos_trading_subaccount_balance_logs SET wallet = $2 WHERE wallet = $1",
        ] {
            sqlx::query(statement)
                .bind(wallet.to_string())
                .bind(self.wallet_text(wallet))
                .execute(&self.pool)
                .await?;
        }
        Ok(vec![(wallet, USDC)])
    }

    async fn same_amount_twice(&mut self) -> anyhow::Result<Vec<Key>> {
        let key = (self.next_ordinary()?, USDC);
        let amount = self.random_amount(USDC, 150_000, 600_000)?;
        self.deposit(&[(key.0, USDC, amount), (key.0, USDC, amount)])
            .await?;
        Ok(vec![key])
    }

    /// A contract deposits twice in one call.
    async fn two_in_one_transaction(&mut self) -> anyhow::Result<Vec<Key>> {
        let amount = self.random_amount(USDC, 150_000, 600_000)?;
        let token = self.token(USDC)?;
        let (contract, units) = (token.address, token.units(amount)?);
        let (owner, vault) = (self.addresses.owner, self.addresses.vault);
        let create = Tx {
            from: owner,
            to: None,
            data: contracts::test_multicall_artifact()?.bytecode,
            value: U256::ZERO,
        };
        let created = self.mine(&[create]).await?.pop();
        let wallet = created
            .and_then(|created| created.contract)
            .context("no contract was created")?;
        let deposit = encode(&IVault::depositCall {
            token: evm(&contract),
            amount: units,
        });
        let inner = |target: &Address, data: Bytes| Call3 {
            target: evm(target),
            allowFailure: false,
            callData: data,
        };
        let both = IMulticall3::aggregate3Call {
            calls: vec![
                inner(&contract, approve_call(vault)),
                inner(&vault, deposit.clone()),
                inner(&vault, deposit),
            ],
        };
        let txs = [
            call(owner, contract, mint_call(wallet, units + units)),
            call(owner, wallet, encode(&both)),
        ];
        let mined = self.mine(&txs).await?.pop().context("no receipt")?;
        let is_deposit = |log: &&Log| crate::genesis::event_type(log.topics.first()) == "Deposit";
        for log in mined.logs.iter().filter(is_deposit) {
            let deposit = Deposit {
                wallet,
                token: USDC,
                amount,
                tx_hash: mined.tx_hash,
                log_index: log.index,
                block: mined.block,
                block_hash: mined.block_hash,
                id: self.new_id(),
            };
            self.ledger.move_chain((wallet, USDC), amount)?;
            self.book_deposits(&[deposit])?;
        }
        Ok(vec![(wallet, USDC)])
    }

    async fn deposit_not_credited(&mut self) -> anyhow::Result<Vec<Key>> {
        let key = (self.next_ordinary()?, USDC);
        let amount = self.random_amount(USDC, 150_000, 600_000)?;
        for deposit in self.deposit_on_chain(&[(key.0, USDC, amount)]).await? {
            self.record_deposit(&deposit, key.0, amount, DepositStage::Confirmed, recent_ms());
            self.ledger.fly(key, amount)?;
            self.waiting_deposits.push(deposit);
        }
        Ok(vec![key])
    }

    fn refunded_withdrawal(&mut self) -> anyhow::Result<Vec<Key>> {
        let key = (self.next_ordinary()?, USDC);
        let amount = self.random_amount(USDC, 150_000, 600_000)?;
        let at = self.tick();
        let withdrawal = self.request_withdrawal(key, amount, at)?;
        self.refund_withdrawal(&withdrawal, at)?;
        self.record_withdrawal(&withdrawal, WithdrawalStatus::Failed, None, None, at);
        Ok(vec![key])
    }

    async fn credit_above_cut(&mut self) -> anyhow::Result<Vec<Key>> {
        let key = (self.next_ordinary()?, USDC);
        let amount = self.random_amount(USDC, 150_000, 600_000)?;
        for deposit in self.deposit_on_chain(&[(key.0, USDC, amount)]).await? {
            let at = recent_ms();
            self.record_deposit(&deposit, key.0, amount, DepositStage::Credited, at);
            self.credit(&deposit, key, amount, at)?;
            self.ledger.move_above_cut(key, amount)?;
            self.ledger.fly_until_cut(key, amount.negated())?;
        }
        Ok(vec![key])
    }

    async fn lagging_indexer(&mut self) -> anyhow::Result<Vec<Key>> {
        let key = (self.next_ordinary()?, WETH);
        let amount = self.random_amount(WETH, 100, 300)?;
        let deposits = self.deposit_on_chain(&[(key.0, WETH, amount)]).await?;
        self.ledger.move_above_cut(key, amount)?;
        self.unindexed.extend(deposits);
        Ok(vec![key])
    }

    async fn open_late_transaction(&mut self) -> anyhow::Result<Vec<Key>> {
        ensure!(self.late.is_none(), "one late transaction is open already");
        let key = (self.next_ordinary()?, USDC);
        let amount = self.random_amount(USDC, 150_000, 600_000)?;
        self.flush().await?;
        let (at, id, wallet) = (now_ms() - LATE_MS, self.new_id(), self.wallet_text(key.0));
        let nonce = self.withdrawal_nonces.get(&key.0).copied().unwrap_or_default() + 1_000;
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO eidos_trading_withdrawals
                 (withdraw_id, wallet, token, amount, to_address, nonce, status, created_at, updated_at)
             VALUES ($1, $2, $3, $4::text::numeric, $2, $5, 0, $6, $6)",
        )
        .bind(id)
        .bind(&wallet)
        .bind(key.1)
        .bind(amount.to_string())
        .bind(i64::try_from(nonce)?)
        .bind(at)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO eidos_trading_balance_logs (wallet, token, type, amount, created_at)
             VALUES ($1, $2, 2, -($3::text::numeric), $4)",
        )
        .bind(&wallet)
        .bind(key.1)
        .bind(amount.to_string())
        .bind(at)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "UPDATE eidos_trading_balances SET settled_available = settled_available - $3::text::numeric,
                 version = version + 1, updated_at = $4 WHERE wallet = $1 AND token = $2",
        )
        .bind(&wallet)
        .bind(key.1)
        .bind(amount.to_string())
        .bind(at)
        .execute(&mut *transaction)
        .await?;
        self.late = Some(LateCommit {
            transaction,
            key,
            amount,
        });
        Ok(vec![key])
    }
}
