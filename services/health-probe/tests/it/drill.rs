//! The alert drill: every kind of receiver, the ones that fail, and a person who interrupts it.

use std::time::Duration;

use eidos_testkit::Alertmanager;
use eidos_types::{Clock as _, SystemClock};
use serde_json::Value;

use crate::alertmanager::{notified, started};
use crate::email::MailServer;
use crate::fixture::{Fixture, NOWHERE, WITHIN, becomes};
use crate::http::{Does, OK, Server, call};
use crate::silences::silence;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn fixture(notifications: &str) -> Fixture {
    Fixture::new(
        &format!("  targets: {{ trading: {{ url: \"tcp://{NOWHERE}\" }} }}"),
        notifications,
    )
}

/// Runs it, and returns its exit code and the report.
async fn drill(fixture: &Fixture, args: &[&str]) -> (Option<i32>, Value) {
    let args = [&["drill", "--json"], args].concat();
    let (status, child) = fixture.command(&args).run(WITHIN).await;
    let report = serde_json::from_str(&child.stdout());
    (status.code(), report.unwrap_or_else(|_| child.stderr().into()))
}

fn outcome(report: &Value) -> Vec<(String, bool, bool)> {
    let sinks = report["sinks"].as_array().unwrap().iter();
    let outcome = sinks.map(|sink| {
        (
            sink["sink"].as_str().unwrap().to_owned(),
            sink["delivered"].as_bool().unwrap(),
            sink["resolved"].as_bool().unwrap(),
        )
    });
    outcome.collect()
}

