//! Two processes that share a receiver over one Redis.

use std::collections::BTreeSet;

use eidos_testkit::{Redis, RedisOptions, TestDb};

use crate::fixture::{Fixture, NOWHERE, WITHIN, becomes, rounds};
use crate::http::{Does, OK, Server};

const OPEN: &str = "open critical TargetUnhealthy trading";
const REMINDER: &str = "reminder critical TargetUnhealthy trading";
const RESOLVED: &str = "resolved critical TargetUnhealthy trading";

/// A replica with a state of its own.
fn replica(target: &Server, receiver: &Server, redis: &str) -> Fixture {
    replica_with(&format!("postgres://u:p@{NOWHERE}/jobs"), target, receiver, redis)
}

/// With this database: a round waits for its history while there is none.
fn replica_with(database: &str, target: &Server, receiver: &Server, redis: &str) -> Fixture {
    Fixture::with_servers(
        &format!("  targets: {{ trading: {{ url: \"{}\" }} }}", target.url()),
        &format!(
            "  repeat_after: 1m\n  webhooks: {{ pager: {{ url: \"{}\", timeout: 2s }} }}",
            receiver.url()
        ),
        database,
        redis,
    )
}

fn keys(receiver: &Server) -> BTreeSet<String> {
    let requests = receiver.requests();
    let keys = requests
        .iter()
        .map(|request| request.header("idempotency-key").unwrap().to_owned());
    keys.collect()
}

/// Done-when 1: the rounds of two probers and one failure.
#[tokio::test]
async fn two_probers_tell_one_failure_once_per_cool_down_and_its_end_once() {
    let (target, receiver) = (Server::start(Does::Close).await, Server::start(OK).await);
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let db = TestDb::migrated().await;
    let replicas = [(); 2].map(|()| replica_with(&db.url(), &target, &receiver, &redis.url()));
    let children = [replicas[0].serve(), replicas[1].serve()];
    let mut told = vec![OPEN.to_owned()];
    becomes("it is told", &children[0], &told, || receiver.notices()).await;
    for _ in 0..5 {
        rounds(&children[0], 10).await;
        assert_eq!(receiver.notices(), told, "50 rounds within the cool-down");
    }
    told.push(REMINDER.to_owned());
    becomes("it lasts, after the cool-down", &children[0], &told, || {
        receiver.notices()
    })
    .await;
    for child in &children {
        rounds(child, 5).await;
    }
    assert_eq!(receiver.notices(), told, "by one of them");
    target.now(OK);
    told.push(RESOLVED.to_owned());
    becomes("its end", &children[0], &told, || receiver.notices()).await;
    for child in &children {
        rounds(child, 5).await;
    }
    assert_eq!(receiver.notices(), told);
    let episodes: BTreeSet<String> = receiver
        .requests()
        .iter()
        .map(|request| request.json()["episode"].to_string())
        .collect();
    assert_eq!(
        episodes.len(),
        1,
        "whoever tells, it is the same episode: {episodes:?}"
    );
    assert_eq!(keys(&receiver).len(), 3);
}

/// The receiver has the notice and the process that sent it dies before it can say so: the other one repeats it once, under the
/// same key.
#[tokio::test]
async fn a_prober_that_is_killed_between_send_and_confirm_repeats_at_most_once_and_loses_nothing() {
    let (target, receiver) = (Server::start(Does::Close).await, Server::start(Does::Hang).await);
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let replicas = [(); 2].map(|()| replica(&target, &receiver, &redis.url()));
    let first = replicas[0].serve();
    let mut told = vec![OPEN.to_owned()];
    becomes("it is sent", &first, &told, || receiver.notices()).await;
    first.kill();
    receiver.now(OK);
    let second = replicas[1].serve();
    told.push(OPEN.to_owned());
    becomes("the other one repeats it", &second, &told, || receiver.notices()).await;
    assert_eq!(
        keys(&receiver).len(),
        1,
        "a receiver can tell that it is the same"
    );
    // The one that was killed does not know that it arrived, and asks.
    let first = replicas[0].serve();
    for child in [&first, &second] {
        rounds(child, 5).await;
    }
    assert_eq!(receiver.notices(), told);
    target.now(OK);
    told.push(RESOLVED.to_owned());
    becomes("its end", &second, &told, || receiver.notices()).await;
    for child in [&first, &second] {
        rounds(child, 5).await;
    }
    assert_eq!(receiver.notices(), told);
}

/// Duplicates are better than silence (ruling 44).
#[tokio::test]
async fn without_redis_each_prober_tells_and_says_so() {
    let (target, receiver) = (Server::start(OK).await, Server::start(OK).await);
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let replicas = [(); 2].map(|()| replica(&target, &receiver, &redis.url()));
    let children = [replicas[0].serve(), replicas[1].serve()];
    for child in &children {
        rounds(child, 1).await;
    }
    redis.stop().await.unwrap();
    target.now(Does::Close);
    becomes("both tell", &children[0], &vec![OPEN.to_owned(); 2], || {
        receiver.notices()
    })
    .await;
    for child in &children {
        child
            .wait_for_line("replicas do not know of each other", WITHIN)
            .await;
        rounds(child, 3).await;
    }
    assert_eq!(receiver.notices().len(), 2, "each once");
    // Redis is back: what follows is told once again.
    redis.start_again().await.unwrap();
    rounds(&children[0], 6).await;
    target.now(OK);
    becomes("each ends what it told", &children[0], &true, || {
        receiver.notices().contains(&RESOLVED.to_owned())
    })
    .await;
    target.now(Does::Close);
    becomes("the next failure is told", &children[0], &true, || {
        receiver.notices().last().is_some_and(|last| last == OPEN)
    })
    .await;
    for child in &children {
        rounds(child, 4).await;
    }
    let opened = receiver.notices().iter().filter(|notice| *notice == OPEN).count();
    assert_eq!(opened, 3, "once: {:?}", receiver.notices());
}
