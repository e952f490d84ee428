//! Killed in the middle, the next execution goes on: what is durable is not read again, and the end is the same.

use eidos_devnet::{Fault, Trap};

use crate::fixture::Fixture;

#[tokio::test]
async fn ruling_28_a_killed_full_run_is_continued_and_ends_like_an_undisturbed_one() {
    let fixture = Fixture::new(&Fault::ALL, &Trap::ALL).await;
    let small = ("RECONCILIATION__PAGE_ACCOUNTS", "1");
    let child = fixture
        .command(
            &["--full"],
            &[
                small,
                ("RECONCILIATION__PARALLELISM", "1"),
                ("RECONCILIATION__RECHECK_DELAY", "60s"),
            ],
        )
        .spawn();
    fixture
        .until(
            "a shard is done",
            "SELECT count(*) > 0 FROM eidos_jobs_reconciliation_checkpoints WHERE (state->>'done')::boolean",
        )
        .await;
    child.kill();
    let durable: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum((t->>'checked')::bigint), 0)::bigint \
         FROM eidos_jobs_reconciliation_checkpoints, jsonb_array_elements(state->'tally') t",
    )
    .fetch_one(fixture.jobs.pool())
    .await
    .unwrap();
    let run: uuid::Uuid =
        sqlx::query_scalar("SELECT DISTINCT run_id FROM eidos_jobs_reconciliation_checkpoints")
            .fetch_one(fixture.jobs.pool())
            .await
            .unwrap();

    let report = fixture.reconcile_when_free(&["--full"], &[small]).await;
    assert_eq!(report["run_id"], run.to_string(), "{report:#}");
    assert!(
        report["resumed_from"].as_i64().unwrap() >= durable,
        "{durable} were durable: {report:#}"
    );
    let verdict = fixture.verdict(fixture.world.manifest()).await;
    assert!(verdict.is_clean(), "{verdict:#?}");

    let undisturbed = fixture.reconcile(&["--full"], &[]).await;
    for what in ["checked", "matched", "breaks_found", "tokens"] {
        assert_eq!(report[what], undisturbed[what], "{what}");
    }
}

#[tokio::test]
async fn ruling_28_other_settings_start_again() {
    let fixture = Fixture::clean().await;
    fixture.edit("USDC", 0, "5").await;
    let child = fixture
        .command(&["--full"], &[("RECONCILIATION__RECHECK_DELAY", "60s")])
        .spawn();
    fixture
        .until(
            "the first reading is durable",
            "SELECT count(*) > 0 FROM eidos_jobs_checkpoints WHERE checkpoint_key LIKE 'suspects/%'",
        )
        .await;
    child.kill();
    let report = fixture
        .reconcile_when_free(&["--full"], &[("RECONCILIATION__IGNORE_BELOW_USDC", "0.02")])
        .await;
    assert!(report.get("resumed_from").is_none(), "{report:#}");
    assert_eq!(report["breaks_found"], 1);
}
