//! A market as the market service would have stored it, and what its candles must be.

use std::collections::BTreeMap;

use eidos_market::{Candle, Interval, Trade};
use eidos_types::Amount;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::Row;

use crate::fixture::Fixture;

const MINUTE_MS: i64 = 60_000;

/// Trades by market and time.
#[derive(Default)]
pub(crate) struct World {
    trades: BTreeMap<(String, i64), Vec<Trade>>,
}

impl World {
    /// Random trades in `[from, to)`: bursts, quiet stretches longer than an hour, and amounts with 18 decimals.
    pub(crate) fn generate(seed: u64, markets: &[&str], (from_ms, to_ms): (i64, i64)) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = Self::default();
        for market in markets {
            let mut at_ms = from_ms;
            let mut price: i128 = 60_000_000_000_000_000_000_000;
            while at_ms < to_ms {
                price += random.random_range(-9_000_000_000_000_000_000_i128..9_000_000_000_000_000_000);
                let amount = random.random_range(1..3_000_000_000_000_000_000_i128);
                world.add(market, at_ms, trade(price, amount));
                at_ms += match random.random_range(0..100) {
                    0 => random.random_range(0..3 * 3_600_000),
                    1..20 => random.random_range(0..20 * MINUTE_MS),
                    _ => random.random_range(0..3 * MINUTE_MS),
                };
            }
        }
        world
    }

    pub(crate) fn add(&mut self, market: &str, at_ms: i64, trade: Trade) {
        self.trades
            .entry((market.to_owned(), at_ms))
            .or_default()
            .push(trade);
    }

    /// The trades of a window, in the order of time.
    pub(crate) fn trades(&self, market: &str, (from_ms, to_ms): (i64, i64)) -> Vec<Trade> {
        let range = (market.to_owned(), from_ms)..(market.to_owned(), to_ms);
        self.trades
            .range(range)
            .flat_map(|(_, trades)| trades)
            .copied()
            .collect()
    }

    /// What a window must be: the candle of its trades, or a flat one at the last close before it.
    pub(crate) fn candle(&self, market: &str, (from_ms, to_ms): (i64, i64)) -> Candle {
        Candle::of_trades(&self.trades(market, (from_ms, to_ms)))
            .unwrap()
            .unwrap_or_else(|| {
                let before = self
                    .trades
                    .range((market.to_owned(), i64::MIN)..(market.to_owned(), from_ms));
                Candle::flat(before.last().unwrap().1.last().unwrap().price)
            })
    }

    /// Stores the candles of one minute of `[from, to)`, replacing what is there.
    pub(crate) async fn store(&self, fixture: &Fixture, market: &str, (from_ms, to_ms): (i64, i64)) {
        let mut rows: Vec<(i64, Candle)> = Vec::new();
        let mut minute = from_ms;
        while minute < to_ms {
            let last = rows.last().map(|(_, candle)| candle.close);
            let candle = Candle::of_trades(&self.trades(market, (minute, minute + MINUTE_MS))).unwrap();
            rows.push((
                minute,
                candle.unwrap_or_else(|| {
                    last.map_or_else(|| self.candle(market, (minute, minute + MINUTE_MS)), Candle::flat)
                }),
            ));
            minute += MINUTE_MS;
        }
        let text = |value: fn(&Candle) -> Amount| -> Vec<String> {
            rows.iter().map(|(_, candle)| value(candle).to_string()).collect()
        };
        sqlx::query(
            "INSERT INTO eidos_market_klines (market, interval, open_time, open, high, low, close, volume, quote_volume, \
               trade_count, close_time) \
             SELECT $1, '1m', t, o::numeric, h::numeric, l::numeric, c::numeric, v::numeric, q::numeric, n, t + 59999 \
             FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[]) \
               AS r(t, o, h, l, c, v, q, n) \
             ON CONFLICT (market, interval, open_time) DO UPDATE SET open = EXCLUDED.open, high = EXCLUDED.high, \
               low = EXCLUDED.low, close = EXCLUDED.close, volume = EXCLUDED.volume, \
               quote_volume = EXCLUDED.quote_volume, trade_count = EXCLUDED.trade_count",
        )
        .bind(market)
        .bind(rows.iter().map(|(at, _)| *at).collect::<Vec<_>>())
        .bind(text(|candle| candle.open))
        .bind(text(|candle| candle.high))
        .bind(text(|candle| candle.low))
        .bind(text(|candle| candle.close))
        .bind(text(|candle| candle.volume))
        .bind(text(|candle| candle.quote_volume))
        .bind(rows.iter().map(|(_, candle)| i32::try_from(candle.trades).unwrap()).collect::<Vec<_>>())
        .execute(fixture.market.pool())
        .await
        .unwrap();
    }

    /// Stores the public trades of `[from, to)`, each as soon as it happened.
    pub(crate) async fn store_trades(&self, fixture: &Fixture, market: &str, (from_ms, to_ms): (i64, i64)) {
        let range = (market.to_owned(), from_ms)..(market.to_owned(), to_ms);
        let rows: Vec<(i64, &Trade)> = self
            .trades
            .range(range)
            .flat_map(|((_, at_ms), trades)| trades.iter().map(|trade| (*at_ms, trade)))
            .collect();
        let text = |value: fn(&Trade) -> Amount| -> Vec<String> {
            rows.iter().map(|(_, trade)| value(trade).to_string()).collect()
        };
        // Ids in the order of the trades.
        let ids = rows
            .iter()
            .enumerate()
            .map(|(number, (at_ms, _))| format!("{market}-{at_ms}-{number:07}"));
        sqlx::query(
            "INSERT INTO eidos_market_trades (trade_id, market, price, amount, quote_amount, side, timestamp, created_at) \
             SELECT id, $1, p::numeric, a::numeric, q::numeric, 1, t, t + 25 \
             FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[]) AS r(id, p, a, q, t)",
        )
        .bind(market)
        .bind(ids.collect::<Vec<_>>())
        .bind(text(|trade| trade.price))
        .bind(text(|trade| trade.amount))
        .bind(text(|trade| trade.quote_amount))
        .bind(rows.iter().map(|(at_ms, _)| *at_ms).collect::<Vec<_>>())
        .execute(fixture.market.pool())
        .await
        .unwrap();
    }

    /// Compares every window of these intervals in `[from, to)` with its trades, in exact decimals. Returns how many there
    /// are.
    pub(crate) async fn assert_candles(
        &self,
        fixture: &Fixture,
        markets: &[&str],
        intervals: &[Interval],
        (from_ms, to_ms): (i64, i64),
    ) -> usize {
        let mut compared = 0;
        for market in markets {
            for interval in intervals {
                let stored = candles(fixture, market, *interval).await;
                let mut open_ms = interval.ceil_ms(from_ms);
                while open_ms + interval.width_ms() <= to_ms {
                    let expected = self.candle(market, (open_ms, open_ms + interval.width_ms()));
                    assert_eq!(
                        stored.get(&open_ms),
                        Some(&expected),
                        "{market} {interval} at {open_ms}"
                    );
                    compared += 1;
                    open_ms += interval.width_ms();
                }
            }
        }
        compared
    }
}

