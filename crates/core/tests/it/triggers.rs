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

use crate::fixture::{Fixture, SOON};

fn request(fixture: &Fixture, key: &str) -> TriggerRequest {
    TriggerRequest {
        job: fixture.job.clone(),
        idempotency_key: key.to_owned(),
        execution: ExecutionId::new(&fixture.clock),
        trigger: Trigger::Manual,
        requested_by: "ann".to_owned(),
        slot: None,
        params: Some(serde_json::json!({"full": true})),
        dry_run: false,
        now_ms: fixture.clock.now_ms(),
    }
}

async fn waiting(fixture: &Fixture) -> Vec<PendingTrigger> {
    pending(fixture.jobs.read(), std::slice::from_ref(&fixture.job), 10)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_same_key_is_the_same_execution_also_for_eight_at_once() {
    let fixture = Fixture::new().await;
    let requests: Vec<_> = (0..8).map(|_caller| request(&fixture, "key-1")).collect();
    let answers = join_all(requests.iter().map(|request| insert(fixture.control(), request))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.execution == answers[0].execution && !answer.differs)
    );
    assert_eq!(waiting(&fixture).await.len(), 1);
    let row = get(fixture.jobs.read(), answers[0].execution)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.status, row.trigger), (Status::Pending, Trigger::Manual));

    let other_key = insert(fixture.control(), &request(&fixture, "key-2"))
        .await
        .unwrap();
    assert!(other_key.created && other_key.execution != answers[0].execution);
    let mut other_job = request(&fixture, "key-1");
    other_job.job = "archive-data".parse().unwrap();
    assert!(insert(fixture.control(), &other_job).await.unwrap().created);
}

#[tokio::test]
async fn a_key_used_for_another_request_is_told() {
    let fixture = Fixture::new().await;
    let first = request(&fixture, "key");
    insert(fixture.control(), &first).await.unwrap();
    let changed = TriggerRequest {
        dry_run: true,
        execution: ExecutionId::new(&fixture.clock),
        ..first.clone()
    };
    let answer = insert(fixture.control(), &changed).await.unwrap();
    assert!(answer.differs && !answer.created && answer.execution == first.execution);
}

#[tokio::test]
async fn of_eight_replicas_one_starts_a_trigger_and_the_cursor_stays() {
    let fixture = Fixture::new().await;
    state::register(fixture.control(), &fixture.job, fixture.slot(60))
        .await
        .unwrap();
    let cursor = async || {
        state::get(fixture.jobs.read(), &fixture.job)
            .await
            .unwrap()
            .unwrap()
            .last_slot
    };
    let before = cursor().await;
    insert(fixture.control(), &request(&fixture, "key"))
        .await
        .unwrap();
    let found = waiting(&fixture).await.remove(0);
    assert_eq!(found.requested_by, "ann");
    let starts = join_all(
        (0..8).map(|_replica| triggered(fixture.control(), &found, fixture.node(), 3, &fixture.clock)),
    )
    .await;
    let mut runs: Vec<_> = starts.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(runs.len(), 1);
    let fence = runs.remove(0).fence;
    let row = fixture.row(&fence).await;
    assert_eq!((row.status, row.epoch), (Status::Running, fence.epoch()));
    assert_eq!(row.params, Some(serde_json::json!({"full": true})));
    assert!(waiting(&fixture).await.is_empty());
    assert_eq!(cursor().await, before);
    // The same key still names this execution, now that it runs.
    let again = insert(fixture.control(), &request(&fixture, "key"))
        .await
        .unwrap();
    assert_eq!((again.execution, again.created), (fence.execution(), false));
}

#[tokio::test]
async fn a_replica_that_listens_hears_of_a_trigger() {
    let fixture = Fixture::new().await;
    let mut listener = PgListener::connect(&fixture.db.url()).await.unwrap();
    listener.listen(CHANNEL).await.unwrap();
    insert(fixture.control(), &request(&fixture, "key"))
        .await
        .unwrap();
    let heard = tokio::time::timeout(SOON, listener.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(heard.payload(), "reconciliation");
}

#[tokio::test]
async fn a_pending_run_is_withdrawn_and_a_running_one_hears_of_it() {
    let fixture = Fixture::new().await;
    let now_ms = fixture.clock.now_ms();
    let pending_id = insert(fixture.control(), &request(&fixture, "a"))
        .await
        .unwrap()
        .execution;
    let cancel = async |execution| request_cancel(fixture.control(), execution, "bob", now_ms).await;
    assert_eq!(cancel(pending_id).await.unwrap(), CancelOutcome::Withdrawn);
    let row = get(fixture.jobs.read(), pending_id).await.unwrap().unwrap();
    assert_eq!(
        (row.status, row.failure_kind),
        (Status::Skipped, Some(FailureKind::Cancelled))
    );
    assert!(waiting(&fixture).await.is_empty());
    assert_eq!(cancel(pending_id).await.unwrap(), CancelOutcome::AlreadyEnded);

    let fence = fixture.run().await.fence;
    let alive = async || heartbeat(fixture.control(), &fence, None).await.unwrap();
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
    finish(fixture.control(), &fence, &ended, None, now_ms)
        .await
        .unwrap();
    assert_eq!(
        cancel(fence.execution()).await.unwrap(),
        CancelOutcome::AlreadyEnded
    );
    let unknown = ExecutionId::new(&fixture.clock);
    assert!(matches!(cancel(unknown).await, Err(CoreError::NoSuchExecution(id)) if id == unknown));
}
