//! A real Alertmanager between the prober and a receiver.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_alerting::{
    Alert, AlertmanagerSettings, EpisodeId, Fingerprint, Notice, NoticeKind, SendError, Severity, Sink,
};
use eidos_testkit::{Alertmanager, AlertmanagerOptions};
use eidos_types::{Clock as _, SystemClock};

use crate::fixture::{Fixture, becomes, rounds};
use crate::http::{Does, OK, Server};

/// Starts one that notifies `receiver` soon.
pub(crate) async fn started(receiver: &Server) -> Alertmanager {
    let options = AlertmanagerOptions {
        webhook: receiver.url(),
        group_wait: Duration::from_millis(500),
    };
    Alertmanager::start(&options).await.unwrap()
}

/// What Alertmanager notified its receiver of: status, name, severity and target of each alert but those of the watchdog.
pub(crate) fn notified(receiver: &Server) -> Vec<String> {
    let mut found = all_notified(receiver);
    found.retain(|alert| !alert.contains("Watchdog"));
    found
}

fn all_notified(receiver: &Server) -> Vec<String> {
    let mut found = Vec::new();
    for request in receiver.requests() {
        for alert in request.json()["alerts"].as_array().unwrap() {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
            found.push(format!(
                "{} {} {} {}",
                alert["status"].as_str().unwrap(),
                label("severity"),
                label("alertname"),
                label("target")
            ));
        }
    }
    found
}

/// A prober that tells this Alertmanager each second.
fn fixture(target: &Server, alertmanager: &Alertmanager) -> Fixture {
    fixture_with(target, alertmanager, "")
}

/// As that, with further receivers.
pub(crate) fn fixture_with(target: &Server, alertmanager: &Alertmanager, notifications: &str) -> Fixture {
    Fixture::new(
        &format!("  targets: {{ trading: {{ url: \"{}\" }} }}", target.url()),
        &format!(
            "  alertmanagers: {{ main: {{ url: \"{}\", every: 1s, group_wait: 1s }} }}\n{notifications}",
            alertmanager.url()
        ),
    )
}

const FIRING: &str = "firing critical TargetUnhealthy trading";
const RESOLVED: &str = "resolved critical TargetUnhealthy trading";

/// Done-when 1, with the 50 rounds of the same failure in between.
#[tokio::test]
async fn a_killed_service_is_notified_once_over_fifty_rounds_and_its_end_once() {
    let (target, receiver) = (Server::start(OK).await, Server::start(OK).await);
    let alertmanager = started(&receiver).await;
    let fixture = fixture(&target, &alertmanager);
    let child = fixture.serve();
    becomes("the watchdog arrives", &child, &true, || {
        all_notified(&receiver).contains(&"firing none Watchdog ".to_owned())
    })
    .await;
    assert!(notified(&receiver).is_empty());
    target.stop().await;
    let mut expected = vec![FIRING.to_owned()];
    becomes("it is notified", &child, &expected, || notified(&receiver)).await;
    for _ in 0..5 {
        rounds(&child, 10).await;
        assert_eq!(notified(&receiver), expected, "the same failure is notified once");
    }
    target.start_again().await;
    expected.push(RESOLVED.to_owned());
    becomes("its end is notified", &child, &expected, || notified(&receiver)).await;
    rounds(&child, 5).await;
    assert_eq!(notified(&receiver), expected);
}

/// A kill loses what it was told and what it has notified of: a duplicate is allowed, a loss is not.
#[tokio::test]
async fn an_alertmanager_that_is_killed_loses_neither_a_critical_nor_an_end() {
    let (target, receiver) = (Server::start(OK).await, Server::start(OK).await);
    let alertmanager = started(&receiver).await;
    let fixture = fixture(&target, &alertmanager);
    let child = fixture.serve();
    rounds(&child, 1).await;

    // It goes critical while the server is away.
    alertmanager.kill().await.unwrap();
    target.stop().await;
    child
        .wait_for_line("an alert was not accepted", crate::fixture::WITHIN)
        .await;
    assert!(notified(&receiver).is_empty());
    alertmanager.start_again().await.unwrap();
    becomes("the critical is notified", &child, &true, || {
        notified(&receiver).last().is_some_and(|last| last == FIRING)
    })
    .await;

    // It recovers while the server is away, which knows nothing afterwards.
    alertmanager.kill().await.unwrap();
    target.start_again().await;
    child.wait_for_line("recovered", crate::fixture::WITHIN).await;
    assert_eq!(notified(&receiver), [FIRING]);
    alertmanager.start_again().await.unwrap();
    let ended = || {
        let notified = notified(&receiver);
        notified.last().is_some_and(|last| last == RESOLVED)
    };
    becomes("the end is notified", &child, &true, ended).await;
    rounds(&child, 3).await;
    assert_eq!(notified(&receiver), [FIRING, FIRING, RESOLVED]);
}

