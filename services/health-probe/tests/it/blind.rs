//! A prober without a network.

use crate::fixture::{Fixture, NOWHERE, becomes, rounds};
use crate::http::{OK, Server};

#[tokio::test]
async fn a_prober_that_sees_nothing_says_that_it_is_blind_and_not_that_everything_is_down() {
    let (receiver, control, target) = (
        Server::start(OK).await,
        Server::start(OK).await,
        Server::start(OK).await,
    );
    let fixture = Fixture::new(
        &format!(
            "  controls: [\"tcp://127.0.0.1:{}\", \"tcp://{NOWHERE}\"]\n  targets: {{ a: {{ url: \"{}\" }}, b: {{ url: \"tcp://127.0.0.1:{}\" }} }}",
            control.port,
            target.url(),
            target.port,
        ),
        &format!("  webhooks: {{ pager: {{ url: \"{}\" }} }}", receiver.url()),
    );
    let child = fixture.serve();
    rounds(&child, 2).await;
    control.stop().await;
    target.stop().await;
    let mut told = vec!["open critical ProberBlind ".to_owned()];
    becomes("it says that it is blind", &child, &told, || receiver.notices()).await;
    rounds(&child, 5).await;
    assert_eq!(receiver.notices(), told);
    // One control suffices: now it is the targets.
    control.start_again().await;
    becomes("it sees again, and the targets are down", &child, &4, || {
        receiver.notices().len()
    })
    .await;
    target.start_again().await;
    becomes("the targets recover", &child, &6, || receiver.notices().len()).await;
    told.extend(
        [
            "open critical TargetUnhealthy a",
            "open critical TargetUnhealthy b",
            "resolved critical ProberBlind ",
            "resolved critical TargetUnhealthy a",
            "resolved critical TargetUnhealthy b",
        ]
        .map(str::to_owned),
    );
    let mut found = receiver.notices();
    found.sort();
    told.sort();
    assert_eq!(found, told);
}
