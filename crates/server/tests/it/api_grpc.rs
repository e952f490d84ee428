//! gRPC: the same rules under other names, and the figures existing clients ask for.

use eidos_proto::jobs::v1::{
    CancelExecutionRequest, GetExecutionRequest, GetJobStatusRequest, GetStatisticsRequest,
    ListJobExecutionsRequest, PauseJobRequest, ResumeJobRequest, TriggerJobRequest,
};
use eidos_testkit::eventually;
use tonic::{Code, Request};

use crate::harness::{Fixture, OPERATOR, SOON, VIEWER};

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn trigger(job: &str, key: &str, params_json: &str) -> TriggerJobRequest {
    TriggerJobRequest {
        job_name: job.to_owned(),
        idempotency_key: key.to_owned(),
        params_json: params_json.to_owned(),
        ..TriggerJobRequest::default()
    }
}

#[tokio::test]
async fn refusals_have_their_codes() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let mut client = node.grpc().await;
    let refused = [
        (with("", trigger("fine", "", "")), Code::Unauthenticated),
        (with("wrong", trigger("fine", "", "")), Code::Unauthenticated),
        (with(VIEWER, trigger("fine", "", "")), Code::PermissionDenied),
        (with(OPERATOR, trigger("none", "", "")), Code::NotFound),
        (
            with(OPERATOR, trigger("fine", "", "{not json")),
            Code::InvalidArgument,
        ),
        (
            with(OPERATOR, trigger("fine", "", r#"{"nota":1}"#)),
            Code::InvalidArgument,
        ),
    ];
    for (request, code) in refused {
        let shown = format!("{request:?}");
        assert_eq!(
            client.trigger_job(request).await.unwrap_err().code(),
            code,
            "{shown}"
        );
    }
    let pause = PauseJobRequest {
        job_name: "fine".to_owned(),
        reason: "x".to_owned(),
    };
    assert_eq!(
        client.pause_job(with(VIEWER, pause)).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let unknown = GetExecutionRequest {
        execution_id: "0197a000-0000-7000-8000-000000000000".to_owned(),
    };
    assert_eq!(
        client
            .get_execution(with(VIEWER, unknown))
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    assert_eq!(fixture.count("SELECT count(*) FROM eidos_jobs_triggers").await, 0);

    client
        .trigger_job(with(OPERATOR, trigger("waits", "k", "")))
        .await
        .unwrap();
    let busy = client
        .trigger_job(with(OPERATOR, trigger("waits", "l", "")))
        .await
        .unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition);
    node.serving.shut_down().await;
}

#[tokio::test]
async fn an_execution_is_triggered_followed_and_cancelled() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let mut client = node.grpc().await;
    let first = client
        .trigger_job(with(OPERATOR, trigger("waits", "key", "")))
        .await
        .unwrap()
        .into_inner();
    let again = client
        .trigger_job(with(OPERATOR, trigger("waits", "key", "")))
        .await
        .unwrap()
        .into_inner();
    assert!(first.accepted && first.created && again.accepted && !again.created);
    assert_eq!(first.execution_id, again.execution_id);

    let id = first.execution_id;
    eventually("it runs", SOON, async || {
        let request = with(
            VIEWER,
            GetJobStatusRequest {
                job_name: "waits".to_owned(),
            },
        );
        let status = node
            .grpc()
            .await
            .get_job_status(request)
            .await
            .unwrap()
            .into_inner()
            .status
            .unwrap();
        if status.is_locked {
            Ok(())
        } else {
            Err(status.last_status)
        }
    })
    .await;
    client
        .cancel_execution(with(
            OPERATOR,
            CancelExecutionRequest {
                execution_id: id.clone(),
            },
        ))
        .await
        .unwrap();
    eventually("it is cancelled", SOON, async || {
        let request = with(
            VIEWER,
            GetExecutionRequest {
                execution_id: id.clone(),
            },
        );
        let execution = node
            .grpc()
            .await
            .get_execution(request)
            .await
            .unwrap()
            .into_inner()
            .execution
            .unwrap();
        if execution.failure_kind == "cancelled" {
            Ok(())
        } else {
            Err(execution.status)
        }
    })
    .await;
    let list = ListJobExecutionsRequest {
        job_name: "waits".to_owned(),
        ..ListJobExecutionsRequest::default()
    };
    let page = client
        .list_job_executions(with(VIEWER, list))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((page.executions.len(), page.pagination.unwrap().total), (1, 1));
    node.serving.shut_down().await;
}

#[tokio::test]
async fn pause_and_resume_show_in_the_status() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let mut client = node.grpc().await;
    let pause = PauseJobRequest {
        job_name: "fine".to_owned(),
        reason: "migration".to_owned(),
    };
    let paused = client
        .pause_job(with(OPERATOR, pause))
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    assert!(paused.paused && paused.next_run_at == 0);
    assert_eq!(
        (paused.paused_by.as_str(), paused.paused_reason.as_str()),
        ("otto", "migration")
    );
    let refused = client
        .trigger_job(with(OPERATOR, trigger("fine", "", "")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let resume = ResumeJobRequest {
        job_name: "fine".to_owned(),
        ..ResumeJobRequest::default()
    };
    let resumed = client
        .resume_job(with(OPERATOR, resume))
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    assert!(!resumed.paused && resumed.next_run_at > 0);
    node.serving.shut_down().await;
}

#[tokio::test]
async fn a_service_without_reports_says_so() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let mut client = node.grpc().await;
    let refused = client
        .get_statistics(with(VIEWER, GetStatisticsRequest::default()))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    node.serving.shut_down().await;
}
