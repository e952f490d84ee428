//! Rows move once, whole, late finishers included; what must stay stays.

use crate::fixture::{Fixture, ORDERS, TRADES, archive, at};

const OLD: &str = "2026-08-15T12:00:00Z";
const YOUNG: &str = "2026-10-10T12:00:00Z";

#[tokio::test]
async fn finished_rows_move_with_every_value_and_the_rest_stays() {
    let fixture = Fixture::new().await;
    for (status, ids) in [
        (3, (1, 1500)),
        (4, (1501, 1600)),
        (5, (1601, 1700)),
        (6, (1701, 1800)),
    ] {
        fixture.orders(ids.0, ids.1, status, OLD).await;
    }
    for (status, id) in [(0, 2001), (1, 2002), (2, 2003), (7, 2004)] {
        fixture.orders(id, id, status, OLD).await;
    }
    fixture.orders(3001, 3010, 3, YOUNG).await;
    fixture.trades((1, 20), (1, 2), 3, Some(OLD)).await;
    fixture.trades((21, 25), (3, 4), 5, Some(OLD)).await;
    fixture.trades((31, 34), (9001, 9002), 1, None).await;
    fixture.trades((41, 44), (9001, 9002), 3, Some(YOUNG)).await;
    let before = fixture.fingerprint(&[ORDERS]).await;
    let trades_before = fixture.fingerprint(&[TRADES]).await;

    let report = fixture.archive().await;
    assert_eq!(report.tables[0].moved, 25, "{report:#?}");
    assert_eq!(report.tables[1].moved, 1800);
    assert_eq!(report.tables[1].batches, 2);
    assert_eq!(fixture.count(&archive(ORDERS)).await, 1800);
    assert_eq!(
        fixture.ids(ORDERS).await,
        [2001, 2002, 2003, 2004]
            .into_iter()
            .chain(3001..=3010)
            .collect::<Vec<_>>()
    );
    assert_eq!(fixture.fingerprint(&[ORDERS, &archive(ORDERS)]).await, before);
    assert_eq!(
        fixture.fingerprint(&[TRADES, &archive(TRADES)]).await,
        trades_before
    );
    assert_eq!(
        fixture
            .count(&format!(
                "{} WHERE archive_completed_at <> updated_at",
                archive(ORDERS)
            ))
            .await,
        0
    );
    assert_eq!(
        fixture
            .jobs_number("SELECT sum(row_count)::bigint FROM eidos_jobs_disposals WHERE action = 'move'")
            .await,
        1825
    );
    let again = fixture.archive().await;
    assert_eq!(again.tables.iter().map(|table| table.moved).sum::<u64>(), 0);
}

#[tokio::test]
async fn ruling_31_rows_that_finish_late_at_low_ids_are_archived_where_a_last_id_loses_them() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 5, 1, "2026-06-01T00:00:00Z").await;
    fixture.orders(100, 200, 3, "2026-06-02T00:00:00Z").await;
    fixture.archive_at(at("2026-08-01T03:00:00Z")).await.unwrap();
    let last_id = fixture
        .jobs_number(
            "SELECT last_id FROM eidos_jobs_archive_progress WHERE table_name = 'eidos_trading_orders'",
        )
        .await;
    assert_eq!(last_id, 200);

    // Old orders end now, and one with an id from the middle commits late.
    fixture
        .sql(&format!(
            "UPDATE {ORDERS} SET status = 4, updated_at = 1788220800000 + id WHERE id <= 5"
        ))
        .await;
    fixture.orders(150_000, 150_000, 3, "2026-09-01T01:00:00Z").await;
    fixture.orders(201, 201, 3, "2026-09-01T02:00:00Z").await;
    let cursor = fixture
        .count(&format!(
            "{ORDERS} WHERE status IN (3, 4, 5, 6) AND id > {last_id}"
        ))
        .await;
    assert_eq!(cursor, 2, "the requirement's cursor never sees the five");

    let report = fixture.archive().await;
    assert_eq!(report.tables[1].moved, 7, "{report:#?}");
    assert_eq!(fixture.count(ORDERS).await, 0);
}

#[tokio::test]
async fn an_order_stays_while_a_trade_of_it_is_hot_and_follows_it() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 4, 3, OLD).await;
    fixture.trades((1, 1), (1, 2), 1, None).await;
    fixture.trades((2, 2), (2, 3), 3, Some(OLD)).await;
    let report = fixture.archive().await;
    assert_eq!(
        (report.tables[0].moved, report.tables[1].moved),
        (1, 2),
        "{report:#?}"
    );
    assert_eq!(
        fixture.ids(ORDERS).await,
        [1, 2],
        "maker and taker of the unsettled trade"
    );

    fixture
        .sql(&format!(
            "UPDATE {TRADES} SET settlement_status = 3, settled_at = 1788220800000 WHERE id = 1"
        ))
        .await;
    let report = fixture.archive().await;
    assert_eq!(
        (report.tables[0].moved, report.tables[1].moved),
        (1, 2),
        "{report:#?}"
    );
    assert_eq!(fixture.count(ORDERS).await, 0);
}

#[tokio::test]
async fn an_open_order_does_not_keep_its_old_settled_trades() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 1, 1, OLD).await;
    fixture.trades((1, 10), (1, 9001), 3, Some(OLD)).await;
    fixture.archive().await;
    assert_eq!(fixture.count(TRADES).await, 0);
    assert_eq!(fixture.ids(ORDERS).await, [1]);
}

