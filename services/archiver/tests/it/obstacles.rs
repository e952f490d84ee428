//! What stands in the way of a move: locks, copies, changes, triggers, foreign keys, the archive's own shape.

use std::time::Duration;

use eidos_runtime::JobError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::fixture::{Fixture, ORDERS, archive, slot};

const OLD: &str = "2026-08-15T12:00:00Z";

#[tokio::test]
async fn ruling_32_equal_copies_are_settled_and_others_stay_and_fail_the_run() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 50, 3, OLD).await;
    fixture.archive().await;
    fixture
        .sql(&format!(
            "INSERT INTO {ORDERS} SELECT {columns} FROM {ORDERS}_archive WHERE id IN (7, 8, 9)",
            columns = columns(&fixture, ORDERS).await
        ))
        .await;
    fixture
        .sql(&format!("UPDATE {ORDERS} SET filled_quote = 1 WHERE id = 8"))
        .await;
    fixture.orders(60, 70, 3, OLD).await;

    let error = fixture.archive_at(slot()).await.unwrap_err();
    assert!(matches!(error.without_report(), JobError::Fail(_)), "{error}");
    assert!(error.to_string().contains("id [8]"), "{error}");
    let settled =
        "SELECT coalesce(sum(row_count), 0)::bigint FROM eidos_jobs_disposals WHERE action = 'delete'";
    assert_eq!(
        fixture.jobs_number(settled).await,
        2,
        "rows that went because of their copies are on record, though it failed"
    );
    assert_eq!(
        fixture.ids(ORDERS).await,
        [8],
        "the equal ones are gone, the others moved"
    );
    assert_eq!(fixture.count(&archive(ORDERS)).await, 61);
    assert_eq!(
        fixture
            .count(&format!("{} WHERE id = 8 AND filled_quote = 0", archive(ORDERS)))
            .await,
        1
    );
}

/// What stays and what goes makes room in the batch for further copies: they are settled too.
#[tokio::test]
async fn copies_of_more_rows_than_a_batch_has_are_settled_in_one_run() {
    let fixture = Fixture::with("jobs: { archive-data: { batch_rows: 10, sleep_ms: 0 } }\n").await;
    fixture.orders(1, 50, 3, OLD).await;
    fixture.archive().await;
    fixture
        .sql(&format!(
            "INSERT INTO {ORDERS} SELECT {columns} FROM {ORDERS}_archive",
            columns = columns(&fixture, ORDERS).await
        ))
        .await;
    fixture.orders(60, 70, 3, OLD).await;
    let report = fixture.archive().await;
    assert_eq!(report.tables[1].copies_removed, 50, "{report:#?}");
    assert_eq!(fixture.ids(ORDERS).await, [0; 0]);
    assert_eq!(fixture.count(&archive(ORDERS)).await, 61);
}

/// A column that is added while a run moves rows goes with every row that is moved after it.
#[tokio::test]
async fn a_column_that_is_added_during_a_run_is_not_left_behind() {
    let fixture = Fixture::with("jobs: { archive-data: { batch_rows: 10, sleep_ms: 20 } }\n").await;
    fixture.orders(1, 300, 3, OLD).await;
    let run = fixture.archive_at(slot());
    let altering = async {
        eidos_testkit::eventually("a batch is gone", Duration::from_secs(20), async || {
            if fixture.count(ORDERS).await < 300 {
                Ok(())
            } else {
                Err("not yet")
            }
        })
        .await;
        fixture
            .sql(&format!("ALTER TABLE {ORDERS} ADD COLUMN fee_tier INT DEFAULT 7"))
            .await;
        fixture.count(ORDERS).await
    };
    let (outcome, left) = tokio::join!(run, altering);
    let error = outcome.unwrap_err();
    assert!(matches!(error.without_report(), JobError::Retry(_)), "{error}");
    assert!(left > 0, "the column came too late to prove anything");
    assert_eq!(
        fixture.count(ORDERS).await,
        left,
        "nothing moved without the column"
    );
    assert_eq!(fixture.archive().await.tables[1].moved, left.unsigned_abs());
    let kept = format!("{} WHERE fee_tier = 7", archive(ORDERS));
    assert_eq!(fixture.count(&kept).await, left);
}

