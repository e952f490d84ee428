//! `status`: every service in one table, and an exit code that says whether anything is wrong.

use serde_json::{Value, json};

use crate::canned::{Answer, Canned, TOKEN, problem};
use crate::profiles::{Home, with_job};

fn line<'a>(text: &'a str, service: &str) -> &'a str {
    text.lines()
        .find(|line| line.trim_start().starts_with(service))
        .unwrap_or_default()
}

#[tokio::test]
async fn services_that_are_well_are_exit_0() {
    let recon = Canned::with_paths(with_job("reconciliation", &json!({ "running": true }))).await;
    let archiver = Canned::with_paths(with_job("archive-data", &json!({ "paused": true }))).await;
    let home = Home::new(&[("recon-svc", &recon.url), ("archiver", &archiver.url)], "");
    let ran = home.run(&["status"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(line(&ran.out, "recon-svc").contains("ready"), "{}", ran.out);
    assert!(
        ran.out
            .contains("2 of 2 services ready; jobs: 1 running, 0 whose last run failed, 1 paused"),
        "{}",
        ran.out
    );
    // A pipe gets no colours, and probes no token: they are open to everybody.
    assert!(!ran.out.contains('\x1b'), "{}", ran.out);
    let requests = recon.requests();
    assert!(
        requests.iter().any(|request| request.starts_with("GET /ready ")),
        "{requests:?}"
    );
    assert!(
        requests.iter().any(|request| request.contains(TOKEN)),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_failed_run_and_a_service_that_is_not_ready_are_exit_1_and_named() {
    let failed = json!({ "last_execution": { "status": "failed" } });
    let recon = Canned::with_paths(with_job("reconciliation", &failed)).await;
    let mut paths = with_job("archive-data", &json!({}));
    paths[0].1 = vec![problem(503, "Not ready", "failing: postgres_jobs")];
    let archiver = Canned::with_paths(paths).await;
    let home = Home::new(&[("recon-svc", &recon.url), ("archiver", &archiver.url)], "");
    let ran = home.run(&["status"]).await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    let archiver = line(&ran.out, "archiver");
    assert!(
        archiver.contains("not ready") && archiver.contains("failing: postgres_jobs"),
        "{}",
        ran.out
    );
    for says in [
        "archiver: not ready: failing: postgres_jobs",
        "the last run of reconciliation failed",
    ] {
        assert!(ran.err.contains(says), "{}", ran.err);
    }
}

#[tokio::test]
async fn a_service_that_is_away_or_does_not_tell_has_the_exit_code_of_that() {
    let recon = Canned::with_paths(with_job("reconciliation", &json!({}))).await;
    let mut paths = with_job("archive-data", &json!({}));
    paths[1].1 = vec![problem(401, "Unauthorized", "send a token")];
    let archiver = Canned::with_paths(paths).await;
    let home = Home::new(&[("recon-svc", &recon.url), ("archiver", &archiver.url)], "");
    let ran = home.run(&["status", "--format", "json"]).await;
    assert_eq!(ran.code, 77, "{}", ran.err);
    let answer: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(answer["profile"], "test");
    let states: Vec<_> = answer["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["state"])
        .collect();
    assert_eq!(states, ["jobs unknown", "ready"]);

    let silent = Canned::start(vec![Answer::Nothing]).await;
    let home = Home::new(
        &[
            ("recon-svc", &recon.url),
            ("archiver", &archiver.url),
            ("aggregator", &silent.url),
        ],
        "",
    );
    let ran = home.run(&["status"]).await;
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(
        line(&ran.out, "aggregator").contains("unreachable"),
        "{}",
        ran.out
    );
}
