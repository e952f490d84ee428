//! A stale node cannot write; what a step does is durable together or not at all.

use std::time::Duration;

use eidos_core::CoreError;
use eidos_core::checkpoint;
use eidos_core::execution::{FailureKind, Finished, Heartbeat, Outcome, Status, finish, heartbeat};
use eidos_core::fence::{Fence, MintRequest, Step, mint};
use eidos_core::migrations::install_external_fence;
use eidos_testkit::{TestDb, eventually};
use eidos_types::{Clock, ExecutionId};
use sqlx::PgPool;

use crate::fixture::{Fixture, SOON};

async fn note(step: &mut Step<'_>, text: &str) {
    sqlx::query("INSERT INTO effects (note) VALUES ($1)")
        .bind(text)
        .execute(step.conn())
        .await
        .unwrap();
}

fn mint_request(fixture: &Fixture, floor: u64) -> MintRequest {
    MintRequest {
        job: fixture.job.clone(),
        floor,
        node: fixture.node(),
        execution: ExecutionId::new(&fixture.clock),
        now_ms: fixture.clock.now_ms(),
    }
}

async fn waiting_for_a_lock(fixture: &Fixture) -> Result<(), String> {
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_one(fixture.db.pool())
    .await
    .unwrap();
    if waiting > 0 {
        Ok(())
    } else {
        Err("nobody waits for a lock".to_owned())
    }
}

#[tokio::test]
async fn a_stale_epoch_gets_no_step() {
    let fixture = Fixture::new().await;
    let old = fixture.run().await.fence;
    old.step(&fixture.jobs).await.unwrap().commit().await.unwrap();
    let new = fixture.run().await.fence;
    assert!(new.epoch() > old.epoch());
    let refused = old.step(&fixture.jobs).await.err().unwrap();
    assert!(matches!(refused, CoreError::Fenced { .. }), "{refused}");
    assert!(!refused.is_retryable() && refused.is_fenced());
    new.step(&fixture.jobs).await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_new_epoch_waits_for_the_step_that_is_open() {
    let fixture = Fixture::new().await;
    fixture.effects_table().await;
    let old = fixture.run().await.fence;
    let mut step = old.step(&fixture.jobs).await.unwrap();
    note(&mut step, "old").await;
    let control = fixture.control().clone();
    let request = mint_request(&fixture, 0);
    let minting = tokio::spawn(async move { mint(&control, &request).await });
    eventually("the mint waits for the step", SOON, async || {
        // A mint that went through while the step was open is what must not happen.
        assert!(
            !minting.is_finished(),
            "the epoch rose between a step's check and its commit"
        );
        waiting_for_a_lock(&fixture).await
    })
    .await;
    step.commit().await.unwrap();
    let minted = minting.await.unwrap().unwrap();
    assert!(minted.fence.epoch() > old.epoch());
    assert_eq!(fixture.effects().await, ["old"]);
    assert!(old.step(&fixture.jobs).await.is_err());
}

#[tokio::test]
async fn steps_of_one_run_do_not_wait_for_each_other() {
    let fixture = Fixture::new().await;
    fixture.effects_table().await;
    let fence = fixture.run().await.fence;
    let mut one = fence.step(&fixture.jobs).await.unwrap();
    let mut two = fence.step(&fixture.jobs).await.unwrap();
    note(&mut one, "one").await;
    note(&mut two, "two").await;
    two.progress(2, None).await.unwrap();
    two.commit().await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(fixture.effects().await, ["one", "two"]);
}

#[tokio::test]
async fn the_server_ends_a_frozen_step_and_the_new_epoch_goes_through() {
    let fixture = Fixture::with(|settings| {
        settings.idle_in_transaction_timeout = Duration::from_millis(500);
    })
    .await;
    fixture.effects_table().await;
    let old = fixture.run().await.fence;
    let mut frozen = old.step(&fixture.jobs).await.unwrap();
    note(&mut frozen, "frozen").await;
    // The frozen node does nothing more; the mint waits no longer than the server's patience.
    let minted = mint(fixture.control(), &mint_request(&fixture, 0)).await.unwrap();
    assert!(minted.fence.epoch() > old.epoch());
    assert!(
        frozen.commit().await.is_err(),
        "a step the server ended must not commit"
    );
    assert!(fixture.effects().await.is_empty());
}

#[tokio::test]
async fn effects_checkpoint_and_progress_are_durable_together_or_not_at_all() {
    let fixture = Fixture::new().await;
    fixture.effects_table().await;
    let fence = fixture.run().await.fence;
    let load = async || {
        checkpoint::load::<u64>(fixture.jobs.read(), &fixture.job, "shard-0")
            .await
            .unwrap()
    };

    let mut crashed = fence.step(&fixture.jobs).await.unwrap();
    note(&mut crashed, "crashed").await;
    crashed.save_checkpoint("shard-0", &1_u64).await.unwrap();
    crashed.progress(1, Some(2)).await.unwrap();
    drop(crashed);
    assert_eq!(load().await, None);
    assert!(fixture.effects().await.is_empty());
    assert_eq!(fixture.row(&fence).await.progress, None);

    let mut step = fence.step(&fixture.jobs).await.unwrap();
    note(&mut step, "kept").await;
    step.save_checkpoint("shard-0", &7_u64).await.unwrap();
    step.save_checkpoint("shard-1", &8_u64).await.unwrap();
    step.save_checkpoint("other", &9_u64).await.unwrap();
    step.progress(2, Some(2)).await.unwrap();
    step.commit().await.unwrap();
    assert_eq!(load().await, Some(7));
    assert_eq!(fixture.effects().await, ["kept"]);
    let row = fixture.row(&fence).await;
    assert_eq!(row.progress, Some(serde_json::json!({"done": 2, "total": 2})));

    let listed = checkpoint::list(fixture.jobs.read(), &fixture.job, "shard-")
        .await
        .unwrap();
    let keys: Vec<_> = listed.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["shard-0", "shard-1"]);
    assert!(listed.iter().all(|entry| entry.epoch == fence.epoch()));
    let mut step = fence.step(&fixture.jobs).await.unwrap();
    assert!(step.delete_checkpoint("other").await.unwrap());
    assert_eq!(step.delete_checkpoints("shard-").await.unwrap(), 2);
    step.commit().await.unwrap();
    assert_eq!(load().await, None);
}