#[tokio::test]
async fn locked_rows_are_stepped_over_tried_again_and_reported() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 100, 3, OLD).await;
    let mut other = PgConnection::connect(&fixture.trading.url()).await.unwrap();
    let mut tx = other.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(format!(
        "SELECT 1 FROM {ORDERS} WHERE id IN (3, 4) FOR UPDATE"
    )))
    .execute(&mut *tx)
    .await
    .unwrap();
    let report = fixture.archive().await;
    assert_eq!(
        (report.tables[1].moved, report.tables[1].locked),
        (98, 2),
        "{report:#?}"
    );
    assert_eq!(fixture.ids(ORDERS).await, [3, 4]);
    tx.rollback().await.unwrap();
    assert_eq!(fixture.archive().await.tables[1].moved, 2);
}

/// While a batch waits for row 1, its order is opened again: the move must see that.
#[tokio::test]
async fn a_row_that_changes_while_it_is_waited_for_is_judged_as_it_is_then() {
    let fixture = Fixture::with("disposal: { lock_timeout: 500ms }\n").await;
    fixture.orders(1, 2, 3, OLD).await;
    let mut other = PgConnection::connect(&fixture.trading.url()).await.unwrap();
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
    let run = fixture.archive();
    let committing = async {
        // The second pass waits for the locks: seen in the server, not slept for.
        eidos_testkit::eventually("the second pass waits", Duration::from_secs(20), async || {
            let waiting = fixture
                .jobs_number("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%picked%'")
                .await;
            if waiting > 0 { Ok(()) } else { Err("not yet") }
        })
        .await;
        tx.commit().await.unwrap();
    };
    let (report, ()) = tokio::join!(run, committing);
    assert_eq!(fixture.ids(ORDERS).await, [1], "{report:#?}");
    assert_eq!(
        fixture
            .count(&format!("{} WHERE id = 2 AND filled_quote = 42", archive(ORDERS)))
            .await,
        1
    );
}

#[tokio::test]
async fn a_trigger_that_swallows_rows_rolls_the_batch_back() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 10, 3, OLD).await;
    fixture.archive().await;
    fixture.orders(11, 20, 3, OLD).await;
    for (table, event) in [(archive(ORDERS), "INSERT"), (ORDERS.to_owned(), "DELETE")] {
        fixture
            .sql(&format!(
                "CREATE OR REPLACE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF ({row}).id = 15 THEN \
                 RETURN NULL; END IF; RETURN {row}; END $$; \
                 CREATE TRIGGER swallow BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION swallow()",
                row = if event == "INSERT" { "NEW" } else { "OLD" }
            ))
            .await;
        let error = fixture.archive_at(slot()).await.unwrap_err();
        assert!(error.to_string().contains("rolled back"), "{event}: {error}");
        assert_eq!(
            fixture.ids(ORDERS).await,
            (11..=20).collect::<Vec<_>>(),
            "{event}"
        );
        fixture.sql(&format!("DROP TRIGGER swallow ON {table}")).await;
    }
    fixture.archive().await;
    assert_eq!(fixture.count(ORDERS).await, 0);
}

#[tokio::test]
async fn archived_rows_are_final() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 3, 3, OLD).await;
    fixture.archive().await;
    for change in [
        "UPDATE eidos_trading_orders_archive SET amount = 0",
        "DELETE FROM eidos_trading_orders_archive",
    ] {
        let error = sqlx::query(AssertSqlSafe(change))
            .execute(fixture.trading.pool())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("its rows are final"), "{error}");
    }
}

#[tokio::test]
async fn the_archive_follows_its_source_and_refuses_a_changed_type() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 3, 3, OLD).await;
    fixture.archive().await;
    fixture
        .sql(&format!(
            "ALTER TABLE {ORDERS} ADD COLUMN fee_tier smallint NOT NULL DEFAULT 2; ALTER TABLE {ORDERS} DROP COLUMN reject_reason"
        ))
        .await;
    fixture.orders(4, 6, 3, OLD).await;
    let report = fixture.archive().await;
    assert!(
        report
            .archive_changes
            .iter()
            .any(|change| change.contains("ADD COLUMN \"fee_tier\" smallint"))
    );
    assert_eq!(
        fixture
            .count(&format!("{} WHERE fee_tier = 2", archive(ORDERS)))
            .await,
        3
    );

    fixture
        .sql(&format!(
            "ALTER TABLE {ORDERS} ALTER COLUMN market TYPE varchar(40)"
        ))
        .await;
    fixture.orders(7, 9, 3, OLD).await;
    let error = fixture.archive_at(slot()).await.unwrap_err();
    let statement = "ALTER COLUMN \"market\" TYPE character varying(40)";
    assert!(error.to_string().contains(statement), "{error}");
    assert_eq!(fixture.count(ORDERS).await, 3);
}

