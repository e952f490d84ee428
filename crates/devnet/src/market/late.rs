//! What arrives late: the minutes of gaps, trades, a deposit.

use anyhow::Context;
use eidos_market::Interval;
use eidos_types::Amount;

use super::{HOUR_MS, MINUTE_MS, Market, activity, tables, trade};

/// Trades that are stored long after they happened: the market, and how many hours before the newest one.
///
/// Not in the market that prices another token: a statistic of that hour is not made again.
const LATE: [(&str, i64); 2] = [("BTC-USDC", 50), ("SOL-ETH", 75)];

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Gaps that were closed.
    pub gaps: usize,
    /// Trades that happened days ago.
    pub trades: usize,
    /// Deposits of the newest whole hour.
    pub deposits: usize,
}

impl Market {
    /// Stores what was left out, trades of days ago with their corrected minutes, and a deposit of the newest whole hour.
    /// `stored_ms`: when the trades were stored.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn arrive_late(&mut self, stored_ms: i64) -> anyhow::Result<Arrived> {
        let hour_ms = Interval::H1.floor_ms(self.until_ms);
        for (market, hours) in LATE {
            self.trade_late(market, hour_ms - hours * HOUR_MS, stored_ms)
                .await?;
        }
        let gaps = std::mem::take(&mut self.gaps);
        for gap in &gaps {
            tables::store_minutes(&self.db, &self.tape, &gap.market, (gap.from_ms, gap.to_ms)).await?;
        }
        let credited_ms = Interval::H1.floor_ms(self.until_ms - 5 * MINUTE_MS) - HOUR_MS / 2;
        let amount = Amount::from_scaled(12_345_678_901_234_567_890)?;
        let deposit = activity::late_deposit(credited_ms, amount, &mut self.figures)?;
        activity::store(&self.db, &[deposit]).await?;
        Ok(Arrived {
            gaps: gaps.len(),
            trades: LATE.len(),
            deposits: 1,
        })
    }

    /// A trade at twice the price, just before the last one of the hour that begins at `hour_ms`, or of the next hour before
    /// it that has trades. Behind the last one, its price would be carried into quiet hours, whose candles are the market
    /// service's to correct.
    async fn trade_late(&mut self, market: &str, mut hour_ms: i64, stored_ms: i64) -> anyhow::Result<()> {
        let mut at_ms = loop {
            anyhow::ensure!(
                hour_ms >= self.from_ms,
                "{market} does not trade yet at {hour_ms}"
            );
            let hour = (hour_ms + 1, hour_ms + HOUR_MS);
            match self.tape.timed(market, hour).last() {
                Some((last_ms, _)) => break last_ms - 1,
                None => hour_ms -= HOUR_MS,
            }
        };
        while self.tape.timed(market, (at_ms, at_ms + 1)).next().is_some() {
            at_ms -= 1;
        }
        let price = self.tape.last_price(market, at_ms);
        let price = price.with_context(|| format!("{market} does not trade yet at {at_ms}"))?;
        self.tape.add(
            market,
            at_ms,
            trade(price.scaled() * 2, 1_500_000_000_000_000_001)?,
        );
        tables::store_trades(&self.db, &self.tape, market, (at_ms, at_ms + 1), Some(stored_ms)).await?;
        let minute_ms = Interval::M1.floor_ms(at_ms);
        tables::store_minutes(&self.db, &self.tape, market, (minute_ms, minute_ms + MINUTE_MS)).await
    }
}
