//! A plan is looked at, applied by a person, and refused when the world is no longer the one it was made for.

use retention_manager::jobs::data_cleanup::DataCleanup;
use serde_json::{Value, json};

use crate::cleanup_fixture::{DEPOSITS, JobFixture, KLINES, message};
use crate::fixture::sql;

const TABLE: &str = "eidos_chain_deposit_records";
const SLOT: &str = "2024-07-15T04:00:00Z";

fn reserved() -> Value {
    json!({ "partitioned_tables": { TABLE: {
        "retention_months": 6, "archive_before_drop": true, "require_approval": true, "quarantine_days": 1,
    }}})
}

async fn fixture() -> JobFixture {
    let fixture = JobFixture::new(&[DEPOSITS]).await;
    fixture.month(TABLE, "2023-11-01", "2023-12-01", 20).await;
    fixture.month(TABLE, "2024-07-01", "2024-08-01", 20).await;
    fixture
}

#[tokio::test]
async fn the_schedule_waits_and_a_person_s_word_is_kept_to_the_end() {
    let fixture = fixture().await;
    let job = fixture.job(reserved()).await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(report.tables[0].waiting_for_approval, 1);
    assert!(
        report.render().contains("1 pieces wait for a person"),
        "{}",
        report.render()
    );
    assert!(fixture.units().await.is_empty() && report.tables[0].units.is_empty());

    let plan = fixture.plan(&job, SLOT).await;
    assert!(
        plan.render()
            .contains(&format!("apply --job data-cleanup --plan {}", plan.plan.digest))
    );
    // Days later, by hand.
    let report = fixture
        .apply(&job, "2024-07-18T09:30:00Z", &plan.plan.digest)
        .await
        .unwrap();
    assert_eq!(report.applied.as_deref(), Some(plan.plan.digest.as_str()));
    assert_eq!(
        fixture.units().await,
        ["eidos_chain_deposit_records_2023_11 quarantined"]
    );
    // Applying it again does nothing more, and is no error.
    fixture
        .apply(&job, "2024-07-18T09:31:00Z", &plan.plan.digest)
        .await
        .unwrap();
    // The drop is the schedule's, on the same word.
    let report = fixture.run(&job, "2024-07-20T04:00:00Z").await.unwrap();
    assert_eq!(report.tables[0].waiting_for_approval, 0);
    assert_eq!(
        fixture.units().await,
        ["eidos_chain_deposit_records_2023_11 dropped"]
    );
    assert_eq!(
        fixture
            .jobs_count("SELECT count(*) FROM eidos_jobs_disposals WHERE approved_by <> 'olga'")
            .await,
        0
    );
}

#[tokio::test]
async fn a_stale_plan_is_refused_before_the_first_act() {
    let fixture = fixture().await;
    let refused = async |job: &DataCleanup, digest: &str, what: &str| {
        let text = message(
            &fixture
                .apply(job, "2024-07-18T09:30:00Z", digest)
                .await
                .unwrap_err(),
        );
        assert!(
            text.contains(what) && text.contains("nothing was done"),
            "{what}: {text}"
        );
        assert!(fixture.units().await.is_empty(), "{what}");
    };
    let job = fixture.job(reserved()).await;

    let digest = fixture.plan(&job, SLOT).await.plan.digest;
    sql(
        fixture.pool(),
        "ALTER TABLE eidos_chain_deposit_records ADD COLUMN memo TEXT",
    )
    .await;
    refused(
        &job,
        &digest,
        "the columns of eidos_chain_deposit_records_2023_11",
    )
    .await;

    let digest = fixture.plan(&job, SLOT).await.plan.digest;
    let mut changed = reserved();
    changed["partitioned_tables"][TABLE]["archive_before_drop"] = json!(false);
    refused(&fixture.job(changed).await, &digest, "drop").await;
    let mut changed = reserved();
    changed["partitioned_tables"][TABLE]["quarantine_days"] = json!(30);
    refused(&fixture.job(changed).await, &digest, "quarantine days").await;
    let mut changed = reserved();
    changed["partitioned_tables"][TABLE]["retention_months"] = json!(60);
    refused(&fixture.job(changed).await, &digest, "is not due any more").await;

    fixture.month(TABLE, "2023-10-01", "2023-11-01", 5).await;
    refused(&job, &digest, "due now and was not planned").await;

    let digest = fixture.plan(&job, SLOT).await.plan.digest;
    fixture
        .hold(
            "chain",
            TABLE,
            Some("2023-11-11T00:00:00Z"),
            Some("2023-11-12T00:00:00Z"),
        )
        .await;
    refused(&job, &digest, "is blocked now").await;

    // What was blocked when it was approved stays, even if the hold is lifted meanwhile.
    let digest = fixture.plan(&job, SLOT).await.plan.digest;
    sql(
        fixture.jobs.pool(),
        "UPDATE eidos_jobs_legal_holds SET lifted_by = 'olga', lifted_at = now(), lift_reason = 'over'",
    )
    .await;
    fixture
        .apply(&job, "2024-07-18T09:30:00Z", &digest)
        .await
        .unwrap();
    assert_eq!(
        fixture.units().await,
        ["eidos_chain_deposit_records_2023_10 quarantined"]
    );
}

