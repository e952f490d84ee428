//! Waiting with a deadline.

use std::time::{Duration, Instant};

use eidos_testkit::eventually;

#[tokio::test]
async fn it_returns_what_the_condition_found() {
    let mut calls = 0;
    let found = eventually("the third call succeeds", Duration::from_secs(5), async || {
        calls += 1;
        if calls == 3 { Ok(calls) } else { Err("too early") }
    })
    .await;
    assert_eq!(found, 3);
}

#[tokio::test]
#[should_panic(expected = "that pigs fly; instead: they walk (called at crates/testkit/tests/it/polling.rs:")]
async fn the_message_says_what_was_there_instead_and_where() {
    eventually("pigs fly", Duration::from_millis(20), async || {
        Err::<(), _>("they walk")
    })
    .await;
}

#[tokio::test]
async fn a_condition_that_hangs_is_bounded() {
    let started = Instant::now();
    let hanging = tokio::spawn(eventually("it answers", Duration::from_millis(50), async || {
        std::future::pending::<Result<(), String>>().await
    }));
    assert!(hanging.await.unwrap_err().is_panic());
    assert!(started.elapsed() < Duration::from_secs(5));
}