#[tokio::test]
async fn a_missing_index_is_named_with_its_statement() {
    let fixture = Fixture::new().await;
    let indexes = "SELECT count(*) FROM eidos_jobs_disposals";
    assert_eq!(fixture.jobs_number(indexes).await, 0);
    assert!(fixture.archive().await.plan.notes.is_empty());
    fixture
        .sql(
            "DO $$ DECLARE i record; BEGIN FOR i IN SELECT indexrelid::regclass AS name FROM pg_index WHERE \
             indrelid = 'eidos_trading_orders'::regclass AND NOT indisunique LOOP EXECUTE 'DROP INDEX ' || i.name; \
             END LOOP; END $$",
        )
        .await;
    let notes = fixture.archive().await.plan.notes;
    let [note] = notes.as_slice() else {
        panic!("{notes:?}")
    };
    let statement = &note.0[note.0.find("CREATE INDEX").unwrap()..];
    fixture.sql(statement).await;
    let notes = fixture.archive().await.plan.notes;
    assert!(
        notes.is_empty(),
        "the statement it printed is the one that helps: {notes:?}"
    );
}

#[tokio::test]
async fn rows_that_others_reference_stay_and_a_cascade_is_refused() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 3, 3, OLD).await;
    fixture
        .sql(&format!("CREATE TABLE disputes (id bigint PRIMARY KEY, order_id bigint REFERENCES {ORDERS} (id)); INSERT INTO disputes VALUES (1, 2)"))
        .await;
    fixture.archive().await;
    assert_eq!(fixture.ids(ORDERS).await, [2]);
    fixture
        .sql(&format!(
            "ALTER TABLE disputes DROP CONSTRAINT disputes_order_id_fkey; \
             ALTER TABLE disputes ADD FOREIGN KEY (order_id) REFERENCES {ORDERS} (id) ON DELETE CASCADE"
        ))
        .await;
    let error = fixture.archive_at(slot()).await.unwrap_err();
    assert!(error.to_string().contains("ON DELETE NO ACTION"), "{error}");
    assert_eq!(
        (fixture.ids(ORDERS).await, fixture.count("disputes").await),
        (vec![2], 1)
    );
}

#[tokio::test]
async fn a_table_that_is_locked_as_a_whole_is_tried_again_later() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 3, 3, OLD).await;
    fixture.archive().await;
    fixture.orders(4, 6, 3, OLD).await;
    let mut other = PgConnection::connect(&fixture.trading.url()).await.unwrap();
    let mut tx = other.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(format!("LOCK TABLE {ORDERS} IN SHARE MODE")))
        .execute(&mut *tx)
        .await
        .unwrap();
    let error = fixture.archive_at(slot()).await.unwrap_err();
    assert!(matches!(error.without_report(), JobError::Retry(_)), "{error}");
    tx.rollback().await.unwrap();
    assert_eq!(fixture.archive().await.tables[1].moved, 3);
}

#[tokio::test]
async fn a_table_of_the_archive_s_name_that_is_none_is_refused() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 3, 3, OLD).await;
    fixture
        .sql(&format!("CREATE TABLE {ORDERS}_archive (id bigint)"))
        .await;
    let error = fixture.archive_at(slot()).await.unwrap_err();
    assert!(
        error.to_string().contains("archive_profile.orders.archive"),
        "{error}"
    );
    fixture
        .sql(&format!(
            "DROP TABLE {ORDERS}_archive; CREATE TABLE {ORDERS}_archive_2026_08 (id bigint)"
        ))
        .await;
    let error = fixture.archive_at(slot()).await.unwrap_err();
    assert!(error.to_string().contains("rename or attach it"), "{error}");
    assert_eq!(fixture.count(ORDERS).await, 3);
}

async fn columns(fixture: &Fixture, table: &str) -> String {
    sqlx::query_scalar(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute \
         WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
    )
    .bind(table)
    .fetch_one(fixture.trading.pool())
    .await
    .unwrap()
}
