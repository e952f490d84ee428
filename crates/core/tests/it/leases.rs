//! The lease while everything works, and while somebody meddles with its key.

use std::time::Duration;

use eidos_core::fence::Epoch;
use eidos_core::lease::{
    Acquired, Lease, LeaseClient, LeaseError, LeaseRequest, LostReason, Owner, RedisSettings,
};
use eidos_testkit::{Redis, RedisOptions, TestRedis, eventually};
use eidos_types::{ExecutionId, JobName, NodeId, SystemClock};

use crate::fixture::SOON;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn request(ttl: Duration) -> LeaseRequest {
    let clock = SystemClock::default();
    LeaseRequest {
        job: "reconciliation".parse().unwrap(),
        owner: Owner {
            node: NodeId::new(&clock),
            execution: ExecutionId::new(&clock),
        },
        ttl,
        watchdog: true,
        max_hold: Duration::from_mins(10),
        grace: Duration::ZERO,
        floor: Epoch::NONE,
    }
}

pub(crate) fn settings(url: &str, prefix: &str) -> RedisSettings {
    RedisSettings {
        lock_prefix: prefix.to_owned(),
        ..RedisSettings::new(url.to_owned().into())
    }
}

pub(crate) async fn client(redis: &TestRedis) -> LeaseClient {
    LeaseClient::connect(settings(redis.url(), redis.prefix()))
        .await
        .unwrap()
}

pub(crate) async fn held(client: &LeaseClient, request: &LeaseRequest) -> Lease {
    match client.acquire(request).await.unwrap() {
        Acquired::Held(lease) => lease,
        Acquired::Refused { remaining } => panic!("refused for {remaining:?}"),
    }
}

pub(crate) async fn refused(client: &LeaseClient, request: &LeaseRequest) -> Duration {
    match client.acquire(request).await.unwrap() {
        Acquired::Held(lease) => panic!("held: {lease:?}"),
        Acquired::Refused { remaining } => remaining,
    }
}

/// Direct access to the keys, past the client under test.
pub(crate) struct Keys {
    conn: redis::aio::MultiplexedConnection,
    pub(crate) lock: String,
}

impl Keys {
    pub(crate) async fn of(url: &str, prefix: &str, job: &JobName) -> Self {
        let client = redis::Client::open(url).unwrap();
        Self {
            conn: client.get_multiplexed_async_connection().await.unwrap(),
            lock: format!("{{{prefix}:{job}}}"),
        }
    }

    pub(crate) async fn value(&mut self) -> Option<String> {
        redis::cmd("GET")
            .arg(&self.lock)
            .query_async(&mut self.conn)
            .await
            .unwrap()
    }

    pub(crate) async fn counter(&mut self) -> Option<u64> {
        let fence = format!("{}:fence", self.lock);
        redis::cmd("GET")
            .arg(fence)
            .query_async(&mut self.conn)
            .await
            .unwrap()
    }

    pub(crate) async fn remaining_ms(&mut self) -> i64 {
        redis::cmd("PTTL")
            .arg(&self.lock)
            .query_async(&mut self.conn)
            .await
            .unwrap()
    }

    pub(crate) async fn overwrite(&mut self, value: &str) {
        redis::cmd("SET")
            .arg(&self.lock)
            .arg(value)
            .arg("PX")
            .arg(60_000)
            .query_async::<()>(&mut self.conn)
            .await
            .unwrap();
    }

    pub(crate) async fn delete(&mut self) {
        redis::cmd("DEL")
            .arg(&self.lock)
            .query_async::<()>(&mut self.conn)
            .await
            .unwrap();
    }

    pub(crate) async fn gone(&mut self) -> Result<(), String> {
        self.value()
            .await
            .map_or(Ok(()), |value| Err(format!("the key holds {value}")))
    }
}

async fn keys(redis: &TestRedis) -> Keys {
    Keys::of(redis.url(), redis.prefix(), &"reconciliation".parse().unwrap()).await
}

pub(crate) async fn lost(lease: &Lease, within: Duration) -> LostReason {
    tokio::time::timeout(within, lease.lost().cancelled())
        .await
        .expect("the lease was not lost");
    assert!(!lease.is_held());
    lease.lost_reason().unwrap()
}

#[tokio::test]
async fn one_holds_the_other_is_refused_and_tokens_rise() {
    let redis = TestRedis::shared().await;
    let (one, two) = (client(&redis).await, client(&redis).await);
    let first = held(&one, &request(30 * SECOND)).await;
    let remaining = refused(&two, &request(30 * SECOND)).await;
    assert!(
        remaining > 25 * SECOND && remaining <= 30 * SECOND,
        "{remaining:?}"
    );
    // Not even the same process may hold it twice.
    refused(&one, &request(30 * SECOND)).await;
    let token = first.token();
    first.release().await.unwrap();
    keys(&redis).await.gone().await.unwrap();
    let second = held(&two, &request(30 * SECOND)).await;
    assert!(second.token() > token);
    second.release().await.unwrap();
}