#[tokio::test]
async fn the_watchdog_stops_while_the_prober_is_blind() {
    let (target, server) = (Server::start(OK).await, Server::start(OK).await);
    let fixture = Fixture::new(
        &format!(
            "  controls: [\"tcp://{}\"]\n  targets: {{ trading: {{ url: \"{}\" }} }}",
            crate::fixture::NOWHERE,
            target.url()
        ),
        &format!(
            "  alertmanagers: {{ main: {{ url: \"{0}\", every: 1s }} }}\n  \
             webhooks: {{ watcher: {{ url: \"{0}\", watchdog: true }} }}",
            server.base()
        ),
    );
    let child = fixture.serve();
    let pulses = || {
        let requests = server.requests();
        let count = |text: &str| {
            requests
                .iter()
                .filter(|request| request.body.contains(text))
                .count()
        };
        (count("\"Watchdog\""), count("\"watchdog\""))
    };
    becomes("both are told", &child, &true, || {
        pulses().0 > 1 && pulses().1 > 1
    })
    .await;
    target.now(Does::Close);
    child
        .wait_for_line("prober is blind", crate::fixture::WITHIN)
        .await;
    // What belongs to the last round that saw something may still be on its way.
    rounds(&child, 2).await;
    let before = pulses();
    rounds(&child, 3).await;
    assert_eq!(pulses(), before, "a blind prober says nothing");
    target.now(OK);
    becomes("both are told again", &child, &true, || {
        pulses().0 > before.0 && pulses().1 > before.1
    })
    .await;
}

/// The good alerts of a batch that is answered with 400 are notified, and the bad one is named.
#[tokio::test]
async fn one_bad_alert_of_a_batch_loses_none_of_the_good_ones() {
    let receiver = Server::start(OK).await;
    let alertmanager = started(&receiver).await;
    let settings = AlertmanagerSettings {
        name: "main".to_owned(),
        url: alertmanager.url().into(),
        ends_after: Duration::from_mins(5),
        group_wait: Duration::from_secs(1),
        timeout: Duration::from_secs(5),
    };
    let now_ms = SystemClock::default().now_ms();
    let sink = eidos_alerting::Alertmanager::new(settings, now_ms).unwrap();
    // A label without a name is what it refuses.
    let batch = [("target", "a"), ("", "bad"), ("target", "b")].map(|label| notice(label, now_ms));
    let outcomes = sink.send_all(&batch, now_ms).await;
    assert_eq!((&outcomes[0], &outcomes[2]), (&Ok(()), &Ok(())));
    let Err(SendError::Refused(why)) = &outcomes[1] else {
        panic!("{outcomes:?}")
    };
    assert!(why.contains("400"), "{why}");
    let expected = ["firing critical Down a", "firing critical Down b"].map(str::to_owned);
    eidos_testkit::eventually("both are notified", crate::fixture::WITHIN, async || {
        let mut found = notified(&receiver);
        found.sort();
        if found == expected {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
}

fn notice(label: (&str, &str), now_ms: i64) -> Notice {
    let labels = BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]);
    Notice {
        kind: NoticeKind::Open,
        alert: Alert {
            name: "Down".to_owned(),
            episode: EpisodeId::of(&Fingerprint::of("Down", &labels), now_ms),
            labels,
            annotations: BTreeMap::new(),
            severity: Severity::Critical,
            starts_at_ms: now_ms,
        },
        ends_at_ms: None,
        number: 1,
        accepted: None,
        accepted_at_ms: None,
    }
}
