//! Expired partitions: frozen, exported, proved, detached, and dropped when their rest is over.

use eidos_archive_store::ManifestRef;
use serde_json::{Value, json};

use crate::cleanup_fixture::{DEPOSITS, JobFixture, Run, message};
use crate::fixture::sql;
use crate::partitions_fixture::ms;
use eidos_runtime::Job;
use retention_manager::cleanup::report::Report;
use retention_manager::jobs::data_cleanup::Params;

const TABLE: &str = "eidos_chain_deposit_records";

fn rules(rule: &Value) -> Value {
    json!({ "partitioned_tables": { TABLE: rule } })
}

fn archived() -> Value {
    rules(&json!({ "retention_months": 6, "archive_before_drop": true, "quarantine_days": 7 }))
}

/// Four months; with six kept, July 2024 ends the first two.
async fn fixture() -> JobFixture {
    let fixture = JobFixture::new(&[DEPOSITS]).await;
    for (first, next) in [
        ("2023-11-01", "2023-12-01"),
        ("2023-12-01", "2024-01-01"),
        ("2024-01-01", "2024-02-01"),
        ("2024-07-01", "2024-08-01"),
    ] {
        fixture.month(TABLE, first, next, 50).await;
    }
    fixture
}

#[tokio::test]
async fn ruling_35_a_partition_leaves_in_provable_steps_over_several_slots() {
    let fixture = fixture().await;
    let job = fixture.job(archived()).await;
    let before: String = digest(&fixture, "eidos_chain_deposit_records_2023_11").await;

    // 31 July: six months back is January, so what ends by 1 January goes.
    let report = fixture.run(&job, "2024-07-31T04:00:00Z").await.unwrap();
    assert_eq!(
        fixture.units().await,
        [
            "eidos_chain_deposit_records_2023_11 quarantined",
            "eidos_chain_deposit_records_2023_12 quarantined"
        ]
    );
    assert_resting(&fixture, &report, &before).await;

    // A day later nothing happens but what is reported as resting.
    let report = fixture.run(&job, "2024-08-01T04:00:00Z").await.unwrap();
    let january: Vec<_> = report
        .plan
        .items
        .iter()
        .map(|item| item.object.as_str())
        .collect();
    assert_eq!(
        january,
        ["eidos_chain_deposit_records_2024_01"],
        "a new month began"
    );
    assert_eq!(
        report.tables[0]
            .units
            .iter()
            .filter(|unit| unit.acts.is_empty())
            .count(),
        2
    );

    // A minute too early, then due.
    let report = fixture.run(&job, "2024-08-07T03:59:00Z").await.unwrap();
    assert!(report.plan.items.is_empty(), "{:#?}", report.plan);
    let report = fixture.run(&job, "2024-08-07T04:00:00Z").await.unwrap();
    assert_eq!(report.plan.items.len(), 2);
    assert_eq!(
        fixture.units().await,
        [
            "eidos_chain_deposit_records_2023_11 dropped",
            "eidos_chain_deposit_records_2023_12 dropped",
            "eidos_chain_deposit_records_2024_01 quarantined",
        ]
    );
    assert_eq!(
        fixture
            .count("SELECT count(*) FROM pg_class WHERE relname LIKE '%2023_1__%'")
            .await,
        0
    );
    assert_archived_and_recorded(&fixture).await;
    // And again: nothing.
    let report = fixture.run(&job, "2024-08-07T04:00:00Z").await.unwrap();
    assert!(report.plan.items.is_empty() && !report.to_be_continued);
}

async fn assert_resting(fixture: &JobFixture, report: &Report, before: &str) {
    let units = &report.tables[0].units;
    assert_eq!(units[0].acts, ["freeze", "export", "quarantine"]);
    assert_eq!(
        (units[0].rows, units[0].drop_after_ms),
        (Some(50), Some(ms("2024-08-07T04:00:00Z")))
    );
    assert_eq!(
        fixture
            .count("SELECT count(*) FROM eidos_chain_deposit_records")
            .await,
        100
    );
    let resting = fixture.resting("eidos_chain_deposit_records_2023_11").await;
    assert_eq!(digest(fixture, &resting).await, before);
    let text = report.render();
    assert!(
        text.contains("drop from 2024-08-07T04:00:00Z") && text.contains("is archived at"),
        "{text}"
    );
}