/// Done-when 1: it fires, sees the delivery and resolves, at each kind of receiver and while PostgreSQL and Redis are down.
#[tokio::test]
async fn a_drill_tells_every_receiver_and_sees_its_delivery_and_its_end() {
    let (receiver, pager, slack, behind) = (
        Server::start(OK).await,
        Server::start(OK).await,
        Server::start(OK).await,
        Server::start(OK).await,
    );
    let (alertmanager, mail) = (started(&behind).await, MailServer::start().await);
    let fixture = fixture(&format!(
        "  webhooks: {{ pager: {{ url: \"{}\" }} }}\n  pager_duty: {{ ops: {{ url: \"{}\", routing_key: {KEY} }} }}\n  \
         slack: {{ ops: {{ url: \"{}\" }} }}\n  emails: {{ ops: {} }}\n  \
         alertmanagers: {{ main: {{ url: \"{}\", group_wait: 1s }} }}",
        receiver.url(),
        pager.url(),
        slack.url(),
        mail.section(),
        alertmanager.url(),
    ));
    let (code, report) = drill(&fixture, &[]).await;
    let names = [
        "log",
        "webhook-pager",
        "alertmanager-main",
        "pagerduty-ops",
        "slack-ops",
        "email-ops",
    ];
    let all = names.map(|name| (name.to_owned(), true, true)).to_vec();
    assert_eq!((code, outcome(&report)), (Some(0), all), "{report:#}");
    let said = &report["sinks"][2]["said"];
    assert_eq!(said[0], "it notifies webhook", "{report:#}");
    assert_eq!(said[1], "it has it no longer", "{report:#}");

    assert_eq!(
        receiver.notices(),
        ["open critical AlertDrill ", "resolved critical AlertDrill "]
    );
    let body = receiver.requests()[0].json();
    assert_eq!(body["labels"]["drill"], "true");
    assert!(
        body["annotations"]["summary"]
            .as_str()
            .unwrap()
            .starts_with("DRILL")
    );
    let actions: Vec<Value> = pager
        .requests()
        .iter()
        .map(|request| request.json()["event_action"].clone())
        .collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    assert_eq!(slack.requests().len(), 2);
    assert_eq!(mail.messages().len(), 2);
    let both = ["firing critical AlertDrill ", "resolved critical AlertDrill "].map(str::to_owned);
    eidos_testkit::eventually("Alertmanager has notified of both", WITHIN, async || {
        let found = notified(&behind);
        if found == both {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_drill_of_one_receiver_tells_no_other() {
    let (receiver, other) = (Server::start(OK).await, Server::start(OK).await);
    let fixture = fixture(&format!(
        "  webhooks: {{ pager: {{ url: \"{}\" }}, other: {{ url: \"{}\" }} }}",
        receiver.url(),
        other.url()
    ));
    let args = ["--sink", "webhook-pager", "--severity", "warning"];
    let (code, report) = drill(&fixture, &args).await;
    let one = vec![("webhook-pager".to_owned(), true, true)];
    assert_eq!((code, outcome(&report)), (Some(0), one), "{report:#}");
    let expected = ["open warning AlertDrill ", "resolved warning AlertDrill "];
    assert_eq!(receiver.notices(), expected);
    let (code, said) = drill(&fixture, &["--sink", "nobody"]).await;
    assert_eq!(code, Some(2), "{said}");
    let names = "there are log, webhook-other, webhook-pager";
    assert!(said.as_str().unwrap().contains(names), "{said}");
    assert_eq!((receiver.requests().len(), other.requests().len()), (2, 0));
}

#[tokio::test]
async fn a_drill_fails_and_says_which_receiver_failed_and_why() {
    let (good, refusing, hanging, behind) = (
        Server::start(OK).await,
        Server::start(Does::Answer("403 Forbidden", "text/plain", "")).await,
        Server::start(Does::Hang).await,
        Server::start(OK).await,
    );
    let alertmanager = started(&behind).await;
    silence(&alertmanager, "alertname", "AlertDrill").await;
    let fixture = fixture(&format!(
        "  webhooks:\n    good: {{ url: \"{}\" }}\n    hanging: {{ url: \"{}\", timeout: 300ms }}\n    \
         refusing: {{ url: \"{}\" }}\n  alertmanagers: {{ main: {{ url: \"{}\", group_wait: 0s }} }}",
        good.url(),
        hanging.url(),
        refusing.url(),
        alertmanager.url(),
    ));
    let (code, report) = drill(&fixture, &[]).await;
    let expected = [
        ("log", true, true),
        ("webhook-good", true, true),
        ("webhook-hanging", false, false),
        ("webhook-refusing", false, false),
        ("alertmanager-main", false, true),
    ];
    let expected = expected.map(|(name, delivered, resolved)| (name.to_owned(), delivered, resolved));
    assert_eq!(
        (code, outcome(&report)),
        (Some(1), expected.to_vec()),
        "{report:#}"
    );
    let said = |sink: usize| report["sinks"][sink]["said"].to_string();
    assert!(said(3).contains("403 Forbidden"), "{report:#}");
    assert!(said(4).contains("a silence or an inhibition"), "{report:#}");
    // What may have arrived is ended; what was refused is not.
    assert_eq!(refusing.requests().len(), 1);
    assert!(hanging.requests().len() > 2, "{}", hanging.requests().len());
    let (status, child) = fixture.command(&["drill"]).run(WITHIN).await;
    assert_eq!(status.code(), Some(1));
    assert!(
        child
            .stdout()
            .contains("critical drill: 2 of 5 receivers accepted"),
        "{}",
        child.stdout()
    );
    assert!(
        child
            .stderr()
            .contains("3 of 5 receivers did not accept the drill: webhook-hanging"),
        "{}",
        child.stderr()
    );
}

/// Its clock is seen by the second: one that has only started seems to have been restarted during the drill, and ends wait then.
async fn has_run_for_seconds(alertmanager: &Alertmanager) {
    eidos_testkit::eventually("it has run for two seconds", WITHIN, async || {
        let status = call("GET", &alertmanager.url(), "/api/v2/status", "").await;
        let started = status["uptime"].as_str().unwrap();
        let started = chrono::DateTime::parse_from_rfc3339(started).unwrap();
        let ran_ms = SystemClock::default().now_ms() - started.timestamp_millis();
        if ran_ms > 2_000 {
            Ok(())
        } else {
            Err(format!("{ran_ms} ms"))
        }
    })
    .await;
}

/// Whoever interrupts it does not leave an alert behind.
#[tokio::test]
async fn an_interrupted_drill_ends_its_alert() {
    let behind = Server::start(OK).await;
    let alertmanager = started(&behind).await;
    let fixture = fixture(&format!(
        "  alertmanagers: {{ main: {{ url: \"{}\", group_wait: 1m }} }}",
        alertmanager.url()
    ));
    has_run_for_seconds(&alertmanager).await;
    let child = fixture.command(&["drill"]).spawn();
    let firing = vec!["firing critical AlertDrill ".to_owned()];
    becomes("it fires", &child, &firing, || notified(&behind)).await;
    child.interrupt();
    child.wait_exit(Duration::from_secs(20)).await;
    let both = ["firing critical AlertDrill ", "resolved critical AlertDrill "].map(str::to_owned);
    becomes("it is ended", &child, &both.to_vec(), || notified(&behind)).await;
}

#[tokio::test]
async fn a_dry_run_tells_nobody() {
    let receiver = Server::start(OK).await;
    let fixture = fixture(&format!(
        "  webhooks: {{ pager: {{ url: \"{}\" }} }}",
        receiver.url()
    ));
    let (status, child) = fixture
        .command(&["run", "alert-drill", "--dry-run"])
        .run(WITHIN)
        .await;
    assert!(status.success(), "{}", child.stderr());
    assert!(
        child
            .stdout()
            .contains("2 receivers would be told: log, webhook-pager"),
        "{}",
        child.stdout()
    );
    assert!(receiver.requests().is_empty());
}
