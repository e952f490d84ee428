//! The API side: what is sent, how refusals and lost answers are reported, which exit code they have.
//!
//! The answers are canned here because most of them are a service misbehaving on request (no answer, half an answer, a
//! proxy's page). That the real service understands the tool is tested where the service is.

use serde_json::{Value, json};

use crate::canned::{Answer, Canned, TOKEN, problem};
use crate::program::eidosctl;

#[tokio::test]
async fn a_trigger_sends_key_parameters_and_token() {
    let service = Canned::start(vec![Answer::Json(
        202,
        json!({ "execution_id": "e-1", "created": true }),
    )])
    .await;
    let ran = service
        .run(&[
            "trigger",
            "reconciliation",
            "--idempotency-key",
            "k1",
            "--param",
            "full=true",
            "--dry-run",
        ])
        .await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "e-1: requested\n"),
        "{}",
        ran.err
    );

    let request = service.request(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /v1/jobs/reconciliation/trigger HTTP/1.1"),
        "{head}"
    );
    assert!(head.contains("idempotency-key: k1"), "{head}");
    assert!(head.contains(&format!("authorization: Bearer {TOKEN}")), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, json!({ "params": { "full": true }, "dry_run": true }));
}

#[tokio::test]
async fn refusals_are_readable_and_have_their_exit_codes() {
    for (answer, code, says) in [
        (problem(401, "Unauthorized", "send a token"), 77, "EIDOS_TOKEN"),
        (
            problem(403, "Forbidden", "this needs the role operator"),
            77,
            "this needs the role operator",
        ),
        (
            problem(404, "Not found", "there is no job x"),
            1,
            "there is no job x",
        ),
        (problem(409, "Busy", "reconciliation is busy with e-7"), 75, "e-7"),
        (
            problem(422, "Invalid", "unknown field `ful`"),
            1,
            "unknown field `ful`",
        ),
        (Answer::Text(502, "<html>bad gateway</html>"), 1, "HTTP 502"),
        (
            Answer::Text(200, "<html>welcome</html>"),
            1,
            "did not answer with JSON",
        ),
    ] {
        let service = Canned::start(vec![answer]).await;
        let ran = service.run(&["trigger", "reconciliation"]).await;
        assert_eq!(ran.code, code, "{}", ran.err);
        assert!(ran.err.contains(says), "{}", ran.err);
        assert!(!ran.err.contains(TOKEN), "{}", ran.err);
    }
}