async fn assert_archived_and_recorded(fixture: &JobFixture) {
    // The archive holds what the table held.
    let (key, sha256): (String, String) = sqlx::query_as(
        "SELECT manifest_key, manifest_sha256 FROM eidos_jobs_disposal_units WHERE unit_name LIKE '%2023_11'",
    )
    .fetch_one(fixture.jobs.pool())
    .await
    .unwrap();
    let manifest = ManifestRef { key, sha256 };
    let verified = fixture
        .store()
        .await
        .verify(
            &manifest,
            &fixture.context(Run::of("2024-08-07T04:00:00Z")).await.cancelled(),
        )
        .await
        .unwrap();
    assert_eq!(verified.rows, 50);
    // Every act is on record.
    let acts: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT action FROM eidos_jobs_disposals WHERE object_name LIKE '%2023_11' AND approved_by = 'policy' ORDER BY 1",
    )
    .fetch_all(fixture.jobs.pool())
    .await
    .unwrap();
    assert_eq!(acts, ["drop", "export", "freeze", "quarantine", "verify"]);
    assert_eq!(
        fixture
            .jobs_count(&format!(
                "SELECT count(*) FROM eidos_jobs_archive_progress WHERE table_name = '{TABLE}'"
            ))
            .await,
        1
    );
}

#[tokio::test]
async fn without_an_archive_a_partition_rests_as_well() {
    let fixture = fixture().await;
    let job = fixture
        .job(rules(&json!({ "retention_months": 6, "quarantine_days": 1 })))
        .await;
    fixture.run(&job, "2024-07-15T04:00:00Z").await.unwrap();
    let resting = fixture.resting("eidos_chain_deposit_records_2023_11").await;
    assert_eq!(
        fixture.count(&format!("SELECT count(*) FROM {resting}")).await,
        50
    );
    assert!(
        std::fs::read_dir(fixture.archive()).unwrap().next().is_none(),
        "nothing was exported"
    );
    fixture.run(&job, "2024-07-16T04:00:00Z").await.unwrap();
    assert_eq!(
        fixture.units().await,
        [
            "eidos_chain_deposit_records_2023_11 dropped",
            "eidos_chain_deposit_records_2023_12 dropped"
        ]
    );
}

#[tokio::test]
async fn a_run_drops_only_so_many_and_says_that_it_goes_on() {
    let fixture = fixture().await;
    let rules = rules(&json!({ "retention_months": 6, "quarantine_days": 0 }));
    let job = fixture
        .job_with(rules, |settings| settings.drops_per_run = 1)
        .await;
    let report = fixture.run(&job, "2024-07-15T04:00:00Z").await.unwrap();
    assert!(report.to_be_continued, "{report:#?}");
    assert!(report.render().contains("to be continued"));
    assert_eq!(
        fixture.units().await,
        [
            "eidos_chain_deposit_records_2023_11 dropped",
            "eidos_chain_deposit_records_2023_12 quarantined"
        ]
    );
    let report = fixture.run(&job, "2024-07-15T04:00:00Z").await.unwrap();
    assert!(!report.to_be_continued);
    assert_eq!(
        fixture.units().await[1],
        "eidos_chain_deposit_records_2023_12 dropped"
    );
}

#[tokio::test]
async fn ruling_37_a_held_month_stays_and_its_neighbours_go() {
    let fixture = fixture().await;
    fixture
        .hold(
            "chain",
            TABLE,
            Some("2023-12-10T00:00:00Z"),
            Some("2023-12-11T00:00:00Z"),
        )
        .await;
    let job = fixture.job(archived()).await;
    let report = fixture.run(&job, "2024-07-15T04:00:00Z").await.unwrap();
    assert_eq!(
        fixture.units().await,
        ["eidos_chain_deposit_records_2023_11 quarantined"]
    );
    assert_eq!(report.tables[0].held, 1);
    let blocked = report.plan.items[1].blocked.as_deref().unwrap();
    assert!(blocked.contains("a court order"), "{blocked}");
    // One that rests is not dropped either.
    fixture.hold("chain", TABLE, None, None).await;
    let report = fixture.run(&job, "2024-07-30T04:00:00Z").await.unwrap();
    assert_eq!(report.tables[0].held, 2);
    assert_eq!(
        fixture.units().await,
        ["eidos_chain_deposit_records_2023_11 quarantined"]
    );
}

