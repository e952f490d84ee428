//! Rows of plain tables: only finished ones, month by month, each proved before it goes.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::cleanup_fixture::{JobFixture, WITHDRAWALS, message};
use crate::fixture::{WITHIN, sql};
use crate::partitions_fixture::ms;

const TABLE: &str = "eidos_chain_withdrawal_txs";
const SLOT: &str = "2024-07-31T04:00:00Z";

fn rules(rule: &Value) -> Value {
    json!({ "regular_tables": { TABLE: rule } })
}

/// `count` rows of a status from an instant on, an hour apart.
async fn rows(fixture: &JobFixture, from: &str, count: i64, status: i64) {
    sql(
        fixture.pool(),
        &format!(
            "INSERT INTO eidos_chain_withdrawal_txs (withdraw_id, amount, status, created_at) \
             SELECT '{from}' || '/{status}/' || n, n + 0.000000000000000001, {status}, {} + n * 3600000 \
             FROM generate_series(0, {count} - 1) n",
            ms(from)
        ),
    )
    .await;
}

#[tokio::test]
async fn ruling_31_unfinished_rows_stay_as_old_as_the_hills() {
    let fixture = JobFixture::new(&[WITHDRAWALS]).await;
    // Status 0 and 1 are still to be sent or mined; 2 is confirmed, 3 failed.
    for status in 0..4 {
        rows(&fixture, "2017-03-05T00:00:00Z", 3, status).await;
        rows(&fixture, "2023-12-31T10:00:00Z", 20, status).await;
        rows(&fixture, "2024-07-01T00:00:00Z", 2, status).await;
    }
    let job = fixture
        .job(rules(
            &json!({ "retention_months": 6, "batch_size": 7, "sleep_ms": 0 }),
        ))
        .await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    // 14 of the 20 hours lie in December, the others in January, which six months keep.
    let left = async |status: i64| {
        fixture
            .count(&format!("SELECT count(*) FROM {TABLE} WHERE status = {status}"))
            .await
    };
    assert_eq!(
        [left(0).await, left(1).await, left(2).await, left(3).await],
        [25, 25, 8, 8]
    );
    let table = &report.tables[0];
    assert_eq!(table.unfinished, Some(2 * (3 + 14)));
    let deleted: Vec<_> = table
        .units
        .iter()
        .map(|unit| (unit.object.as_str(), unit.rows))
        .collect();
    assert_eq!(
        deleted,
        [
            ("eidos_chain_withdrawal_txs@2017-03", Some(6)),
            ("eidos_chain_withdrawal_txs@2023-12", Some(28)),
        ]
    );
    assert!(
        table.units.iter().all(|unit| unit.manifest_key.is_some()),
        "archived first"
    );
    assert!(
        report
            .render()
            .contains("34 expired rows stay: they are not finished (status is none of 2, 3)"),
        "{}",
        report.render()
    );
    // Again: nothing, but the unfinished ones are still told.
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert!(report.plan.items.is_empty());
    assert_eq!(report.tables[0].unfinished, Some(34));
    // One of them is settled at last.
    sql(
        fixture.pool(),
        &format!(
            "UPDATE {TABLE} SET status = 2 WHERE status = 0 AND created_at < {}",
            ms("2018-01-01T00:00:00Z")
        ),
    )
    .await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(report.tables[0].units[0].rows, Some(3));
    assert_eq!(
        fixture
            .jobs_count("SELECT count(*) FROM eidos_jobs_disposal_units WHERE state = 'deleted'")
            .await,
        3
    );
}

#[tokio::test]
async fn a_row_that_is_taken_up_again_between_plan_and_deletion_stays() {
    for archived in [false, true] {
        let fixture = JobFixture::new(&[WITHDRAWALS]).await;
        rows(&fixture, "2023-05-01T00:00:00Z", 10, 2).await;
        let rule = json!({ "retention_months": 6, "archive_before_delete": archived, "batch_size": 3, "sleep_ms": 0 });
        let job = fixture.job(rules(&rule)).await;
        // A finished row, as every statement sees it until the writer commits: after it was planned.
        let mut writer = fixture.pool().begin().await.unwrap();
        sqlx::query("UPDATE eidos_chain_withdrawal_txs SET status = 1 WHERE withdraw_id LIKE '%/7'")
            .execute(&mut *writer)
            .await
            .unwrap();
        let is_done = AtomicBool::new(false);
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let (first, ()) = tokio::join!(
            async {
                let ended = fixture.run(&job, SLOT).await;
                is_done.store(true, Ordering::Relaxed);
                ended
            },
            async {
                let met = async || {
                    let met = is_done.load(Ordering::Relaxed) || fixture.count(waiting).await > 0;
                    if met { Ok(()) } else { Err("not there yet") }
                };
                eidos_testkit::eventually("the run meets the writer, or is done", WITHIN, met).await;
                writer.commit().await.unwrap();
            }
        );
        // Whether the first run waited long enough or gave way: the row stays, and the others go in the end.
        drop(first);
        let _settled = fixture.run(&job, SLOT).await;
        let report = fixture.run(&job, SLOT).await.unwrap();
        let left: Vec<(String, i16)> =
            sqlx::query_as("SELECT withdraw_id, status FROM eidos_chain_withdrawal_txs")
                .fetch_all(fixture.pool())
                .await
                .unwrap();
        assert_eq!(
            left,
            [("2023-05-01T00:00:00Z/2/7".to_owned(), 1)],
            "archived: {archived}"
        );
        assert_eq!(report.tables[0].unfinished, Some(1));
    }
}

