//! What the running services do before the panels are looked at: every job through its service, a slot of a schedule, a
//! request by gRPC. A panel that is empty after that is empty for an operator too.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use eidos_proto::jobs::v1::ListJobStatusRequest;
use eidos_proto::jobs::v1::jobs_service_client::JobsServiceClient;
use serde_json::{Value, json};
use tonic::transport::Endpoint;
use uuid::Uuid;

use super::rig::{AGGREGATOR, EXPIRER, PROBE, Rig};
use crate::orders::OrdersOptions;
use crate::quickstart::config::API_TOKENS;
use crate::quickstart::expiry::open_requests;
use crate::quickstart::say;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const RUN_WITHIN: Duration = Duration::from_mins(2);
/// Between two looks at the database.
const POLL: Duration = Duration::from_millis(200);

/// The job whose schedule has a slot while the panels are looked at; it has none for a day after.
const SCHEDULED: &str = "verify-archive";
/// The slot is far enough ahead that the service is running when it comes.
const SLOT_AHEAD: TimeDelta = TimeDelta::seconds(45);

/// Rows that `archive-data` moves, some in each batch: long enough for its lease to be renewed.
const OLD_ORDERS: u64 = 10;

/// Finished orders without trades become old.
const AGE_ORDERS: &str = "\
    UPDATE eidos_trading_orders SET updated_at = $1 WHERE id IN ( \
        SELECT id FROM eidos_trading_orders AS orders WHERE order_id LIKE 'h-o-%' AND status IN (3, 4, 5, 6) \
            AND NOT EXISTS (SELECT FROM eidos_trading_trades WHERE maker_order_id = orders.order_id) \
            AND NOT EXISTS (SELECT FROM eidos_trading_trades WHERE taker_order_id = orders.order_id) \
        ORDER BY id LIMIT $2)";

/// A month of risk events that was exported and is not beside its table yet: the one that `run_every_job` restored is.
const EXPORTED_MONTH: &str = "\
    SELECT to_char(to_timestamp(lower_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM') FROM eidos_jobs_disposal_units \
    WHERE table_name = 'eidos_risk_events' AND archived AND manifest_key IS NOT NULL AND row_count > 0 \
        AND state IN ('verified', 'quarantined', 'dropping', 'dropped') ORDER BY lower_ms LIMIT 1";

/// Gives the services that start next a slot soon, and a run of `archive-data` that is not over at once.
pub(super) fn prepare(rig: &mut Rig) -> anyhow::Result<()> {
    let now: DateTime<Utc> = DateTime::from_timestamp_millis(crate::devnet::now_ms()).context("the clock")?;
    // A cron line has minutes: the first whole one after the lead.
    let slot = now + SLOT_AHEAD + TimeDelta::minutes(1);
    let cron = format!("{} {} * * *", slot.minute(), slot.hour());
    rig.set(
        "archiver",
        &[
            ("EIDOS__JOBS__VERIFY_ARCHIVE__CRON", cron),
            ("EIDOS__JOBS__ARCHIVE_DATA__BATCH_ROWS", "2".to_owned()),
            ("EIDOS__JOBS__ARCHIVE_DATA__SLEEP_MS", "1000".to_owned()),
            // Renewed every third of it, within the run's pauses.
            ("EIDOS__JOBS__ARCHIVE_DATA__LOCK__TTL", "8s".to_owned()),
            ("EIDOS__SCHEDULER__CANCEL_GRACE", "1s".to_owned()),
        ],
    )
}

/// Lets the running services do everything they can do.
pub(super) async fn everything(rig: &Rig) -> anyhow::Result<()> {
    age_orders(rig).await?;
    let month: String = sqlx::query_scalar(EXPORTED_MONTH)
        .fetch_optional(rig.jobs())
        .await?
        .context("no month of eidos_risk_events was exported")?;
    let restore = json!({ "table": "eidos_risk_events", "range": month });
    for (service, job, params) in [
        ("recon-svc", "reconciliation", json!({ "mode": "full" })),
        ("recon-svc", "reconciliation", json!({ "mode": "incremental" })),
        ("retention-manager", "partition-manage", json!({})),
        ("archiver", "archive-data", json!({})),
        ("archiver", "restore-archive", restore),
    ] {
        run(rig, service, job, params).await?;
    }
    // As the person does who has read the restored rows: a table without a rule is an alert, in seven days.
    sqlx::query("DROP TABLE eidos_risk_events_restored")
        .execute(rig.exchange())
        .await?;
    run(rig, "retention-manager", "data-cleanup", json!({})).await?;
    expire(rig).await?;
    aggregate(rig).await?;
    for service in [
        "recon-svc",
        "retention-manager",
        "archiver",
        EXPIRER,
        AGGREGATOR,
        PROBE,
    ] {
        ask_by_grpc(rig, service)
            .await
            .with_context(|| format!("gRPC of {service}"))?;
    }
    say(&format!("  archiver runs {SCHEDULED} by its schedule"));
    wait_for_slot(rig).await
}

