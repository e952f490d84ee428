//! [`Market`]: two weeks of three markets, and what is missing in them.

use eidos_market::Interval;
use eidos_types::Amount;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::PgPool;

use super::{DAY_MS, Figures, HOUR_MS, MINUTE_MS, Tape, activity, tables};

/// Each market, the time after the beginning at which it is listed, and where its prices begin, in thousandths.
///
/// The last one is listed within a minute of a day, and is quoted in a token that has to be valued.
const MARKETS: [(&str, i64, i128); 3] = [
    ("BTC-USDC", 0, 60_000_000),
    ("ETH-USDC", 0, 3_000_000),
    ("SOL-ETH", 2 * DAY_MS + 5 * HOUR_MS + 450_500, 50),
];
const MILLI: i128 = 10_i128.pow(15);
/// Days of the trading service's rows before today.
const TRADING_DAYS: i64 = 3;
/// Rows of the trading service in that time.
const ORDERS: u32 = 900;
const MOVEMENTS: u32 = 300;
/// A window that ended so shortly before a run may not be looked at yet.
const MARGIN_MS: i64 = MINUTE_MS;

/// What to fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketOptions {
    /// The same seed and the same present give the same rows.
    pub seed: u64,
    /// The present, epoch ms.
    pub now_ms: i64,
    /// Whether minutes are missing.
    pub gaps: bool,
}

/// Candles of one minute that the market service has not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Their market.
    pub market: String,
    /// Beginning of the first, epoch ms.
    pub from_ms: i64,
    /// End of the last, epoch ms.
    pub to_ms: i64,
}

/// The generated markets.
#[derive(Debug)]
pub struct Market {
    pub(super) db: PgPool,
    pub(super) random: StdRng,
    pub(super) tape: Tape,
    pub(super) figures: Figures,
    pub(super) listed: Vec<(String, i64)>,
    pub(super) gaps: Vec<Gap>,
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
}

impl Market {
    /// Fills the market service's and the trading service's tables of a database that has them.
    ///
    /// # Errors
    /// If the database refuses, for instance because the markets exist.
    pub async fn fill(db: &PgPool, options: MarketOptions) -> anyhow::Result<Self> {
        let until_ms = Interval::M1.floor_ms(options.now_ms);
        // The last whole week and this one.
        let from_ms = Interval::W1.floor_ms(until_ms - MARGIN_MS) - 7 * DAY_MS;
        let mut market = Self {
            db: db.clone(),
            random: StdRng::seed_from_u64(options.seed),
            tape: Tape::default(),
            figures: Figures::default(),
            listed: Vec::new(),
            gaps: if options.gaps { gaps(until_ms) } else { Vec::new() },
            from_ms,
            until_ms,
        };
        for (name, after_ms, price) in MARKETS {
            market.trade(name, from_ms + after_ms, price * MILLI).await?;
        }
        market.act().await?;
        for table in [
            "eidos_market_klines",
            "eidos_market_trades",
            "eidos_trading_trades",
        ] {
            sqlx::query(sqlx::AssertSqlSafe(format!("ANALYZE {table}")))
                .execute(db)
                .await?;
        }
        Ok(market)
    }

    /// Everything about one market: its listing, public trades and minutes.
    async fn trade(&mut self, name: &str, listed_ms: i64, price: i128) -> anyhow::Result<()> {
        let range = (listed_ms, self.until_ms);
        self.tape.trade_randomly(&mut self.random, name, range, price)?;
        tables::list_market(&self.db, name, listed_ms).await?;
        tables::store_trades(&self.db, &self.tape, name, range, None).await?;
        let mut from_ms = Interval::M1.floor_ms(listed_ms);
        for gap in self.gaps.iter().filter(|gap| gap.market == name) {
            tables::store_minutes(&self.db, &self.tape, name, (from_ms, gap.from_ms)).await?;
            from_ms = gap.to_ms;
        }
        tables::store_minutes(&self.db, &self.tape, name, (from_ms, self.until_ms)).await?;
        self.listed.push((name.to_owned(), listed_ms));
        Ok(())
    }

    /// The trading service's rows.
    async fn act(&mut self) -> anyhow::Result<()> {
        let names = self.names();
        let range = (
            Interval::D1.floor_ms(self.until_ms) - TRADING_DAYS * DAY_MS,
            self.until_ms,
        );
        let (random, figures) = (&mut self.random, &mut self.figures);
        let mut rows = Vec::new();
        for name in &names {
            rows.push(activity::trades(random, &self.tape, name, range, figures)?);
        }
        rows.push(activity::orders(random, &names, range, ORDERS, figures)?);
        rows.extend(activity::movements(random, range, MOVEMENTS, figures)?);
        rows.push(activity::balances(random, range, figures));
        activity::store(&self.db, &rows).await
    }

    /// Continues to trade up to the newest whole minute.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn advance(&mut self, now_ms: i64) -> anyhow::Result<()> {
        let range = (self.until_ms, Interval::M1.floor_ms(now_ms));
        if range.0 >= range.1 {
            return Ok(());
        }
        let mut rows = Vec::new();
        for name in self.names() {
            let price = self.tape.last_price(&name, range.0).map_or(MILLI, Amount::scaled);
            self.tape.trade_randomly(&mut self.random, &name, range, price)?;
            tables::store_trades(&self.db, &self.tape, &name, range, None).await?;
            tables::store_minutes(&self.db, &self.tape, &name, range).await?;
            rows.push(activity::trades(
                &mut self.random,
                &self.tape,
                &name,
                range,
                &mut self.figures,
            )?);
        }
        activity::store(&self.db, &rows).await?;
        self.until_ms = range.1;
        Ok(())
    }

    /// Returns the symbols of the markets.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.listed.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Returns the minutes that are missing.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Returns the beginning of the first minute and the end of the last, epoch ms.
    #[must_use]
    pub const fn range(&self) -> (i64, i64) {
        (self.from_ms, self.until_ms)
    }
}

/// A quarter of an hour that is missing, and an hour and a half of which one whole hour of candles is made.
fn gaps(until_ms: i64) -> Vec<Gap> {
    let hour = Interval::H1.floor_ms(until_ms);
    let gap = |hours: i64, minute: i64, minutes: i64| {
        let from_ms = hour - hours * HOUR_MS + minute * MINUTE_MS;
        Gap {
            market: MARKETS[0].0.to_owned(),
            from_ms,
            to_ms: from_ms + minutes * MINUTE_MS,
        }
    };
    vec![gap(31, 0, 90), gap(26, 10, 15)]
}

/// The token in which a market is quoted.
pub(super) fn quote_of(market: &str) -> &str {
    market.split_once('-').map_or("", |(_, quote)| quote)
}