#[tokio::test]
async fn a_plan_nobody_made_or_everybody_forgot_is_refused() {
    let fixture = fixture().await;
    let job = fixture.job(reserved()).await;
    let text = message(&fixture.apply(&job, SLOT, "0123").await.unwrap_err());
    assert!(text.contains("no dry run of data-cleanup made a plan"), "{text}");
    let digest = fixture.plan(&job, SLOT).await.plan.digest;
    sql(
        fixture.jobs.pool(),
        "UPDATE eidos_jobs_executions SET started_at = started_at - 8 * 86400000::bigint",
    )
    .await;
    let text = message(&fixture.apply(&job, SLOT, &digest).await.unwrap_err());
    assert!(text.contains("older than disposal.plan_max_age"), "{text}");
    assert!(fixture.units().await.is_empty());
}

#[tokio::test]
async fn a_plan_says_the_same_until_the_work_is_another() {
    let fixture = fixture().await;
    let job = fixture.job(reserved()).await;
    let first = fixture.plan(&job, SLOT).await.plan;
    sql(fixture.pool(), "ANALYZE eidos_chain_deposit_records").await;
    let second = fixture.plan(&job, SLOT).await.plan;
    assert_eq!(first.digest, second.digest, "estimates do not count");
    assert_ne!(
        first.digest,
        fixture.plan(&job, "2024-07-16T04:00:00Z").await.plan.digest,
        "the slot does"
    );
}

#[tokio::test]
async fn reserved_candles_wait_as_well() {
    let fixture = JobFixture::new(&[KLINES]).await;
    sql(
        fixture.pool(),
        "INSERT INTO eidos_market_klines SELECT 'BTC-USDC', '1m', n * 60000, 1, 1, 1, 1, 1, 1, 1 FROM generate_series(0, 59) n; \
         INSERT INTO eidos_market_klines VALUES ('BTC-USDC', '1h', 0, 1, 1, 1, 1, 60, 60, 60)",
    )
    .await;
    let job = fixture
        .job(json!({ "timescaledb": { "eidos_market_klines": {
            "retention_by_interval": { "1m": 7 }, "require_approval": true,
        }}}))
        .await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(report.tables[0].waiting_for_approval, 1);
    assert_eq!(
        fixture.count("SELECT count(*) FROM eidos_market_klines").await,
        61
    );
    let digest = fixture.plan(&job, SLOT).await.plan.digest;
    let report = fixture.apply(&job, SLOT, &digest).await.unwrap();
    assert_eq!(report.candles[0].deleted, 60);
    assert_eq!(
        fixture
            .jobs_count(
                "SELECT count(*) FROM eidos_jobs_disposals WHERE action = 'delete' AND approved_by = 'olga'"
            )
            .await,
        1
    );
    // Again: it was done on this plan's word.
    fixture.apply(&job, SLOT, &digest).await.unwrap();
}
