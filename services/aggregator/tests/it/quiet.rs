//! Minutes without a candle: quiet if the trades say so, and a gap otherwise.

use aggregator::store::candles::Verdict;
use eidos_market::Interval;

use crate::fixture::{Fixture, HOUR_MS, ms};
use crate::world::{World, candles, list, trade};

const MARKETS: [&str; 2] = ["BTC-USDC", "ETH-USDC"];
const BUILT: [Interval; 4] = [Interval::H1, Interval::H4, Interval::D1, Interval::W1];
/// Monday.
const FROM: &str = "2026-03-02T00:00:00Z";
const TO: &str = "2026-03-09T00:00:00Z";
const SLOT: &str = "2026-03-09T00:01:00Z";
const ONE: i128 = 1_000_000_000_000_000_000;

/// A week of a market service that writes no candle for a minute without trades.
async fn week(yaml: &str) -> (Fixture, World, (i64, i64)) {
    let fixture = Fixture::with(yaml).await;
    let range = (ms(FROM), ms(TO));
    let mut world = World::generate(21, &MARKETS, range);
    // Something happens before the range and after it, so that everything between is known to be stored.
    world.add("ETH-USDC", range.0 - 1_000, trade(2 * ONE, ONE));
    world.add("ETH-USDC", range.1 + 1_000, trade(3 * ONE, ONE));
    for market in MARKETS {
        list(&fixture, market, ms("2025-01-01T00:00:00Z")).await;
        world.store(&fixture, market, range).await;
        world
            .store_trades(&fixture, market, (range.0 - 1_000, range.1 + 2_000))
            .await;
    }
    fixture
        .sql("DELETE FROM eidos_market_klines WHERE interval = '1m' AND trade_count = 0")
        .await;
    (fixture, world, range)
}

#[tokio::test]
async fn without_candles_of_quiet_minutes_the_same_windows_are_whole() {
    let (fixture, world, range) = week("").await;
    // Listed, and never traded: it has no price, and nothing is expected of it.
    list(&fixture, "DEAD-USDC", ms("2025-01-01T00:00:00Z")).await;
    let report = fixture.klines_at(SLOT).await;
    let compared = world.assert_candles(&fixture, &MARKETS, &BUILT, range).await;
    assert_eq!(compared, 2 * (168 + 42 + 7 + 1));
    assert!(report.levels[0].quiet > 1_000, "{report:#?}");
    let ledger = "SELECT count(*) FROM eidos_jobs_kline_windows";
    assert_eq!(fixture.jobs_number(ledger).await, 0, "{report:#?}");
    let hours = candles(&fixture, "BTC-USDC", Interval::H1).await;
    assert!(hours.values().any(|candle| candle.trades == 0), "no quiet hour");
    assert!(candles(&fixture, "DEAD-USDC", Interval::H1).await.is_empty());

    let versions = fixture.versions().await;
    let again = fixture.klines_at(SLOT).await;
    assert_eq!(
        fixture.versions().await,
        versions,
        "a row was written: {again:#?}"
    );
}

#[tokio::test]
async fn a_minute_that_has_trades_and_no_candle_is_a_gap() {
    let (fixture, _, range) = week("").await;
    let lost = fixture
        .market
        .number(&format!(
            "SELECT min(open_time) FROM eidos_market_klines WHERE market = 'BTC-USDC' AND open_time > {}",
            range.1 - 5 * HOUR_MS
        ))
        .await;
    fixture
        .sql(&format!(
            "DELETE FROM eidos_market_klines WHERE market = 'BTC-USDC' AND open_time = {lost}"
        ))
        .await;
    let report = fixture.klines_at(SLOT).await;
    assert_eq!(report.levels[0].windows[&Verdict::Partial], 1, "{report:#?}");
    assert_eq!(
        report.levels[0].named[0].open_ms,
        Interval::H1.floor_ms(lost),
        "{report:#?}"
    );
}

