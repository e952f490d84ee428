//! Candles equal an independent recomputation from trades, and a second run writes nothing.

use eidos_market::Interval;

use crate::fixture::{Fixture, HOUR_MS, ms};
use crate::world::{World, candles, list, trade};

const MARKETS: [&str; 3] = ["BTC-USDC", "ETH-USDC", "SOL-USDC"];
const BUILT: [Interval; 4] = [Interval::H1, Interval::H4, Interval::D1, Interval::W1];
/// Monday.
const FROM: &str = "2026-03-02T00:00:00Z";
const SLOT: &str = "2026-03-09T00:01:00Z";

async fn week(fixture: &Fixture, seed: u64) -> World {
    let range = (ms(FROM), ms("2026-03-09T00:00:00Z"));
    let world = World::generate(seed, &MARKETS, range);
    for market in MARKETS {
        list(fixture, market, ms("2025-01-01T00:00:00Z")).await;
        world.store(fixture, market, range).await;
    }
    world
}

#[tokio::test]
async fn ruling_38_candles_equal_a_recomputation_from_trades_and_a_second_run_writes_no_row() {
    let fixture = Fixture::new().await;
    let world = week(&fixture, 7).await;
    let report = fixture.klines_at(SLOT).await;
    let range = (ms(FROM), ms("2026-03-09T00:00:00Z"));
    let compared = world.assert_candles(&fixture, &MARKETS, &BUILT, range).await;
    assert_eq!(compared, 3 * (168 + 42 + 7 + 1));
    let quiet = candles(&fixture, "BTC-USDC", Interval::H1).await;
    assert!(
        quiet.values().any(|candle| candle.trades == 0),
        "no hour without trades was generated"
    );
    let written: u64 = report.levels.iter().map(|level| level.written).sum();
    assert_eq!(written, u64::try_from(compared).unwrap(), "{report:#?}");

    let versions = fixture.versions().await;
    let again = fixture.klines_at(SLOT).await;
    assert_eq!(fixture.versions().await, versions, "a row was written");
    assert!(again.levels.iter().all(|level| level.written == 0), "{again:#?}");
    assert!(
        again.levels[0].unchanged >= 9,
        "the look-back compares again: {again:#?}"
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_written_and_writes_nothing() {
    let fixture = Fixture::new().await;
    week(&fixture, 8).await;
    let report = fixture.klines_dry(SLOT).await;
    assert_eq!(report.levels[0].written, 3 * 168, "{report:#?}");
    assert_eq!(fixture.digest().await, "");
    assert_eq!(
        fixture
            .jobs_number("SELECT count(*) FROM eidos_jobs_checkpoints")
            .await,
        0
    );
}

#[tokio::test]
async fn any_interval_that_divides_a_day_is_built_and_weeks_may_begin_on_thursday() {
    let fixture = Fixture::with(
        "jobs: { kline-agg: { intervals: { 4h: null, 12h: 1h, 90m: 1m }, week_start: epoch_thursday, first_run: 14d } }\n",
    )
    .await;
    // Thursday to Thursday.
    let range = (ms("2026-02-26T00:00:00Z"), ms("2026-03-05T00:00:00Z"));
    let world = World::generate(9, &MARKETS[..1], range);
    list(&fixture, MARKETS[0], 0).await;
    world.store(&fixture, MARKETS[0], range).await;
    fixture.klines_at("2026-03-05T00:01:00Z").await;
    let intervals: Vec<Interval> = ["90m", "1h", "12h", "1d"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    world
        .assert_candles(&fixture, &MARKETS[..1], &intervals, range)
        .await;
    let week = Interval::W1.starting(eidos_market::WeekStart::EpochThursday);
    assert_eq!(
        world
            .assert_candles(&fixture, &MARKETS[..1], &[week], range)
            .await,
        1
    );
    assert_eq!(
        fixture.count("eidos_market_klines WHERE interval = '4h'").await,
        0
    );
}

#[tokio::test]
async fn ruling_38_a_partial_window_is_noted_and_not_published_until_it_is_whole() {
    let fixture = Fixture::new().await;
    let world = week(&fixture, 10).await;
    let hour = ms("2026-03-08T05:00:00Z");
    let gap = (hour + 30 * 60_000, hour + 33 * 60_000);
    fixture
        .sql(&format!(
            "DELETE FROM eidos_market_klines WHERE market = 'BTC-USDC' AND open_time >= {} AND open_time < {}",
            gap.0, gap.1
        ))
        .await;
    let report = fixture.klines_at(SLOT).await;
    let named = &report.levels[0].named[0];
    assert_eq!((named.found, named.expected, named.open_ms), (57, 60, hour));
    let open = "SELECT count(*) FROM eidos_jobs_kline_windows WHERE state = 'partial'";
    assert_eq!(fixture.jobs_number(open).await, 4, "1h, 4h, 1d and 1w");
    assert!(
        !candles(&fixture, "BTC-USDC", Interval::H1)
            .await
            .contains_key(&hour)
    );
    assert!(candles(&fixture, "BTC-USDC", Interval::W1).await.is_empty());

    world.store(&fixture, "BTC-USDC", gap).await;
    let again = fixture.klines_at("2026-03-09T09:01:00Z").await;
    assert!(again.levels.iter().all(|level| level.reopened == 1), "{again:#?}");
    assert_eq!(fixture.jobs_number(open).await, 0);
    let range = (ms(FROM), ms("2026-03-09T00:00:00Z"));
    world.assert_candles(&fixture, &MARKETS, &BUILT, range).await;
}

#[tokio::test]
async fn a_partial_window_is_published_after_the_bound_that_was_set_and_the_ledger_says_so() {
    let fixture = Fixture::with("jobs: { kline-agg: { publish_partial_after: 6h } }\n").await;
    week(&fixture, 11).await;
    for hour in ["2026-03-08T12:00:00Z", "2026-03-08T20:00:00Z"] {
        fixture
            .sql(&format!(
                "DELETE FROM eidos_market_klines WHERE market = 'BTC-USDC' AND open_time = {}",
                ms(hour)
            ))
            .await;
    }
    fixture.klines_at(SLOT).await;
    let hours = candles(&fixture, "BTC-USDC", Interval::H1).await;
    assert!(hours.contains_key(&ms("2026-03-08T12:00:00Z")));
    assert!(
        !hours.contains_key(&ms("2026-03-08T20:00:00Z")),
        "it ended less than 6 h ago"
    );
    let flagged = "SELECT count(*) FROM eidos_jobs_kline_windows WHERE published AND interval_name = '1h'";
    assert_eq!(fixture.jobs_number(flagged).await, 1);
}

#[tokio::test]
async fn windows_without_trades_have_no_candle_if_that_is_set() {
    let fixture = Fixture::with("jobs: { kline-agg: { empty_windows: skip } }\n").await;
    let (from, to) = (ms("2026-03-08T00:00:00Z"), ms("2026-03-08T04:00:00Z"));
    let mut world = World::default();
    world.add(
        "BTC-USDC",
        from,
        trade(5_000_000_000_000_000_000, 1_000_000_000_000_000_000),
    );
    list(&fixture, "BTC-USDC", 0).await;
    world.store(&fixture, "BTC-USDC", (from, to)).await;
    let report = fixture.klines_at("2026-03-08T04:01:00Z").await;
    let hours = candles(&fixture, "BTC-USDC", Interval::H1).await;
    assert_eq!(hours.keys().copied().collect::<Vec<_>>(), [from]);
    assert_eq!(candles(&fixture, "BTC-USDC", Interval::H4).await.len(), 1);
    assert_eq!(
        fixture
            .jobs_number("SELECT count(*) FROM eidos_jobs_kline_windows")
            .await,
        0,
        "{report:#?}"
    );
}

#[tokio::test]
async fn a_market_that_was_listed_within_a_window_is_whole_from_there_on() {
    let fixture = Fixture::new().await;
    let (listed, to) = (ms("2026-03-08T01:20:30Z"), ms("2026-03-08T04:00:00Z"));
    let first_minute = ms("2026-03-08T01:21:00Z");
    let mut world = World::default();
    world.add(
        "NEW-USDC",
        first_minute,
        trade(5_000_000_000_000_000_000, 1_000_000_000_000_000_000),
    );
    list(&fixture, "NEW-USDC", listed).await;
    // An older market, so that the first run begins before the listing.
    list(&fixture, "BTC-USDC", 0).await;
    let older = World::generate(1, &["BTC-USDC"], (to - 6 * HOUR_MS, to));
    older.store(&fixture, "BTC-USDC", (to - 6 * HOUR_MS, to)).await;
    world.store(&fixture, "NEW-USDC", (first_minute, to)).await;
    fixture.klines_at("2026-03-08T04:01:00Z").await;
    let hours = candles(&fixture, "NEW-USDC", Interval::H1).await;
    assert_eq!(hours.len(), 3);
    assert_eq!(hours.values().next().unwrap().trades, 1);
}
