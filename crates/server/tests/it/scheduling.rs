//! Slots: once each, by whichever replica; pause; catch-up; what stopped nodes leave behind.

use std::time::Duration;

use eidos_testkit::eventually;
use serde_json::json;

use crate::harness::{Fixture, SOON};

const SUCCESSES: &str =
    "SELECT count(*) FROM eidos_jobs_executions WHERE job_name = 'every-second' AND status = 'success'";
const DOUBLED: &str = "SELECT count(*) FROM (SELECT slot_ms FROM eidos_jobs_executions WHERE job_name = 'every-second' \
    AND status IN ('success', 'skipped', 'running') GROUP BY slot_ms HAVING count(*) > 1) AS doubled";
const ENABLED: (&str, &str) = ("EIDOS__JOBS__EVERY-SECOND__ENABLED", "true");

async fn successes_reach(fixture: &Fixture, wanted: i64) {
    eventually("slots are run", SOON, async || {
        let count = fixture.count(SUCCESSES).await;
        if count >= wanted {
            Ok(())
        } else {
            Err(format!("{count} of {wanted}"))
        }
    })
    .await;
}

/// A row whose slot is `age_s` seconds ago as the newest claimed one.
async fn cursor_is_behind(fixture: &Fixture, age_s: i64) {
    sqlx::query(
        "INSERT INTO eidos_jobs_state (job_name, last_slot_ms, claimed_at) \
         SELECT 'every-second', (floor(extract(epoch FROM now())) - $1)::bigint * 1000, (extract(epoch FROM now()) * 1000)::bigint",
    )
    .bind(age_s)
    .execute(fixture.db.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn two_replicas_run_each_slot_once_and_miss_none() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.start(&[ENABLED]).await, fixture.start(&[ENABLED]).await);
    successes_reach(&fixture, 4).await;
    first.serving.shut_down().await;
    second.serving.shut_down().await;
    assert_eq!(fixture.count(DOUBLED).await, 0);
    let gaps = "SELECT count(*) FROM (SELECT slot_ms - lag(slot_ms) OVER (ORDER BY slot_ms) AS gap \
        FROM eidos_jobs_executions WHERE job_name = 'every-second') AS gaps WHERE gap > 1000";
    assert_eq!(
        fixture.count(gaps).await,
        0,
        "every slot has a row, run or skipped"
    );
    let derived = "SELECT count(*) FROM eidos_jobs_executions WHERE job_name = 'every-second' AND status = 'success' \
        AND result->>'note' IS DISTINCT FROM 'upto ' || (result->>'slot')";
    assert_eq!(
        fixture.count(derived).await,
        0,
        "parameters follow from the slots"
    );
}

