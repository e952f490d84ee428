//! Rows move once, whole, late finishers included; what must stay stays.

use std::time::Duration;

use eidos_runtime::JobError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::stand::{ORDERS, Stand, TRADES, at};

const OLD: &str = "2026-08-15T12:00:00Z";
const YOUNG: &str = "2026-11-10T12:00:00Z";

fn archive(table: &str) -> String {
    format!("{table}_archive")
}

#[tokio::test]
async fn finished_rows_move_with_every_value_and_the_rest_stays() {
    let stand = Stand::new().await;
    for (status, ids) in [
        (3, (1, 1500)),
        (4, (1501, 1600)),
        (5, (1601, 1700)),
        (6, (1701, 1800)),
    ] {
        stand.orders(ids.0, ids.1, status, OLD).await;
    }
    for (status, id) in [(0, 2001), (1, 2002), (2, 2003), (7, 2004)] {
        stand.orders(id, id, status, OLD).await;
    }
    stand.orders(3001, 3010, 3, YOUNG).await;
    stand.trades((1, 20), (1, 2), 3, Some(OLD)).await;
    stand.trades((21, 25), (3, 4), 5, Some(OLD)).await;
    stand.trades((31, 34), (9001, 9002), 1, None).await;
    stand.trades((41, 44), (9001, 9002), 3, Some(YOUNG)).await;
    let before = stand.fingerprint(&[ORDERS]).await;
    let trades_before = stand.fingerprint(&[TRADES]).await;

    let report = stand.archive().await;
    assert_eq!(report.tables[0].moved, 25, "{report:#?}");
    assert_eq!(report.tables[1].moved, 1800);
    assert_eq!(report.tables[1].batches, 2);
    assert_eq!(stand.count(&archive(ORDERS)).await, 1800);
    assert_eq!(
        stand.ids(ORDERS).await,
        [2001, 2002, 2003, 2004]
            .into_iter()
            .chain(3001..=3010)
            .collect::<Vec<_>>()
    );
    assert_eq!(stand.fingerprint(&[ORDERS, &archive(ORDERS)]).await, before);
    assert_eq!(
        stand.fingerprint(&[TRADES, &archive(TRADES)]).await,
        trades_before
    );
    assert_eq!(
        stand
            .count(&format!(
                "{} WHERE archive_completed_at <> updated_at",
                archive(ORDERS)
            ))
            .await,
        0
    );
    assert_eq!(
        stand
            .jobs_number("SELECT sum(row_count)::bigint FROM eidos_jobs_disposals WHERE action = 'move'")
            .await,
        1825
    );
    let again = stand.archive().await;
    assert_eq!(again.tables.iter().map(|table| table.moved).sum::<u64>(), 0);
}

#[tokio::test]
async fn ruling_31_rows_that_finish_late_at_low_ids_are_archived_where_a_last_id_loses_them() {
    let stand = Stand::new().await;
    stand.orders(1, 5, 1, "2026-06-01T00:00:00Z").await;
    stand.orders(100, 200, 3, "2026-06-02T00:00:00Z").await;
    stand.archive_at(at("2026-08-01T03:00:00Z")).await.unwrap();
    let last_id = stand
        .jobs_number(
            "SELECT last_id FROM eidos_jobs_archive_progress WHERE table_name = 'eidos_trading_orders'",
        )
        .await;
    assert_eq!(last_id, 200);

    // Old orders end now, and one with an id from the middle commits late.
    stand
        .sql(&format!(
            "UPDATE {ORDERS} SET status = 4, updated_at = 1788220800000 + id WHERE id <= 5"
        ))
        .await;
    stand.orders(150_000, 150_000, 3, "2026-09-01T01:00:00Z").await;
    stand.orders(201, 201, 3, "2026-09-01T02:00:00Z").await;
    let cursor = stand
        .count(&format!(
            "{ORDERS} WHERE status IN (3, 4, 5, 6) AND id > {last_id}"
        ))
        .await;
    assert_eq!(cursor, 2, "the requirement's cursor never sees the five");

    let report = stand.archive().await;
    assert_eq!(report.tables[1].moved, 7, "{report:#?}");
    assert_eq!(stand.count(ORDERS).await, 0);
}

