//! The real binary: refusals at start, and a process that is killed while it works.

use std::time::Duration;

use eidos_market::Interval;
use eidos_testkit::eventually;

use crate::fixture::{Fixture, ms};
use crate::world::{World, list};

const WITHIN: Duration = Duration::from_mins(1);
const BUSY: i32 = 75;
const RUN: [&str; 6] = [
    "run",
    "kline-agg",
    "--slot",
    "2026-03-09T00:01:00Z",
    "--format",
    "json",
];
const SHORT: [(&str, &str); 4] = [
    ("JOBS__KLINE-AGG__LOCK__TTL", "20s"),
    ("JOBS__KLINE-AGG__BATCH_ROWS", "1000"),
    ("SCHEDULER__CANCEL_GRACE", "500ms"),
    ("REDIS__RESPONSE_TIMEOUT", "300ms"),
];

#[tokio::test]
async fn a_table_that_does_not_fit_is_refused_at_start_by_table_and_column() {
    let fixture = Fixture::new().await;
    fixture
        .sql(
            "ALTER TABLE eidos_market_klines DROP COLUMN quote_volume, ALTER COLUMN volume TYPE DOUBLE PRECISION; \
             DROP TABLE eidos_market_trades",
        )
        .await;
    let (status, child) = fixture.command(&RUN, &[]).run(WITHIN).await;
    assert!(!status.success());
    let said = child.stderr();
    for part in [
        "table eidos_market_klines has no column quote_volume",
        "eidos_market_klines.volume is double precision, not numeric",
        "table eidos_market_trades does not exist",
        "aggregation_profile.market_trades.name",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[tokio::test]
async fn killed_between_two_batches_the_next_run_ends_with_the_same_candles() {
    let fixture = Fixture::new().await;
    let range = (ms("2026-03-02T00:00:00Z"), ms("2026-03-09T00:00:00Z"));
    let world = World::generate(4, &["BTC-USDC"], range);
    list(&fixture, "BTC-USDC", 0).await;
    world.store(&fixture, "BTC-USDC", range).await;
    let child = fixture.command(&RUN, &SHORT).spawn();
    eventually("a process writes candles", WITHIN, async || {
        if let Some(status) = child.exit_status() {
            panic!("{status}\n{}\n{}", child.stdout(), child.stderr());
        }
        if fixture.count("eidos_market_klines WHERE interval = '1h'").await > 20 {
            Ok(())
        } else {
            Err("none yet")
        }
    })
    .await;
    child.kill();
    eventually("the job's lease is free", WITHIN, async || {
        let (status, child) = fixture.command(&RUN, &SHORT).run(WITHIN).await;
        match status.code() {
            Some(0) => Ok(()),
            Some(BUSY) => Err("busy"),
            _ => panic!("{status}\n{}\n{}", child.stdout(), child.stderr()),
        }
    })
    .await;
    let built = [Interval::H1, Interval::H4, Interval::D1, Interval::W1];
    world.assert_candles(&fixture, &["BTC-USDC"], &built, range).await;
}