#[tokio::test]
async fn a_hold_lets_writers_back_into_a_frozen_partition() {
    let fixture = fixture().await;
    // The first run freezes and then cannot store anything; the second month is not frozen for nothing.
    let mut broken = fixture.job(archived()).await;
    broken.store = None;
    let error = fixture.run(&broken, "2024-07-15T04:00:00Z").await.unwrap_err();
    assert!(message(&error).contains("no object store"), "{error}");
    assert_eq!(
        fixture.units().await,
        ["eidos_chain_deposit_records_2023_11 frozen"]
    );
    let correct =
        "UPDATE eidos_chain_deposit_records SET note = 'corrected' WHERE created_at < 1701388800000";
    assert!(
        sqlx::query(correct).execute(fixture.pool()).await.is_err(),
        "frozen"
    );
    fixture
        .hold("chain", TABLE, None, Some("2023-12-01T00:00:00Z"))
        .await;
    let job = fixture.job(archived()).await;
    fixture.run(&job, "2024-07-15T04:00:00Z").await.unwrap();
    assert_eq!(
        fixture.units().await,
        [
            "eidos_chain_deposit_records_2023_11 abandoned",
            "eidos_chain_deposit_records_2023_12 quarantined"
        ]
    );
    sqlx::query(correct).execute(fixture.pool()).await.unwrap();
}

#[tokio::test]
async fn a_partition_that_was_left_frozen_is_told_with_the_way_out() {
    let fixture = fixture().await;
    let mut broken = fixture.job(archived()).await;
    broken.store = None;
    let _frozen = fixture.run(&broken, "2024-07-15T04:00:00Z").await.unwrap_err();
    sql(
        fixture.jobs.pool(),
        "UPDATE eidos_jobs_disposal_units SET state = 'abandoned'",
    )
    .await;
    fixture.hold("chain", TABLE, None, None).await;
    let job = fixture.job(archived()).await;
    let text = message(&fixture.run(&job, "2024-07-15T04:00:00Z").await.unwrap_err());
    assert!(
        text.contains("refuses writes and is not being disposed of"),
        "{text}"
    );
    let way_out = text
        .split("let writers back: ")
        .nth(1)
        .and_then(|rest| rest.split([';', '|']).next())
        .unwrap();
    sql(fixture.pool(), way_out).await;
}

#[tokio::test]
async fn a_store_that_takes_nothing_lets_one_partition_be_frozen_and_no_more() {
    let fixture = fixture().await;
    // Nobody makes a folder there, not even root.
    std::os::unix::fs::symlink("/sys/kernel", fixture.archive().join("chain")).unwrap();
    let job = fixture.job(archived()).await;
    let error = fixture.run(&job, "2024-07-31T04:00:00Z").await.unwrap_err();
    assert!(message(&error).contains("was refused"), "{}", message(&error));
    let units = fixture.units().await;
    assert_eq!(units.len(), 1, "{units:?}");
    assert_eq!(fixture.count(&format!("SELECT count(*) FROM {TABLE}")).await, 200);
}

#[tokio::test]
async fn one_failing_table_does_not_stop_the_others() {
    let fixture = fixture().await;
    // Bare NUMERIC cannot be archived exactly, and is refused before anything happens to its partition.
    sql(
        fixture.pool(),
        "CREATE TABLE eidos_chain_events (id BIGINT, created_at BIGINT NOT NULL, amount NUMERIC) \
             PARTITION BY RANGE (created_at); \
         CREATE TABLE eidos_chain_events_old PARTITION OF eidos_chain_events FOR VALUES FROM (1698796800000) TO (1701388800000); \
         CREATE TABLE eidos_chain_events_new PARTITION OF eidos_chain_events FOR VALUES FROM (1701388800000) TO (MAXVALUE)",
    )
    .await;
    let rule = json!({ "retention_months": 6, "archive_before_drop": true });
    let job = fixture
        .job(json!({
            "partitioned_tables": { "eidos_chain_events": rule, "eidos_chain_nowhere": rule, TABLE: rule },
        }))
        .await;
    let error = fixture.run(&job, "2024-07-15T04:00:00Z").await.unwrap_err();
    let text = message(&error);
    assert!(
        text.contains("amount") && text.contains("eidos_chain_nowhere does not exist"),
        "{text}"
    );
    assert_eq!(fixture.count("SELECT count(*) FROM eidos_chain_events").await, 0);
    assert_eq!(
        fixture
            .units()
            .await
            .iter()
            .filter(|unit| unit.ends_with("quarantined"))
            .count(),
        2
    );
}

