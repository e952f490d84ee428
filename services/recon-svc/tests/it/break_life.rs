//! A break from its detection to its end, on real servers: the program that reconciles, the one that serves, the operator's
//! tool's verification, and what is refused on the way.

use std::time::Duration;

use eidos_recon::audit::Finding;
use eidos_recon::store::audit::{self, Verified};
use eidos_testkit::eventually;
use eidos_types::{BreakId, SystemClock};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::desk::{Desk, OPERATOR, VIEWER};
use crate::fixture::Fixture;

const WITHIN: Duration = Duration::from_mins(1);

async fn verify(fixture: &Fixture) -> Verified {
    let mut conn = fixture.jobs.pool().acquire().await.unwrap();
    audit::verify(&mut conn, None).await.unwrap()
}

/// A world with one break, a warning of ten USDC; its wallet and its id.
async fn broken() -> (Fixture, String, String) {
    let fixture = Fixture::clean().await;
    let wallet = fixture.edit("USDC", 0, "10").await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(report["breaks_found"], 1, "{report:#}");
    let id = report["breaks"][0]["break_id"].as_str().unwrap().to_owned();
    (fixture, wallet, id)
}

#[tokio::test]
async fn from_detection_to_a_clean_reading_and_the_chain_verifies() {
    let (fixture, wallet, id) = broken().await;
    let desk = Desk::of(&fixture).await;
    let listed = desk
        .get(&format!("/v1/breaks?status=open&wallet={wallet}&age=lt_1h"))
        .await;
    assert_eq!(
        listed.body["breaks"][0]["break_id"],
        id.as_str(),
        "{}",
        listed.body
    );

    let seen = desk.get(&format!("/v1/breaks/{id}")).await;
    assert_eq!(
        (&seen.body["status"], &seen.body["version"]),
        (&json!("open"), &json!(1))
    );
    assert_eq!(seen.etag.as_deref(), Some("\"1\""));
    let row = desk
        .edit(&id, "acknowledge", json!({ "version": 1, "note": "on it" }))
        .await;
    assert_eq!(
        (&row["status"], &row["version"]),
        (&json!("acknowledged"), &json!(2))
    );
    let row = desk
        .edit(&id, "assign", json!({ "version": 2, "assignee": "bob" }))
        .await;
    assert_eq!(row["assignee"], "bob");
    let row = desk
        .edit(&id, "comment", json!({ "version": 3, "text": "credited twice" }))
        .await;
    assert_eq!(row["version"], 4);

    seen_again_resolved_and_proven(&fixture, &desk, &wallet, &id).await;
    the_history_is_told(&desk, &id).await;
    tampering_is_found(&fixture, &id).await;
    desk.service.terminate();
}

/// Version 4 is acknowledged, assigned and commented.
async fn seen_again_resolved_and_proven(fixture: &Fixture, desk: &Desk, wallet: &str, id: &str) {
    // A later run sees it again; an acknowledged break still counts.
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(report["breaks"][0]["break_id"], id, "{report:#}");
    let listed = desk
        .get("/v1/breaks?status=unresolved&assignee=bob&dimension=balance")
        .await;
    assert_eq!(listed.body["breaks"][0]["occurrences"], 2, "{}", listed.body);

    let row = desk
        .edit(
            id,
            "resolve",
            json!({ "version": 4, "reason": "the second credit was booked back" }),
        )
        .await;
    assert_eq!((&row["status"], &row["age"]), (&json!("resolved"), &Value::Null));
    // It was not: the next run opens the break again.
    fixture.reconcile(&["--full"], &[]).await;
    let seen = desk.get(&format!("/v1/breaks/{id}")).await;
    assert_eq!(
        (&seen.body["status"], &seen.body["resolved_by"]),
        (&json!("open"), &Value::Null)
    );
    let version = &seen.body["version"];
    desk.edit(
        id,
        "resolve",
        json!({ "version": version, "reason": "now it was" }),
    )
    .await;
    take_back(fixture, wallet).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(
        (&report["breaks_found"], &report["resolved"]),
        (&json!(0), &json!(1)),
        "{report:#}"
    );
}