#[tokio::test]
async fn a_lost_answer_says_how_to_repeat_safely() {
    let service = Canned::start(vec![Answer::Nothing]).await;
    let ran = service
        .run(&["trigger", "reconciliation", "--idempotency-key", "k-42"])
        .await;
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(
        ran.err.contains("not known") && ran.err.contains("--idempotency-key k-42"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn nobody_at_the_address_is_exit_69() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let ran = eidosctl(&["jobs", "--url", &format!("http://127.0.0.1:{port}")], &[]).await;
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(ran.err.contains(&port.to_string()), "{}", ran.err);
}

#[tokio::test]
async fn waiting_ends_with_the_run_and_its_verdict() {
    let run = |status: &str, error: Value| {
        let view = json!({ "execution_id": "e-1", "job": "reconciliation", "status": status, "error_message": error });
        Answer::Json(200, view)
    };
    let accepted = || Answer::Json(202, json!({ "execution_id": "e-1", "created": true }));
    let service = Canned::start(vec![
        accepted(),
        run("running", Value::Null),
        run("success", Value::Null),
    ])
    .await;
    let ran = service.run(&["trigger", "reconciliation", "--wait"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("success"), "{}", ran.out);

    let service = Canned::start(vec![accepted(), run("failed", json!("the node is gone"))]).await;
    let ran = service
        .run(&["trigger", "reconciliation", "--wait", "--format", "json"])
        .await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.err
            .contains("e-1 of reconciliation ended as failed: the node is gone"),
        "{}",
        ran.err
    );
    assert_eq!(
        serde_json::from_str::<Value>(&ran.out).unwrap()["status"],
        "failed"
    );

    let service = Canned::start(vec![accepted(), run("running", Value::Null)]).await;
    let ran = service
        .run(&["trigger", "reconciliation", "--wait", "--wait-timeout", "1s"])
        .await;
    assert_eq!(ran.code, 75, "{}", ran.err);
}

#[tokio::test]
async fn waiting_follows_the_attempts_of_a_run_that_is_tried_again() {
    let execution = |id: &str, attempt: u32, status: &str| {
        json!({
            "execution_id": id, "job": "reconciliation", "status": status, "attempt": attempt, "idempotency_key": "k",
            "failure_kind": if status == "failed" { json!("error") } else { Value::Null },
            "error_message": if status == "failed" { json!("the node is busy") } else { Value::Null },
            "rendered": "Reconciliation: chain and books agree\n",
        })
    };
    let job = json!({ "job": "reconciliation", "retry": { "max_attempts": 3, "base_ms": 1, "max_ms": 1 } });
    let service = Canned::start(vec![
        Answer::Json(202, json!({ "execution_id": "e-1", "created": true })),
        Answer::Json(200, execution("e-1", 1, "failed")),
        Answer::Json(200, job.clone()),
        Answer::Json(200, json!({ "executions": [execution("e-1", 1, "failed")] })),
        Answer::Json(
            200,
            json!({ "executions": [execution("e-2", 2, "running"), execution("e-1", 1, "failed")] }),
        ),
        Answer::Json(200, execution("e-2", 2, "success")),
    ])
    .await;
    let arguments = ["trigger", "reconciliation", "--wait", "--idempotency-key", "k"];
    let ran = service.run(&arguments).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.contains("e-2") && ran.out.contains("chain and books agree"),
        "{}",
        ran.out
    );

    // The last attempt decides, and no further one is waited for.
    let service = Canned::start(vec![
        Answer::Json(202, json!({ "execution_id": "e-3", "created": true })),
        Answer::Json(200, execution("e-3", 3, "failed")),
        Answer::Json(200, job),
    ])
    .await;
    let ran = service.run(&arguments).await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.err.contains("e-3") && ran.err.contains("the node is busy"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_report_is_what_the_job_printed() {
    let printed = "Reconciliation, balance, full: 2 breaks (1 critical)\n┌──────┐\n│ USDC │\n└──────┘\n";
    let execution =
        json!({ "execution_id": "e-1", "job": "reconciliation", "status": "success", "rendered": printed });
    let answer = json!({ "execution": execution, "report": { "mode": "full" } });
    let service = Canned::start(vec![Answer::Json(200, answer)]).await;
    let ran = service.run(&["report", "reconciliation"]).await;
    assert!(ran.code == 0 && ran.out.ends_with(printed), "{}", ran.out);
    assert!(!ran.out.contains("\"mode\""), "{}", ran.out);
}

#[tokio::test]
async fn a_parameter_given_twice_is_refused_before_anything_is_sent() {
    let service = Canned::start(vec![Answer::Json(202, json!({}))]).await;
    let ran = service
        .run(&[
            "trigger",
            "reconciliation",
            "--param",
            "full=true",
            "--param",
            "full=false",
        ])
        .await;
    assert_eq!(ran.code, 78, "{}", ran.err);
    assert!(ran.err.contains("full is given twice"), "{}", ran.err);
    assert!(service.requests().is_empty());
}

#[tokio::test]
async fn shells_get_their_completion_script_without_a_service() {
    for shell in ["bash", "fish", "zsh"] {
        let ran = eidosctl(&["completions", shell], &[]).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(
            ran.out.contains("executions") && ran.out.contains("pauses"),
            "{shell}"
        );
    }
}

#[tokio::test]
async fn lists_ask_for_pages_and_say_when_there_is_more() {
    let page = json!({
        "executions": [{ "execution_id": "e-1", "status": "failed", "failure_kind": "timeout", "duration_ms": 1500 }],
        "pagination": { "total": 2, "page": 1, "page_size": 1, "total_pages": 2, "has_next": true, "has_previous": false },
    });
    let service = Canned::start(vec![Answer::Json(200, page)]).await;
    let ran = service
        .run(&[
            "executions",
            "reconciliation",
            "--status",
            "failed",
            "--limit",
            "1",
        ])
        .await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        service
            .request(0)
            .starts_with("GET /v1/jobs/reconciliation/executions?status=failed&page_size=1 ")
    );
    assert!(
        ran.out.contains("timeout") && ran.out.contains("1s 500ms") && ran.out.contains("raise --limit"),
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn lifting_a_pause_says_why() {
    let service = Canned::start(vec![Answer::Json(200, json!({}))]).await;
    let ran = service
        .run(&[
            "pauses",
            "lift",
            "withdrawal",
            "USDC",
            "--reason",
            "deposit 0x1 credited",
        ])
        .await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "withdrawal USDC: lifted\n"),
        "{}",
        ran.err
    );
    let request = service.request(0);
    assert!(
        request.starts_with("POST /v1/pauses/withdrawal/USDC/lift "),
        "{request}"
    );
    assert!(
        request.ends_with(r#"{"reason":"deposit 0x1 credited"}"#),
        "{request}"
    );
}

#[tokio::test]
async fn the_token_comes_from_a_file_too_and_a_missing_file_is_exit_78() {
    let service = Canned::start(vec![Answer::Json(200, json!([]))]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let path = file.to_str().unwrap();
    let ran = eidosctl(&["jobs", "--url", &service.url, "--token-file", path], &[]).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "the service has no jobs\n"),
        "{}",
        ran.err
    );
    assert!(
        service
            .request(0)
            .contains(&format!("authorization: Bearer {TOKEN}"))
    );

    let ran = eidosctl(&["jobs", "--token-file", "/nowhere/token"], &[]).await;
    assert_eq!(ran.code, 78, "{}", ran.err);
    assert!(ran.err.contains("/nowhere/token"), "{}", ran.err);
}

#[tokio::test]
async fn the_service_picks_breaks_by_severity_and_id_and_says_where_the_next_page_begins() {
    let row = |id: &str, severity: &str| json!({ "break_id": id, "severity": severity, "token": "USDC", "diff_value": "-100.5", "evidence": { "block": 7 } });
    let (critical, warning) = (
        "0199f5a0-0000-7000-8000-000000000001",
        "0199f5a0-0000-7000-8000-000000000002",
    );
    let page = json!({ "breaks": [row(critical, "critical")], "next": critical });
    let none = problem(
        404,
        "Not Found",
        "there is no break 0199f5a0-0000-7000-8000-000000000003",
    );
    let service = Canned::start(vec![
        Answer::Json(200, page),
        Answer::Json(200, json!({ "breaks": [], "next": null })),
        Answer::Json(200, row(warning, "warning")),
        none,
    ])
    .await;

    let ran = service
        .run(&["breaks", "--status", "open", "--severity", "critical"])
        .await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.contains(&format!("go on with --after {critical}")),
        "{}",
        ran.out
    );
    let request = service.request(0);
    assert!(
        request.starts_with("GET /v1/breaks?status=open&severity=critical&limit=50 "),
        "{request}"
    );

    let ran = service.run(&["breaks", "--after", critical]).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "no breaks\n"), "{}", ran.err);
    let request = service.request(1);
    assert!(
        request.starts_with(&format!("GET /v1/breaks?after={critical}&limit=50 ")),
        "{request}"
    );

    let ran = service.run(&["breaks", warning]).await;
    assert!(ran.code == 0 && ran.out.contains("\"block\": 7"), "{}", ran.out);
    let request = service.request(2);
    assert!(
        request.starts_with(&format!("GET /v1/breaks/{warning} ")),
        "{request}"
    );
    let ran = service
        .run(&["breaks", "0199f5a0-0000-7000-8000-000000000003"])
        .await;
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.err.contains("there is no break"), "{}", ran.err);
}

