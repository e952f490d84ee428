//! HTTP: who may do what, and what a refusal looks like.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Fixture, OPERATOR, SOON, VIEWER, answer};

fn assert_problem(status: StatusCode, problem: &Value) {
    assert_eq!(problem["status"], status.as_u16(), "{problem}");
    for field in ["type", "title", "detail"] {
        assert!(
            problem[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field} in {problem}"
        );
    }
}

/// A status that a route gives is in the document, unless there is no such route or method.
fn assert_documented(document: &Value, method: &Method, path: &str, status: StatusCode) {
    let steps: Vec<&str> = path.split('/').collect();
    let described = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(pattern, _)| {
            let pattern: Vec<&str> = pattern.split('/').collect();
            let mut pairs = pattern.iter().zip(&steps);
            pattern.len() == steps.len()
                && pairs.all(|(wanted, step)| wanted.starts_with('{') || wanted == step)
        });
    let operation = described.and_then(|(_, operations)| operations.get(method.as_str().to_lowercase()));
    if let Some(operation) = operation {
        let responses = &operation["responses"];
        assert!(
            responses.get(status.as_str()).is_some(),
            "{method} {path}: {status} is not in {responses}"
        );
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_its_status() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let post = |path: &str, token: &str, body: &'static str| {
        node.request(Method::POST, path, token)
            .header("content-type", "application/json")
            .body(body)
    };
    let client = reqwest::Client::builder().timeout(SOON).build().unwrap();
    let large: &'static str = Box::leak(format!("\"{}\"", "x".repeat(70_000)).into_boxed_str());
    let refusals = [
        (
            node.request(Method::GET, "/v1/jobs", ""),
            StatusCode::UNAUTHORIZED,
        ),
        (
            node.request(Method::GET, "/v1/jobs", "wrong"),
            StatusCode::UNAUTHORIZED,
        ),
        (
            node.request(Method::GET, "/v1/things", ""),
            StatusCode::UNAUTHORIZED,
        ),
        (
            node.request(Method::POST, "/v1/things", VIEWER),
            StatusCode::FORBIDDEN,
        ),
        (post("/v1/jobs/fine/trigger", "", "{}"), StatusCode::UNAUTHORIZED),
        (post("/v1/jobs/fine/trigger", VIEWER, "{}"), StatusCode::FORBIDDEN),
        (
            post("/v1/jobs/fine/pause", VIEWER, r#"{"reason":"x"}"#),
            StatusCode::FORBIDDEN,
        ),
        (post("/v1/jobs/fine/resume", VIEWER, "{}"), StatusCode::FORBIDDEN),
        (
            post(
                "/v1/executions/0197a000-0000-7000-8000-000000000000/cancel",
                VIEWER,
                "",
            ),
            StatusCode::FORBIDDEN,
        ),
        (
            post("/v1/jobs/none/trigger", OPERATOR, "{}"),
            StatusCode::NOT_FOUND,
        ),
        (
            node.request(Method::GET, "/v1/jobs/none", VIEWER),
            StatusCode::NOT_FOUND,
        ),
        (
            node.request(Method::GET, "/v1/jobs/fine/report", VIEWER),
            StatusCode::NOT_FOUND,
        ),
        (
            node.request(Method::GET, "/v1/executions/nonsense", VIEWER),
            StatusCode::NOT_FOUND,
        ),
        (
            node.request(Method::GET, "/nowhere", VIEWER),
            StatusCode::NOT_FOUND,
        ),
        (
            node.request(Method::DELETE, "/v1/jobs/fine", OPERATOR),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            post("/v1/jobs/fine/trigger", OPERATOR, "{not json"),
            StatusCode::BAD_REQUEST,
        ),
        (
            node.request(Method::GET, "/v1/jobs/fine/executions?page=minus", VIEWER),
            StatusCode::BAD_REQUEST,
        ),
        (
            node.request(Method::GET, "/v1/jobs/fine/executions?status=odd", VIEWER),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            post("/v1/jobs/fine/trigger", OPERATOR, large),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        (
            post("/v1/jobs/fine/trigger", OPERATOR, r#"{"unknown":1}"#),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            post("/v1/jobs/fine/trigger", OPERATOR, r#"{"params":{"nota":1}}"#),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            post("/v1/jobs/fine/trigger", OPERATOR, r#"{"params":[1]}"#),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            post(
                "/v1/jobs/fine/trigger",
                OPERATOR,
                r#"{"params":{"note":"refuse"}}"#,
            ),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            post("/v1/jobs/fine/trigger", OPERATOR, r#"{"slot":"noon"}"#),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            post(
                "/v1/jobs/fine/trigger",
                OPERATOR,
                r#"{"slot":"2062-01-01T00:00:00Z"}"#,
            ),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            post("/v1/jobs/fine/pause", OPERATOR, "{}"),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ];
    let (_, document) = node.get("/v1/openapi.json").await;
    for (request, expected) in refusals {
        let shown = format!("{request:?}");
        let built = request.build().unwrap();
        assert_documented(&document, built.method(), built.url().path(), expected);
        let response = client.execute(built).await.unwrap();
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        let status = response.status();
        let problem: Value = response.json().await.unwrap();
        assert_eq!(status, expected, "{shown}: {problem}");
        assert_eq!(content_type, "application/problem+json", "{shown}");
        assert_problem(status, &problem);
    }
    // A refused request changes nothing.
    assert_eq!(fixture.count("SELECT count(*) FROM eidos_jobs_triggers").await, 0);
    assert_eq!(
        fixture.count("SELECT count(*) FROM eidos_jobs_executions").await,
        0
    );
    assert_eq!(
        fixture
            .count("SELECT count(*) FROM eidos_jobs_state WHERE paused")
            .await,
        0
    );
    node.serving.shut_down().await;
}

#[tokio::test]
async fn the_same_key_is_the_same_execution_and_another_request_under_it_is_refused() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let trigger = |body: Value| {
        node.request(Method::POST, "/v1/jobs/fine/trigger", OPERATOR)
            .header("Idempotency-Key", "k-1")
            .json(&body)
    };
    let (status, first) = answer(trigger(json!({ "params": { "note": "a" } }))).await;
    assert_eq!((status, &first["created"]), (StatusCode::ACCEPTED, &json!(true)));
    let id = first["execution_id"].as_str().unwrap();
    node.execution_in(id, &["success"]).await;
    let (status, second) = answer(trigger(json!({ "params": { "note": "a" } }))).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(
        (&second["execution_id"], &second["created"]),
        (&first["execution_id"], &json!(false))
    );
    let (status, problem) = answer(trigger(json!({ "params": { "note": "b" } }))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(fixture.history("fine").await.len(), 1);

    let (_, report) = node.get("/v1/jobs/fine/report").await;
    assert_eq!(
        (&report["execution"]["execution_id"], &report["report"]["note"]),
        (&first["execution_id"], &json!("a"))
    );
    node.serving.shut_down().await;
}

#[tokio::test]
async fn a_busy_job_answers_409_except_for_the_key_that_keeps_it_busy() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let with_key = |key: &str| {
        node.request(Method::POST, "/v1/jobs/waits/trigger", OPERATOR)
            .header("Idempotency-Key", key.to_owned())
    };
    let (_, first) = answer(with_key("one")).await;
    let id = first["execution_id"].as_str().unwrap();
    node.execution_in(id, &["running"]).await;
    let (status, problem) = answer(with_key("two")).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_problem(status, &problem);
    assert!(problem["detail"].as_str().unwrap().contains(id), "{problem}");
    let (status, again) = answer(with_key("one")).await;
    assert_eq!(
        (status, &again["execution_id"]),
        (StatusCode::ACCEPTED, &first["execution_id"])
    );

    let (status, _) =
        answer(node.request(Method::POST, &format!("/v1/executions/{id}/cancel"), OPERATOR)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let ended = node.execution_in(id, &["failed"]).await;
    assert_eq!(
        (&ended["failure_kind"], &ended["cancel_requested_by"]),
        (&json!("cancelled"), &json!("otto"))
    );
    assert_eq!(ended["progress"], json!({ "done": 3, "total": 10 }));
    let (status, _) =
        answer(node.request(Method::POST, &format!("/v1/executions/{id}/cancel"), OPERATOR)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    node.serving.shut_down().await;
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    for _ in 0..3 {
        let id = node.trigger("fine", json!({})).await;
        node.execution_in(&id, &["success"]).await;
    }
    let (_, page) = node
        .get("/v1/jobs/fine/executions?page=2&page_size=2&status=success")
        .await;
    assert_eq!(page["executions"].as_array().unwrap().len(), 1);
    let pagination = json!({ "total": 3, "page": 2, "page_size": 2, "total_pages": 2, "has_next": false, "has_previous": true });
    assert_eq!(page["pagination"], pagination);
    let (_, future) = node
        .get("/v1/jobs/fine/executions?from=2199-12-31T00:00:00Z")
        .await;
    assert_eq!(future["pagination"]["total"], 0);
    let (status, jobs) = node.get("/v1/jobs").await;
    assert_eq!((status, jobs.as_array().unwrap().len()), (StatusCode::OK, 11));
    node.serving.shut_down().await;
}

#[tokio::test]
async fn probes_need_no_token_and_details_and_metrics_do() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    for path in ["/live", "/ready"] {
        assert_eq!(
            answer(node.request(Method::GET, path, "")).await.0,
            StatusCode::OK,
            "{path}"
        );
    }
    let (_, short) = answer(node.request(Method::GET, "/health", "")).await;
    assert_eq!(short, json!({ "live": true, "ready": true }));
    let (_, full) = node.get("/health").await;
    let names: Vec<&str> = full["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    assert_eq!(names, ["database.jobs", "redis"]);
    assert_eq!(
        answer(node.request(Method::GET, "/metrics", VIEWER)).await.0,
        StatusCode::UNAUTHORIZED
    );
    let metrics = node.request(Method::GET, "/metrics", "metrics-token-0123456789");
    assert_eq!(answer(metrics).await.0, StatusCode::OK);
    assert_eq!(
        node.request(Method::GET, "/v1/things", VIEWER)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "things"
    );
    assert_eq!(
        node.get("/v1/openapi.json").await.1["info"]["title"],
        "Eidos back office jobs"
    );
    node.serving.shut_down().await;

    let closed = fixture
        .start(&[("EIDOS__SERVICE__EXPOSE_API_DOCS", "false")])
        .await;
    assert_eq!(closed.get("/v1/openapi.json").await.0, StatusCode::NOT_FOUND);
    closed.serving.shut_down().await;
}
