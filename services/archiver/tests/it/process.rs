//! The real binary: killed at random points, twice at the same time, stopped beyond its lease.

use std::time::Duration;

use eidos_testkit::ChildProcess;
use rand::RngExt;
use serde_json::Value;

use crate::fixture::{Fixture, ORDERS, TRADES};

const WITHIN: Duration = Duration::from_secs(90);
const BUSY: i32 = 75;
const OLD: &str = "2026-08-15T12:00:00Z";
/// A lease that a test can wait out.
const SHORT: [(&str, &str); 3] = [
    ("JOBS__ARCHIVE-DATA__LOCK__TTL", "4s"),
    ("SCHEDULER__CANCEL_GRACE", "500ms"),
    ("REDIS__RESPONSE_TIMEOUT", "300ms"),
];
const RUN: [&str; 6] = [
    "run",
    "archive-data",
    "--slot",
    "2026-10-21T03:00:00Z",
    "--format",
    "json",
];

fn slow(batch_rows: &'static str, sleep_ms: &'static str) -> Vec<(&'static str, &'static str)> {
    let own = [
        ("JOBS__ARCHIVE-DATA__BATCH_ROWS", batch_rows),
        ("JOBS__ARCHIVE-DATA__SLEEP_MS", sleep_ms),
    ];
    SHORT.into_iter().chain(own).collect()
}

pub(crate) fn report_of(child: &ChildProcess) -> Value {
    let text = child.stdout();
    let value: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{}", child.stderr()));
    value.get("report").cloned().unwrap_or(value)
}

/// Runs the binary, waiting for a dead process's lease where there is one.
pub(crate) async fn run_when_free(
    fixture: &Fixture,
    args: &[&str],
    settings: &[(&str, &str)],
) -> ChildProcess {
    eidos_testkit::eventually("the job's lease is free", WITHIN, async || {
        let (status, child) = fixture.command(args, settings).run(WITHIN).await;
        match status.code() {
            Some(0) => Ok(child),
            Some(BUSY) => Err("busy"),
            _ => panic!("{status}\n{}\n{}", child.stdout(), child.stderr()),
        }
    })
    .await
}

/// The binary, seen to move rows.
async fn working(fixture: &Fixture, settings: &[(&str, &str)]) -> ChildProcess {
    let before = fixture.count(ORDERS).await + fixture.count(TRADES).await;
    eidos_testkit::eventually("a process moves rows", WITHIN, async || {
        let child = fixture.command(&RUN, settings).spawn();
        loop {
            if let Some(status) = child.exit_status() {
                match status.code() {
                    Some(BUSY) => return Err("busy"),
                    _ => panic!("{status}\n{}\n{}", child.stdout(), child.stderr()),
                }
            }
            if fixture.count(ORDERS).await + fixture.count(TRADES).await < before {
                return Ok(child);
            }
        }
    })
    .await
}

/// No row in both places, none in neither, and every value as it was.
async fn exactly_one_place(fixture: &Fixture, before: &[(&str, String, i64)]) {
    for (table, fingerprint, rows) in before {
        let archive = format!("{table}_archive");
        let exists = fixture
            .count(&format!("pg_class WHERE relname = '{archive}'"))
            .await
            == 1;
        let tables: Vec<&str> = if exists {
            vec![*table, archive.as_str()]
        } else {
            vec![*table]
        };
        // In one snapshot: the server may still be committing what the dead process sent.
        let counts: Vec<String> = tables
            .iter()
            .map(|table| format!("SELECT 1 FROM {table}"))
            .collect();
        let sum = fixture
            .count(&format!("({}) AS places", counts.join(" UNION ALL ")))
            .await;
        assert_eq!(sum, *rows, "{table}: rows in both places or in none");
        assert_eq!(fixture.fingerprint(&tables).await, *fingerprint, "{table}");
    }
}

/// An order in the archive has no trade in the hot table.
async fn no_order_went_before_its_trades(fixture: &Fixture) {
    if fixture
        .count("pg_class WHERE relname = 'eidos_trading_orders_archive'")
        .await
        == 0
    {
        return;
    }
    let early = fixture
        .count(&format!(
            "{ORDERS}_archive o WHERE EXISTS (SELECT 1 FROM {TRADES} t WHERE o.order_id IN (t.maker_order_id, t.taker_order_id))"
        ))
        .await;
    assert_eq!(early, 0, "orders archived before their trades");
}

