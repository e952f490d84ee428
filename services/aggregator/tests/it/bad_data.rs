//! Data that cannot be right is refused by name, and holds nothing else up.

use aggregator::store::candles::Verdict;
use eidos_market::Interval;

use crate::fixture::{Fixture, ms};
use crate::world::{World, candles, list};

const MARKETS: [&str; 2] = ["BTC-USDC", "ETH-USDC"];

async fn day() -> (Fixture, World, (i64, i64)) {
    let fixture = Fixture::new().await;
    let range = (ms("2026-03-08T00:00:00Z"), ms("2026-03-09T00:00:00Z"));
    let world = World::generate(6, &MARKETS, range);
    for market in MARKETS {
        list(&fixture, market, 0).await;
        world.store(&fixture, market, range).await;
    }
    (fixture, world, range)
}

#[tokio::test]
async fn candles_that_cannot_be_true_are_never_folded() {
    let (fixture, world, range) = day().await;
    let hours = [
        ("volume = 'NaN'", "2026-03-08T01:00:00Z"),
        ("volume = -1", "2026-03-08T02:00:00Z"),
        ("high = low - 1", "2026-03-08T03:00:00Z"),
        ("trade_count = -3", "2026-03-08T04:00:00Z"),
        ("open_time = open_time + 1", "2026-03-08T05:00:00Z"),
        ("close = 'NaN'", "2026-03-08T06:00:00Z"),
        ("volume = 999999999999999999", "2026-03-08T07:00:00Z"),
        ("trade_count = 2147483647", "2026-03-08T08:00:00Z"),
    ];
    for (change, hour) in hours {
        let minute = ms(hour) + 60_000;
        // Two minutes, so that sums overflow as well.
        fixture
            .sql(&format!(
                "UPDATE eidos_market_klines SET {change} WHERE market = 'BTC-USDC' AND open_time IN ({minute}, {})",
                minute + 60_000
            ))
            .await;
    }
    let report = fixture.klines_at("2026-03-09T00:01:00Z").await;
    assert_eq!(report.levels[0].windows[&Verdict::Unusable], 8, "{report:#?}");
    assert_eq!(report.levels[0].windows[&Verdict::Whole], 48 - 8);
    let named: Vec<i64> = report.levels[0]
        .named
        .iter()
        .map(|window| window.open_ms)
        .collect();
    assert_eq!(named, hours.map(|(_, hour)| ms(hour)));
    assert_eq!(candles(&fixture, "BTC-USDC", Interval::H1).await.len(), 16);
    let built = [Interval::H1, Interval::H4, Interval::D1];
    world.assert_candles(&fixture, &["ETH-USDC"], &built, range).await;
    let noted =
        "SELECT count(*) FROM eidos_jobs_kline_windows WHERE state = 'unusable' AND interval_name = '1h'";
    assert_eq!(fixture.jobs_number(noted).await, 8);
}

#[tokio::test]
async fn unknown_markets_and_candles_of_the_future_are_named_and_not_folded() {
    let (fixture, world, range) = day().await;
    fixture
        .sql(&format!(
            "UPDATE eidos_market_klines SET market = 'GONE-USDC' WHERE market = 'ETH-USDC' AND open_time < {}; \
             INSERT INTO eidos_market_klines SELECT market, interval, open_time + 864000000, open, high, low, close, volume, \
               quote_volume, trade_count, close_time FROM eidos_market_klines WHERE market = 'BTC-USDC' AND open_time < {}",
            range.0 + 3_600_000,
            range.0 + 3_600_000
        ))
        .await;
    let report = fixture.klines_at("2026-03-09T00:01:00Z").await;
    assert_eq!(report.unknown_markets, ["GONE-USDC"]);
    assert_eq!(report.markets_ahead, ["BTC-USDC"]);
    assert!(candles(&fixture, "GONE-USDC", Interval::H1).await.is_empty());
    world
        .assert_candles(&fixture, &["BTC-USDC"], &[Interval::H1, Interval::D1], range)
        .await;
}

#[tokio::test]
async fn a_market_that_trades_and_has_no_candles_is_a_gap_and_one_that_does_not_is_none() {
    let (fixture, _, range) = day().await;
    let (from, to) = (ms("2026-03-08T10:00:00Z"), ms("2026-03-08T12:00:00Z"));
    fixture
        .sql(&format!(
            "DELETE FROM eidos_market_klines WHERE open_time >= {from} AND open_time < {to}; \
             UPDATE eidos_market_markets SET status = 0 WHERE symbol = 'ETH-USDC'"
        ))
        .await;
    let report = fixture.klines_at("2026-03-09T00:01:00Z").await;
    assert_eq!(report.levels[0].windows[&Verdict::Missing], 2, "{report:#?}");
    assert!(
        report.levels[0]
            .named
            .iter()
            .all(|window| window.market == "BTC-USDC")
    );
    assert_eq!(report.levels[0].until_ms, Some(range.1));
    // They cannot become whole once the minutes of that day are deleted.
    fixture.klines_at("2026-03-18T00:01:00Z").await;
    for (state, expected) in [("= 'abandoned'", 2), ("<> 'abandoned'", 0)] {
        let of_that_day = format!(
            "SELECT count(*) FROM eidos_jobs_kline_windows WHERE interval_name = '1h' AND open_ms < {} AND state {state}",
            range.1
        );
        assert_eq!(fixture.jobs_number(&of_that_day).await, expected, "{state}");
    }
}

#[tokio::test]
async fn a_window_of_a_market_that_vanished_leaves_the_ledger() {
    let (fixture, _, _) = day().await;
    fixture
        .sql(&format!(
            "DELETE FROM eidos_market_klines WHERE market = 'ETH-USDC' AND open_time = {}",
            ms("2026-03-08T10:05:00Z")
        ))
        .await;
    fixture.klines_at("2026-03-09T00:01:00Z").await;
    fixture
        .sql("DELETE FROM eidos_market_markets WHERE symbol = 'ETH-USDC'")
        .await;
    let report = fixture.klines_at("2026-03-09T00:01:00Z").await;
    assert_eq!(report.unknown_markets, ["ETH-USDC"]);
    assert_eq!(
        fixture
            .jobs_number("SELECT count(*) FROM eidos_jobs_kline_windows")
            .await,
        0
    );
}
