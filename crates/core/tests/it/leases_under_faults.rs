//! The lease when Redis forgets, stops or cannot be reached.

use std::time::{Duration, Instant};

use eidos_core::fence::Epoch;
use eidos_core::lease::{LeaseClient, LeaseError, LeaseRequest, LostReason};
use eidos_testkit::{ProxyMode, Redis, RedisOptions, TcpProxy, eventually};

use crate::fixture::SOON;
use crate::leases::{Keys, SECOND, held, lost, request, settings};

const PREFIX: &str = "faults";

async fn own_redis() -> Redis {
    Redis::start(RedisOptions::default()).await.unwrap()
}

async fn direct(redis: &Redis) -> Keys {
    Keys::of(&redis.url(), PREFIX, &"reconciliation".parse().unwrap()).await
}

async fn client_via(url: &str) -> LeaseClient {
    LeaseClient::connect(settings(url, PREFIX)).await.unwrap()
}

async fn proxied() -> (Redis, TcpProxy, LeaseClient) {
    let redis = own_redis().await;
    let proxy = TcpProxy::start(redis.port()).await;
    let client = client_via(&redis.url_via(proxy.port())).await;
    (redis, proxy, client)
}

#[tokio::test]
async fn after_flushall_the_holder_is_told_and_the_floor_keeps_tokens_rising() {
    let redis = own_redis().await;
    let client = client_via(&redis.url()).await;
    for _earlier in 0..3 {
        held(&client, &request(30 * SECOND))
            .await
            .release()
            .await
            .unwrap();
    }
    let lease = held(&client, &request(6 * SECOND)).await;
    assert_eq!(lease.token(), 4);
    redis.flush_all().await.unwrap();
    assert_eq!(lost(&lease, SOON).await, LostReason::NotOurs);
    let next = LeaseRequest {
        floor: Epoch::from_token(lease.token()),
        ..request(30 * SECOND)
    };
    assert_eq!(held(&client, &next).await.token(), 5);
}

#[tokio::test]
async fn after_a_restart_without_memory_the_client_comes_back_by_itself() {
    let redis = own_redis().await;
    let client = client_via(&redis.url()).await;
    let lease = held(&client, &request(6 * SECOND)).await;
    redis.kill().await.unwrap();
    let error = client.acquire(&request(30 * SECOND)).await.unwrap_err();
    assert!(matches!(error, LeaseError::Unreachable { .. }), "{error}");
    redis.start_again().await.unwrap();
    assert_eq!(lost(&lease, SOON).await, LostReason::NotOurs);
    let next = LeaseRequest {
        floor: Epoch::from_token(lease.token()),
        ..request(30 * SECOND)
    };
    assert!(held(&client, &next).await.token() > lease.token());
}

#[tokio::test]
async fn a_blackholed_holder_stops_before_its_key_ends() {
    let (redis, proxy, client) = proxied().await;
    let mut keys = direct(&redis).await;
    let lease = held(&client, &request(5 * SECOND)).await;
    proxy.set(ProxyMode::Blackhole).await;
    assert_eq!(lost(&lease, SOON).await, LostReason::Expired);
    // The key still stands, so nobody else can have begun.
    assert!(keys.remaining_ms().await > 0);
    assert!(keys.value().await.is_some());
}

#[tokio::test]
async fn a_short_outage_costs_nothing() {
    let (_redis, proxy, client) = proxied().await;
    let lease = held(&client, &request(6 * SECOND)).await;
    let before = lease.deadline();
    proxy.set(ProxyMode::Reset).await;
    // Long enough for renewals to fail, short of the deadline.
    eventually("a renewal was due", SOON, async || {
        let passed = before - tokio::time::Instant::now() < 2 * SECOND;
        passed.then_some(()).ok_or("not yet")
    })
    .await;
    assert!(lease.is_held());
    proxy.set(ProxyMode::Pass).await;
    eventually("the lease is renewed again", SOON, async || {
        assert!(lease.is_held());
        (lease.deadline() > before).then_some(()).ok_or("not yet")
    })
    .await;
}

