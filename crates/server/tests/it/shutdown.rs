//! SIGTERM's way: nothing new, runs are asked to stop, leases are released, the next node continues.

use eidos_runtime::{Drained, Foreground, RunRequest};
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Fixture, answer};

#[tokio::test]
async fn a_shutdown_cancels_what_runs_and_releases_its_lease() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let id = node.trigger("waits", json!({})).await;
    node.execution_in(&id, &["running"]).await;
    assert_eq!(node.serving.shut_down().await, Drained::Clean);
    let expected = vec![("failed".to_owned(), Some("shutdown".to_owned()), 1)];
    assert_eq!(fixture.history("waits").await, expected);
    // The lease is free at once: a run that would have to wait for it to lapse answers busy.
    let service = fixture.service(&[("EIDOS__JOBS__WAITS__TIMEOUT", "1s")]).await;
    let next = service
        .run_job(RunRequest {
            job: "waits".to_owned(),
            ..RunRequest::default()
        })
        .await
        .unwrap();
    assert!(
        matches!(next, Foreground::Failed { kind: "timeout", .. }),
        "{next:?}"
    );
}

#[tokio::test]
async fn a_node_that_shuts_down_is_not_ready_and_starts_nothing() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let (ready, live) = (
        node.request(reqwest::Method::GET, "/ready", ""),
        node.request(reqwest::Method::GET, "/live", ""),
    );
    let id = node.trigger("waits", json!({})).await;
    node.execution_in(&id, &["running"]).await;
    let url = node.serving.http_address();
    let draining = tokio::spawn(node.serving.shut_down());
    eidos_testkit::eventually("it is not ready", crate::harness::SOON, async || {
        let (status, _) = answer(ready.try_clone().unwrap()).await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    assert_eq!(
        answer(live).await.0,
        StatusCode::OK,
        "{url}: draining is not dead"
    );
    assert_eq!(draining.await.unwrap(), Drained::Clean);
}

#[tokio::test]
async fn a_database_without_our_schema_is_refused_with_the_command_that_helps() {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let fixture = Fixture {
        db: eidos_testkit::TestDb::empty().await,
        redis: eidos_testkit::TestRedis::shared().await,
    };
    let settings = fixture.settings(&[]);
    let clock = std::sync::Arc::new(eidos_types::SystemClock::default());
    let refused = eidos_server::Service::connect(&crate::small_service::definition(), settings, clock).await;
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("eidosctl migrate"), "{message}");
}
