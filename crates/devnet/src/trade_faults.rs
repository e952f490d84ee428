//! Planting faults of single trades: what the books record of a trade is not what was settled, while the balances are right.

use anyhow::Context;
use eidos_types::{Amount, Hash32};
use serde_json::{Value, json};

use crate::devnet::Devnet;
use crate::manifest::{MovementFault, PlantedMovement, Severity, severity_of};
use crate::movements::{Batch, SettlementStatus, Trade};
use crate::tokens::{MARKETS, USDC, WETH};
use crate::trades::bytes32;

impl Devnet {
    /// Plants a fault of a trade.
    pub(crate) async fn plant_trade(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        match fault {
            MovementFault::SettledInBooksOnly => self.settled_in_books_only(fault).await?,
            MovementFault::SettledOnChainOnly => self.settled_on_chain_only(fault).await?,
            MovementFault::SettledAndRolledBack => self.settled_and_rolled_back(fault).await?,
            MovementFault::SettledWithoutRow => self.settled_without_row(fault).await?,
            MovementFault::LeftOutOfItsBatch => self.left_out_of_its_batch(fault).await?,
            MovementFault::NeverSettled => self.never_settled(fault).await?,
            MovementFault::SameIdOnChain => self.same_id_on_chain(fault).await?,
            of_a_column => self.settled_otherwise(of_a_column).await?,
        }
        self.expect_fees()
    }

    /// A batch of one trade between two ordinary wallets, which keep their place: one of these faults changes no balance.
    pub(crate) async fn match_poor_trade(&mut self) -> anyhow::Result<Batch> {
        let [maker, taker] = [0, 1].map(|place| self.ordinary.get(place).copied());
        let (maker, taker) = maker.zip(taker).context("two ordinary wallets are needed")?;
        let mut wanted = Vec::new();
        for wallet in [maker, taker] {
            for (token, amount) in [(USDC, "1000"), (WETH, "1")] {
                wanted.push((wallet, token, amount.parse()?));
            }
        }
        self.deposit(&wanted).await?;
        let trade = self
            .match_trade(MARKETS[0], maker, taker)?
            .context("the pair cannot afford its trade")?;
        Ok(self.batch(vec![trade]))
    }

    /// A settled and booked batch of one trade that no table has.
    async fn settled_trade(&mut self) -> anyhow::Result<(Batch, Trade, i64)> {
        let mut batch = self.match_poor_trade().await?;
        self.settle_on_chain(&mut batch).await?;
        let at = self.tick();
        self.book_batch(&batch, at)?;
        let trade = batch.trades.first().cloned().context("a batch without trades")?;
        Ok((batch, trade, at))
    }

    /// A trade that looks like another one and never happened.
    fn invented_trade(&mut self, like: &Trade) -> Trade {
        Trade {
            id: self.new_id(),
            ..like.clone()
        }
    }

    async fn settled_in_books_only(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (real, trade, at) = self.settled_trade().await?;
        self.record_batch(&real, SettlementStatus::Settled, &real.tx_hash(), at)?;
        let invented = self.invented_trade(&trade);
        let mut batch = self.batch(vec![invented.clone()]);
        batch.settled = real.settled;
        self.record_batch(&batch, SettlementStatus::Settled, &batch.tx_hash(), at)?;
        self.expect_trade(fault, &invented, "missing_on_chain", invented.quote.negated())
    }

    async fn settled_on_chain_only(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let mut batch = self.match_poor_trade().await?;
        self.settle_on_chain(&mut batch).await?;
        let at = self.tick();
        self.record_batch(&batch, SettlementStatus::Submitted, &batch.tx_hash(), at)?;
        for trade in &batch.trades {
            for (key, delta) in trade.deltas(self.addresses.fee_recipient)? {
                self.ledger.fly(key, delta)?;
            }
            self.expect_trade(fault, trade, "settled_yet_pending", Amount::ZERO)?;
        }
        Ok(())
    }

    async fn settled_and_rolled_back(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (batch, trade, at) = self.settled_trade().await?;
        self.record_batch(&batch, SettlementStatus::RolledBack, &batch.tx_hash(), at)?;
        self.expect_trade(fault, &trade, "undone_yet_settled", Amount::ZERO)
    }

    async fn settled_without_row(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (_, trade, _) = self.settled_trade().await?;
        self.expect_trade(fault, &trade, "missing_in_books", trade.quote)
    }

    async fn left_out_of_its_batch(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (mut batch, trade, at) = self.settled_trade().await?;
        let left_out = self.invented_trade(&trade);
        batch.trades.push(left_out.clone());
        self.record_batch(&batch, SettlementStatus::Settled, &batch.tx_hash(), at)?;
        self.expect_trade(fault, &left_out, "partly_settled", left_out.quote.negated())
    }