#[tokio::test]
async fn a_checkpoint_of_another_shape_is_an_error_that_names_it() {
    let fixture = Fixture::new().await;
    let fence = fixture.run().await.fence;
    let mut step = fence.step(&fixture.jobs).await.unwrap();
    step.save_checkpoint("page", &"text").await.unwrap();
    step.commit().await.unwrap();
    let error = checkpoint::load::<u64>(fixture.jobs.read(), &fixture.job, "page")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("'page'") && error.contains("reconciliation"),
        "{error}"
    );
}

#[tokio::test]
async fn the_epoch_is_never_below_the_leases_token_and_always_rises() {
    let fixture = Fixture::new().await;
    let epochs = [(5, 5), (2, 6), (6, 7), (100, 100), (0, 101)];
    for (token, expected) in epochs {
        let minted = mint(fixture.control(), &mint_request(&fixture, token))
            .await
            .unwrap();
        assert_eq!(minted.fence.epoch().get(), expected);
    }
}

#[tokio::test]
async fn a_new_epoch_closes_the_dead_run_and_says_what_it_was() {
    let fixture = Fixture::new().await;
    let dead = fixture.run().await.fence;
    let run = fixture.run().await;
    let row = fixture.row(&dead).await;
    assert_eq!(
        (row.status, row.failure_kind),
        (Status::Failed, Some(FailureKind::Orphaned))
    );
    assert!(row.finished_at_ms.is_some() && row.error_message.unwrap().contains("epoch"));
    assert_eq!(run.orphans.len(), 1);
    assert_eq!(
        (run.orphans[0].execution, run.orphans[0].attempt),
        (dead.execution(), 1)
    );
    assert_eq!(fixture.row(&run.fence).await.status, Status::Running);
    assert!(
        fixture
            .run()
            .await
            .orphans
            .iter()
            .all(|orphan| orphan.execution == run.fence.execution())
    );
}

#[tokio::test]
async fn a_stale_process_cannot_finish_or_revive_its_row() {
    let fixture = Fixture::new().await;
    let stale = fixture.run().await.fence;
    let current = fixture.run().await.fence;
    let success = Outcome::Success {
        report: serde_json::json!({"checked": 1}),
    };
    let now_ms = fixture.clock.now_ms();
    assert_eq!(
        finish(fixture.control(), &stale, &success, None, now_ms)
            .await
            .unwrap(),
        Finished::Replaced
    );
    assert_eq!(
        heartbeat(fixture.control(), &stale, None).await.unwrap(),
        Heartbeat::Replaced
    );
    assert_eq!(
        fixture.row(&stale).await.failure_kind,
        Some(FailureKind::Orphaned)
    );
    // Nor can it settle the row of its successor under its own epoch.
    let forged = Fence::from_parts(fixture.job.clone(), stale.epoch(), current.execution());
    assert_eq!(
        finish(fixture.control(), &forged, &success, None, now_ms)
            .await
            .unwrap(),
        Finished::Replaced
    );
    assert_eq!(fixture.row(&current).await.status, Status::Running);
    assert!(matches!(
        finish(fixture.control(), &current, &success, None, now_ms)
            .await
            .unwrap(),
        Finished::Done { .. }
    ));
    assert_eq!(fixture.row(&current).await.status, Status::Success);
}