#[tokio::test]
async fn pauses_are_read_to_the_last_page() {
    let pause = |id: u32, token: &str| json!({ "id": id, "operation": "withdrawal", "token": token, "lifted_at": null });
    let service = Canned::start(vec![
        Answer::Json(200, json!({ "pauses": [pause(9, "USDC")], "next": 9 })),
        Answer::Json(200, json!({ "pauses": [pause(3, "WETH")], "next": null })),
    ])
    .await;
    let ran = service.run(&["pauses"]).await;
    assert!(
        ran.out.contains("USDC") && ran.out.contains("WETH"),
        "{}",
        ran.out
    );
    let request = service.request(1);
    assert!(
        request.starts_with("GET /v1/pauses?active=true&limit=1000&after=9 "),
        "{request}"
    );
}

#[tokio::test]
async fn only_pauses_in_force_are_listed_unless_all_are_asked_for() {
    let answer = json!({ "pauses": [
        { "operation": "withdrawal", "token": "USDC", "lifted_at": null },
        { "operation": "deposit", "token": "WETH", "lifted_at": "2026-01-01T00:00:00Z", "lifted_by": "ann" },
    ] });
    let service = Canned::start(vec![Answer::Json(200, answer)]).await;
    let ran = service.run(&["pauses"]).await;
    assert!(
        ran.out.contains("USDC") && !ran.out.contains("WETH"),
        "{}",
        ran.out
    );
    let ran = service.run(&["pauses", "list", "--all"]).await;
    assert!(ran.out.contains("USDC") && ran.out.contains("ann"), "{}", ran.out);
}
