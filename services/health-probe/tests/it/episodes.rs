//! A target that dies and recovers, with the prober killed in between.

use eidos_alerting::signature;

use crate::fixture::{Fixture, becomes, rounds, said};
use crate::http::{Does, OK, Server};

const SECRET: &str = "a-secret-of-32-characters-or-so!";

fn fixture(target: &Server, receiver: &Server) -> Fixture {
    Fixture::new(
        &format!("  targets: {{ trading: {{ url: \"{}\" }} }}", target.url()),
        &webhook(receiver),
    )
}

fn webhook(receiver: &Server) -> String {
    format!(
        "  webhooks: {{ pager: {{ url: \"{}\", secret: \"{SECRET}\" }} }}",
        receiver.url()
    )
}

#[tokio::test]
async fn a_killed_target_is_told_once_and_its_recovery_once() {
    let (target, receiver) = (Server::start(OK).await, Server::start(OK).await);
    let fixture = fixture(&target, &receiver);
    let child = fixture.serve();
    rounds(&child, 2).await;
    target.stop().await;
    let opened = vec!["open critical TargetUnhealthy trading".to_owned()];
    becomes("the receiver is told", &child, &opened, || receiver.notices()).await;
    let told = receiver.requests()[0].clone();
    // Never before the third round: each failed one is counted in its report.
    let said = said(&child).replace('\\', "");
    let failed = said.matches("\"failed\":1,").count();
    assert!(
        failed >= 2,
        "{failed} rounds had failed before the one that told\n{said}"
    );
    let body = told.json();
    assert_eq!(body["status"], "firing");
    assert!(
        body["annotations"]["summary"]
            .as_str()
            .unwrap()
            .contains("refused"),
        "{body}"
    );
    // The receiver can check who told it.
    let header = told.header("eidos-signature").unwrap();
    let at_s: i64 = header.split(['=', ',']).nth(1).unwrap().parse().unwrap();
    assert_eq!(header, signature(&SECRET.to_owned().into(), at_s, &told.body));
    rounds(&child, 5).await;
    assert_eq!(receiver.notices(), opened, "the same failure is told once");

    target.start_again().await;
    let both = [
        opened,
        vec!["resolved critical TargetUnhealthy trading".to_owned()],
    ]
    .concat();
    becomes("the receiver is told of the recovery", &child, &both, || {
        receiver.notices()
    })
    .await;
    rounds(&child, 5).await;
    assert_eq!(receiver.notices(), both);
    let episodes: Vec<_> = receiver
        .requests()
        .iter()
        .map(|request| request.json()["episode"].clone())
        .collect();
    assert_eq!(episodes[0], episodes[1]);
}

#[tokio::test]
async fn a_prober_that_is_killed_neither_tells_again_nor_forgets() {
    let (target, receiver) = (Server::start(Does::Close).await, Server::start(OK).await);
    let fixture = fixture(&target, &receiver);
    let mut told = vec!["open critical TargetUnhealthy trading".to_owned()];
    let child = fixture.serve();
    becomes("the receiver is told", &child, &told, || receiver.notices()).await;
    rounds(&child, 1).await;
    child.kill();

    let child = fixture.serve();
    rounds(&child, 5).await;
    assert_eq!(receiver.notices(), told, "a restart tells nothing again");
    child.kill();
    // It recovers while nobody looks.
    target.now(OK);
    let child = fixture.serve();
    told.push("resolved critical TargetUnhealthy trading".to_owned());
    becomes("the end is told", &child, &told, || receiver.notices()).await;
    rounds(&child, 3).await;
    assert_eq!(receiver.notices(), told);
}

#[tokio::test]
async fn a_slow_target_is_a_warning_and_becomes_critical_in_the_same_episode() {
    let degraded = Does::Answer("200 OK", "application/json", r#"{"status":"degraded"}"#);
    let (target, receiver) = (Server::start(degraded).await, Server::start(OK).await);
    let fixture = fixture(&target, &receiver);
    let child = fixture.serve();
    let mut told = vec!["open warning TargetUnhealthy trading".to_owned()];
    becomes("a warning", &child, &told, || receiver.notices()).await;
    target.now(Does::Hang);
    told.push("escalated critical TargetUnhealthy trading".to_owned());
    becomes("critical", &child, &told, || receiver.notices()).await;
    target.now(OK);
    told.push("resolved critical TargetUnhealthy trading".to_owned());
    becomes("the end", &child, &told, || receiver.notices()).await;
}

#[tokio::test]
async fn a_target_that_is_no_longer_configured_ends_its_alert() {
    let (target, receiver) = (Server::start(Does::Close).await, Server::start(OK).await);
    let fixture = fixture(&target, &receiver);
    let child = fixture.serve();
    let mut told = vec!["open critical TargetUnhealthy trading".to_owned()];
    becomes("the receiver is told", &child, &told, || receiver.notices()).await;
    rounds(&child, 1).await;
    child.terminate();
    child.wait_exit(crate::fixture::WITHIN).await;
    fixture.configure(
        &format!(
            "  targets: {{ market: {{ url: \"tcp://127.0.0.1:{}\" }} }}",
            receiver.port
        ),
        &webhook(&receiver),
    );
    let child = fixture.serve();
    told.push("resolved critical TargetUnhealthy trading".to_owned());
    let notices = || {
        let requests = receiver.notices();
        requests
            .into_iter()
            .filter(|notice| notice.contains("trading"))
            .collect::<Vec<_>>()
    };
    becomes("the end is told", &child, &told, notices).await;
}
