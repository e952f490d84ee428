//! Ruling 25: both boundaries are warnings, a missing price is at least one; ruling 26: critical pauses.

use serde_json::Value;

use crate::fixture::Fixture;

fn severity_of<'a>(report: &'a Value, wallet: &str) -> &'a str {
    report["breaks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["wallet"] == wallet.to_lowercase())
        .map_or("none", |found| found["severity"].as_str().unwrap())
}

#[tokio::test]
async fn ruling_25_boundaries_and_ruling_26_pause() {
    let fixture = Fixture::clean().await;
    let ignored = fixture.edit("USDC", 0, "0.009999").await;
    let low = fixture.edit("USDC", 1, "0.01").await;
    let high = fixture.edit("USDC", 2, "-100").await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(severity_of(&report, &ignored), "none");
    assert_eq!(severity_of(&report, &low), "warning");
    assert_eq!(severity_of(&report, &high), "warning");
    assert_eq!(report["paused"], serde_json::json!([]), "{report:#}");
    let dust: String =
        sqlx::query_scalar("SELECT trim_scale(gross)::text FROM eidos_jobs_dust WHERE token = 'USDC'")
            .fetch_one(fixture.jobs.pool())
            .await
            .unwrap();
    assert_eq!(dust, "0.009999");

    let critical = fixture.edit("USDC", 3, "100.000001").await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(severity_of(&report, &critical), "critical");
    let paused: Vec<String> = sqlx::query_scalar(
        "SELECT operation FROM eidos_jobs_operation_pauses WHERE token = 'USDC' AND lifted_at IS NULL ORDER BY 1",
    )
    .fetch_all(fixture.jobs.pool())
    .await
    .unwrap();
    assert_eq!(paused, ["settlement", "withdrawal"], "a shortfall");
    let client = redis::Client::open(fixture.redis().url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let key = format!("{}:pause:withdrawal:USDC", fixture.redis().prefix());
    let value: Option<String> = redis::cmd("GET")
        .arg(key)
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(value.is_some_and(|value| value.contains("reconciliation")));
}

#[tokio::test]
async fn ruling_24_a_pause_waits_for_distinct_finalized_blocks() {
    let fixture = Fixture::clean().await;
    fixture.edit("USDC", 0, "5000").await;
    let three = [
        ("RECONCILIATION__CRITICAL_CONFIRMATIONS", "3"),
        ("RECONCILIATION__CONFIRM_WAIT", "100ms"),
    ];
    let report = fixture.reconcile(&["--full"], &three).await;
    assert_eq!(
        report["breaks"][0]["confirmations"], 1,
        "one block, however often it is read: {report:#}"
    );
    assert_eq!(report["paused"], serde_json::json!([]));
    let report = fixture.reconcile(&["--full"], &three).await;
    assert_eq!(
        report["breaks"][0]["confirmations"], 1,
        "the same block in another run"
    );
    assert_eq!(report["paused"], serde_json::json!([]));
}

#[tokio::test]
async fn ruling_25_without_a_price_nothing_is_small() {
    let fixture = Fixture::clean().await;
    let wallet = fixture.edit("USDC", 0, "0.000001").await;
    let prices = [("RECONCILIATION__MAX_PRICE_AGE", "1ms")];
    let report = fixture.reconcile(&["--full"], &prices).await;
    assert_eq!(severity_of(&report, &wallet), "warning", "{report:#}");
    assert!(report["breaks"][0]["because"].as_str().unwrap().contains("old"));
}
