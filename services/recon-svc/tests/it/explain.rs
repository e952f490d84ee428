//! Every planted fault is explained as what it is: on the command line, over HTTP, and within its bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_devnet::quickstart::{judge_explanations, open_breaks};
use eidos_devnet::{Fault, MovementFault, Trap};
use reqwest::StatusCode;
use serde_json::Value;

use crate::desk::Desk;
use crate::fixture::Fixture;

const WITHIN: Duration = Duration::from_secs(90);

/// What `recon-svc explain` prints about these breaks.
async fn explained(fixture: &Fixture, breaks: &str, settings: &[(&str, &str)]) -> Value {
    let (status, child) = fixture.explain(breaks, settings).run(WITHIN).await;
    assert!(
        status.success(),
        "{status}\n{}\n{}",
        child.stdout(),
        child.stderr()
    );
    serde_json::from_str(&child.stdout()).unwrap()
}

#[tokio::test]
async fn every_planted_fault_is_explained_as_what_it_is() {
    let fixture = Fixture::with_movements(&Fault::ALL, &MovementFault::ALL, &Trap::ALL).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert!(report["breaks_found"].as_u64() > Some(10), "{report:#}");
    let open = open_breaks(fixture.jobs.pool()).await.unwrap();
    let ids: Vec<String> = open.iter().map(|open| open.id.to_string()).collect();
    let answers = explained(&fixture, &ids.join(","), &[]).await;
    let answers = answers.as_array().unwrap();
    let judged = judge_explanations(fixture.world.manifest(), &open, answers);
    assert!(judged.is_clean(), "{}\n{answers:#?}", judged.line());
    assert_eq!((judged.right, judged.explained), (open.len(), open.len()));
    of_accounts_add_up(answers);
    // What one says is the same for everybody who asks.
    let desk = Desk::of(&fixture).await;
    let one = &answers[0];
    let path = format!("/v1/breaks/{}/explanation", one["break_id"].as_str().unwrap());
    let answer = desk.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["explanation"], one["explanation"]);
    assert!(
        answer.body["text"].as_str().unwrap().contains("What to do: "),
        "{}",
        answer.body
    );
    for (path, expected) in [("7", 422), ("0192f0c1-2345-7abc-8def-0123456789ab", 404)] {
        let answer = desk.get(&format!("/v1/breaks/{path}/explanation")).await;
        assert_eq!(answer.status.as_u16(), expected, "{}", answer.body);
        assert_eq!(answer.content_type, "application/problem+json");
    }
    desk.service.terminate();
}

/// Those of accounts are proofs: the events add up to the difference, and are named with their evidence on both sides.
fn of_accounts_add_up(answers: &[Value]) {
    let mut by_cause: BTreeMap<&str, &Value> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| answer["dimension"] == "balance") {
        let explanation = &answer["explanation"];
        by_cause.insert(explanation["cause"].as_str().unwrap(), answer);
        if answer["kind"] == "beyond_decimal" {
            continue;
        }
        assert_eq!(explanation["is_conclusive"], true, "{answer:#}");
        assert_eq!(explanation["unexplained"], "0", "{answer:#}");
        assert_eq!(
            explanation["searched"]["bounds"],
            serde_json::json!([]),
            "{answer:#}"
        );
    }
    let duplicate = &by_cause["duplicate"]["explanation"]["first"];
    let of_books = |evidence: &&Value| evidence["side"] == "books" && evidence["amount"] != "";
    let postings = duplicate["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .filter(of_books)
        .count();
    assert_eq!(
        (&duplicate["what"], postings),
        (&Value::from("deposit"), 2),
        "{duplicate:#}"
    );
    let wrong = &by_cause["wrong_account"]["explanation"];
    assert!(
        wrong["first"]["elsewhere"].as_str().unwrap().starts_with("0x"),
        "{wrong:#}"
    );
    assert_eq!(
        wrong["evidence"][0]["what"], "equal and opposite break",
        "{wrong:#}"
    );
}

#[tokio::test]
async fn a_bound_that_is_reached_is_said_and_nothing_is_claimed_beyond_it() {
    let fixture = Fixture::new(&[Fault::DoubleCredit], &[]).await;
    fixture.world.mine_blocks(80).await.unwrap();
    fixture.reconcile(&["--full"], &[]).await;
    let open = open_breaks(fixture.jobs.pool()).await.unwrap();
    let id = open[0].id.to_string();
    for (setting, value, named) in [
        ("RECONCILIATION__EXPLAIN_MAX_BLOCKS", "1", "explain_max_blocks"),
        ("RECONCILIATION__EXPLAIN_MAX_ROWS", "1", "explain_max_rows"),
    ] {
        let answer = explained(&fixture, &id, &[(setting, value)]).await;
        let explanation = &answer["explanation"];
        let bounds = explanation["searched"]["bounds"].to_string();
        assert!(bounds.contains(named), "{answer:#}");
        assert!(answer["text"].as_str().unwrap().contains(named), "{answer:#}");
        assert_eq!(explanation["searched"]["is_complete"], false, "{answer:#}");
        let cause = explanation["cause"].as_str().unwrap();
        assert_ne!(
            cause, "manual_edit",
            "the ledger was not read to its end: {answer:#}"
        );
        if named == "explain_max_blocks" {
            assert_eq!(
                (cause, &explanation["is_conclusive"]),
                ("unknown", &Value::from(false)),
                "{answer:#}"
            );
        }
    }
    let answer = explained(&fixture, &id, &[]).await;
    assert_eq!(answer["explanation"]["cause"], "duplicate", "{answer:#}");
}