async fn the_history_is_told(desk: &Desk, id: &str) {
    let end = desk.get(&format!("/v1/breaks/{id}")).await.body;
    assert_eq!(
        (&end["status"], &end["resolved_reason"]),
        (&json!("resolved"), &json!("now it was"))
    );
    let told: Vec<(&str, &str)> = end["history"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|event| (event["event"].as_str().unwrap(), event["by"].as_str().unwrap()))
        .collect();
    let (job, person) = ("reconciliation", told[1].1);
    assert_eq!(
        told,
        [
            ("opened", job),
            ("acknowledged", person),
            ("assigned", person),
            ("commented", person),
            ("seen", job),
            ("resolved", person),
            ("reopened", job),
            ("resolved", person),
            ("proven", job),
        ]
    );
    assert_ne!(person, job);
}

async fn tampering_is_found(fixture: &Fixture, id: &str) {
    let verified = verify(fixture).await;
    assert_eq!((verified.found, verified.links), (0, 9), "{verified:?}");
    sqlx::raw_sql(
        "ALTER TABLE eidos_jobs_break_history DISABLE TRIGGER USER; \
         UPDATE eidos_jobs_break_history SET by = 'mallory' WHERE event = 'resolved' AND id = \
             (SELECT max(id) FROM eidos_jobs_break_history WHERE event = 'resolved'); \
         ALTER TABLE eidos_jobs_break_history ENABLE TRIGGER USER",
    )
    .execute(fixture.jobs.pool())
    .await
    .unwrap();
    let verified = verify(fixture).await;
    assert!(
        matches!(&verified.findings[..], [Finding::Altered { seq: 8, break_id, .. }] if *break_id == id),
        "{verified:?}"
    );
}

/// The books again as the chain has them.
async fn take_back(fixture: &Fixture, wallet: &str) {
    let back = "UPDATE eidos_trading_balances SET settled_available = settled_available - 10 WHERE wallet = $1 AND token = 'USDC'";
    let done = sqlx::query(back)
        .bind(wallet)
        .execute(fixture.books())
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);
}

