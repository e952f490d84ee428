//! `breaks`: what is asked of the service, and `audit verify` against a real database.

use eidos_testkit::TestDb;
use serde_json::{Value, json};

use crate::canned::{Answer, Canned, problem};
use crate::program::{Ran, eidosctl};

const BREAK: &str = "0199f5a0-0000-7000-8000-000000000001";

fn row(version: i64) -> Answer {
    let event = json!({ "at": "2026-12-01T00:00:00Z", "event": "opened", "by": "reconciliation", "version": 1, "seq": 7 });
    Answer::Json(
        200,
        json!({
            "break_id": BREAK, "version": version, "status": "open", "severity": "critical", "age": "lt_24h",
            "assignee": "ann", "evidence": { "block": 7 }, "history": [event], "older_events": false,
        }),
    )
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn an_edit_names_the_version_that_was_seen_or_the_present_one() {
    for (arguments, action, expected) in [
        (
            &["ack", "--note", "on it"][..],
            "acknowledge",
            json!({ "note": "on it" }),
        ),
        (
            &["assign", "--to", "bob"],
            "assign",
            json!({ "assignee": "bob", "note": null }),
        ),
        (
            &["assign", "--nobody"],
            "assign",
            json!({ "assignee": null, "note": null }),
        ),
        (&["comment", "--text", "hm"], "comment", json!({ "text": "hm" })),
        (
            &["resolve", "--reason", "booked"],
            "resolve",
            json!({ "reason": "booked" }),
        ),
        (
            &["write-off", "--reason", "lost"],
            "write-off",
            json!({ "reason": "lost" }),
        ),
    ] {
        for seen in [None, Some("3")] {
            let service = Canned::start(vec![row(5)]).await;
            let mut line = vec!["breaks", arguments[0], BREAK];
            line.extend(&arguments[1..]);
            line.extend(seen.into_iter().flat_map(|seen| ["--seen", seen]));
            let ran = service.run(&line).await;
            assert_eq!(ran.code, 0, "{line:?}: {}", ran.err);
            assert!(ran.out.contains(BREAK), "{}", ran.out);
            let requests = service.requests();
            let last = requests.last().unwrap();
            assert!(
                last.starts_with(&format!("POST /v1/breaks/{BREAK}/{action} HTTP/1.1")),
                "{last}"
            );
            let mut expected = expected.clone();
            expected["version"] = if seen.is_some() { 3 } else { 5 }.into();
            assert_eq!(
                (body(last), requests.len()),
                (expected, if seen.is_some() { 1 } else { 2 })
            );
        }
    }
}

#[tokio::test]
async fn an_explanation_is_printed_as_it_is_told() {
    let told = json!({ "break_id": BREAK, "text": "Break x\n\nCause: duplicate\n", "explanation": { "cause": "duplicate" } });
    let service = Canned::start(vec![Answer::Json(200, told.clone()), Answer::Json(200, told)]).await;
    let ran = service.run(&["breaks", "explain", BREAK]).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "Break x\n\nCause: duplicate\n"),
        "{}",
        ran.err
    );
    let ran = service
        .run(&["breaks", "explain", BREAK, "--format", "json"])
        .await;
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["explanation"]["cause"], "duplicate");
    let asked = format!("GET /v1/breaks/{BREAK}/explanation HTTP/1.1");
    assert!(
        service
            .requests()
            .iter()
            .all(|request| request.starts_with(&asked)),
        "{:?}",
        service.requests()
    );
}

#[tokio::test]
async fn a_break_that_was_changed_meanwhile_is_exit_75_and_its_version_is_said() {
    let Answer::Json(status, mut stale) = problem(409, "Changed meanwhile", "break x is at version 9") else {
        unreachable!()
    };
    stale["version"] = 9.into();
    let service = Canned::start(vec![Answer::Json(status, stale)]).await;
    let ran = service.run(&["breaks", "ack", BREAK, "--seen", "3"]).await;
    assert_eq!(ran.code, 75, "{}", ran.err);
    assert!(ran.err.contains("version: 9"), "{}", ran.err);
}

#[tokio::test]
async fn lists_are_filtered_by_the_service_and_one_break_has_its_history() {
    let service = Canned::start(vec![
        Answer::Json(200, json!({ "breaks": [], "next": null })),
        row(2),
    ])
    .await;
    let ran = service
        .run(&[
            "breaks",
            "list",
            "--status",
            "unresolved",
            "--dimension",
            "balance",
            "--subject",
            "0xab/USDC",
            "--assignee",
            "ann",
            "--age",
            "ge_7d",
            "--limit",
            "7",
        ])
        .await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "no breaks\n"), "{}", ran.err);
    let request = service.request(0);
    assert!(
        request.starts_with(
            "GET /v1/breaks?status=unresolved&dimension=balance&subject=0xab%2FUSDC&assignee=ann&age=ge_7d&limit=7 "
        ),
        "{request}"
    );
    let ran = service.run(&["breaks", "show", BREAK]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in [
        "\"block\": 7",
        "history, newest first",
        "opened",
        "reconciliation",
        "lt_24h",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
}

async fn verify(db: &TestDb, further: &[&str]) -> Ran {
    let line = [&["audit", "verify"], further].concat();
    eidosctl(&line, &[("EIDOS_DATABASE_URL", &db.url())]).await
}

/// Two breaks, and three events of each.
const TRAIL: &str = "INSERT INTO eidos_jobs_breaks (break_id, dimension, token, kind, reference, severity, direction, first_seen, \
        last_seen, evidence) \
    SELECT gen_random_uuid(), 'balance', 'USDC', 'shortfall', n::text, 'warning', 'shortfall', now(), now(), '{}' \
    FROM generate_series(1, 2) n; \
    INSERT INTO eidos_jobs_break_history (break_id, event, at, by, details) \
    SELECT break_id, 'commented', now(), 'änn', jsonb_build_object('text', n) FROM eidos_jobs_breaks, generate_series(1, 3) n";

#[tokio::test]
async fn a_chain_verifies_until_one_row_is_touched() {
    let empty = TestDb::empty().await;
    let ran = verify(&empty, &[]).await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("eidosctl migrate"), "{}", ran.err);

    let db = TestDb::migrated().await;
    sqlx::raw_sql(TRAIL).execute(db.pool()).await.unwrap();
    let ran = verify(&db, &["--format", "json"]).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let answer: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&answer["links"], &answer["breaks"]),
        (&json!(6), &json!(2)),
        "{answer}"
    );
    let anchor = format!("6:{}", answer["head"]["hash"].as_str().unwrap());
    let ran = verify(&db, &["--anchor", &anchor]).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains(&format!("last link: {anchor}")), "{}", ran.out);
    let other = format!("6:{}", "0".repeat(64));
    let ran = verify(&db, &["--anchor", &other]).await;
    assert_eq!(ran.code, 65, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("the chain was rewritten"), "{}", ran.out);
    assert_eq!(verify(&db, &["--anchor", "6"]).await.code, 2);

    sqlx::raw_sql(
        "ALTER TABLE eidos_jobs_break_history DISABLE TRIGGER USER; \
         UPDATE eidos_jobs_break_history SET by = 'eve' WHERE id = (SELECT min(id) + 2 FROM eidos_jobs_break_history); \
         ALTER TABLE eidos_jobs_break_history ENABLE TRIGGER USER",
    )
    .execute(db.pool())
    .await
    .unwrap();
    let ran = verify(&db, &[]).await;
    assert_eq!(ran.code, 65, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("link 3, is not what it was when it was written") && ran.err.contains("1 finding"),
        "{}{}",
        ran.out,
        ran.err
    );
}
