//! A stop of any length leaves what a run without a stop leaves.

use std::time::Duration;

use eidos_market::Interval;
use eidos_types::Slot;

use crate::fixture::{Fixture, HOUR_MS, at, ms};
use crate::world::{World, list};

const MARKET: &str = "BTC-USDC";

async fn prepared(yaml: &str, range: (i64, i64)) -> (Fixture, World) {
    let fixture = Fixture::with(yaml).await;
    let world = World::generate(3, &[MARKET], range);
    list(&fixture, MARKET, 0).await;
    world.store(&fixture, MARKET, range).await;
    (fixture, world)
}

#[tokio::test]
async fn a_stop_of_30_hours_leaves_the_same_candles_as_a_run_without_a_stop() {
    let (from, to) = (ms("2026-03-02T00:00:00Z"), ms("2026-03-04T12:00:00Z"));
    let (steady, _) = prepared("", (from, to)).await;
    let (stopped, world) = prepared("", (from, to)).await;
    let mut hour = from + 24 * HOUR_MS;
    while hour <= to {
        let slot = Slot::from_ms(hour + 60_000).unwrap();
        steady.klines_within(slot, Duration::from_mins(5)).await;
        if hour < from + 29 * HOUR_MS || hour >= from + 59 * HOUR_MS {
            stopped.klines_within(slot, Duration::from_mins(5)).await;
        }
        hour += HOUR_MS;
    }
    assert_eq!(stopped.digest().await, steady.digest().await);
    let built = [Interval::H1, Interval::H4, Interval::D1];
    let compared = world
        .assert_candles(&stopped, &[MARKET], &built, (from, to))
        .await;
    assert_eq!(compared, 60 + 15 + 2);
}

#[tokio::test]
async fn a_month_is_caught_up_in_batches_and_a_run_without_time_leaves_the_rest_to_the_next() {
    let (from, to) = (ms("2026-03-01T00:00:00Z"), ms("2026-04-01T00:00:00Z"));
    let (fixture, world) = prepared("jobs: { kline-agg: { batch_rows: 3000 } }\n", (from, to)).await;
    fixture.klines_at("2026-03-01T02:01:00Z").await;
    let slot = at("2026-04-01T00:01:00Z");
    let unfinished = fixture.klines_within(slot, Duration::from_secs(1)).await;
    assert!(unfinished.to_be_continued);
    assert_eq!(
        unfinished.levels.iter().map(|level| level.written).sum::<u64>(),
        0
    );
    let report = fixture.klines_within(slot, Duration::from_mins(5)).await;
    assert!(!report.to_be_continued);
    assert_eq!(report.levels[0].written, 31 * 24 - 2);
    let built = [Interval::H1, Interval::H4, Interval::D1, Interval::W1];
    world
        .assert_candles(&fixture, &[MARKET], &built, (from, to))
        .await;
}

#[tokio::test]
async fn ruling_40_a_window_whose_source_was_deleted_keeps_its_candle() {
    let (from, to) = (ms("2026-03-02T00:00:00Z"), ms("2026-03-16T00:00:00Z"));
    let (fixture, world) = prepared("jobs: { kline-agg: { first_run: 30d } }\n", (from, to)).await;
    fixture.klines_at("2026-03-16T00:01:00Z").await;
    let digest = fixture.digest().await;
    // As retention-manager does it: minutes older than a week are gone.
    let week_ago = ms("2026-03-09T00:00:00Z");
    fixture
        .sql(&format!(
            "DELETE FROM eidos_market_klines WHERE interval = '1m' AND open_time < {week_ago}"
        ))
        .await;
    let report = fixture
        .backfill(
            "2026-03-16T00:01:00Z",
            ("2026-03-02T00:00:00Z", "2026-03-16T00:00:00Z"),
            Some(MARKET),
        )
        .await
        .unwrap();
    assert_eq!(fixture.digest().await, digest, "{report:#?}");
    assert!(
        report.levels.iter().all(|level| level.named.is_empty()),
        "{report:#?}"
    );
    let built = [Interval::H1, Interval::H4, Interval::D1, Interval::W1];
    world
        .assert_candles(&fixture, &[MARKET], &built, (from, to))
        .await;
}

#[tokio::test]
async fn a_backfill_builds_an_older_range_and_moves_no_watermark() {
    let (from, to) = (ms("2026-01-05T00:00:00Z"), ms("2026-01-19T00:00:00Z"));
    let (fixture, world) = prepared("", (from, to)).await;
    let slot = "2026-03-16T00:01:00Z";
    let report = fixture
        .backfill(slot, ("2026-01-05T00:00:00Z", "2026-01-19T00:00:00Z"), None)
        .await
        .unwrap();
    assert_eq!(
        report.levels.iter().map(|level| level.written).sum::<u64>(),
        14 * 24 + 14 * 6 + 14 + 2
    );
    let built = [Interval::H1, Interval::H4, Interval::D1, Interval::W1];
    world
        .assert_candles(&fixture, &[MARKET], &built, (from, to))
        .await;
    assert_eq!(
        fixture
            .jobs_number("SELECT count(*) FROM eidos_jobs_checkpoints")
            .await,
        0
    );
    let unknown = fixture
        .backfill(slot, ("2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"), Some("X"))
        .await;
    assert!(unknown.unwrap_err().to_string().contains("no market X"));
}
