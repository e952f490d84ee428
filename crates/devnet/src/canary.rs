//! The canary: an account whose difference is planted for good, and which a reconciler is told of.

use eidos_types::Amount;

use crate::devnet::Devnet;
use crate::manifest::Canary;
use crate::tokens::WBTC;

impl Devnet {
    /// Takes a little out of the books of a wallet that nothing else is planted on.
    pub(crate) async fn plant_canary(&mut self) -> anyhow::Result<()> {
        let key = (self.next_ordinary()?, WBTC);
        let difference: Amount = "0.001".parse()?;
        self.flush().await?;
        let edited = sqlx::query(
            "UPDATE eidos_trading_balances SET settled_available = settled_available - $3::text::numeric
             WHERE wallet = $1 AND token = $2 AND settled_available >= $3::text::numeric",
        )
        .bind(self.wallet_text(key.0))
        .bind(key.1)
        .bind(difference.to_string())
        .execute(&self.pool)
        .await?;
        anyhow::ensure!(
            edited.rows_affected() == 1,
            "{} has less than {difference} {}: there is no canary",
            key.0,
            key.1
        );
        self.ledger.book_elsewhere(key, difference.negated())?;
        self.manifest.canaries.push(Canary {
            wallet: key.0,
            token: key.1.to_owned(),
            difference,
        });
        self.cut().await?;
        Ok(())
    }
}
