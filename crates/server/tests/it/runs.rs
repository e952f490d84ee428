//! How a run ends: report, error, retries, panic, timeout, cancellation, and in the foreground.

use eidos_runtime::{BadRunRequest, Foreground, RunRequest};
use eidos_types::Slot;
use serde_json::json;

use crate::harness::Fixture;

fn row(status: &str, kind: Option<&str>, attempt: i32) -> (String, Option<String>, i32) {
    (status.to_owned(), kind.map(str::to_owned), attempt)
}

fn run(job: &str) -> RunRequest {
    RunRequest {
        job: job.to_owned(),
        ..RunRequest::default()
    }
}

#[tokio::test]
async fn a_failing_job_is_tried_again_until_it_succeeds() {
    let fixture = Fixture::new().await;
    let service = fixture.service(&[]).await;
    let ended = service.run_job(run("flaky")).await.unwrap();
    let Foreground::Success { report, rendered, .. } = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(report["attempt"], 3);
    assert!(rendered.starts_with("slot "), "{rendered}");
    let failed = |attempt| row("failed", Some("error"), attempt);
    assert_eq!(
        fixture.history("flaky").await,
        [failed(1), failed(2), row("success", None, 3)]
    );
}

#[tokio::test]
async fn retries_end() {
    let fixture = Fixture::new().await;
    let ended = fixture.service(&[]).await.run_job(run("hopeless")).await.unwrap();
    assert!(
        matches!(ended, Foreground::Failed { kind: "error", .. }),
        "{ended:?}"
    );
    assert_eq!(fixture.history("hopeless").await.len(), 3);
}

#[tokio::test]
async fn a_panic_is_a_recorded_failure_and_the_next_run_works() {
    let fixture = Fixture::new().await;
    let service = fixture.service(&[]).await;
    let ended = service.run_job(run("panics")).await.unwrap();
    let Foreground::Failed {
        kind: "panic",
        message,
        ..
    } = ended
    else {
        panic!("{ended:?}")
    };
    assert!(message.contains("index out of patience"), "{message}");
    let calm = RunRequest {
        params: json!({ "note": "calm" }),
        ..run("panics")
    };
    assert!(matches!(
        service.run_job(calm).await.unwrap(),
        Foreground::Success { .. }
    ));
    assert_eq!(
        fixture.history("panics").await,
        [row("failed", Some("panic"), 1), row("success", None, 1)]
    );
}

#[tokio::test]
async fn a_job_that_ignores_its_timeout_is_dropped_and_keeps_its_lease_until_it_lapses() {
    let fixture = Fixture::new().await;
    let service = fixture.service(&[]).await;
    let ended = service.run_job(run("deaf")).await.unwrap();
    assert!(
        matches!(ended, Foreground::Failed { kind: "timeout", .. }),
        "{ended:?}"
    );
    let next = service.run_job(run("deaf")).await.unwrap();
    assert!(
        matches!(next, Foreground::Busy { .. }),
        "the lease must not be released: {next:?}"
    );
}

#[tokio::test]
async fn two_runs_of_one_job_do_not_meet() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let id = node.trigger("waits", json!({})).await;
    node.execution_in(&id, &["running"]).await;
    let busy = fixture.service(&[]).await.run_job(run("waits")).await.unwrap();
    assert!(matches!(busy, Foreground::Busy { .. }), "{busy:?}");
    assert_eq!(
        fixture.history("waits").await.len(),
        1,
        "a refused run leaves no row"
    );
    node.serving.shut_down().await;
}

#[tokio::test]
async fn unknown_jobs_and_parameters_are_refused_before_anything_is_written() {
    let fixture = Fixture::new().await;
    let service = fixture.service(&[]).await;
    for request in [
        run("none"),
        RunRequest {
            params: json!({ "nota": 1 }),
            ..run("fine")
        },
    ] {
        let error = service.run_job(request).await.unwrap_err();
        assert!(error.is::<BadRunRequest>(), "{error}");
    }
    assert_eq!(
        fixture.count("SELECT count(*) FROM eidos_jobs_executions").await,
        0
    );
}

#[tokio::test]
async fn a_dry_run_cannot_write() {
    let fixture = Fixture::new().await;
    let service = fixture.service(&[]).await;
    let dry = RunRequest {
        dry_run: true,
        ..run("writes")
    };
    assert!(matches!(
        service.run_job(dry.clone()).await.unwrap(),
        Foreground::Success { .. }
    ));
    let careless = RunRequest {
        params: json!({ "note": "write anyway" }),
        ..dry
    };
    let ended = service.run_job(careless).await.unwrap();
    let Foreground::Failed {
        kind: "error",
        message,
        ..
    } = ended
    else {
        panic!("{ended:?}")
    };
    assert!(message.contains("dry run"), "{message}");
    assert_eq!(
        fixture.count("SELECT count(*) FROM eidos_jobs_checkpoints").await,
        0
    );
}

#[tokio::test]
async fn a_run_works_for_its_slot_and_continues_from_its_checkpoint() {
    let fixture = Fixture::new().await;
    let service = fixture.service(&[]).await;
    let slot = Slot::at("2026-01-01T10:00:00Z".parse().unwrap());
    for expected in 1..=2_i64 {
        let ended = service
            .run_job(RunRequest {
                slot: Some(slot),
                ..run("writes")
            })
            .await
            .unwrap();
        let Foreground::Success { report, .. } = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(report["slot"], "2026-01-01T10:00:00Z");
        assert_eq!(
            fixture
                .count("SELECT value::text::bigint FROM eidos_jobs_checkpoints")
                .await,
            expected
        );
    }
}
