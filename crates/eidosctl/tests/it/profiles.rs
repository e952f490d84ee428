//! Environments with several services: whom a command asks, and with which token.

use serde_json::{Value, json};

use crate::canned::{Answer, Canned, TOKEN, problem};
use crate::program::{Ran, eidosctl};

/// A folder with a profiles' file, as an operator has one.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    /// Writes a profile `test`, the default, with these services and these further lines.
    pub(crate) fn new(services: &[(&str, &str)], more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/eidosctl");
        std::fs::create_dir_all(&folder).unwrap();
        let lines: Vec<String> = services
            .iter()
            .map(|(name, url)| format!("      {name}: {url}\n"))
            .collect();
        let services = lines.concat();
        let text = format!("default: test\nprofiles:\n  test:\n{more}    services:\n{services}");
        std::fs::write(folder.join("profiles.yaml"), text).unwrap();
        Self(home)
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let home = self.0.path().to_str().unwrap();
        eidosctl(arguments, &[("HOME", home), ("EIDOS_TOKEN", TOKEN)]).await
    }
}

/// What a service with one job answers.
pub(crate) fn with_job(job: &'static str, more: &Value) -> Vec<(&'static str, Vec<Answer>)> {
    let mut view = json!({ "job": job, "running": false, "paused": false, "last_execution": null });
    view.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    vec![
        ("/ready", vec![Answer::Json(200, json!({ "ready": true }))]),
        ("/v1/jobs", vec![Answer::Json(200, json!([view]))]),
    ]
}

fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_job_is_asked_of_the_service_that_has_it() {
    let recon = Canned::with_paths(with_job("reconciliation", &json!({}))).await;
    let archiver = Canned::with_paths(vec![
        (
            "/v1/jobs/archive-data",
            vec![Answer::Json(200, json!({ "job": "archive-data" }))],
        ),
        ("/v1/jobs/archive-data/pause", vec![Answer::Json(200, json!({}))]),
    ])
    .await;
    let home = Home::new(&[("recon-svc", &recon.url), ("archiver", &archiver.url)], "");
    let ran = home.run(&["pause", "archive-data", "--reason", "r"]).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "archive-data: paused\n"),
        "{}",
        ran.err
    );
    assert!(recon.requests().iter().all(|request| request.starts_with("GET ")));

    let ran = home.run(&["pause", "no-such-job", "--reason", "r"]).await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.err.contains("no-such-job") && ran.err.contains("archiver, recon-svc"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_service_that_is_away_may_have_the_job() {
    let recon = Canned::with_paths(with_job("reconciliation", &json!({}))).await;
    let home = Home::new(&[("recon-svc", &recon.url), ("archiver", &nowhere())], "");
    let ran = home.run(&["report", "archive-data"]).await;
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(
        ran.err
            .contains("cannot tell whether archiver has the job archive-data"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn one_table_has_the_jobs_of_all_services_and_says_which_are_missing() {
    let recon = Canned::with_paths(with_job("reconciliation", &json!({}))).await;
    let archiver = Canned::with_paths(with_job("archive-data", &json!({}))).await;
    let home = Home::new(&[("recon-svc", &recon.url), ("archiver", &archiver.url)], "");
    let ran = home.run(&["jobs"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    for pair in [["recon-svc", "reconciliation"], ["archiver", "archive-data"]] {
        let line = ran.out.lines().find(|line| line.contains(pair[0])).unwrap();
        assert!(line.contains(pair[1]), "{}", ran.out);
    }
    let ran = home
        .run(&["jobs", "--service", "archiver", "--format", "json"])
        .await;
    let answer: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(answer[0]["job"], "archive-data");

    let home = Home::new(&[("recon-svc", &recon.url), ("archiver", &nowhere())], "");
    let ran = home.run(&["jobs"]).await;
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(ran.out.contains("reconciliation"), "{}", ran.out);
    assert!(
        ran.err.contains("the jobs of archiver are not known"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn breaks_are_asked_of_recon_svc() {
    let recon = Canned::start(vec![Answer::Json(200, json!({ "breaks": [], "next": null }))]).await;
    let home = Home::new(&[("recon-svc", &recon.url), ("archiver", &nowhere())], "");
    assert_eq!(home.run(&["breaks"]).await.out, "no breaks\n");

    let home = Home::new(&[("aggregator", &nowhere()), ("archiver", &nowhere())], "");
    let ran = home.run(&["breaks"]).await;
    assert_eq!(ran.code, 78, "{}", ran.err);
    assert!(ran.err.contains("recon-svc"), "{}", ran.err);
}

#[tokio::test]
async fn services_with_a_token_of_their_own_are_not_sent_that_of_the_environment() {
    let service = Canned::start(vec![Answer::Json(200, json!([]))]).await;
    let home = Home::new(&[("recon-svc", &service.url)], "    token_file: token\n");
    std::fs::write(
        home.0.path().join(".config/eidosctl/token"),
        "the-token-of-this-profile\n",
    )
    .unwrap();
    let ran = home.run(&["jobs"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let request = service.request(0);
    assert!(
        request.contains("authorization: Bearer the-token-of-this-profile"),
        "{request}"
    );
}

#[tokio::test]
async fn an_address_and_a_profile_contradict_each_other() {
    let service = Canned::start(vec![problem(500, "Internal", "must not be asked")]).await;
    let ran = service.run(&["jobs", "--profile", "production"]).await;
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(service.requests().is_empty());
}
