//! Ordinary hours of a long run: customers come, deposit, trade and withdraw, whatever else happens.

use anyhow::Context;
use eidos_types::{Address, Amount};
use rand::RngExt;

use crate::devnet::Devnet;
use crate::manifest::{Fault, Planted};
use crate::signer;
use crate::tokens::{MARKETS, USDC, WETH};

/// Wallets nothing ever happened to, at least.
const STRANGERS: usize = 3;

impl Devnet {
    /// Lets so many new wallets in, with a first deposit in every token. They are the last that a fault or trap is planted on.
    ///
    /// # Errors
    /// If the node refuses.
    pub async fn welcome(&mut self, count: usize) -> anyhow::Result<()> {
        let wallets: Vec<Address> = (0..count).map(|_| self.new_wallet()).collect();
        self.first_deposits(&wallets).await?;
        self.ordinary.splice(0..0, wallets);
        Ok(())
    }

    fn new_wallet(&mut self) -> Address {
        self.customers += 1;
        let key = signer::key(self.manifest.seed, "customer", self.customers);
        self.traffic.know(key)
    }

    /// Wallets that nothing is planted on.
    pub const fn spare_wallets(&self) -> usize {
        self.ordinary.len()
    }

    /// Two deposits, a trade and a withdrawal of wallets that nothing is planted on, each with its rows. Sees to it that some
    /// wallets exist that neither side has seen, for faults that need one.
    ///
    /// # Errors
    /// If a server refuses.
    pub async fn hour_of_traffic(&mut self) -> anyhow::Result<()> {
        self.enter_the_present().await?;
        self.catch_up();
        while self.untouched.len() < STRANGERS {
            let stranger = self.new_wallet();
            self.untouched.push(stranger);
        }
        let (first, second) = (self.any_ordinary()?, self.any_ordinary()?);
        let (dollars, ether) = (
            self.random_amount(USDC, 900_000, 5_000_000)?,
            self.random_amount(WETH, 900, 5_000)?,
        );
        self.deposit(&[(first, USDC, dollars), (second, WETH, ether)])
            .await?;
        let market = MARKETS[usize::from(self.rng.random::<bool>())];
        if let Some(trade) = self.match_trade(market, first, second)? {
            self.settle(vec![trade]).await?;
        }
        let out: Amount = self.random_amount(USDC, 1_000, 90_000)?;
        self.withdraw(&[((first, USDC), out)]).await
    }

    /// A deposit that the indexer does not reach before the next cut.
    ///
    /// # Errors
    /// If the node refuses.
    pub async fn deposit_unindexed(&mut self) -> anyhow::Result<()> {
        let (wallet, amount) = (self.any_ordinary()?, self.random_amount(WETH, 100, 300)?);
        let deposits = self.deposit_on_chain(&[(wallet, WETH, amount)]).await?;
        self.ledger.move_above_cut((wallet, WETH), amount)?;
        self.unindexed.extend(deposits);
        Ok(())
    }

    fn any_ordinary(&mut self) -> anyhow::Result<Address> {
        let count = self.ordinary.len().max(1);
        let place = self.rng.random_range(0..count);
        self.ordinary
            .get(place)
            .copied()
            .context("no ordinary wallet is left")
    }

    /// Takes an edit by hand back: both sides agree about the account again.
    ///
    /// # Errors
    /// If it is no such edit, or the database refuses.
    pub async fn undo_edit(&mut self, planted: &Planted) -> anyhow::Result<()> {
        let wallet = planted
            .wallet
            .filter(|_| planted.class == Fault::ManualEdit)
            .context("not an edit by hand")?;
        let (token, _) = self
            .tokens
            .get_key_value(planted.token.as_str())
            .context("an unknown token")?;
        let (key, difference): (_, Amount) = ((wallet, *token), planted.difference.parse()?);
        sqlx::query(
            "UPDATE eidos_trading_balances SET settled_available = settled_available + $3::text::numeric
             WHERE wallet = $1 AND token = $2",
        )
        .bind(self.wallet_text(wallet))
        .bind(key.1)
        .bind(difference.to_string())
        .execute(&self.pool)
        .await?;
        self.ledger.book_elsewhere(key, difference)?;
        self.manifest.faults.retain(|known| known != planted);
        Ok(())
    }
}
