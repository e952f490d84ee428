//! Which orders are asked for, and that they end.

use eidos_runtime::Job as _;
use order_expirer::jobs::cleanup_orders::CleanupParams;
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

use crate::fixture::{Fixture, MINUTE, ORDERS};

#[tokio::test]
async fn ruling_29_expired_orders_end_and_no_other() {
    let fixture = Fixture::new().await;
    fixture.expired_orders(1, 700).await;
    let now = fixture.now_ms();
    fixture.orders(1001, 1010, 1, "0", "1").await; // no expiry
    fixture
        .orders(1011, 1020, 1, &(now - 30_000).to_string(), "1")
        .await; // within the grace
    fixture
        .orders(1021, 1030, 2, &(now + MINUTE).to_string(), "1")
        .await; // in the future
    fixture
        .orders(1031, 1040, 7, &(now - 30 * MINUTE).to_string(), "1")
        .await; // in cancelling
    let report = fixture.run().await;
    assert_eq!(report.sent, 700, "{report:#?}");
    assert_eq!(report.verdicts.get("removed"), Some(&700), "{report:#?}");
    assert!(
        report.scanned_all && report.stream_failures.is_empty(),
        "{report:#?}"
    );
    assert_eq!(report.markets.values().sum::<u64>(), 700);
    fixture.until_expired(700).await;
    // Answered is not ended: the next run reads the rows.
    assert_eq!(
        fixture
            .requests("state = 'answered' AND verdict = 'removed'")
            .await,
        700
    );
    fixture.later(2);
    let report = fixture.run().await;
    assert_eq!(report.ended.get("expired"), Some(&700), "{report:#?}");
    // What was within the grace is due now.
    assert_eq!(report.sent, 10, "{report:#?}");
    assert_eq!(
        fixture
            .requests("state = 'closed' AND outcome = 'expired' AND confirmed_by = 'row'")
            .await,
        700
    );
    assert_eq!(
        fixture.with_status(1).await + fixture.with_status(2).await + fixture.with_status(5).await,
        730
    );
    // Each request has one id, and each market was asked in the order of expiry.
    let log = fixture.engine.log().await;
    assert_eq!(log.len(), 710);
    let numbers: Vec<i64> = log[..700]
        .iter()
        .map(|asked| asked.order_id[1..].parse().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[tokio::test]
async fn orders_that_end_otherwise_are_reported_as_that() {
    let fixture = Fixture::new().await;
    fixture.expired_orders(1, 4).await;
    fixture.run().await;
    fixture.until_expired(4).await;
    for (id, status) in [(1, 3), (2, 4), (3, 6)] {
        fixture
            .sql(&format!("UPDATE {ORDERS} SET status = {status} WHERE id = {id}"))
            .await;
    }
    fixture.later(2);
    let report = fixture.run().await;
    for outcome in ["filled", "cancelled", "rejected", "expired"] {
        assert_eq!(report.ended.get(outcome), Some(&1), "{outcome}: {report:#?}");
    }
}

#[tokio::test]
async fn a_dry_run_lists_what_would_be_asked_for_and_changes_nothing() {
    let fixture = Fixture::new().await;
    fixture.expired_orders(1, 30).await;
    let ctx = fixture.context("cleanup-orders", true).await;
    let job = fixture.cleanup_orders();
    let report = job.run(&ctx, CleanupParams::default()).await.unwrap();
    assert_eq!(report.markets.values().sum::<u64>(), 30, "{report:#?}");
    assert_eq!(report.first_orders.len(), 20);
    let text = job.render(&report);
    assert!(
        text.contains("BTC-USDC") && text.contains("nothing was changed"),
        "{text}"
    );
    assert_eq!(fixture.requests("true").await, 0);
    assert!(fixture.engine.log().await.is_empty());
}

#[tokio::test]
async fn a_run_with_a_limit_is_continued_behind_its_last_order() {
    let fixture = Fixture::with(
        "expiry: { scan_orders_per_run: 100, page_orders: 50 }\n",
        eidos_devnet::matching::Misbehaviour::default(),
    )
    .await;
    fixture.expired_orders(1, 250).await;
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(fixture.run().await.sent);
        fixture.later(2);
    }
    assert_eq!(sent, [100, 100, 50], "the oldest do not keep the others waiting");
    fixture.until_expired(250).await;
}

#[tokio::test]
async fn the_selection_uses_the_partial_index() {
    let fixture = Fixture::new().await;
    // Most open orders have no expiry, and most orders with one have ended.
    fixture.orders(1, 10_000, 3, "i", "0").await;
    fixture.orders(10_001, 20_000, 1, "0", "1").await;
    fixture.expired_orders(20_001, 20_100).await;
    fixture.sql(&format!("ANALYZE {ORDERS}")).await;
    let statement = fixture.store().expired_statement().as_str().to_owned();
    let explain = format!("EXPLAIN {statement}");
    let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain).into_sql_str())
        .bind(fixture.now_ms())
        .bind(0_i64)
        .bind(0_i64)
        .bind(500_i64)
        .fetch_all(fixture.trading.pool())
        .await
        .unwrap();
    let plan = lines.join("\n");
    assert!(plan.contains("idx_eidos_trading_orders_expiry"), "{plan}");
    assert!(!plan.contains("Seq Scan"), "{plan}");
}

#[tokio::test]
async fn every_statement_on_the_orders_fits_the_neighbours_table() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    eidos_testkit::assert_prepares(fixture.trading.pool(), store.all()).await;
}
