//! Manual triggers: the same key is the same run, any replica may start it, and the cursor stays where it is.

use eidos_core::CoreError;
use eidos_core::execution::{
    CancelOutcome, FailureKind, Heartbeat, Outcome, Status, Trigger, finish, get, heartbeat, request_cancel,
};
use eidos_core::start::triggered;
use eidos_core::state;
use eidos_core::trigger::{CHANNEL, PendingTrigger, TriggerRequest, insert, pending};
use eidos_types::{Clock, ExecutionId};
use futures::future::join_all;
use sqlx::postgres::PgListener;

use crate::world::{SOON, World};

fn request(world: &World, key: &str) -> TriggerRequest {
    TriggerRequest {
        job: world.job.clone(),
        idempotency_key: key.to_owned(),
        execution: ExecutionId::new(&world.clock),
        trigger: Trigger::Manual,
        requested_by: "ann".to_owned(),
        slot: None,
        params: Some(serde_json::json!({"full": true})),
        dry_run: false,
        now_ms: world.clock.now_ms(),
    }
}

async fn waiting(world: &World) -> Vec<PendingTrigger> {
    pending(world.jobs.read(), std::slice::from_ref(&world.job), 10)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_same_key_is_the_same_execution_also_for_eight_at_once() {
    let world = World::new().await;
    let requests: Vec<_> = (0..8).map(|_caller| request(&world, "key-1")).collect();
    let answers = join_all(requests.iter().map(|request| insert(world.control(), request))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.execution == answers[0].execution && !answer.differs)
    );
    assert_eq!(waiting(&world).await.len(), 1);
    let row = get(world.jobs.read(), answers[0].execution)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.status, row.trigger), (Status::Pending, Trigger::Manual));

    let other_key = insert(world.control(), &request(&world, "key-2")).await.unwrap();
    assert!(other_key.created && other_key.execution != answers[0].execution);
    let mut other_job = request(&world, "key-1");
    other_job.job = "archive-data".parse().unwrap();
    assert!(insert(world.control(), &other_job).await.unwrap().created);
}

#[tokio::test]
async fn a_key_used_for_another_request_is_told() {
    let world = World::new().await;
    let first = request(&world, "key");
    insert(world.control(), &first).await.unwrap();
    let changed = TriggerRequest {
        dry_run: true,
        execution: ExecutionId::new(&world.clock),
        ..first.clone()
    };
    let answer = insert(world.control(), &changed).await.unwrap();
    assert!(answer.differs && !answer.created && answer.execution == first.execution);
}

#[tokio::test]
async fn of_eight_replicas_one_starts_a_trigger_and_the_cursor_stays() {
    let world = World::new().await;
    state::register(world.control(), &world.job, world.slot(60))
        .await
        .unwrap();
    let cursor = async || {
        state::get(world.jobs.read(), &world.job)
            .await
            .unwrap()
            .unwrap()
            .last_slot
    };
    let before = cursor().await;
    insert(world.control(), &request(&world, "key")).await.unwrap();
    let found = waiting(&world).await.remove(0);
    assert_eq!(found.requested_by, "ann");
    let starts =
        join_all((0..8).map(|_replica| triggered(world.control(), &found, world.node(), 3, &world.clock)))
            .await;
    let mut runs: Vec<_> = starts.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(runs.len(), 1);
    let fence = runs.remove(0).fence;
    let row = world.row(&fence).await;
    assert_eq!((row.status, row.epoch), (Status::Running, fence.epoch()));
    assert_eq!(row.params, Some(serde_json::json!({"full": true})));
    assert!(waiting(&world).await.is_empty());
    assert_eq!(cursor().await, before);
    // The same key still names this execution, now that it runs.
    let again = insert(world.control(), &request(&world, "key")).await.unwrap();
    assert_eq!((again.execution, again.created), (fence.execution(), false));
}

#[tokio::test]
async fn a_replica_that_listens_hears_of_a_trigger() {
    let world = World::new().await;
    let mut listener = PgListener::connect(&world.db.url()).await.unwrap();
    listener.listen(CHANNEL).await.unwrap();
    insert(world.control(), &request(&world, "key")).await.unwrap();
    let heard = tokio::time::timeout(SOON, listener.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(heard.payload(), "reconciliation");
}

#[tokio::test]
async fn a_pending_run_is_withdrawn_and_a_running_one_hears_of_it() {
    let world = World::new().await;
    let now_ms = world.clock.now_ms();
    let pending_id = insert(world.control(), &request(&world, "a"))
        .await
        .unwrap()
        .execution;
    let cancel = async |execution| request_cancel(world.control(), execution, "bob", now_ms).await;
    assert_eq!(cancel(pending_id).await.unwrap(), CancelOutcome::Withdrawn);
    let row = get(world.jobs.read(), pending_id).await.unwrap().unwrap();
    assert_eq!(
        (row.status, row.failure_kind),
        (Status::Skipped, Some(FailureKind::Cancelled))
    );
    assert!(waiting(&world).await.is_empty());
    assert_eq!(cancel(pending_id).await.unwrap(), CancelOutcome::AlreadyEnded);

    let fence = world.run().await.fence;
    let alive = async || heartbeat(world.control(), &fence, None).await.unwrap();
    assert_eq!(
        alive().await,
        Heartbeat::Alive {
            cancel_requested_by: None
        }
    );
    assert_eq!(cancel(fence.execution()).await.unwrap(), CancelOutcome::Requested);
    assert_eq!(
        alive().await,
        Heartbeat::Alive {
            cancel_requested_by: Some("bob".to_owned())
        }
    );
    let ended = Outcome::Failed {
        kind: FailureKind::Cancelled,
        message: "cancelled by bob".to_owned(),
        report: None,
    };
    finish(world.control(), &fence, &ended, None, now_ms)
        .await
        .unwrap();
    assert_eq!(
        cancel(fence.execution()).await.unwrap(),
        CancelOutcome::AlreadyEnded
    );
    let unknown = ExecutionId::new(&world.clock);
    assert!(matches!(cancel(unknown).await, Err(CoreError::NoSuchExecution(id)) if id == unknown));
}