#[tokio::test]
async fn a_paused_job_does_not_run_until_it_is_resumed() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[ENABLED]).await;
    successes_reach(&fixture, 1).await;
    node.post("/v1/jobs/every-second/pause", &json!({ "reason": "test" }))
        .await;
    // A run that had begun may end; afterwards nothing starts.
    let newest =
        "SELECT coalesce(max(last_slot_ms), 0) FROM eidos_jobs_state WHERE job_name = 'every-second'";
    let at_pause = fixture.count(newest).await;
    let past = "SELECT count(*) FROM eidos_jobs_state WHERE last_slot_ms + 2500 < (extract(epoch FROM clock_timestamp()) * 1000) \
        AND job_name = 'every-second'";
    eventually("two slots pass", SOON, async || {
        if fixture.count(past).await == 1 {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
    assert_eq!(
        fixture.count(newest).await,
        at_pause,
        "no slot is claimed while paused"
    );
    let before = fixture.count(SUCCESSES).await;
    node.post("/v1/jobs/every-second/resume", &json!({})).await;
    successes_reach(&fixture, before + 1).await;
    node.serving.shut_down().await;
}

#[tokio::test]
async fn catch_up_latest_runs_one_slot_for_all_that_were_missed() {
    let fixture = Fixture::new().await;
    cursor_is_behind(&fixture, 60).await;
    let node = fixture.start(&[ENABLED]).await;
    successes_reach(&fixture, 1).await;
    node.serving.shut_down().await;
    let missed = "SELECT count(*) FROM eidos_jobs_executions WHERE job_name = 'every-second' AND status = 'skipped' \
        AND error_message LIKE 'missed:%'";
    let rows = fixture.count(missed).await;
    assert!((55..=70).contains(&rows), "{rows} slots recorded as missed");
    assert_eq!(fixture.count(DOUBLED).await, 0);
}

#[tokio::test]
async fn the_slot_of_a_stopped_node_is_run_again_and_the_crash_counts_as_an_attempt() {
    let fixture = Fixture::new().await;
    // What a node killed in the middle of a run leaves: a claimed slot, a running row, no heartbeat.
    cursor_is_behind(&fixture, 0).await;
    sqlx::query(
        "INSERT INTO eidos_jobs_executions (job_name, status, started_at, created_at, execution_id, slot_ms, trigger, \
             epoch, attempt, heartbeat_at) \
         SELECT job_name, 'running', claimed_at - 60000, claimed_at - 60000, gen_random_uuid(), last_slot_ms, 'schedule', 1, 1, \
             claimed_at - 60000 FROM eidos_jobs_state WHERE job_name = 'every-second'",
    )
    .execute(fixture.db.pool())
    .await
    .unwrap();
    sqlx::query("UPDATE eidos_jobs_state SET epoch = 1")
        .execute(fixture.db.pool())
        .await
        .unwrap();
    // Yearly, so that no later slot makes this one obsolete.
    let node = fixture
        .start(&[ENABLED, ("EIDOS__JOBS__EVERY-SECOND__CRON", "0 0 0 1 1 *")])
        .await;
    successes_reach(&fixture, 1).await;
    node.serving.shut_down().await;
    let history = fixture.history("every-second").await;
    assert_eq!(
        history,
        [
            ("failed".to_owned(), Some("orphaned".to_owned()), 1),
            ("success".to_owned(), None, 2)
        ]
    );
}

#[tokio::test]
async fn what_a_stopped_node_began_is_finished_before_a_newer_slot_is_claimed() {
    let fixture = Fixture::new().await;
    cursor_is_behind(&fixture, 20).await;
    sqlx::query(
        "INSERT INTO eidos_jobs_executions (job_name, status, started_at, created_at, execution_id, slot_ms, trigger, \
             epoch, attempt, heartbeat_at) \
         SELECT job_name, 'running', last_slot_ms, last_slot_ms, gen_random_uuid(), last_slot_ms, 'schedule', 1, 1, \
             last_slot_ms FROM eidos_jobs_state WHERE job_name = 'every-second'",
    )
    .execute(fixture.db.pool())
    .await
    .unwrap();
    let begun = fixture.count("SELECT last_slot_ms FROM eidos_jobs_state").await;
    let (first, second) = (fixture.start(&[ENABLED]).await, fixture.start(&[ENABLED]).await);
    successes_reach(&fixture, 3).await;
    first.serving.shut_down().await;
    second.serving.shut_down().await;
    let oldest = "SELECT min(slot_ms) FROM eidos_jobs_executions WHERE status = 'success' AND attempt = 2";
    assert_eq!(fixture.count(oldest).await, begun);
    assert_eq!(fixture.count(DOUBLED).await, 0);
}

#[tokio::test]
async fn slots_that_pass_during_a_run_are_skipped_once_each_with_the_reason() {
    let fixture = Fixture::new().await;
    let slow = ("EIDOS__JOBS__SLOW__ENABLED", "true");
    let (first, second) = (fixture.start(&[slow]).await, fixture.start(&[slow]).await);
    let successes =
        "SELECT count(*) FROM eidos_jobs_executions WHERE job_name = 'slow' AND status = 'success'";
    eventually("it ran twice", SOON, async || {
        let count = fixture.count(successes).await;
        if count >= 2 { Ok(()) } else { Err(count) }
    })
    .await;
    first.serving.shut_down().await;
    second.serving.shut_down().await;
    let skipped = "SELECT count(*) FROM eidos_jobs_executions WHERE job_name = 'slow' AND status = 'skipped' \
        AND error_message LIKE 'skipped: the previous run%'";
    let rows = fixture.count(skipped).await;
    assert!(rows >= 4, "{rows} skipped slots for two runs of 2.5 s");
    let doubled = "SELECT count(*) FROM (SELECT FROM eidos_jobs_executions WHERE job_name = 'slow' \
        GROUP BY slot_ms HAVING count(*) > 1) AS doubled";
    assert_eq!(fixture.count(doubled).await, 0);
}

#[tokio::test]
async fn a_job_without_a_lock_runs_on_every_replica() {
    let fixture = Fixture::new().await;
    let unlocked = ("EIDOS__JOBS__UNLOCKED__ENABLED", "true");
    let (first, second) = (fixture.start(&[unlocked]).await, fixture.start(&[unlocked]).await);
    let nodes = "SELECT count(DISTINCT node_id) FROM eidos_jobs_executions WHERE job_name = 'unlocked' AND status = 'success'";
    eventually("both ran it", SOON, async || {
        let count = fixture.count(nodes).await;
        if count == 2 { Ok(()) } else { Err(count) }
    })
    .await;
    first.serving.shut_down().await;
    second.serving.shut_down().await;
}

#[tokio::test]
async fn a_long_job_does_not_starve_a_short_one() {
    let fixture = Fixture::new().await;
    let one_worker = [ENABLED, ("EIDOS__SCHEDULER__MAX_CONCURRENT_JOBS", "1")];
    let node = fixture.start(&one_worker).await;
    let id = node.trigger("waits", json!({})).await;
    node.execution_in(&id, &["running"]).await;
    let before = fixture.count(SUCCESSES).await;
    successes_reach(&fixture, before + 2).await;
    assert_eq!(node.execution_in(&id, &["running"]).await["status"], "running");
    tokio::time::timeout(Duration::from_secs(20), node.serving.shut_down())
        .await
        .unwrap();
}