/// Edits of a break at version 1, the status that refuses them, and what it says.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    ("resolve", r#"{"version": 7, "reason": "x"}"#, 409, "at version 1"),
    ("acknowledge", "{}", 422, "which version"),
    ("acknowledge", r#"{"version": 0}"#, 422, "begin with 1"),
    ("acknowledge", r#"{"version": "1"}"#, 422, "version"),
    (
        "acknowledge",
        r#"{"version": 1, "by": "eve"}"#,
        422,
        "unknown field `by`",
    ),
    ("resolve", r#"{"version": 1}"#, 422, "missing field `reason`"),
    ("resolve", r#"{"version": 1, "reason": "  "}"#, 422, "reason"),
    ("write-off", r#"{"version": 1, "reason": ""}"#, 422, "reason"),
    ("assign", r#"{"version": 1}"#, 422, "missing field `assignee`"),
    ("assign", r#"{"version": 1, "assignee": "a\nb"}"#, 422, "control"),
    ("comment", r#"{"version": 1, "text": ""}"#, 422, "1 to 4000"),
    ("comment", r#"{"version": 1, "text": "a\u0000b"}"#, 400, "NUL"),
    ("comment", "[1]", 422, ""),
    ("comment", "{", 400, ""),
    ("comment", "", 400, ""),
];

#[tokio::test]
async fn what_is_refused_says_why_and_changes_nothing() {
    let (fixture, _, id) = broken().await;
    let desk = Desk::of(&fixture).await;
    let before = desk.get(&format!("/v1/breaks/{id}")).await.body;
    let unknown = BreakId::new(&SystemClock::default()).to_string();
    for (action, body, expected, named) in REFUSED {
        refuses(&desk, &id, action, body, *expected, named).await;
    }
    let body = r#"{"version": 1, "reason": "because"}"#;
    refuses(&desk, &unknown, "resolve", body, 404, "there is no break").await;
    refuses(&desk, "7", "resolve", body, 422, "not the id of a break").await;
    let long = json!({ "version": 1, "reason": "x".repeat(501) }).to_string();
    refuses(&desk, &id, "write-off", &long, 422, "500").await;
    other_requests_are_refused(&desk, &id).await;
    let mut after = desk.get(&format!("/v1/breaks/{id}")).await.body;
    after["age_seconds"] = before["age_seconds"].clone();
    assert_eq!(after, before, "nothing has changed");
    accepted_once(&desk, &id).await;
    desk.service.terminate();
}

async fn refuses(desk: &Desk, id: &str, action: &str, body: &str, expected: u16, named: &str) {
    let path = format!("/v1/breaks/{id}/{action}");
    let request = desk
        .request(Method::POST, &path, OPERATOR)
        .header("content-type", "application/json")
        .body(body.to_owned());
    let answer = Desk::answer(request).await;
    let said = format!("{path} {body}: {}", answer.body);
    assert_eq!(answer.status.as_u16(), expected, "{said}");
    assert_eq!(answer.content_type, "application/problem+json", "{said}");
    assert!(answer.body["detail"].as_str().unwrap().contains(named), "{said}");
    if expected == 409 {
        assert_eq!(answer.body["version"], 1, "{said}");
    }
}

async fn other_requests_are_refused(desk: &Desk, id: &str) {
    let path = format!("/v1/breaks/{id}/acknowledge");
    let post = |token| desk.request(Method::POST, &path, token);
    for (request, expected) in [
        (post(VIEWER).json(&json!({ "version": 1 })), 403),
        (
            post("nobody-knows-this-token").json(&json!({ "version": 1 })),
            401,
        ),
        (post(OPERATOR).header("if-match", "\"2\"").json(&json!({})), 409),
        (post(OPERATOR).header("if-match", "*").json(&json!({})), 422),
        (
            post(OPERATOR)
                .header("if-match", "\"2\"")
                .json(&json!({ "version": 1 })),
            422,
        ),
    ] {
        let answer = Desk::answer(request).await;
        assert_eq!(answer.status.as_u16(), expected, "{}", answer.body);
        assert_eq!(answer.content_type, "application/problem+json", "{}", answer.body);
    }
    for query in [
        "age=old",
        "age=lt_1h&status=ended",
        "status=open,bad",
        "dimension=nothing",
        "limit=1001",
        "assigned=x",
    ] {
        let answer = desk.get(&format!("/v1/breaks?{query}")).await;
        let expected = if query == "assigned=x" { 400 } else { 422 };
        assert_eq!(answer.status.as_u16(), expected, "{query}: {}", answer.body);
    }
}

/// By its header alone, and once.
async fn accepted_once(desk: &Desk, id: &str) {
    let path = format!("/v1/breaks/{id}/acknowledge");
    let post = |token| desk.request(Method::POST, &path, token);
    let accepted = Desk::answer(post(OPERATOR).header("if-match", "\"1\"").json(&json!({}))).await;
    assert_eq!(accepted.status, StatusCode::OK, "{}", accepted.body);
    let again = Desk::answer(post(OPERATOR).json(&json!({ "version": 2 }))).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.body);
    assert!(
        again.body["detail"]
            .as_str()
            .unwrap()
            .contains("it is acknowledged"),
        "{}",
        again.body
    );
}

#[tokio::test]
async fn gauges_show_what_is_unresolved_by_status_severity_and_age() {
    let (fixture, _, id) = broken().await;
    let desk = Desk::observing(&fixture).await;
    let shows = async |series: &str| {
        eventually(series, WITHIN, async || {
            let response = desk
                .client
                .get(format!("{}/metrics", desk.url))
                .send()
                .await
                .unwrap();
            let text = response.error_for_status().unwrap().text().await.unwrap();
            text.lines().find(|line| *line == series).map(|_| ()).ok_or(text)
        })
        .await;
    };
    let unresolved = |dimension: &str, status: &str, severity: &str, count: u8| {
        format!(
            "reconciliation_unresolved_breaks{{dimension=\"{dimension}\",status=\"{status}\",severity=\"{severity}\",age=\"lt_1h\"}} {count}"
        )
    };
    shows(&unresolved("balance", "open", "warning", 1)).await;
    shows(&unresolved("balance", "acknowledged", "warning", 0)).await;
    shows(&unresolved("solvency", "open", "critical", 0)).await;
    shows(
        "reconciliation_oldest_break_seconds{dimension=\"balance\",status=\"open\",severity=\"critical\"} 0",
    )
    .await;
    desk.edit(&id, "acknowledge", json!({ "version": 1 })).await;
    shows(&unresolved("balance", "open", "warning", 0)).await;
    shows(&unresolved("balance", "acknowledged", "warning", 1)).await;
    desk.service.terminate();
}