#[tokio::test]
async fn records_of_breaks_that_are_open_stay() {
    let fixture = JobFixture::new(&[]).await;
    let jobs = fixture.jobs.pool();
    let old = ms("2023-05-01T00:00:00Z");
    for (id, status) in [(1, "open"), (2, "resolved"), (3, "ignored")] {
        let resolved = if status == "open" { "NULL" } else { "now()" };
        sql(
            jobs,
            &format!(
                "INSERT INTO eidos_jobs_breaks (break_id, dimension, token, kind, reference, status, severity, direction, \
                     first_seen, last_seen, evidence, resolved_at) \
                 VALUES ('00000000-0000-0000-0000-00000000000{id}', 'balance', 'USDC', 'shortfall', '{id}', '{status}', \
                     'warning', 'shortfall', now(), now(), '{{}}', {resolved})"
            ),
        )
        .await;
    }
    sql(
        jobs,
        &format!(
            "INSERT INTO eidos_jobs_reconciliation_records (job_type, reconcile_type, status, created_at, run_id, reference, \
                 break_id) \
             SELECT 'balance', 'full', 'mismatched', {old} + n, gen_random_uuid(), n::text, \
                 CASE WHEN n = 0 THEN NULL ELSE ('00000000-0000-0000-0000-00000000000' || n)::uuid END \
             FROM generate_series(0, 3) n"
        ),
    )
    .await;
    let job = fixture
        .job(json!({ "regular_tables": { "eidos_jobs_reconciliation_records": { "retention_months": 6 } } }))
        .await;
    fixture.run(&job, SLOT).await.unwrap();
    let left: Vec<String> = sqlx::query_scalar("SELECT reference FROM eidos_jobs_reconciliation_records")
        .fetch_all(jobs)
        .await
        .unwrap();
    assert_eq!(left, ["1"], "only that of the open break");
    sql(
        jobs,
        "UPDATE eidos_jobs_breaks SET status = 'resolved', resolved_at = now()",
    )
    .await;
    fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(
        fixture
            .jobs_count("SELECT count(*) FROM eidos_jobs_reconciliation_records")
            .await,
        0
    );
}

#[tokio::test]
async fn a_hold_on_a_month_keeps_its_rows() {
    let fixture = JobFixture::new(&[WITHDRAWALS]).await;
    rows(&fixture, "2023-05-01T00:00:00Z", 10, 2).await;
    rows(&fixture, "2023-06-01T00:00:00Z", 10, 2).await;
    fixture
        .hold(
            "chain",
            TABLE,
            Some("2023-05-20T00:00:00Z"),
            Some("2023-05-21T00:00:00Z"),
        )
        .await;
    let job = fixture.job(rules(&json!({ "retention_months": 6 }))).await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(report.tables[0].held, 1);
    let left = fixture
        .count(&format!(
            "SELECT count(*) FROM {TABLE} WHERE created_at < {}",
            ms("2023-06-01T00:00:00Z")
        ))
        .await;
    assert_eq!(
        (
            left,
            fixture.count(&format!("SELECT count(*) FROM {TABLE}")).await
        ),
        (10, 10)
    );
}

#[tokio::test]
async fn a_table_with_cascading_references_is_refused_and_nothing_happens() {
    let fixture = JobFixture::new(&[
        WITHDRAWALS,
        "CREATE TABLE notes (id INT PRIMARY KEY, tx BIGINT REFERENCES eidos_chain_withdrawal_txs (id) ON DELETE CASCADE)",
    ])
    .await;
    rows(&fixture, "2023-05-01T00:00:00Z", 10, 2).await;
    let job = fixture.job(rules(&json!({ "retention_months": 6 }))).await;
    let text = message(&fixture.run(&job, SLOT).await.unwrap_err());
    assert!(text.contains("notes"), "{text}");
    assert_eq!(fixture.count(&format!("SELECT count(*) FROM {TABLE}")).await, 10);
}
