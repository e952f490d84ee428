//! Reports over HTTP, after real runs: page by page, in every form, and what is refused.

use std::collections::BTreeSet;

use eidos_devnet::Fault;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::desk::{Desk, VIEWER};
use crate::fixture::Fixture;

/// What a route answers that is not JSON: status, headers, text.
async fn plain(desk: &Desk, path: &str) -> (StatusCode, reqwest::header::HeaderMap, String) {
    let response = desk.request(Method::GET, path, VIEWER).send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    (status, headers, response.text().await.unwrap())
}

/// Every row of a list, read page by page; `key` names a row.
async fn walk(desk: &Desk, path: &str, list: &str, key: &str) -> Vec<Value> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let answer = desk.get(&format!("{path}limit=2{after}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let page = answer.body[list].as_array().unwrap();
        assert!(page.len() <= 2);
        rows.extend(page.iter().cloned());
        let next = &answer.body["next"];
        if next.is_null() {
            break;
        }
        assert_eq!(Some(next), page.last().map(|row| &row[key]));
        let next = next.as_str().map_or_else(|| next.to_string(), ToOwned::to_owned);
        after = format!("&after={next}");
    }
    let keys: BTreeSet<String> = rows.iter().map(|row| row[key].to_string()).collect();
    assert_eq!(keys.len(), rows.len(), "no row twice");
    rows
}

#[tokio::test]
async fn what_runs_found_is_reported_in_every_form() {
    let fixture = Fixture::new(
        &[
            Fault::DoubleCredit,
            Fault::MissingCredit,
            Fault::BeyondDecimal,
            Fault::Dust,
        ],
        &[],
    )
    .await;
    let full = fixture.reconcile(&["--full"], &[]).await;
    let checked = full["checked"].as_i64().unwrap();
    fixture.reconcile(&[], &[]).await;
    let desk = Desk::of(&fixture).await;
    // A line for each dimension of each of two runs; only the full one compares what the Vault holds with what it owes.
    let runs = walk(&desk, "/v1/reports/runs?", "runs", "id").await;
    let parts: BTreeSet<(String, String)> = runs
        .iter()
        .map(|run| (run["run_id"].to_string(), run["dimension"].to_string()))
        .collect();
    assert_eq!((runs.len(), parts.len()), (11, 11), "{runs:#?}");
    assert!(
        runs.is_sorted_by_key(|run| -run["at_ms"].as_i64().unwrap()),
        "newest first"
    );
    let of_balance = walk(
        &desk,
        "/v1/reports/runs?dimension=balance&mode=full&",
        "runs",
        "id",
    )
    .await;
    let [run] = of_balance.as_slice() else {
        panic!("{of_balance:#?}")
    };
    assert_eq!(
        (&run["checked"], &run["breaks"]),
        (&json!(checked), &json!(3)),
        "{run:#}"
    );
    let id = run["run_id"].as_str().unwrap();
    let report = desk.get(&format!("/v1/reports/runs/{id}")).await.body;
    one_run(&report, checked);
    period(&desk, checked).await;
    records(&desk, id).await;
    forms(&desk, id).await;
    desk.service.terminate();
}

/// The lines of a report's table about the balances.
fn of_balance<'a>(report: &'a Value, table: &str) -> impl Iterator<Item = &'a Value> {
    let lines = report[table].as_array().unwrap().iter();
    lines.filter(|line| line["dimension"] == "balance")
}