#[tokio::test]
async fn an_order_stays_while_a_trade_of_it_is_hot_and_follows_it() {
    let stand = Stand::new().await;
    stand.orders(1, 4, 3, OLD).await;
    stand.trades((1, 1), (1, 2), 1, None).await;
    stand.trades((2, 2), (2, 3), 3, Some(OLD)).await;
    let report = stand.archive().await;
    assert_eq!(
        (report.tables[0].moved, report.tables[1].moved),
        (1, 2),
        "{report:#?}"
    );
    assert_eq!(
        stand.ids(ORDERS).await,
        [1, 2],
        "maker and taker of the unsettled trade"
    );

    stand
        .sql(&format!(
            "UPDATE {TRADES} SET settlement_status = 3, settled_at = 1788220800000 WHERE id = 1"
        ))
        .await;
    let report = stand.archive().await;
    assert_eq!(
        (report.tables[0].moved, report.tables[1].moved),
        (1, 2),
        "{report:#?}"
    );
    assert_eq!(stand.count(ORDERS).await, 0);
}

#[tokio::test]
async fn an_open_order_does_not_keep_its_old_settled_trades() {
    let stand = Stand::new().await;
    stand.orders(1, 1, 1, OLD).await;
    stand.trades((1, 10), (1, 9001), 3, Some(OLD)).await;
    stand.archive().await;
    assert_eq!(stand.count(TRADES).await, 0);
    assert_eq!(stand.ids(ORDERS).await, [1]);
}

#[tokio::test]
async fn a_trade_s_time_is_its_settlement_else_its_last_change() {
    let stand = Stand::new().await;
    stand.trades((1, 1), (9001, 9002), 3, Some(OLD)).await;
    stand.trades((2, 2), (9001, 9002), 5, None).await;
    stand.trades((3, 3), (9001, 9002), 3, Some(OLD)).await;
    stand
        .sql(&format!("UPDATE {TRADES} SET settled_at = 0 WHERE id = 3"))
        .await;
    let report = stand.archive().await;
    assert_eq!(report.tables[0].moved, 2);
    assert_eq!(report.tables[0].implausible, 1);
    assert_eq!(stand.ids(TRADES).await, [3], "0 is no time");
    assert_eq!(
        stand
            .count(&format!(
                "{} WHERE id = 2 AND archive_completed_at = updated_at",
                archive(TRADES)
            ))
            .await,
        1
    );
}

#[tokio::test]
async fn ruling_32_equal_copies_are_settled_and_others_stay_and_fail_the_run() {
    let stand = Stand::new().await;
    stand.orders(1, 50, 3, OLD).await;
    stand.archive().await;
    stand
        .sql(&format!(
            "INSERT INTO {ORDERS} SELECT {columns} FROM {ORDERS}_archive WHERE id IN (7, 8, 9)",
            columns = columns(&stand, ORDERS).await
        ))
        .await;
    stand
        .sql(&format!("UPDATE {ORDERS} SET filled_quote = 1 WHERE id = 8"))
        .await;
    stand.orders(60, 70, 3, OLD).await;

    let error = stand.archive_at(crate::stand::slot()).await.unwrap_err();
    assert!(matches!(error, JobError::Fail(_)), "{error}");
    assert!(error.to_string().contains("id [8]"), "{error}");
    assert_eq!(
        stand.ids(ORDERS).await,
        [8],
        "the equal ones are gone, the others moved"
    );
    assert_eq!(stand.count(&archive(ORDERS)).await, 61);
    assert_eq!(
        stand
            .count(&format!("{} WHERE id = 8 AND filled_quote = 0", archive(ORDERS)))
            .await,
        1
    );
}

