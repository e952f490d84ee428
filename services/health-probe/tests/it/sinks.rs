//! Receivers of each kind, as the process tells them.

use serde_json::Value;

use crate::fixture::{Fixture, becomes, rounds};
use crate::http::{Does, OK, Server};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const ACCEPTED: Does = Does::Answer("202 Accepted", "application/json", r#"{"status":"success"}"#);

fn fixture(target: &Server, notifications: &str) -> Fixture {
    Fixture::new(
        &format!("  targets: {{ trading: {{ url: \"{}\" }} }}", target.url()),
        notifications,
    )
}

#[tokio::test]
async fn pagerduty_gets_one_incident_per_episode_and_is_retried_and_given_up_as_it_says() {
    let (target, pager) = (
        Server::start(OK).await,
        Server::start(Does::Answer("429 Too Many Requests", "text/plain", "")).await,
    );
    let fixture = fixture(
        &target,
        &format!(
            "  pager_duty: {{ ops: {{ url: \"{}\", routing_key: {KEY} }} }}",
            pager.url()
        ),
    );
    let child = fixture.serve();
    rounds(&child, 1).await;
    target.stop().await;
    becomes("it is tried again", &child, &true, || pager.requests().len() >= 2).await;
    pager.now(ACCEPTED);
    let refused = pager.requests().len();
    becomes("until it accepts", &child, &true, || {
        pager.requests().len() > refused
    })
    .await;
    rounds(&child, 3).await;
    let accepted = pager.requests().len();
    assert_eq!(accepted, refused + 1, "nothing after it accepted");
    target.start_again().await;
    becomes("the end", &child, &(accepted + 1), || pager.requests().len()).await;
    let bodies: Vec<Value> = pager.requests().iter().map(crate::http::Request::json).collect();
    let trigger = &bodies[0];
    assert_eq!(
        (
            &trigger["event_action"],
            &trigger["routing_key"],
            &trigger["payload"]["severity"]
        ),
        (&"trigger".into(), &KEY.into(), &"critical".into())
    );
    assert_eq!(trigger["payload"]["source"], "trading");
    assert!(
        bodies
            .iter()
            .all(|body| body["dedup_key"] == trigger["dedup_key"])
    );
    let end = bodies.last().unwrap();
    assert_eq!(end["event_action"], "resolve");
    assert!(end.get("payload").is_none());
    assert!(!crate::fixture::said(&child).contains(KEY));

    // What it refuses is given up and said, without the key.
    pager.now(Does::Answer(
        "400 Bad Request",
        "application/json",
        "{\"message\":\"0123456789abcdef0123456789abcdef is not known\"}",
    ));
    let before = pager.requests().len();
    target.stop().await;
    child.wait_for_line("refused", crate::fixture::WITHIN).await;
    rounds(&child, 4).await;
    assert_eq!(
        pager.requests().len(),
        before + 1,
        "a refused event is not repeated"
    );
    let said = crate::fixture::said(&child);
    assert!(said.contains("is not known") && !said.contains(KEY), "{said}");
}

#[tokio::test]
async fn slack_gets_a_text_without_mentions() {
    let (target, slack) = (
        Server::start(Does::Answer(
            "503 Service Unavailable",
            "application/json",
            r#"{"status":"down","checks":{"<!channel>":"down"}}"#,
        ))
        .await,
        Server::start(OK).await,
    );
    let fixture = fixture(
        &target,
        &format!("  slack: {{ ops: {{ url: \"{}\" }} }}", slack.url()),
    );
    let child = fixture.serve();
    becomes("a message", &child, &1, || slack.requests().len()).await;
    let text = slack.requests()[0].json()["text"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with("*CRITICAL* TargetUnhealthy\ntrading: answered 503"),
        "{text}"
    );
    assert!(text.contains("&lt;!channel&gt;") && !text.contains('<'), "{text}");
    target.now(OK);
    becomes("the end", &child, &2, || slack.requests().len()).await;
    let end = slack.requests()[1].json()["text"].as_str().unwrap().to_owned();
    assert!(end.starts_with("*RESOLVED*"), "{end}");
}

/// What an Alertmanager that only records was told of the target: its severity, and whether it had ended when it was told.
fn told(alertmanager: &Server) -> Vec<(String, bool)> {
    let mut told = Vec::new();
    let requests = alertmanager.requests();
    // It is asked as well, since when it runs.
    for request in requests.iter().filter(|request| request.head.starts_with("POST")) {
        for alert in request.json().as_array().unwrap() {
            if alert["labels"]["target"] == "trading" {
                let severity = alert["labels"]["severity"].as_str().unwrap().to_owned();
                let (starts, ends) = (&alert["startsAt"], &alert["endsAt"]);
                let ends: chrono::DateTime<chrono::Utc> = ends.as_str().unwrap().parse().unwrap();
                let starts: chrono::DateTime<chrono::Utc> = starts.as_str().unwrap().parse().unwrap();
                told.push((severity, ends - starts < chrono::TimeDelta::minutes(5)));
            }
        }
    }
    told
}

#[tokio::test]
async fn alertmanager_is_fed_each_round_and_never_told_the_end_of_what_it_was_not_told() {
    let (target, server) = (
        Server::start(OK).await,
        Server::start(Does::Answer("500 Internal Server Error", "text/plain", "")).await,
    );
    let fixture = fixture(
        &target,
        &format!(
            "  silences: false\n  alertmanagers: {{ main: {{ url: \"{}\", every: 1s }} }}",
            server.base()
        ),
    );
    let child = fixture.serve();
    rounds(&child, 1).await;
    // The watchdog goes there from the first round on, and is what the server has answered with 500 so far.
    becomes("the watchdog", &child, &true, || !server.requests().is_empty()).await;
    assert!(server.requests()[0].body.contains("Watchdog"));
    assert!(server.requests()[0].head.contains("POST /api/v2/alerts"));
    server.now(OK);
    let degraded = Does::Answer("200 OK", "application/json", r#"{"status":"degraded"}"#);
    target.now(degraded);
    becomes("it is told again and again", &child, &true, || {
        let told = told(&server);
        told.len() >= 3 && told.iter().all(|told| *told == ("warning".to_owned(), false))
    })
    .await;
    target.now(Does::Close);
    let warning_ended = ("warning".to_owned(), true);
    becomes("critical, and the warning has ended", &child, &true, || {
        let told = told(&server);
        told.contains(&("critical".to_owned(), false)) && told.contains(&warning_ended)
    })
    .await;
    assert!(!told(&server).contains(&("critical".to_owned(), true)));
    target.now(OK);
    becomes("the end", &child, &true, || {
        told(&server).contains(&("critical".to_owned(), true))
    })
    .await;
    // The server that was restarted has forgotten it: the end is told again, with the watchdog.
    let ends = |server: &Server| {
        told(server)
            .iter()
            .filter(|told| told.1 && told.0 == "critical")
            .count()
    };
    becomes("the end again", &child, &true, || ends(&server) >= 2).await;
}

#[tokio::test]
async fn one_bad_alert_of_a_batch_is_found_and_the_good_ones_are_told() {
    let (one, other) = (Server::start(Does::Close).await, Server::start(Does::Close).await);
    let server = Server::start(Does::RefusesBody("\"target\":\"bad\"")).await;
    let fixture = Fixture::new(
        &format!(
            "  targets: {{ bad: {{ url: \"{}\" }}, good: {{ url: \"{}\" }} }}",
            one.url(),
            other.url()
        ),
        &format!(
            "  alertmanagers: {{ main: {{ url: \"{}\", every: 1s }} }}",
            server.base()
        ),
    );
    let child = fixture.serve();
    let alone = |target: &str| {
        let target = format!("\"target\":\"{target}\"");
        let requests = server.requests();
        requests
            .iter()
            .filter(|request| request.body.contains(&target) && request.json().as_array().unwrap().len() == 1)
            .count()
    };
    becomes("the good one is told", &child, &true, || {
        alone("good") > 0 && alone("bad") > 0
    })
    .await;
    child
        .wait_for_line("an alert was not accepted", crate::fixture::WITHIN)
        .await;
    let said = crate::fixture::said(&child);
    let refused: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("an alert was not accepted"))
        .collect();
    assert!(refused.iter().all(|line| line.contains("bad")), "{refused:?}");
}