#[tokio::test]
async fn a_lost_reply_is_repeated_and_gives_the_same_token() {
    let (redis, proxy, client) = proxied().await;
    let mut keys = direct(&redis).await;
    // Redis knows the script from here on; otherwise the lost reply would only be "unknown script".
    held(&client, &request(30 * SECOND))
        .await
        .release()
        .await
        .unwrap();
    let before = proxy.traffic().connections;
    proxy.set(ProxyMode::BlackholeReplies).await;
    let acquiring = tokio::spawn(async move {
        let lease = held(&client, &request(30 * SECOND)).await;
        (client, lease)
    });
    eventually("Redis has carried out the acquire", SOON, async || {
        keys.value().await.map(drop).ok_or("no key yet")
    })
    .await;
    // The client gives that connection up and asks again on a new one.
    eventually("the client connects again", SOON, async || {
        let connections = proxy.traffic().connections;
        (connections > before).then_some(()).ok_or(connections)
    })
    .await;
    proxy.set(ProxyMode::Pass).await;
    let (_client, lease) = acquiring.await.unwrap();
    assert_eq!(lease.token(), 2);
    assert_eq!(
        keys.counter().await,
        Some(2),
        "the repeated request must not count as a second lease"
    );
    assert!(lease.is_held());
}

#[tokio::test]
async fn a_ghost_lock_is_swept_when_redis_answers_again() {
    let redis = own_redis().await;
    let client = client_via(&redis.url()).await;
    held(&client, &request(60 * SECOND))
        .await
        .release()
        .await
        .unwrap();
    let mut keys = direct(&redis).await;
    redis.pause().await.unwrap();
    let error = client.acquire(&request(60 * SECOND)).await.unwrap_err();
    assert!(matches!(error, LeaseError::Unreachable { .. }), "{error}");
    redis.resume().await.unwrap();
    // The paused server carries out what it had received. Without a sweep the key would stand for 60 s.
    eventually("the acquire was carried out after all", SOON, async || {
        let counter = keys.counter().await;
        (counter >= Some(2))
            .then_some(())
            .ok_or_else(|| format!("counter {counter:?}"))
    })
    .await;
    eventually("the ghost is gone", SOON, async || keys.gone().await).await;
    held(&client, &request(30 * SECOND))
        .await
        .release()
        .await
        .unwrap();
}

#[tokio::test]
async fn an_acquire_nobody_waits_for_is_given_back() {
    let (redis, proxy, client) = proxied().await;
    let mut keys = direct(&redis).await;
    proxy.set(ProxyMode::Delay(Duration::from_millis(150))).await;
    let wanted = request(60 * SECOND);
    let abandoned = tokio::time::timeout(Duration::from_millis(50), client.acquire(&wanted)).await;
    assert!(abandoned.is_err());
    eventually("Redis has granted it", SOON, async || {
        keys.counter().await.map(drop).ok_or("not yet")
    })
    .await;
    eventually("it is given back", SOON, async || keys.gone().await).await;
}

#[tokio::test]
async fn a_busy_job_cannot_starve_the_renewals() {
    // One worker thread, blocked by the "job" for longer than the TTL.
    let redis = own_redis().await;
    let client = client_via(&redis.url()).await;
    let ttl = 2 * SECOND;
    let lease = held(&client, &request(ttl)).await;
    let until = Instant::now() + ttl * 3 / 2;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    assert!(lease.is_held());
    lease.release().await.unwrap();
}

#[tokio::test]
async fn the_release_of_an_unreachable_lease_says_so_and_sweeps_later() {
    let (redis, proxy, client) = proxied().await;
    let mut keys = direct(&redis).await;
    let lease = held(&client, &request(30 * SECOND)).await;
    proxy.set(ProxyMode::Reset).await;
    let error = lease.release().await.unwrap_err();
    assert!(matches!(error, LeaseError::Unreachable { .. }), "{error}");
    assert!(keys.value().await.is_some());
    proxy.set(ProxyMode::Pass).await;
    eventually("the key is deleted", SOON, async || keys.gone().await).await;
}