#[tokio::test]
async fn a_legal_hold_keeps_the_rows_of_its_range() {
    let stand = Stand::new().await;
    stand.orders(1, 10, 3, "2026-07-15T00:00:00Z").await;
    stand.orders(11, 20, 3, "2026-08-15T00:00:00Z").await;
    sqlx::query(
        "INSERT INTO eidos_jobs_legal_holds (hold_id, source, schema_name, table_name, from_ms, to_ms, reason, placed_by) \
         VALUES (gen_random_uuid(), 'trading', 'public', 'eidos_trading_orders', $1, $2, 'case 7', 'ada')",
    )
    .bind(crate::stand::ms("2026-07-01T00:00:00Z"))
    .bind(crate::stand::ms("2026-08-01T00:00:00Z"))
    .execute(stand.jobs.pool())
    .await
    .unwrap();
    stand.archive().await;
    assert_eq!(stand.ids(ORDERS).await, (1..=10).collect::<Vec<_>>());
    sqlx::query(
        "UPDATE eidos_jobs_legal_holds SET lifted_by = 'ada', lifted_at = now(), lift_reason = 'closed'",
    )
    .execute(stand.jobs.pool())
    .await
    .unwrap();
    stand.archive().await;
    assert_eq!(stand.count(ORDERS).await, 0);
}

#[tokio::test]
async fn locked_rows_are_stepped_over_tried_again_and_reported() {
    let stand = Stand::new().await;
    stand.orders(1, 100, 3, OLD).await;
    let mut other = PgConnection::connect(&stand.trading.url()).await.unwrap();
    let mut tx = other.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(format!(
        "SELECT 1 FROM {ORDERS} WHERE id IN (3, 4) FOR UPDATE"
    )))
    .execute(&mut *tx)
    .await
    .unwrap();
    let report = stand.archive().await;
    assert_eq!(
        (report.tables[1].moved, report.tables[1].locked),
        (98, 2),
        "{report:#?}"
    );
    assert_eq!(stand.ids(ORDERS).await, [3, 4]);
    tx.rollback().await.unwrap();
    assert_eq!(stand.archive().await.tables[1].moved, 2);
}

/// While a batch waits for row 1, its order is opened again: the move must see that.
#[tokio::test]
async fn a_row_that_changes_while_it_is_waited_for_is_judged_as_it_is_then() {
    let stand = Stand::with("disposal: { lock_timeout: 500ms }\n").await;
    stand.orders(1, 2, 3, OLD).await;
    let mut other = PgConnection::connect(&stand.trading.url()).await.unwrap();
    let mut tx = other.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE {ORDERS} SET status = 1 WHERE id = 1"
    )))
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE {ORDERS} SET filled_quote = 42 WHERE id = 2"
    )))
    .execute(&mut *tx)
    .await
    .unwrap();
    let run = stand.archive();
    let committing = async {
        // The second pass waits for the locks: seen in the server, not slept for.
        eidos_testkit::eventually("the second pass waits", Duration::from_secs(20), async || {
            let waiting = stand
                .jobs_number("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%picked%'")
                .await;
            if waiting > 0 { Ok(()) } else { Err("not yet") }
        })
        .await;
        tx.commit().await.unwrap();
    };
    let (report, ()) = tokio::join!(run, committing);
    assert_eq!(stand.ids(ORDERS).await, [1], "{report:#?}");
    assert_eq!(
        stand
            .count(&format!("{} WHERE id = 2 AND filled_quote = 42", archive(ORDERS)))
            .await,
        1
    );
}

#[tokio::test]
async fn a_trigger_that_swallows_rows_rolls_the_batch_back() {
    let stand = Stand::new().await;
    stand.orders(1, 10, 3, OLD).await;
    stand.archive().await;
    stand.orders(11, 20, 3, OLD).await;
    for (table, event) in [(archive(ORDERS), "INSERT"), (ORDERS.to_owned(), "DELETE")] {
        stand
            .sql(&format!(
                "CREATE OR REPLACE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF ({row}).id = 15 THEN \
                 RETURN NULL; END IF; RETURN {row}; END $$; \
                 CREATE TRIGGER swallow BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION swallow()",
                row = if event == "INSERT" { "NEW" } else { "OLD" }
            ))
            .await;
        let error = stand.archive_at(crate::stand::slot()).await.unwrap_err();
        assert!(error.to_string().contains("rolled back"), "{event}: {error}");
        assert_eq!(stand.ids(ORDERS).await, (11..=20).collect::<Vec<_>>(), "{event}");
        stand.sql(&format!("DROP TRIGGER swallow ON {table}")).await;
    }
    stand.archive().await;
    assert_eq!(stand.count(ORDERS).await, 0);
}