/// More orders expire, and are seen to have ended; the cache entries of others are old.
async fn expire(rig: &Rig) -> anyhow::Result<()> {
    let orders = OrdersOptions {
        prefix: "more".to_owned(),
        cancelling: 0,
        ..OrdersOptions::some(crate::devnet::now_ms(), 2)
    };
    rig.beside().fill_orders(&orders).await?;
    // The sweep finds orders without quantity.
    run(rig, EXPIRER, "expiry-sweep", json!({})).await?;
    let started = Instant::now();
    while started.elapsed() < RUN_WITHIN {
        run(rig, EXPIRER, "cleanup-orders", json!({})).await?;
        if open_requests(rig.jobs()).await? == 0 {
            return run(rig, EXPIRER, "expiry-sweep", json!({})).await;
        }
        // A request is looked at again a second after its answer.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bail!(
        "requests to remove orders are open after {} s",
        RUN_WITHIN.as_secs()
    )
}

/// Trades and a deposit arrive late: there is something to build again.
async fn aggregate(rig: &Rig) -> anyhow::Result<()> {
    rig.market().await.arrive_late(crate::devnet::now_ms()).await?;
    for job in ["kline-agg", "stats-agg"] {
        run(rig, AGGREGATOR, job, json!({})).await?;
    }
    Ok(())
}

/// Has a running service run a job, and waits for its success.
async fn run(rig: &Rig, service: &str, job: &str, params: Value) -> anyhow::Result<()> {
    say(&format!("  {service} runs {job} {params}"));
    let execution = trigger(rig, service, job, params).await?;
    wait_for_success(rig, execution)
        .await
        .with_context(|| format!("{job} of the running {service}"))
}

/// Asks a running service for a run; returns the execution.
pub(super) async fn trigger(rig: &Rig, service: &str, job: &str, params: Value) -> anyhow::Result<Uuid> {
    let [_, (_, operator), _] = API_TOKENS;
    let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
    let answer = client
        .post(format!("{}/v1/jobs/{job}/trigger", rig.http_url(service)?))
        .json(&json!({ "params": params }))
        .bearer_auth(operator)
        .header("Idempotency-Key", format!("alerts-{}", Uuid::now_v7()))
        .send()
        .await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(
        status.is_success(),
        "{service} refuses to run {job}: {status} {text}"
    );
    let accepted: Value = serde_json::from_str(&text)?;
    let execution = accepted["execution_id"].as_str().unwrap_or_default();
    execution
        .parse()
        .with_context(|| format!("no execution_id in {text}"))
}

async fn wait_for_success(rig: &Rig, execution: Uuid) -> anyhow::Result<()> {
    let started = Instant::now();
    while started.elapsed() < RUN_WITHIN {
        let ended: Option<(String, Option<String>)> = sqlx::query_as(
            "SELECT status, error_message FROM eidos_jobs_executions WHERE execution_id = $1 AND finished_at IS NOT NULL",
        )
        .bind(execution)
        .fetch_optional(rig.jobs())
        .await?;
        match ended {
            Some((status, _)) if status == "success" => return Ok(()),
            Some((status, error)) => bail!("ended as {status}: {}", error.unwrap_or_default()),
            None => tokio::time::sleep(POLL).await,
        }
    }
    bail!("{execution} did not end within {} s", RUN_WITHIN.as_secs())
}

async fn age_orders(rig: &Rig) -> anyhow::Result<()> {
    let old_ms = crate::devnet::now_ms() - TimeDelta::days(40).num_milliseconds();
    let aged = sqlx::query(AGE_ORDERS)
        .bind(old_ms)
        .bind(i64::try_from(OLD_ORDERS)?)
        .execute(rig.exchange())
        .await?
        .rows_affected();
    ensure!(
        aged == OLD_ORDERS,
        "{aged} finished orders could be made old, not {OLD_ORDERS}"
    );
    Ok(())
}

async fn ask_by_grpc(rig: &Rig, service: &str) -> anyhow::Result<()> {
    let [(_, viewer), ..] = API_TOKENS;
    let channel = Endpoint::from_shared(rig.grpc_url(service)?)?
        .timeout(ANSWER_WITHIN)
        .connect()
        .await?;
    let mut request = tonic::Request::new(ListJobStatusRequest::default());
    let bearer = format!("Bearer {viewer}").parse()?;
    request.metadata_mut().insert("authorization", bearer);
    let answer = JobsServiceClient::new(channel).list_job_status(request).await?;
    ensure!(!answer.into_inner().statuses.is_empty(), "names no job");
    Ok(())
}

async fn wait_for_slot(rig: &Rig) -> anyhow::Result<()> {
    let started = Instant::now();
    let limit = SLOT_AHEAD.to_std()? + RUN_WITHIN;
    while started.elapsed() < limit {
        let ran: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM eidos_jobs_executions WHERE job_name = $1 AND trigger = 'schedule' AND status = 'success')",
        )
        .bind(SCHEDULED)
        .fetch_one(rig.jobs())
        .await?;
        if ran {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("the slot of {SCHEDULED} passed without a run of it")
}
