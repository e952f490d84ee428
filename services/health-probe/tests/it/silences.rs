//! What people silence at a real Alertmanager, for a webhook beside it.

use eidos_testkit::{Alertmanager, ChildProcess};
use eidos_types::{Clock as _, SystemClock};
use serde_json::json;

use crate::alertmanager::{fixture_with, started};
use crate::fixture::{WITHIN, becomes, rounds, said};
use crate::http::{Does, OK, Server, call};

/// Silences alerts by a pattern of one label for an hour, and returns the id.
pub(crate) async fn silence(alertmanager: &Alertmanager, label: &str, pattern: &str) -> String {
    let now = SystemClock::default().now();
    let body = json!({
        "matchers": [{"name": label, "value": pattern, "isRegex": true, "isEqual": true}],
        "startsAt": now.to_rfc3339(),
        "endsAt": (now + chrono::TimeDelta::hours(1)).to_rfc3339(),
        "createdBy": "test", "comment": "maintenance",
    });
    let answer = call("POST", &alertmanager.url(), "/api/v2/silences", &body.to_string()).await;
    answer["silenceID"].as_str().unwrap().to_owned()
}

async fn unsilence(alertmanager: &Alertmanager, id: &str) {
    let path = format!("/api/v2/silence/{id}");
    call("DELETE", &alertmanager.url(), &path, "").await;
}

fn webhook(receiver: &Server) -> String {
    format!("  webhooks: {{ pager: {{ url: \"{}\" }} }}", receiver.url())
}

/// How often the round found the target down: it is probed and counted all the same.
fn failed_rounds(child: &ChildProcess) -> usize {
    said(child).replace('\\', "").matches("\"failed\":1,").count()
}

#[tokio::test]
async fn a_silenced_alert_is_counted_and_not_told_until_the_silence_ends() {
    let (target, receiver, behind) = (
        Server::start(OK).await,
        Server::start(OK).await,
        Server::start(OK).await,
    );
    let alertmanager = started(&behind).await;
    let id = silence(&alertmanager, "target", "trad.*").await;
    let fixture = fixture_with(&target, &alertmanager, &webhook(&receiver));
    target.now(Does::Close);
    let child = fixture.serve();
    child
        .wait_for_line("an alert is not sent while it is silenced", WITHIN)
        .await;
    rounds(&child, 8).await;
    assert!(receiver.notices().is_empty(), "{:?}", receiver.notices());
    assert!(failed_rounds(&child) >= 8, "{}", said(&child));
    // Nor by a process that starts.
    child.kill();
    let child = fixture.serve();
    rounds(&child, 5).await;
    assert!(receiver.notices().is_empty(), "{:?}", receiver.notices());

    unsilence(&alertmanager, &id).await;
    let mut told = vec!["open critical TargetUnhealthy trading".to_owned()];
    becomes("it still lasts, so it is told", &child, &told, || {
        receiver.notices()
    })
    .await;
    // The end of what was told is told, whatever is silenced by then.
    silence(&alertmanager, "target", "trading").await;
    rounds(&child, 6).await;
    target.now(OK);
    told.push("resolved critical TargetUnhealthy trading".to_owned());
    becomes("the end is told", &child, &told, || receiver.notices()).await;

    // What came and went while it was silenced is not told at all.
    target.now(Does::Close);
    becomes("it is silenced again", &child, &true, || {
        said(&child)
            .matches("an alert is not sent while it is silenced")
            .count()
            >= 1
    })
    .await;
    target.now(OK);
    becomes("it has recovered again", &child, &true, || {
        said(&child).matches("\"message\":\"recovered\"").count() >= 2
    })
    .await;
    rounds(&child, 3).await;
    assert_eq!(receiver.notices(), told);
}

#[tokio::test]
async fn an_alertmanager_that_does_not_answer_silences_nothing() {
    let (target, receiver, behind) = (
        Server::start(Does::Close).await,
        Server::start(OK).await,
        Server::start(OK).await,
    );
    let alertmanager = started(&behind).await;
    silence(&alertmanager, "target", "trading").await;
    let fixture = fixture_with(&target, &alertmanager, &webhook(&receiver));
    alertmanager.stop().await.unwrap();
    let child = fixture.serve();
    let told = vec!["open critical TargetUnhealthy trading".to_owned()];
    becomes("it is told", &child, &told, || receiver.notices()).await;
    child.wait_for_line("its silences are not known", WITHIN).await;
}
