//! The real binary, killed at each side of a request.

use eidos_testkit::{ProxyMode, TcpProxy, eventually};

use crate::fixture::{Fixture, WITHIN};

/// A lease that a test can wait out.
const SHORT: [(&str, &str); 3] = [
    ("JOBS__CLEANUP-ORDERS__LOCK__TTL", "12s"),
    ("SCHEDULER__CANCEL_GRACE", "500ms"),
    ("REDIS__RESPONSE_TIMEOUT", "300ms"),
];
const BUSY: i32 = 75;

/// Runs the binary, waiting for a dead process's lease.
async fn run_when_free(fixture: &Fixture, settings: &[(&str, &str)]) {
    eventually("the job's lease is free", WITHIN, async || {
        let (status, child) = fixture.command(settings).run(WITHIN).await;
        match status.code() {
            Some(0) => Ok(()),
            Some(BUSY) => Err("busy"),
            _ => panic!("{status}\n{}\n{}", child.stdout(), child.stderr()),
        }
    })
    .await;
}

async fn until_requests(fixture: &Fixture, condition: &str) {
    eventually(condition, WITHIN, async || {
        let count = fixture.requests(condition).await;
        if count > 0 {
            Ok(())
        } else {
            Err(format!("{count}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_process_killed_before_the_request_reached_the_engine_repeats_it_with_the_same_id() {
    killed_under(ProxyMode::Blackhole, 0).await;
}

#[tokio::test]
async fn a_process_killed_before_the_answer_came_back_reads_what_became_of_its_orders() {
    killed_under(ProxyMode::BlackholeReplies, 5).await;
}

/// Kills the binary when its requests are durable, on a network on which `seen` of them reach the engine.
async fn killed_under(mode: ProxyMode, seen: usize) {
    let fixture = Fixture::new().await;
    // A real run works for a slot that has come: this one is long past, so that there can be a later one.
    fixture.later(-10);
    fixture.expired_orders(1, 5).await;
    let port = fixture
        .engine
        .grpc_url()
        .rsplit_once(':')
        .unwrap()
        .1
        .parse()
        .unwrap();
    let proxy = TcpProxy::start(port).await;
    proxy.set(mode).await;
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let behind: Vec<(&str, &str)> = SHORT
        .into_iter()
        .chain([
            ("MATCHING__URL", url.as_str()),
            ("MATCHING__ANSWER_TIMEOUT", "1m"),
        ])
        .collect();
    let child = fixture.command(&behind).spawn();
    until_requests(&fixture, "sends = 1").await;
    eventually(
        "the engine has what the network lets through",
        WITHIN,
        async || {
            let log = fixture.engine.log().await.len();
            if log == seen { Ok(()) } else { Err(log.to_string()) }
        },
    )
    .await;
    child.kill();
    assert_eq!(
        fixture
            .requests("state = 'requested' AND verdict IS NULL AND attempt_epoch = 1")
            .await,
        5
    );

    // What the engine removed has ended when the next run reads the rows; the rest is due again, under the same ids.
    fixture.until_expired(i64::try_from(seen).unwrap()).await;
    fixture.later(2);
    run_when_free(&fixture, &SHORT).await;
    fixture.until_expired(5).await;
    let log = fixture.engine.log().await;
    assert_eq!(log.len(), 5, "each order was asked for once: {log:#?}");
    assert!(
        log.iter()
            .all(|asked| asked.idempotency_id == format!("{}:1", asked.order_id)),
        "{log:#?}"
    );
    let closed = i64::try_from(seen).unwrap();
    assert_eq!(fixture.requests("outcome = 'expired'").await, closed);
    assert_eq!(
        fixture.requests("state = 'answered' AND sends = 2").await,
        5 - closed
    );
}

#[tokio::test]
async fn two_processes_at_once_ask_once() {
    let fixture = Fixture::new().await;
    fixture.expired_orders(1, 300).await;
    let (one, other) = (fixture.command(&SHORT).spawn(), fixture.command(&SHORT).spawn());
    let mut done = 0;
    for child in [one, other] {
        match child.wait_exit(WITHIN).await.code() {
            Some(0) => done += 1,
            Some(BUSY) => {}
            code => panic!("{code:?}\n{}\n{}", child.stdout(), child.stderr()),
        }
    }
    assert!(done >= 1);
    fixture.until_expired(300).await;
    assert_eq!(fixture.engine.log().await.len(), 300);
}