#[tokio::test]
async fn a_rule_in_the_wrong_section_is_refused_by_name() {
    let fixture = JobFixture::new(&[DEPOSITS, crate::cleanup_fixture::WITHDRAWALS]).await;
    let rule = json!({ "retention_months": 6 });
    let job = fixture
        .job(json!({
            "partitioned_tables": { "eidos_chain_withdrawal_txs": rule },
            "regular_tables": { TABLE: rule },
        }))
        .await;
    let text = message(&fixture.run(&job, "2024-07-15T04:00:00Z").await.unwrap_err());
    assert!(
        text.contains("eidos_chain_withdrawal_txs is not partitioned, but has a rule in"),
        "{text}"
    );
    assert!(
        text.contains("eidos_chain_deposit_records is partitioned, but has a rule in"),
        "{text}"
    );
}

#[tokio::test]
async fn ruling_37_tables_without_a_rule_are_named_in_report_and_plan() {
    let fixture = fixture().await;
    sql(
        fixture.pool(),
        "CREATE TABLE eidos_risk_rules (id INT); CREATE TABLE odd (id INT)",
    )
    .await;
    let mut retention = archived();
    retention["keep_forever"] = json!(["eidos_risk_rules"]);
    let report = fixture
        .plan(&fixture.job(retention).await, "2024-07-15T04:00:00Z")
        .await;
    let named: Vec<String> = report
        .without_rule
        .iter()
        .map(|table| format!("{} {}", table.source, table.table))
        .collect();
    assert!(
        named.contains(&"market public.odd".to_owned()) || named.contains(&"chain public.odd".to_owned()),
        "{named:?}"
    );
    assert!(
        named.contains(&"jobs public.eidos_jobs_statistics".to_owned()),
        "{named:?}"
    );
    assert!(
        !named
            .iter()
            .any(|name| name.contains("risk_rules") || name.contains(TABLE)),
        "{named:?}"
    );
    assert_eq!(
        named.iter().filter(|name| name.contains("public.odd")).count(),
        1,
        "one database is looked at once"
    );
    assert!(report.plan.notes.iter().any(|note| note.0.contains("public.odd")));
}

#[tokio::test]
async fn a_run_that_is_short_of_time_stops_between_two_pieces_and_goes_on() {
    let fixture = fixture().await;
    let job = fixture.job(archived()).await;
    let ctx = fixture
        .context(Run {
            budget: std::time::Duration::ZERO,
            ..Run::of("2024-07-15T04:00:00Z")
        })
        .await;
    let report = job.run(&ctx, Params::default()).await.unwrap();
    assert!(report.to_be_continued);
    assert!(fixture.units().await.is_empty());
    fixture.run(&job, "2024-07-15T04:00:00Z").await.unwrap();
    assert_eq!(fixture.units().await.len(), 2);
}

#[tokio::test]
async fn only_the_tables_that_were_asked_for() {
    let fixture = fixture().await;
    let job = fixture.job(archived()).await;
    let ctx = fixture.context(Run::of("2024-07-15T04:00:00Z")).await;
    let params = Params {
        tables: Some(vec!["eidos_chain_events".to_owned()]),
        ..Params::default()
    };
    assert_eq!(
        job.validate_params(&params).unwrap_err(),
        "tables: no rule in data_retention for eidos_chain_events"
    );
    let report = job.run(&ctx, params).await.unwrap();
    assert!(report.tables.is_empty() && fixture.units().await.is_empty());
}

async fn digest(fixture: &JobFixture, table: &str) -> String {
    let query = format!("SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM {table} t");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .fetch_one(fixture.pool())
        .await
        .unwrap()
}
