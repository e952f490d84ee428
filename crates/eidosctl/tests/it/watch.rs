//! `watch`: follows a run to its end; in a pipe, one line a change.

use serde_json::{Value, json};

use crate::canned::{Answer, Canned, problem};
use crate::profiles::{Home, with_job};

const ID: &str = "0199f5a0-0000-7000-8000-000000000001";
const PATH: &str = "/v1/executions/0199f5a0-0000-7000-8000-000000000001";
const FAST: [&str; 2] = ["--interval", "200ms"];

fn run(status: &str, done: u64) -> Answer {
    let view = json!({
        "execution_id": ID, "job": "archive-data", "status": status, "progress": { "done": done, "total": 4000 },
        "error_message": if status == "failed" { json!("the store is full") } else { Value::Null },
        "rendered": "Archive: 4,000 rows\n",
    });
    Answer::Json(200, view)
}

#[tokio::test]
async fn each_change_is_a_line_and_the_report_is_last() {
    let service = Canned::with_paths(vec![(
        PATH,
        vec![
            run("running", 0),
            run("running", 0),
            run("running", 1000),
            problem(503, "Not ready", "restarts"),
            run("success", 4000),
        ],
    )])
    .await;
    let ran = service.run(&[&["watch", ID], &FAST[..]].concat()).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran
        .out
        .lines()
        .filter(|line| line.contains(" of 4,000"))
        .collect();
    assert_eq!(lines.len(), 3, "{}", ran.out);
    assert!(
        lines[1].starts_with(&format!("archive-data {ID}  running  1,000 of 4,000 (25 %)")),
        "{}",
        ran.out
    );
    assert!(ran.out.ends_with("Archive: 4,000 rows\n"), "{}", ran.out);
}

#[tokio::test]
async fn json_is_one_object_a_line_and_a_failed_run_is_exit_1() {
    let service = Canned::with_paths(vec![(PATH, vec![run("running", 0), run("failed", 10)])]).await;
    let ran = service
        .run(&[&["watch", ID, "--format", "json"], &FAST[..]].concat())
        .await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("the store is full"), "{}", ran.err);
    let statuses: Vec<String> = ran
        .out
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["status"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(statuses, ["running", "failed"]);
}

#[tokio::test]
async fn a_run_that_does_not_end_in_time_is_exit_75() {
    let service = Canned::with_paths(vec![(PATH, vec![run("running", 0)])]).await;
    let ran = service
        .run(&[&["watch", ID, "--timeout", "300ms"], &FAST[..]].concat())
        .await;
    assert_eq!(ran.code, 75, "{}", ran.err);
}

#[tokio::test]
async fn a_job_is_followed_from_its_next_run_on() {
    let job = |last: Value| Answer::Json(200, json!({ "job": "archive-data", "last_execution": last }));
    let before = json!({ "execution_id": "e-0", "status": "success" });
    let service = Canned::with_paths(vec![
        (
            "/v1/jobs/archive-data",
            vec![
                job(before.clone()),
                job(before.clone()),
                job(json!({ "execution_id": ID, "status": "success" })),
            ],
        ),
        (PATH, vec![run("success", 4000)]),
    ])
    .await;
    let ran = service
        .run(&[&["watch", "archive-data"], &FAST[..]].concat())
        .await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("archive-data does not run; waiting"),
        "{}",
        ran.err
    );
    assert!(ran.out.contains(ID), "{}", ran.out);

    let service = Canned::with_paths(vec![("/v1/jobs/archive-data", vec![job(before)])]).await;
    let ran = service
        .run(&[&["watch", "archive-data", "--timeout", "300ms"], &FAST[..]].concat())
        .await;
    assert_eq!(ran.code, 75, "{}", ran.err);
    assert!(ran.err.contains("did not run within"), "{}", ran.err);
}

#[tokio::test]
async fn without_a_run_every_service_is_shown_again_and_again() {
    let recon = Canned::with_paths(with_job("reconciliation", &json!({}))).await;
    let archiver = Canned::with_paths(with_job("archive-data", &json!({}))).await;
    let home = Home::new(&[("recon-svc", &recon.url), ("archiver", &archiver.url)], "");
    let ran = home
        .run(&[&["watch", "--timeout", "300ms"], &FAST[..]].concat())
        .await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out.matches("2 of 2 services ready").count(), 2, "{}", ran.out);
    assert!(ran.out.contains("the profile test, 2"), "{}", ran.out);
}