#[tokio::test]
async fn killed_at_random_points_every_row_is_in_exactly_one_place() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 3000, 3, OLD).await;
    fixture.orders(3001, 3100, 1, OLD).await;
    fixture.trades((1, 1500), (1, 2), 3, Some(OLD)).await;
    fixture.trades((1501, 1600), (3, 4), 1, None).await;
    let mut before = Vec::new();
    for table in [ORDERS, TRADES] {
        before.push((
            table,
            fixture.fingerprint(&[table]).await,
            fixture.count(table).await,
        ));
    }
    for _ in 0..4 {
        let child = working(&fixture, &slow("50", "5")).await;
        // Anywhere: between two batches, inside one, between the tables.
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..150))).await;
        child.kill();
        exactly_one_place(&fixture, &before).await;
        no_order_went_before_its_trades(&fixture).await;
    }
    let child = run_when_free(&fixture, &RUN, &SHORT).await;
    let report = report_of(&child);
    assert_eq!(report["tables"][0]["ended"], "done", "{report:#}");
    exactly_one_place(&fixture, &before).await;
    assert_eq!(
        fixture.count(ORDERS).await,
        102,
        "open ones, and both of the unsettled trades"
    );
    assert_eq!(fixture.count(TRADES).await, 100);
}

#[tokio::test]
async fn two_processes_do_not_work_at_once() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 2000, 3, OLD).await;
    let settings = slow("100", "100");
    let first = working(&fixture, &settings).await;
    let (status, second) = fixture.command(&RUN, &settings).run(WITHIN).await;
    assert_eq!(status.code(), Some(BUSY), "{}", second.stderr());
    assert!(first.wait_exit(WITHIN).await.success(), "{}", first.stderr());
    assert_eq!(report_of(&first)["tables"][1]["moved"], 2000);
}

#[tokio::test]
async fn a_process_that_was_stopped_beyond_its_lease_writes_nothing_more() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 4000, 3, OLD).await;
    let before = [(ORDERS, fixture.fingerprint(&[ORDERS]).await, 4000)];
    let settings = slow("50", "50");
    let stale = working(&fixture, &settings).await;
    stale.pause().await;
    let child = run_when_free(&fixture, &RUN, &SHORT).await;
    assert_eq!(report_of(&child)["tables"][1]["ended"], "done");
    assert_eq!(fixture.count(ORDERS).await, 0);
    fixture.orders(5001, 5050, 3, OLD).await;
    stale.resume();
    let status = stale.wait_exit(WITHIN).await;
    assert!(!status.success(), "{}", stale.stdout());
    assert_eq!(fixture.count(ORDERS).await, 50, "the stale process moved rows");
    fixture.sql(&format!("DELETE FROM {ORDERS}")).await;
    exactly_one_place(&fixture, &before).await;
}

#[tokio::test]
async fn told_to_stop_it_ends_after_its_batch_and_its_account_is_complete() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 4000, 3, OLD).await;
    let child = working(&fixture, &slow("50", "50")).await;
    child.interrupt();
    let status = child.wait_exit(WITHIN).await;
    assert!(!status.success());
    let moved = fixture.count(&format!("{ORDERS}_archive")).await;
    assert!((1..4000).contains(&moved), "{moved}");
    let account = "SELECT sum(row_count)::bigint FROM eidos_jobs_disposals WHERE action = 'move'";
    assert_eq!(fixture.jobs_number(account).await, moved);
}

#[tokio::test]
async fn the_end_of_its_time_is_an_ordinary_ending() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 4000, 3, OLD).await;
    let mut settings = slow("10", "50");
    settings.push(("JOBS__ARCHIVE-DATA__TIMEOUT", "3s"));
    let (status, child) = fixture.command(&RUN, &settings).run(WITHIN).await;
    assert!(status.success(), "{}", child.stderr());
    let report = report_of(&child);
    assert_eq!(report["tables"][1]["ended"], "time", "{report:#}");
    assert!(fixture.count(ORDERS).await > 0);
}