#[tokio::test]
async fn archived_rows_are_final() {
    let stand = Stand::new().await;
    stand.orders(1, 3, 3, OLD).await;
    stand.archive().await;
    for change in [
        "UPDATE eidos_trading_orders_archive SET amount = 0",
        "DELETE FROM eidos_trading_orders_archive",
    ] {
        let error = sqlx::query(AssertSqlSafe(change))
            .execute(stand.trading.pool())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("its rows are final"), "{error}");
    }
}

#[tokio::test]
async fn the_archive_follows_its_source_and_refuses_a_changed_type() {
    let stand = Stand::new().await;
    stand.orders(1, 3, 3, OLD).await;
    stand.archive().await;
    stand
        .sql(&format!(
            "ALTER TABLE {ORDERS} ADD COLUMN fee_tier smallint NOT NULL DEFAULT 2; ALTER TABLE {ORDERS} DROP COLUMN reject_reason"
        ))
        .await;
    stand.orders(4, 6, 3, OLD).await;
    let report = stand.archive().await;
    assert!(
        report
            .archive_changes
            .iter()
            .any(|change| change.contains("ADD COLUMN \"fee_tier\" smallint"))
    );
    assert_eq!(
        stand
            .count(&format!("{} WHERE fee_tier = 2", archive(ORDERS)))
            .await,
        3
    );

    stand
        .sql(&format!(
            "ALTER TABLE {ORDERS} ALTER COLUMN market TYPE varchar(40)"
        ))
        .await;
    stand.orders(7, 9, 3, OLD).await;
    let error = stand.archive_at(crate::stand::slot()).await.unwrap_err();
    let statement = "ALTER COLUMN \"market\" TYPE character varying(40)";
    assert!(error.to_string().contains(statement), "{error}");
    assert_eq!(stand.count(ORDERS).await, 3);
}

#[tokio::test]
async fn a_missing_index_is_named_with_its_statement() {
    let stand = Stand::new().await;
    let indexes = "SELECT count(*) FROM eidos_jobs_disposals";
    assert_eq!(stand.jobs_number(indexes).await, 0);
    assert!(stand.archive().await.plan.notes.is_empty());
    stand
        .sql(
            "DO $$ DECLARE i record; BEGIN FOR i IN SELECT indexrelid::regclass AS name FROM pg_index WHERE \
             indrelid = 'eidos_trading_orders'::regclass AND NOT indisunique LOOP EXECUTE 'DROP INDEX ' || i.name; \
             END LOOP; END $$",
        )
        .await;
    let notes = format!("{:?}", stand.archive().await.plan.notes);
    assert!(
        notes.contains("CREATE INDEX CONCURRENTLY") && notes.contains("updated_at"),
        "{notes}"
    );
}

#[tokio::test]
async fn limits_of_a_run_are_ordinary_endings() {
    let stand =
        Stand::with("jobs: { archive-data: { max_rows_per_run: 25, batch_rows: 10, sleep_ms: 0 } }\n").await;
    stand.orders(1, 60, 3, OLD).await;
    for left in [35, 10, 0] {
        stand.archive().await;
        assert_eq!(stand.count(ORDERS).await, left);
    }
}

#[tokio::test]
async fn months_get_partitions_of_their_own() {
    let stand = Stand::new().await;
    for (month, first) in [
        ("2025-12-31T23:59:59Z", 1),
        ("2026-01-01T00:00:00Z", 2),
        ("2026-02-28T23:59:59Z", 3),
    ] {
        stand.orders(first, first, 3, month).await;
        stand
            .sql(&format!(
                "UPDATE {ORDERS} SET updated_at = {} WHERE id = {first}",
                crate::stand::ms(month)
            ))
            .await;
    }
    let report = stand.archive().await;
    assert_eq!(report.tables[1].created.len(), 3, "{report:#?}");
    for month in ["2025_12", "2026_01", "2026_02"] {
        assert_eq!(
            stand.count(&format!("{}_{month}", archive(ORDERS))).await,
            1,
            "{month}"
        );
    }
}

