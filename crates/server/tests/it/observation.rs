//! Every replica knows what any replica's last run left.

use eidos_testkit::eventually;
use serde_json::json;

use crate::harness::{Fixture, Node, SOON};
use crate::small_service::SEEN;

async fn run(replica: &Node, note: &str, more: serde_json::Value) {
    let mut body = json!({ "params": { "note": note } });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let id = replica.trigger("observed", body).await;
    replica.execution_in(&id, &["success", "failed"]).await;
}

/// What the looks of all nodes of this fixture have found since `from`.
fn seen(fixture: &Fixture, from: usize) -> Vec<Option<String>> {
    let database = fixture
        .db
        .pool()
        .connect_options()
        .get_database()
        .unwrap()
        .to_owned();
    let all = SEEN.lock().unwrap();
    let seen = all.get(&database).into_iter().flatten();
    seen.skip(from).cloned().collect()
}

async fn until_seen(fixture: &Fixture, from: usize, note: &str) {
    eventually("the note is seen", SOON, async || {
        let seen = seen(fixture, from);
        if seen.contains(&Some(note.to_owned())) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_never_ran_a_job_sees_what_its_last_run_left() {
    let fixture = Fixture::new().await;
    let often = ("EIDOS__SCHEDULER__OBSERVE_INTERVAL", "100ms");
    let rarely = ("EIDOS__SCHEDULER__OBSERVE_INTERVAL", "1h");
    let runs = fixture.start(&[rarely]).await;
    eventually("a look at the start", SOON, async || {
        let seen = seen(&fixture, 0);
        if seen == [None] {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
    run(&runs, "first", json!({})).await;
    let watches = fixture.start(&[often]).await;
    until_seen(&fixture, 1, "first").await;
    run(&runs, "second", json!({})).await;
    until_seen(&fixture, 1, "second").await;
    // It says what was done before it failed.
    run(&runs, "fails", json!({})).await;
    until_seen(&fixture, 1, "fails").await;
    run(&runs, "not real", json!({ "dry_run": true })).await;
    let from = seen(&fixture, 0).len();
    until_seen(&fixture, from + 2, "fails").await;
    assert!(!seen(&fixture, 0).contains(&Some("not real".to_owned())));
    watches.serving.shut_down().await;
    let stopped = seen(&fixture, 0).len();
    run(&runs, "unseen", json!({})).await;
    assert_eq!(seen(&fixture, stopped), []);
    runs.serving.shut_down().await;
}