fn one_run(report: &Value, checked: i64) {
    let dimensions: Vec<&Value> = report["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["dimension"])
        .collect();
    assert_eq!(dimensions.len(), 6, "one run, all its dimensions: {report:#}");
    let line = |token: &str| {
        of_balance(report, "tokens")
            .find(|line| line["token"] == token)
            .unwrap_or_else(|| panic!("{token}: {report:#}"))
    };
    assert_eq!(line("WETH")["breaks"], 1);
    assert_ne!(line("WETH")["shortfall"], "0", "{report:#}");
    assert_eq!(
        (&line("WETH")["surplus"], &line("USDC")["shortfall"]),
        (&json!("0"), &json!("0"))
    );
    assert_eq!(line("USDC")["dust_entries"], 1, "{report:#}");
    let beyond = line("HUGE")["surplus"].as_str().unwrap();
    assert!(
        beyond.len() > 37,
        "every digit, also beyond DECIMAL(36,18): {beyond}"
    );
    let sum: i64 = of_balance(report, "tokens")
        .map(|line| line["checked"].as_i64().unwrap())
        .sum();
    assert_eq!(sum, checked);
    let coverage = of_balance(report, "coverage").next().unwrap();
    assert_eq!(
        (&coverage["day"]["percent"], &coverage["last_clean"]),
        (&json!("100.00 %"), &Value::Null),
        "{report:#}"
    );
    let young: u64 = of_balance(report, "ages")
        .map(|line| line["counts"][0].as_u64().unwrap())
        .sum();
    assert_eq!(young, 3, "{report:#}");
}

async fn period(desk: &Desk, checked: i64) {
    let report = desk.get("/v1/reports/period?dimension=balance").await.body;
    let lines = report["tokens"].as_array().unwrap();
    let compared: i64 = lines.iter().map(|line| line["checked"].as_i64().unwrap()).sum();
    assert!(compared > checked, "both runs: {report:#}");
    let breaks: i64 = lines.iter().map(|line| line["breaks"].as_i64().unwrap()).sum();
    assert_eq!(breaks, 3, "each break once, although two runs saw it: {report:#}");
    let opened: i64 = report["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["opened"].as_i64().unwrap())
        .sum();
    assert_eq!(opened, 3, "{report:#}");
    let past = desk
        .get("/v1/reports/period?from=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z")
        .await
        .body;
    assert_eq!(
        (&past["tokens"], &past["runs"]),
        (&json!([]), &json!([])),
        "{past:#}"
    );
}

async fn records(desk: &Desk, run: &str) {
    let rows = walk(
        desk,
        &format!("/v1/reports/records?run={run}&dimension=balance&status=mismatched&"),
        "records",
        "id",
    )
    .await;
    assert_eq!(rows.len(), 3, "{rows:#?}");
    let (status, headers, text) = plain(desk, "/v1/reports/records?format=csv&limit=2").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(
        headers["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment"),
        "{headers:?}"
    );
    assert!(headers.contains_key("x-next"));
    assert_eq!(text.lines().count(), 3, "{text}");
}

async fn forms(desk: &Desk, run: &str) {
    let (status, headers, page) = plain(desk, &format!("/v1/reports/runs/{run}?format=html")).await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (StatusCode::OK, "text/html; charset=utf-8")
    );
    assert!(
        headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'"),
        "{headers:?}"
    );
    assert!(
        page.contains(run) && page.contains("Coverage") && !page.contains("<script"),
        "{page}"
    );
    let (status, headers, text) = plain(desk, "/v1/reports/period?format=csv").await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (StatusCode::OK, "text/csv; charset=utf-8")
    );
    assert!(
        text.lines().any(|line| line.starts_with("token,balance,HUGE,")),
        "{text}"
    );
    let unknown = "0192f0c1-2345-7abc-8def-0123456789ab";
    for (path, expected) in [
        ("runs?mode=half".to_owned(), 422),
        ("runs?limit=0".to_owned(), 422),
        ("runs?dimension=nothing".to_owned(), 422),
        ("runs?from=yesterday".to_owned(), 400),
        (
            "runs?from=2026-01-02T00:00:00Z&until=2026-01-02T00:00:00Z".to_owned(),
            422,
        ),
        ("runs?after=0".to_owned(), 404),
        (format!("records?run={unknown}"), 404),
        (format!("runs/{unknown}"), 404),
        ("runs/7".to_owned(), 422),
        (format!("runs/{run}?format=pdf"), 422),
        (
            "period?from=2026-01-01T00:00:00Z&until=2026-06-01T00:00:00Z".to_owned(),
            422,
        ),
        ("period?since=1".to_owned(), 400),
        ("records?token=NONE".to_owned(), 422),
        ("records?wallet=0x1".to_owned(), 422),
        ("records?status=matched".to_owned(), 422),
        ("records?after=0".to_owned(), 404),
    ] {
        let answer = desk.get(&format!("/v1/reports/{path}")).await;
        assert_eq!(answer.status.as_u16(), expected, "{path}: {}", answer.body);
        assert_eq!(answer.content_type, "application/problem+json", "{path}");
    }
}
