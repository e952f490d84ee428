//! Late trades and corrected candles re-open the windows that were built from them (ruling 40).

use eidos_market::Interval;

use crate::fixture::{Fixture, ms};
use crate::world::{World, list, trade};

const MARKET: &str = "BTC-USDC";
const BUILT: [Interval; 4] = [Interval::H1, Interval::H4, Interval::D1, Interval::W1];
const LATE_INDEX: &str = "CREATE INDEX t_late ON eidos_market_trades (created_at)";

async fn built() -> (Fixture, World, (i64, i64)) {
    let fixture = Fixture::with("jobs: { kline-agg: { first_run: 30d } }\n").await;
    let range = (ms("2026-03-02T00:00:00Z"), ms("2026-03-09T12:00:00Z"));
    let world = World::generate(5, &[MARKET], range);
    list(&fixture, MARKET, 0).await;
    world.store(&fixture, MARKET, range).await;
    fixture.klines_at("2026-03-09T12:01:00Z").await;
    (fixture, world, range)
}

/// A trade on Wednesday that was stored on Monday, and its minute as the market service corrects it.
async fn arrives_late(fixture: &Fixture, world: &mut World) {
    let happened = ms("2026-03-04T10:30:05Z");
    world.add(MARKET, happened, trade(99_000_000_000_000_000_000_000, 7));
    let minute = ms("2026-03-04T10:30:00Z");
    world.store(fixture, MARKET, (minute, minute + 60_000)).await;
    fixture
        .sql(&format!(
            "INSERT INTO eidos_market_trades VALUES ('late', '{MARKET}', 99000, 1, 99000, 0, {happened}, {})",
            ms("2026-03-09T12:20:00Z")
        ))
        .await;
}

#[tokio::test]
async fn ruling_40_a_late_trade_reopens_the_hour_and_everything_above_it() {
    let (fixture, mut world, range) = built().await;
    fixture.sql(LATE_INDEX).await;
    arrives_late(&fixture, &mut world).await;
    let report = fixture.klines_at("2026-03-09T13:01:00Z").await;
    assert_eq!(
        report.late_trades.noted, 3,
        "1h, 4h and 1d; 1w follows its day: {report:#?}"
    );
    world.assert_candles(&fixture, &[MARKET], &BUILT, range).await;
    // Four candles again; the hour from 12 to 13 has no minutes yet.
    assert_eq!(report.levels.iter().map(|level| level.written).sum::<u64>(), 4);
    let open = "SELECT count(*) FROM eidos_jobs_kline_windows WHERE state = 'dirty'";
    assert_eq!(fixture.jobs_number(open).await, 0);
    let again = fixture.klines_at("2026-03-09T13:01:00Z").await;
    assert!(again.levels.iter().all(|level| level.written == 0), "{again:#?}");
}

/// The candle of a day was written, and the process died before the ledger knew: the next run finds nothing to write for
/// the day, and the week still has to follow it.
#[tokio::test]
async fn a_week_follows_its_day_although_the_run_that_wrote_the_day_died_before_it_said_so() {
    let (fixture, mut world, range) = built().await;
    fixture.sql(LATE_INDEX).await;
    arrives_late(&fixture, &mut world).await;
    let (from, to) = (ms("2026-03-04T00:00:00Z"), ms("2026-03-05T00:00:00Z"));
    fixture
        .sql(&format!(
            "UPDATE eidos_market_klines d SET high = m.high, low = m.low, volume = m.volume, quote_volume = m.quote_volume, \
               trade_count = m.trade_count \
             FROM (SELECT max(high) FILTER (WHERE trade_count > 0) AS high, min(low) FILTER (WHERE trade_count > 0) AS low, \
                 sum(volume) AS volume, sum(quote_volume) AS quote_volume, sum(trade_count) AS trade_count \
               FROM eidos_market_klines WHERE interval = '1m' AND open_time >= {from} AND open_time < {to}) AS m \
             WHERE d.interval = '1d' AND d.open_time = {from}"
        ))
        .await;
    let report = fixture.klines_at("2026-03-09T13:01:00Z").await;
    let day = report.levels.iter().find(|level| level.interval == "1d");
    assert_eq!(
        day.map(|day| day.written),
        Some(0),
        "the day is as it must be: {report:#?}"
    );
    world.assert_candles(&fixture, &[MARKET], &BUILT, range).await;
}

#[tokio::test]
async fn without_the_index_the_report_says_that_late_trades_were_not_looked_for() {
    let (fixture, mut world, _) = built().await;
    arrives_late(&fixture, &mut world).await;
    let report = fixture.klines_at("2026-03-09T13:01:00Z").await;
    assert!(!report.late_trades.looked);
    assert_eq!(report.levels.iter().map(|level| level.written).sum::<u64>(), 0);
}

#[tokio::test]
async fn a_minute_that_is_corrected_soon_is_found_without_any_trade() {
    let (fixture, mut world, range) = built().await;
    let minute = ms("2026-03-09T11:30:00Z");
    world.add(MARKET, minute + 59_999, trade(1_000_000_000_000_000_000, 3));
    world.store(&fixture, MARKET, (minute, minute + 60_000)).await;
    let report = fixture.klines_at("2026-03-09T13:01:00Z").await;
    assert_eq!(report.levels[0].written, 1, "{report:#?}");
    world.assert_candles(&fixture, &[MARKET], &BUILT, range).await;
}
