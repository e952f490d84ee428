//! `alerts`: what Alertmanager says, and what it is asked.

use serde_json::json;

use crate::canned::{Answer, Canned, TOKEN, problem};
use crate::profiles::Home;

#[tokio::test]
async fn alerts_are_those_of_the_profile_s_alertmanager() {
    let alert = json!({
        "labels": { "alertname": "ServiceDown", "severity": "critical", "service": "archiver" },
        "annotations": { "summary": "archiver does not answer" }, "startsAt": "2026-01-01T00:00:00.123Z",
        "status": { "state": "active" },
    });
    let alertmanager = Canned::start(vec![Answer::Json(200, json!([alert]))]).await;
    let home = Home::new(
        &[("recon-svc", "http://127.0.0.1:1")],
        &format!("    alertmanager: {}/prefix\n", alertmanager.url),
    );
    let ran = home.run(&["alerts", "--match", "severity=critical"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    for says in [
        "ServiceDown",
        "critical",
        "2026-01-01T00:00:00Z",
        "service=archiver",
        "does not answer",
    ] {
        assert!(ran.out.contains(says), "{}", ran.out);
    }
    let request = alertmanager.request(0);
    assert!(
        request.starts_with(
            "GET /prefix/api/v2/alerts?silenced=false&inhibited=false&filter=severity%3Dcritical "
        ),
        "{request}"
    );
    assert!(!request.contains(TOKEN), "{request}");
}

#[tokio::test]
async fn silence_is_said_and_a_refusal_is_not_silence() {
    let alertmanager = Canned::start(vec![
        Answer::Json(200, json!([])),
        problem(400, "Bad Request", "bad matcher format: severity"),
    ])
    .await;
    let address = ["--alertmanager", alertmanager.url.as_str()];
    let home = Home::new(&[("recon-svc", "http://127.0.0.1:1")], "");
    let ran = home.run(&[&["alerts"], &address[..]].concat()).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "nothing is alerting\n"),
        "{}",
        ran.err
    );
    let ran = home
        .run(&[&["alerts", "--match", "severity"], &address[..]].concat())
        .await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    let ran = home.run(&["alerts"]).await;
    assert_eq!(ran.code, 78, "{}", ran.err);
    assert!(
        ran.err.contains("the profile test names no Alertmanager"),
        "{}",
        ran.err
    );
}