    async fn never_settled(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let batch = self.match_poor_trade().await?;
        let tx = self.settle_tx(&batch)?;
        let (hash, at) = (self.traffic.submit_stuck(&tx).await?.to_string(), self.tick());
        self.record_batch(&batch, SettlementStatus::Submitted, &hash, at)?;
        for trade in &batch.trades {
            self.expect_trade(fault, trade, "stuck", trade.quote.negated())?;
        }
        Ok(())
    }

    /// The second trade can never be settled: the chain takes it for the first one.
    async fn same_id_on_chain(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (batch, trade, at) = self.settled_trade().await?;
        self.record_batch(&batch, SettlementStatus::Settled, &batch.tx_hash(), at)?;
        let prefix = trade.id.get(..32).context("an id of less than 32 characters")?;
        let twin = Trade {
            id: format!("{prefix}twin"),
            ..trade.clone()
        };
        let other = self.batch(vec![twin.clone()]);
        self.record_batch(&other, SettlementStatus::Settled, "", at)?;
        self.expect_trade(fault, &trade, "id_collision", twin.quote.negated())
    }

    /// A row that differs from its event in one column.
    async fn settled_otherwise(&mut self, fault: MovementFault) -> anyhow::Result<()> {
        let (batch, trade, at) = self.settled_trade().await?;
        let more: Amount = "0.5".parse()?;
        let zero = Amount::ZERO;
        let another = *self
            .ordinary
            .get(2)
            .context("three ordinary wallets are needed")?;
        let other_side = if trade.maker_buys { 2 } else { 1 };
        let (column, value, kind, difference): (&str, Value, &str, Amount) = match fault {
            MovementFault::SettledAnotherAmount => {
                let value = json!(trade.quote.checked_add(more)?);
                ("quote_amount", value, "wrong_amount", more.negated())
            }
            MovementFault::SettledAnotherBase => {
                let value = json!(trade.amount.checked_add(more)?);
                ("amount", value, "wrong_amount", more.negated())
            }
            MovementFault::SettledAnotherFee => {
                let value = json!(trade.fee.checked_add(more)?);
                ("maker_fee", value, "wrong_fee", more.negated())
            }
            MovementFault::SettledAnotherWallet => (
                "taker_wallet",
                json!(self.wallet_text(another)),
                "wrong_wallet",
                zero,
            ),
            MovementFault::SettledAnotherSide => ("maker_side", json!(other_side), "wrong_side", zero),
            MovementFault::SettledAnotherMarket => ("market", json!(MARKETS[1].symbol), "wrong_token", zero),
            other => anyhow::bail!("{} is not a fault of one column of a trade", other.as_str()),
        };
        self.record_batch_alone(&batch, SettlementStatus::Settled, &batch.tx_hash(), at)?;
        self.record_trade(
            &trade,
            &batch,
            SettlementStatus::Settled,
            &batch.tx_hash(),
            at,
            &[(column, value)],
        )?;
        self.expect_trade(fault, &trade, kind, difference)
    }

    /// Notes what a reconciler must find about a trade; `difference` is what the chain has more than the books.
    fn expect_trade(
        &mut self,
        fault: MovementFault,
        trade: &Trade,
        kind: &str,
        difference: Amount,
    ) -> anyhow::Result<()> {
        let token = if fault == MovementFault::SettledAnotherBase {
            trade.market.base
        } else {
            USDC
        };
        // Where the sum is right and a wallet, a side or a status is not, the whole amount is at stake.
        let at_stake = if difference.is_zero() {
            trade.quote.negated()
        } else {
            difference
        };
        let severity = if ["stuck", "settled_yet_pending"].contains(&kind) {
            Severity::Warning
        } else {
            severity_of(at_stake, self.token(token)?.price_usdc).max(Severity::Warning)
        };
        self.manifest.movements.push(PlantedMovement {
            class: fault.as_str().to_owned(),
            dimension: "settlement".to_owned(),
            subject: format!("trade:{}", Hash32::new(bytes32(&trade.id))),
            token: token.to_owned(),
            kind: kind.to_owned(),
            difference: difference.to_string(),
            severity,
        });
        Ok(())
    }

    /// Notes what a reconciler must find about the fee account: one difference, whatever made it.
    pub(crate) fn expect_fees(&mut self) -> anyhow::Result<()> {
        let planted = &mut self.manifest.movements;
        planted.retain(|planted| planted.dimension != "fee_account");
        let difference = self.ledger.fees_not_booked(USDC)?;
        let severity = severity_of(difference, self.token(USDC)?.price_usdc);
        if severity == Severity::Ignored {
            return Ok(());
        }
        let kind = if difference.is_negative() {
            "fee_without_trade"
        } else {
            "fee_not_booked"
        };
        self.manifest.movements.push(PlantedMovement {
            class: "fees_of_all_faults".to_owned(),
            dimension: "fee_account".to_owned(),
            subject: format!("fees:{USDC}"),
            token: USDC.to_owned(),
            kind: kind.to_owned(),
            difference: difference.to_string(),
            severity,
        });
        Ok(())
    }
}
