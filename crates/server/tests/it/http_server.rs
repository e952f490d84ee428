//! The HTTP listener under clients that are slow, silent or many, and under text that the database cannot store.

use std::collections::BTreeSet;
use std::time::Duration;

use eidos_testkit::eventually;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Fixture, Node, OPERATOR, SOON, VIEWER, answer};

const ONE_REQUEST: &[u8] = b"GET /live HTTP/1.1\r\nhost: eidos\r\n\r\n";

async fn connect(node: &Node) -> TcpStream {
    TcpStream::connect(node.serving.http_address()).await.unwrap()
}

/// Sends `bytes` and reads until the server closes the connection.
async fn until_closed(node: &Node, bytes: &[u8]) -> String {
    let mut stream = connect(node).await;
    stream.write_all(bytes).await.unwrap();
    let mut read = Vec::new();
    let reading = stream.read_to_end(&mut read);
    // A reset is as good an end as a close; that there is none in time is not.
    let _closed_or_reset = tokio::time::timeout(SOON, reading).await.unwrap();
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn connections_that_send_nothing_or_half_a_request_are_closed() {
    let fixture = Fixture::new().await;
    let node = fixture
        .start(&[("EIDOS__SERVICE__HTTP_IDLE_TIMEOUT", "300ms")])
        .await;
    assert!(!until_closed(&node, b"").await.contains(" 200 "));
    let half = until_closed(&node, b"GET /live HTTP/1.1\r\nhost: ei").await;
    assert!(!half.contains(" 200 "), "{half}");
    // Idle after an answer.
    let answered = until_closed(&node, ONE_REQUEST).await;
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    // A client that drips a byte now and then does not hold its place by it.
    let mut slow = connect(&node).await;
    eventually("the drip is cut off", SOON, async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        match slow.write_all(b"x").await {
            Ok(()) => Err("still open"),
            Err(_closed) => Ok(()),
        }
    })
    .await;
    node.serving.shut_down().await;
}

#[tokio::test]
async fn probes_are_answered_while_every_connection_is_taken() {
    let fixture = Fixture::new().await;
    let node = fixture
        .start(&[
            ("EIDOS__SERVICE__HTTP_MAX_CONNECTIONS", "4"),
            ("EIDOS__SERVICE__HTTP_IDLE_TIMEOUT", "10m"),
        ])
        .await;
    // Busy ones cannot be closed in favour of another: a body that never comes.
    let mut busy = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&node).await;
        let head = format!(
            "POST /v1/jobs/fine/trigger HTTP/1.1\r\nhost: e\r\nauthorization: Bearer {OPERATOR}\r\ncontent-length: 9\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        busy.push(stream);
    }
    eventually("the places are taken", SOON, async || {
        let (status, problem) = answer(node.request(Method::GET, "/v1/jobs", VIEWER)).await;
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                assert_eq!(
                    problem["type"], "urn:eidos:problem:too-many-connections",
                    "{problem}"
                );
                Ok(())
            }
            other => Err(other),
        }
    })
    .await;
    for path in ["/live", "/ready"] {
        let (status, _) = answer(node.request(Method::GET, path, "")).await;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
    // Silent clients do not take the places of the probes either.
    let silent: Vec<TcpStream> = futures::future::join_all((0..40).map(|_| connect(&node))).await;
    eventually("a probe among silent clients", SOON, async || {
        let probe = node.request(Method::GET, "/live", "").send().await;
        probe
            .map_err(|error| error.to_string())
            .map(|probe| assert_eq!(probe.status(), StatusCode::OK))
    })
    .await;
    drop((busy, silent));
    eventually("the places are free again", SOON, async || {
        match answer(node.request(Method::GET, "/v1/jobs", VIEWER)).await {
            (StatusCode::OK, _) => Ok(()),
            (other, problem) => Err(format!("{other}: {problem}")),
        }
    })
    .await;
    node.serving.shut_down().await;
}