#[tokio::test]
async fn jobs_do_not_hinder_each_other() {
    let redis = TestRedis::shared().await;
    let client = client(&redis).await;
    let one = held(&client, &request(30 * SECOND)).await;
    let other = LeaseRequest {
        job: "archive-data".parse().unwrap(),
        ..request(30 * SECOND)
    };
    let two = held(&client, &other).await;
    assert!(one.is_held() && two.is_held());
}

#[tokio::test]
async fn the_token_is_above_the_epoch_that_postgresql_knows() {
    let redis = TestRedis::shared().await;
    let client = client(&redis).await;
    let wanted = LeaseRequest {
        floor: Epoch::from_stored(41),
        ..request(30 * SECOND)
    };
    assert_eq!(held(&client, &wanted).await.token(), 42);
}

#[tokio::test]
async fn the_watchdog_keeps_a_lease_beyond_its_ttl() {
    let redis = TestRedis::shared().await;
    let client = client(&redis).await;
    let ttl = 2 * SECOND;
    let lease = held(&client, &request(ttl)).await;
    let first_deadline = lease.deadline();
    eventually("the deadline moves by two TTLs", SOON, async || {
        refused(&client, &request(ttl)).await;
        assert!(lease.is_held());
        if lease.deadline() > first_deadline + 2 * ttl {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_basic_lock_ends_by_itself_before_its_key_does() {
    let redis = TestRedis::shared().await;
    let client = client(&redis).await;
    let basic = LeaseRequest {
        watchdog: false,
        ..request(2 * SECOND)
    };
    let lease = held(&client, &basic).await;
    assert_eq!(lost(&lease, SOON).await, LostReason::Expired);
    assert!(keys(&redis).await.remaining_ms().await > 0);
}

#[tokio::test]
async fn a_hung_holder_is_not_renewed_for_ever() {
    let redis = TestRedis::shared().await;
    let client = client(&redis).await;
    let capped = LeaseRequest {
        max_hold: SECOND,
        ..request(30 * SECOND)
    };
    let lease = held(&client, &capped).await;
    assert_eq!(lost(&lease, SOON).await, LostReason::MaxHold);
}

#[tokio::test]
async fn a_dropped_lease_is_left_to_its_ttl() {
    let redis = TestRedis::shared().await;
    let client = client(&redis).await;
    let mut keys = keys(&redis).await;
    drop(held(&client, &request(Duration::from_millis(1_500))).await);
    // A run that ignores its cancellation may still be working: the key must not go before its time.
    assert!(keys.value().await.is_some());
    eventually("the key lapses", SOON, async || keys.gone().await).await;
}

#[tokio::test]
async fn a_renewal_does_not_touch_the_lock_of_another() {
    let redis = TestRedis::shared().await;
    let client = client(&redis).await;
    let mut keys = keys(&redis).await;
    let lease = held(&client, &request(6 * SECOND)).await;
    keys.overwrite("somebody:else|99").await;
    assert_eq!(lost(&lease, SOON).await, LostReason::NotOurs);
    // Nor does the release of what was lost.
    lease.release().await.unwrap();
    assert_eq!(keys.value().await.as_deref(), Some("somebody:else|99"));
}

#[tokio::test]
async fn a_renewal_never_creates_a_lock() {
    let redis = TestRedis::shared().await;
    let client = client(&redis).await;
    let mut keys = keys(&redis).await;
    let lease = held(&client, &request(6 * SECOND)).await;
    keys.delete().await;
    assert_eq!(lost(&lease, SOON).await, LostReason::NotOurs);
    keys.gone().await.unwrap();
}

#[tokio::test]
async fn a_ttl_without_time_to_work_is_refused_with_its_margin() {
    let redis = TestRedis::shared().await;
    let client = client(&redis).await;
    let wanted = LeaseRequest {
        grace: 2 * SECOND,
        ..request(3 * SECOND)
    };
    let error = client.acquire(&wanted).await.unwrap_err();
    assert!(matches!(error, LeaseError::TtlTooShort { .. }), "{error}");
    assert!(error.to_string().contains("3s"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_or_address_is_refused_at_start_without_showing_the_password() {
    let redis = Redis::start(RedisOptions {
        password: Some("correct-horse".to_owned().into()),
        ..RedisOptions::default()
    })
    .await
    .unwrap();
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", redis.port());
    let error = LeaseClient::connect(settings(&url("battery-staple"), "p"))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&format!("127.0.0.1:{}", redis.port())), "{error}");
    assert!(!error.contains("battery-staple"), "{error}");
    let separate = RedisSettings {
        password: Some("correct-horse".to_owned().into()),
        ..settings(&format!("redis://127.0.0.1:{}", redis.port()), "p")
    };
    LeaseClient::connect(separate)
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
    let error = LeaseClient::connect(settings("not a url", "p"))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("redis.url"), "{error}");
}
