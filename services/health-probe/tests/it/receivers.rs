//! Receivers that misbehave.

use crate::fixture::{Fixture, becomes, rounds};
use crate::http::{Does, OK, Server};

const ERROR: Does = Does::Answer("500 Internal Server Error", "text/plain", "");

#[tokio::test]
async fn a_receiver_that_fails_and_hangs_is_told_later_and_delays_no_other() {
    let (target, bad, good) = (
        Server::start(OK).await,
        Server::start(Does::Hang).await,
        Server::start(OK).await,
    );
    let fixture = Fixture::new(
        &format!("  targets: {{ trading: {{ url: \"{}\" }} }}", target.url()),
        &format!(
            "  webhooks: {{ bad: {{ url: \"{}\", timeout: 500ms }}, good: {{ url: \"{}\" }} }}",
            bad.url(),
            good.url()
        ),
    );
    let child = fixture.serve();
    rounds(&child, 1).await;
    target.stop().await;
    let opened = "open critical TargetUnhealthy trading".to_owned();
    let resolved = "resolved critical TargetUnhealthy trading".to_owned();
    let mut told = vec![opened.clone()];
    becomes("the good one is told", &child, &told, || good.notices()).await;
    becomes("the bad one is tried again", &child, &true, || {
        bad.notices().len() >= 2
    })
    .await;
    bad.now(ERROR);
    let hung = bad.notices().len();
    becomes("and again", &child, &true, || bad.notices().len() > hung).await;
    bad.now(OK);
    let failed = bad.notices().len();
    becomes("until it accepts", &child, &true, || bad.notices().len() > failed).await;
    rounds(&child, 3).await;
    let accepted = bad.notices().len();
    assert_eq!(accepted, failed + 1, "nothing after it accepted");
    assert!(bad.notices().iter().all(|notice| *notice == opened));

    // The end is retried as well, also by the process that comes after.
    bad.now(ERROR);
    target.start_again().await;
    told.push(resolved.clone());
    becomes("the good one is told of the end", &child, &told, || {
        good.notices()
    })
    .await;
    becomes("the bad one refuses the end", &child, &true, || {
        bad.notices().len() > accepted
    })
    .await;
    child.kill();
    bad.now(OK);
    let refused = bad.notices().len();
    let child = fixture.serve();
    becomes("the bad one accepts the end", &child, &vec![resolved], || {
        bad.notices().split_off(refused)
    })
    .await;
    rounds(&child, 3).await;
    assert_eq!((good.notices(), bad.notices().len()), (told, refused + 1));
}