pub(crate) fn trade(price: i128, amount: i128) -> Trade {
    let quote = price / 1_000_000_000 * (amount / 1_000_000_000);
    Trade {
        price: Amount::from_scaled(price).unwrap(),
        amount: Amount::from_scaled(amount).unwrap(),
        quote_amount: Amount::from_scaled(quote).unwrap(),
    }
}

/// Lists a market since this time.
pub(crate) async fn list(fixture: &Fixture, market: &str, since_ms: i64) {
    sqlx::query(
        "INSERT INTO eidos_market_markets (symbol, base_token, quote_token, min_size, max_size, min_notional, tick_size, \
         created_at, updated_at) VALUES ($1, split_part($1, '-', 1), split_part($1, '-', 2), 1, 1, 1, 1, $2, $2)",
    )
    .bind(market)
    .bind(since_ms)
    .execute(fixture.market.pool())
    .await
    .unwrap();
}

/// The stored candles of an interval, by beginning.
pub(crate) async fn candles(fixture: &Fixture, market: &str, interval: Interval) -> BTreeMap<i64, Candle> {
    let rows = sqlx::query(
        "SELECT open_time, open::text, high::text, low::text, close::text, volume::text, quote_volume::text, trade_count, \
           close_time FROM eidos_market_klines WHERE market = $1 AND interval = $2",
    )
    .bind(market)
    .bind(interval.to_string())
    .fetch_all(fixture.market.pool())
    .await
    .unwrap();
    let candle = |row: &sqlx::postgres::PgRow| {
        let amount = |name| row.get::<String, _>(name).parse::<Amount>().unwrap();
        let open_ms: i64 = row.get("open_time");
        assert_eq!(row.get::<i64, _>("close_time"), open_ms + interval.width_ms() - 1);
        let candle = Candle {
            open: amount("open"),
            high: amount("high"),
            low: amount("low"),
            close: amount("close"),
            volume: amount("volume"),
            quote_volume: amount("quote_volume"),
            trades: u64::try_from(row.get::<i32, _>("trade_count")).unwrap(),
        };
        (open_ms, candle)
    };
    rows.iter().map(candle).collect()
}