#[tokio::test]
async fn rows_that_others_reference_stay_and_a_cascade_is_refused() {
    let stand = Stand::new().await;
    stand.orders(1, 3, 3, OLD).await;
    stand
        .sql(&format!("CREATE TABLE disputes (id bigint PRIMARY KEY, order_id bigint REFERENCES {ORDERS} (id)); INSERT INTO disputes VALUES (1, 2)"))
        .await;
    stand.archive().await;
    assert_eq!(stand.ids(ORDERS).await, [2]);
    stand
        .sql(&format!(
            "ALTER TABLE disputes DROP CONSTRAINT disputes_order_id_fkey; \
             ALTER TABLE disputes ADD FOREIGN KEY (order_id) REFERENCES {ORDERS} (id) ON DELETE CASCADE"
        ))
        .await;
    let error = stand.archive_at(crate::stand::slot()).await.unwrap_err();
    assert!(error.to_string().contains("ON DELETE NO ACTION"), "{error}");
    assert_eq!(
        (stand.ids(ORDERS).await, stand.count("disputes").await),
        (vec![2], 1)
    );
}

#[tokio::test]
async fn a_table_that_is_locked_as_a_whole_is_tried_again_later() {
    let stand = Stand::new().await;
    stand.orders(1, 3, 3, OLD).await;
    stand.archive().await;
    stand.orders(4, 6, 3, OLD).await;
    let mut other = PgConnection::connect(&stand.trading.url()).await.unwrap();
    let mut tx = other.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(format!("LOCK TABLE {ORDERS} IN SHARE MODE")))
        .execute(&mut *tx)
        .await
        .unwrap();
    let error = stand.archive_at(crate::stand::slot()).await.unwrap_err();
    assert!(matches!(error, JobError::Retry(_)), "{error}");
    tx.rollback().await.unwrap();
    assert_eq!(stand.archive().await.tables[1].moved, 3);
}

#[tokio::test]
async fn a_table_of_the_archive_s_name_that_is_none_is_refused() {
    let stand = Stand::new().await;
    stand.orders(1, 3, 3, OLD).await;
    stand
        .sql(&format!("CREATE TABLE {ORDERS}_archive (id bigint)"))
        .await;
    let error = stand.archive_at(crate::stand::slot()).await.unwrap_err();
    assert!(
        error.to_string().contains("archive_profile.orders.archive"),
        "{error}"
    );
    stand
        .sql(&format!(
            "DROP TABLE {ORDERS}_archive; CREATE TABLE {ORDERS}_archive_2026_08 (id bigint)"
        ))
        .await;
    let error = stand.archive_at(crate::stand::slot()).await.unwrap_err();
    assert!(error.to_string().contains("rename or attach it"), "{error}");
    assert_eq!(stand.count(ORDERS).await, 3);
}

#[tokio::test]
async fn an_adaptive_run_moves_the_same_rows() {
    let yaml = "jobs: { archive-data: { mode: adaptive, sleep_ms: 0 } }\n\
                disposal: { pace: { busy_percent: 100, min_rows: 10 } }\n";
    let stand = Stand::with(yaml).await;
    stand.orders(1, 5000, 3, OLD).await;
    let before = stand.fingerprint(&[ORDERS]).await;
    let report = stand.archive().await;
    assert_eq!(report.tables[1].moved, 5000);
    assert_eq!(stand.fingerprint(&[&archive(ORDERS)]).await, before);
}

async fn columns(stand: &Stand, table: &str) -> String {
    sqlx::query_scalar(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute \
         WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
    )
    .bind(table)
    .fetch_one(stand.trading.pool())
    .await
    .unwrap()
}