#[tokio::test]
async fn another_services_database_refuses_a_stale_node_too() {
    let (fixture, external) = (Fixture::new().await, TestDb::empty().await);
    install_external_fence(external.pool()).await.unwrap();
    install_external_fence(external.pool()).await.unwrap();
    sqlx::query("CREATE TABLE effects (note TEXT NOT NULL)")
        .execute(external.pool())
        .await
        .unwrap();
    let settings = eidos_core::db::DatabaseSettings::new(external.url().into());
    let pool = eidos_core::db::connect_external(settings, "core-test", "market")
        .await
        .unwrap();
    let write = async |fence: &Fence| -> Result<(), CoreError> {
        let mut step = fence.external_step(&pool).await?;
        sqlx::query("INSERT INTO effects VALUES ('x')")
            .execute(step.conn())
            .await
            .unwrap();
        step.commit().await
    };
    let old = fixture.run().await.fence;
    write(&old).await.unwrap();
    let new = fixture.run().await.fence;
    new.raise_in(&pool).await.unwrap();
    assert!(write(&old).await.unwrap_err().is_fenced());
    write(&new).await.unwrap();
    write(&new).await.unwrap();
    let written: i64 = sqlx::query_scalar("SELECT count(*) FROM effects")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(written, 3);
}

/// What a future leaves that is dropped while its `BEGIN` is on the way.
#[tokio::test]
async fn a_connection_that_is_in_a_transaction_does_not_come_out_of_a_pool() {
    let external = TestDb::empty().await;
    let settings = eidos_core::db::DatabaseSettings::new(external.url().into());
    let pool = eidos_core::db::connect_external(settings, "core-test", "market")
        .await
        .unwrap();
    let session = async |pool: &PgPool| {
        let mut conn = pool.acquire().await.unwrap();
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        (pid, conn)
    };
    let (first, mut conn) = session(&pool).await;
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .execute(&mut *conn)
        .await
        .unwrap();
    drop(conn);
    for _ in 0..10 {
        let (pid, _conn) = session(&pool).await;
        assert_ne!(pid, first, "its transaction would be somebody else's");
    }
}

#[tokio::test]
async fn a_step_on_a_connection_of_its_own_is_fenced_and_leaves_no_unread_answer_behind() {
    let (fixture, external) = (Fixture::new().await, TestDb::empty().await);
    install_external_fence(external.pool()).await.unwrap();
    sqlx::query("CREATE TABLE effects (note TEXT NOT NULL)")
        .execute(external.pool())
        .await
        .unwrap();
    let settings = eidos_core::db::DatabaseSettings::new(external.url().into());
    let pool = eidos_core::db::connect_external(settings, "core-test", "market")
        .await
        .unwrap();
    let old = fixture.run().await.fence.raised_in(&pool).await.unwrap();
    let insert = "INSERT INTO effects VALUES ('x')";
    for commits in [false, true] {
        let mut step = old.step_alone().await.unwrap();
        sqlx::query(insert).execute(step.conn()).await.unwrap();
        if commits {
            step.commit().await.unwrap();
        }
    }
    // A COPY whose rows nobody reads: the next users of the pool get their own answers.
    let mut step = old.step_alone().await.unwrap();
    let copy = "COPY (DELETE FROM effects RETURNING note) TO STDOUT (FORMAT binary)";
    drop(step.conn().copy_out_raw(copy).await.unwrap());
    drop(step);
    for n in 0..20_i32 {
        let answer: i32 = sqlx::query_scalar("SELECT $1")
            .bind(n)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(answer, n);
    }
    let new = fixture.run().await.fence.raised_in(&pool).await.unwrap();
    assert!(old.step_alone().await.err().unwrap().is_fenced());
    let mut step = new.step_alone().await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM effects")
        .fetch_one(step.conn())
        .await
        .unwrap();
    assert_eq!(left, 1, "what was not committed must not be there, what was must");
}

#[tokio::test]
async fn only_a_step_can_write() {
    let fixture = Fixture::new().await;
    fixture.effects_table().await;
    let error = sqlx::query("INSERT INTO effects VALUES ('x')")
        .execute(fixture.jobs.read())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("read-only"), "{error}");
}