/// Whether a minute was quiet is not known where its trades may be deleted, or are not stored yet.
#[tokio::test]
async fn a_minute_whose_trades_may_be_deleted_or_late_is_not_taken_for_quiet() {
    let (fixture, _, range) = week("").await;
    let from = range.1 - 12 * HOUR_MS;
    fixture
        .sql(&format!(
            "DELETE FROM eidos_market_trades WHERE timestamp < {from} OR timestamp >= {}",
            range.1 - 2 * HOUR_MS
        ))
        .await;
    // A candle that claims to be much older: the windows after it are not those of a market whose minutes were deleted.
    let report = fixture.klines_at(SLOT).await;
    let hours = &report.levels[0];
    // 10 hours of two markets are between, or one less, if the oldest trade left is not at the beginning of its hour.
    let whole = hours.windows[&Verdict::Whole];
    assert!((14..=20).contains(&whole), "{report:#?}");
    assert!(hours.windows[&Verdict::Partial] > 200, "{report:#?}");
    assert!(
        hours
            .windows
            .keys()
            .all(|verdict| verdict.is_incomplete() || *verdict == Verdict::Whole),
        "{report:#?}"
    );

    let (fixture, _, range) = week("jobs: { kline-agg: { trades_retention: 12h } }\n").await;
    let report = fixture.klines_at(SLOT).await;
    let whole = report.levels[0].windows[&Verdict::Whole];
    assert!((14..=24).contains(&whole), "{report:#?}");
    let first = candles(&fixture, "BTC-USDC", Interval::H1).await;
    assert!(first.keys().all(|open_ms| *open_ms >= range.1 - 12 * HOUR_MS));
}

#[tokio::test]
async fn a_late_trade_before_quiet_hours_corrects_what_they_carry() {
    for quiet_minutes_are_stored in [true, false] {
        let fixture = Fixture::new().await;
        fixture
            .sql("CREATE INDEX t_late ON eidos_market_trades (created_at)")
            .await;
        let (from, to) = (ms("2026-03-08T00:00:00Z"), ms("2026-03-08T08:00:00Z"));
        let mut world = World::default();
        world.add("BTC-USDC", from - 1_000, trade(4 * ONE, ONE));
        world.add("BTC-USDC", from + 5_000, trade(5 * ONE, ONE));
        world.add("BTC-USDC", ms("2026-03-08T06:30:00Z"), trade(7 * ONE, ONE));
        world.add("BTC-USDC", to + 1_000, trade(8 * ONE, ONE));
        list(&fixture, "BTC-USDC", 0).await;
        world.store(&fixture, "BTC-USDC", (from, to)).await;
        world
            .store_trades(&fixture, "BTC-USDC", (from - 1_000, to + 2_000))
            .await;
        if !quiet_minutes_are_stored {
            fixture
                .sql("DELETE FROM eidos_market_klines WHERE trade_count = 0")
                .await;
        }
        fixture.klines_at("2026-03-08T08:01:00Z").await;
        let built = [Interval::H1, Interval::H4];
        world
            .assert_candles(&fixture, &["BTC-USDC"], &built, (from, to))
            .await;

        // Stored hours later. The market service corrects the candle of its minute, and not those after it.
        let late = ms("2026-03-08T00:10:00Z");
        world.add("BTC-USDC", late, trade(9 * ONE, ONE));
        world.store(&fixture, "BTC-USDC", (late, late + 60_000)).await;
        fixture
            .sql(&format!(
                "INSERT INTO eidos_market_trades VALUES ('late', 'BTC-USDC', 9, 1, 9, 0, {late}, {})",
                ms("2026-03-08T08:20:00Z")
            ))
            .await;
        let report = fixture.klines_at("2026-03-08T09:01:00Z").await;
        assert_eq!(
            report.late_trades.noted, 7,
            "six hours up to the next trade, and four hours: {report:#?}"
        );
        world
            .assert_candles(&fixture, &["BTC-USDC"], &built, (from, to))
            .await;
        let versions = fixture.versions().await;
        let again = fixture.klines_at("2026-03-08T09:01:00Z").await;
        assert_eq!(
            fixture.versions().await,
            versions,
            "a row was written: {again:#?}"
        );
    }
}
