//! One probe of a target that misbehaves.

use std::time::Duration;

use health_probe::domain::address::Address;
use health_probe::domain::observation::{Observation, Seen};
use health_probe::probes::{Prober, Target};
use tokio::time::Instant;

use crate::http::{Does, OK, Server};

const LIMIT: Duration = Duration::from_millis(700);

async fn probe(url: &str) -> Observation {
    let address = Address::parse(url).unwrap();
    let began = Instant::now();
    let observation = Prober::new(LIMIT)
        .unwrap()
        .probe(&Target::new("x".to_owned(), address))
        .await;
    assert!(
        began.elapsed() < LIMIT + Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    observation
}

#[tokio::test]
async fn http_targets_that_misbehave_are_told_apart_within_the_limit() {
    for (does, seen, part) in [
        (OK, Seen::Good, ""),
        (Does::Answer("204 No Content", "text/plain", ""), Seen::Good, ""),
        (Does::Answer("200 OK", "text/plain", "fine"), Seen::Good, ""),
        (Does::Answer("200 OK", "text/plain", "{garbage"), Seen::Good, ""),
        (
            Does::Answer("200 OK", "application/json", "{garbage"),
            Seen::Degraded,
            "a body that is not the JSON it says",
        ),
        (
            Does::Answer("200 OK", "application/json", r#"{"live":true,"ready":false}"#),
            Seen::Failed,
            "says that it is not ready",
        ),
        (
            Does::Answer(
                "503 Service Unavailable",
                "application/json",
                r#"{"status":"unhealthy","checks":{"redis":{"status":"down"}}}"#,
            ),
            Seen::Failed,
            "answered 503 Service Unavailable and says that it is unhealthy (redis)",
        ),
        (
            Does::Answer("404 Not Found", "text/plain", ""),
            Seen::Failed,
            "answered 404",
        ),
        (Does::Hang, Seen::Failed, "no whole answer within 700 ms"),
        (Does::Trickle, Seen::Failed, "no whole answer within 700 ms"),
        (Does::Redirect, Seen::Failed, "redirects more than 3 times"),
        (Does::Gigabyte, Seen::Degraded, "more than 65536 bytes"),
        (Does::Close, Seen::Failed, "connection closed"),
    ] {
        let server = Server::start(does.clone()).await;
        let found = probe(&server.url()).await;
        assert_eq!(found.seen, seen, "{does:?}: {}", found.why);
        assert!(found.why.contains(part), "{does:?}: {}", found.why);
        // What the buffers of two sockets take, and no gigabyte.
        assert!(
            server.sent_bytes() < 64 * 1024 * 1024,
            "{does:?}: {}",
            server.sent_bytes()
        );
    }
}

#[tokio::test]
async fn every_probe_has_a_connection_of_its_own_and_sends_its_token() {
    let server = Server::start(OK).await;
    let prober = Prober::new(LIMIT).unwrap();
    let target = Target {
        token: Some("secret-token".to_owned().into()),
        ..Target::new("x".to_owned(), Address::parse(&server.url()).unwrap())
    };
    for _ in 0..3 {
        assert_eq!(prober.probe(&target).await.seen, Seen::Good);
    }
    // The server answers one request for each connection.
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].header("authorization"), Some("Bearer secret-token"));
}

#[tokio::test]
async fn addresses_without_a_server_fail_and_do_not_hang() {
    let server = Server::start(OK).await;
    let good = format!("tcp://127.0.0.1:{}", server.port);
    assert_eq!(probe(&good).await.seen, Seen::Good);
    server.stop().await;
    for (url, part) in [
        (good.as_str(), "refused"),
        (&server.url(), "refused"),
        ("http://no-such-host.invalid/health", "dns error"),
        ("tcp://no-such-host.invalid:80", "failed to lookup"),
        // A black hole: TEST-NET-1.
        ("tcp://192.0.2.1:80", ""),
    ] {
        let found = probe(url).await;
        assert_eq!(found.seen, Seen::Failed, "{url}: {}", found.why);
        assert!(found.why.contains(part), "{url}: {}", found.why);
    }
}

#[tokio::test]
async fn a_password_in_an_address_is_in_no_finding() {
    let server = Server::start(Does::Close).await;
    let found = probe(&format!("http://user:hunter2@127.0.0.1:{}/hunter2", server.port)).await;
    assert!(!found.why.contains("hunter2"), "{}", found.why);
}