#[tokio::test]
async fn a_trade_s_time_is_its_settlement_else_its_last_change() {
    let fixture = Fixture::new().await;
    fixture.trades((1, 1), (9001, 9002), 3, Some(OLD)).await;
    fixture.trades((2, 2), (9001, 9002), 5, None).await;
    fixture.trades((3, 3), (9001, 9002), 3, Some(OLD)).await;
    fixture
        .sql(&format!("UPDATE {TRADES} SET settled_at = 0 WHERE id = 3"))
        .await;
    let report = fixture.archive().await;
    assert_eq!(report.tables[0].moved, 2);
    assert_eq!(report.tables[0].implausible, 1);
    assert_eq!(fixture.ids(TRADES).await, [3], "0 is no time");
    assert_eq!(
        fixture
            .count(&format!(
                "{} WHERE id = 2 AND archive_completed_at = updated_at",
                archive(TRADES)
            ))
            .await,
        1
    );
}

#[tokio::test]
async fn a_legal_hold_keeps_the_rows_of_its_range() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 10, 3, "2026-07-15T00:00:00Z").await;
    fixture.orders(11, 20, 3, "2026-08-15T00:00:00Z").await;
    sqlx::query(
        "INSERT INTO eidos_jobs_legal_holds (hold_id, source, schema_name, table_name, from_ms, to_ms, reason, placed_by) \
         VALUES (gen_random_uuid(), 'trading', 'public', 'eidos_trading_orders', $1, $2, 'case 7', 'ada')",
    )
    .bind(crate::fixture::ms("2026-07-01T00:00:00Z"))
    .bind(crate::fixture::ms("2026-08-01T00:00:00Z"))
    .execute(fixture.jobs.pool())
    .await
    .unwrap();
    fixture.archive().await;
    assert_eq!(fixture.ids(ORDERS).await, (1..=10).collect::<Vec<_>>());
    sqlx::query(
        "UPDATE eidos_jobs_legal_holds SET lifted_by = 'ada', lifted_at = now(), lift_reason = 'closed'",
    )
    .execute(fixture.jobs.pool())
    .await
    .unwrap();
    fixture.archive().await;
    assert_eq!(fixture.count(ORDERS).await, 0);
}

#[tokio::test]
async fn limits_of_a_run_are_ordinary_endings() {
    let fixture =
        Fixture::with("jobs: { archive-data: { max_rows_per_run: 25, batch_rows: 10, sleep_ms: 0 } }\n")
            .await;
    fixture.orders(1, 60, 3, OLD).await;
    for left in [35, 10, 0] {
        fixture.archive().await;
        assert_eq!(fixture.count(ORDERS).await, left);
    }
}

#[tokio::test]
async fn months_get_partitions_of_their_own() {
    let fixture = Fixture::new().await;
    for (month, first) in [
        ("2025-12-31T23:59:59Z", 1),
        ("2026-01-01T00:00:00Z", 2),
        ("2026-02-28T23:59:59Z", 3),
    ] {
        fixture.orders(first, first, 3, month).await;
        fixture
            .sql(&format!(
                "UPDATE {ORDERS} SET updated_at = {} WHERE id = {first}",
                crate::fixture::ms(month)
            ))
            .await;
    }
    let report = fixture.archive().await;
    assert_eq!(report.tables[1].created.len(), 3, "{report:#?}");
    for month in ["2025_12", "2026_01", "2026_02"] {
        assert_eq!(
            fixture.count(&format!("{}_{month}", archive(ORDERS))).await,
            1,
            "{month}"
        );
    }
}

#[tokio::test]
async fn an_adaptive_run_moves_the_same_rows() {
    let yaml = "jobs: { archive-data: { mode: adaptive, sleep_ms: 0 } }\n\
                disposal: { pace: { busy_percent: 100, min_rows: 10 } }\n";
    let fixture = Fixture::with(yaml).await;
    fixture.orders(1, 5000, 3, OLD).await;
    let before = fixture.fingerprint(&[ORDERS]).await;
    let report = fixture.archive().await;
    assert_eq!(report.tables[1].moved, 5000);
    assert_eq!(fixture.fingerprint(&[&archive(ORDERS)]).await, before);
}

#[tokio::test]
async fn who_reads_a_table_reads_its_archive_too_and_nobody_else_does() {
    let fixture = Fixture::new().await;
    // A role that every server has.
    fixture
        .sql(&format!(
            "GRANT SELECT ON {ORDERS} TO pg_monitor; GRANT INSERT ON {ORDERS} TO pg_signal_backend"
        ))
        .await;
    fixture.orders(1, 5, 3, OLD).await;
    fixture.trades((1, 2), (1, 2), 3, Some(OLD)).await;
    let report = fixture.archive().await;
    let shown = report
        .archive_changes
        .iter()
        .filter(|change| change.starts_with("GRANT"));
    let shown: Vec<&String> = shown.collect();
    assert!(
        matches!(shown.as_slice(), [only] if only.contains(&archive(ORDERS)) && only.ends_with(" TO pg_monitor")),
        "the plan says it: {shown:?}"
    );
    let readers = "FROM pg_class, aclexplode(relacl) WHERE grantee <> relowner";
    let of = |table: &str| {
        format!(
            "(SELECT 1 {readers} AND oid = '{}'::regclass) AS rights",
            archive(table)
        )
    };
    assert_eq!(
        (fixture.count(&of(ORDERS)).await, fixture.count(&of(TRADES)).await),
        (1, 0)
    );
}