#[tokio::test]
async fn quiet_connections_make_room_for_those_that_ask() {
    let fixture = Fixture::new().await;
    let node = fixture
        .start(&[
            ("EIDOS__SERVICE__HTTP_MAX_CONNECTIONS", "4"),
            ("EIDOS__SERVICE__HTTP_IDLE_TIMEOUT", "10m"),
        ])
        .await;
    let silent: Vec<TcpStream> = futures::future::join_all((0..4).map(|_| connect(&node))).await;
    eventually("somebody who asks is answered", SOON, async || {
        match answer(node.request(Method::GET, "/v1/jobs", VIEWER)).await {
            (StatusCode::OK, _) => Ok(()),
            (other, problem) => Err(format!("{other}: {problem}")),
        }
    })
    .await;
    drop(silent);
    node.serving.shut_down().await;
}

/// It was answered with "the service could not reach its database".
#[tokio::test]
async fn nul_in_a_text_is_a_400_that_changes_nothing() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let nul = json!("a\u{0}b");
    let with_key = node
        .request(Method::POST, "/v1/jobs/fine/trigger", OPERATOR)
        .json(&json!({ "params": { "note": nul } }));
    let pause = node
        .request(Method::POST, "/v1/jobs/fine/pause", OPERATOR)
        .json(&json!({ "reason": nul }));
    for request in [with_key, pause] {
        let shown = format!("{request:?}");
        let (status, problem) = answer(request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{shown}: {problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains("U+0000"),
            "{problem}"
        );
    }
    assert_eq!(fixture.count("SELECT count(*) FROM eidos_jobs_triggers").await, 0);
    assert_eq!(
        fixture
            .count("SELECT count(*) FROM eidos_jobs_state WHERE paused")
            .await,
        0
    );
    node.serving.shut_down().await;
}

#[tokio::test]
async fn a_stored_report_is_shown_as_the_job_printed_it() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    let id = node.trigger("fine", json!({ "params": { "note": "a" } })).await;
    let execution = node.execution_in(&id, &["success"]).await;
    let slot = execution["result"]["slot"].as_str().unwrap();
    assert_eq!(execution["rendered"], format!("slot {slot}"));
    let keys: BTreeSet<&str> = execution["result"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        BTreeSet::from(["attempt", "dry_run", "note", "slot"]),
        "the report alone"
    );
    let (_, report) = node.get("/v1/jobs/fine/report").await;
    assert_eq!(report["execution"]["rendered"], execution["rendered"]);
    let (_, list) = node.get("/v1/jobs/fine/executions").await;
    assert!(list["executions"][0].get("rendered").is_none(), "{list}");
    let (_, job) = node.get("/v1/jobs/fine").await;
    assert_eq!(job["retry"]["max_attempts"], 3, "{job}");
    node.serving.shut_down().await;
}

#[tokio::test]
async fn an_instant_in_another_unit_is_refused_with_its_reading() {
    let fixture = Fixture::new().await;
    let node = fixture.start(&[]).await;
    for (path, body, expected) in [
        (
            "/v1/jobs/fine/executions?from=1767225600",
            None,
            StatusCode::BAD_REQUEST,
        ),
        (
            "/v1/jobs/fine/trigger",
            Some(json!({ "slot": 1_767_225_600 })),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        let (status, problem) = match body {
            Some(body) => node.post(path, &body).await,
            None => node.get(path).await,
        };
        assert_eq!(status, expected, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("1970-01-21") && detail.contains("2026-01-01T00:00:00Z"),
            "{detail}"
        );
    }
    let (status, page) = node
        .get("/v1/jobs/fine/executions?from=1767225600000&until=2026-02-01T00:00:00Z")
        .await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let (status, _) = node
        .get("/v1/jobs/fine/executions?from=1767225600000&until=1767225600000")
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "an empty range");
    node.serving.shut_down().await;
}
