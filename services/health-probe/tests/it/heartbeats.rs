//! An address outside that notices when it is no longer asked.

use crate::fixture::{Fixture, WITHIN, becomes, rounds, said};
use crate::http::{Does, OK, Server};

#[tokio::test]
async fn a_heartbeat_is_sent_once_in_so_many_rounds_and_never_while_the_prober_is_blind() {
    let (target, outside) = (Server::start(OK).await, Server::start(OK).await);
    let fixture = Fixture::new(
        &format!(
            "  controls: [\"tcp://{}\"]\n  targets: {{ trading: {{ url: \"{}\" }} }}",
            crate::fixture::NOWHERE,
            target.url()
        ),
        &format!(
            "  heartbeats:\n    each: {{ url: \"{0}/each/hunter2\" }}\n    third: {{ url: \"{0}/third\", every_rounds: 3 }}",
            outside.base()
        ),
    );
    let child = fixture.serve();
    let beats = |path: &str| {
        let requests = outside.requests();
        let head = format!("GET {path} ");
        requests
            .iter()
            .filter(|request| request.head.starts_with(&head))
            .count()
    };
    rounds(&child, 6).await;
    becomes("both are asked", &child, &true, || {
        beats("/each/hunter2") >= 6 && beats("/third") >= 2
    })
    .await;
    // A round may have ended meanwhile: the one is asked three times as often as the other, or up to two times more.
    let (each, third) = (beats("/each/hunter2"), beats("/third"));
    assert!((third * 3..=third * 3 + 3).contains(&each), "{each} and {third}");

    target.now(Does::Close);
    child.wait_for_line("prober is blind", WITHIN).await;
    // What belongs to the last round that saw something may still be on its way.
    rounds(&child, 2).await;
    let before = (beats("/each/hunter2"), beats("/third"));
    rounds(&child, 4).await;
    assert_eq!(
        (beats("/each/hunter2"), beats("/third")),
        before,
        "a blind prober asks nobody"
    );
    target.now(OK);
    becomes("both are asked again", &child, &true, || {
        beats("/each/hunter2") > before.0 && beats("/third") > before.1
    })
    .await;

    // One that fails is said, without its secret, and stops nothing.
    outside.now(Does::Answer("500 Internal Server Error", "text/plain", ""));
    child.wait_for_line("a heartbeat was not accepted", WITHIN).await;
    rounds(&child, 2).await;
    assert!(!said(&child).contains("hunter2"), "{}", said(&child));
}
