//! Cache keys are unlinked for orders that the database shows as cancelled long ago, and for no other.

use eidos_devnet::matching::Misbehaviour;
use eidos_runtime::Job;
use order_expirer::jobs::cleanup_orders::CleanupParams;
use redis::AsyncCommands as _;

use crate::fixture::{Fixture, MINUTE, ORDERS};

async fn fixture() -> Fixture {
    Fixture::with(
        "expiry: { cache: { keys: [\"t:order:{id}\", \"t:freeze:{id}\"], batch_orders: 3 } }\n",
        Misbehaviour::default(),
    )
    .await
}

#[tokio::test]
async fn keys_of_old_cancelled_orders_go_and_others_stay() {
    let fixture = fixture().await;
    let old = fixture.now_ms() - 25 * 60 * MINUTE;
    fixture.orders(1, 10, 4, "0", "1").await;
    fixture
        .sql(&format!("UPDATE {ORDERS} SET updated_at = {old} + id"))
        .await;
    fixture.orders(11, 12, 4, "0", "1").await; // cancelled an hour ago
    fixture.orders(13, 14, 1, "0", "1").await;
    fixture
        .sql(&format!("UPDATE {ORDERS} SET updated_at = {old} WHERE id = 13"))
        .await; // old, and open
    let client = redis::Client::open(fixture.redis.url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let prefix = fixture.jobs.name().to_owned();
    let job = || {
        let mut job = fixture.cleanup_orders();
        job.settings.cache.keys = vec![
            format!("{prefix}:order:{{id}}"),
            format!("{prefix}:freeze:{{id}}"),
        ];
        job.cache = order_expirer::sources::cache::OrderCache::new(
            &job.settings.cache,
            &fixture.settings.suite.redis,
        )
        .unwrap();
        job
    };
    for id in 1..=14 {
        for kind in ["order", "freeze"] {
            let _: () = redis.set(format!("{prefix}:{kind}:o{id}"), 1).await.unwrap();
        }
    }
    let left = async |redis: &mut redis::aio::MultiplexedConnection| {
        let mut left = Vec::new();
        for id in 1..=14 {
            let keys = [format!("{prefix}:order:o{id}"), format!("{prefix}:freeze:o{id}")];
            if redis.exists::<_, u64>(&keys[..]).await.unwrap() > 0 {
                left.push(id);
            }
        }
        left
    };
    let run = async || {
        let ctx = fixture.context("cleanup-orders", false).await;
        job().run(&ctx, CleanupParams::default()).await.unwrap()
    };
    let report = run().await;
    assert_eq!((report.cache_orders, report.cache_keys), (10, 20), "{report:#?}");
    assert_eq!(left(&mut redis).await, [11, 12, 13, 14]);
    // The next run goes on behind them; a day later the younger ones are due.
    assert_eq!(run().await.cache_orders, 0);
    fixture.later(24 * 60);
    assert_eq!(run().await.cache_orders, 2);
    assert_eq!(left(&mut redis).await, [13, 14]);
}

#[tokio::test]
async fn a_redis_that_is_away_fails_the_run_after_the_orders_were_asked_for() {
    let fixture = Fixture::with(
        "expiry: { cache: { redis_url: \"redis://127.0.0.1:1/\" } }\n",
        Misbehaviour::default(),
    )
    .await;
    fixture.expired_orders(1, 3).await;
    fixture.orders(11, 11, 4, "0", "1").await;
    fixture
        .sql(&format!("UPDATE {ORDERS} SET updated_at = 1 WHERE id = 11"))
        .await;
    let error = fixture.try_run().await.unwrap_err();
    assert!(error.to_string().contains("expiry.cache.redis_url"), "{error}");
    fixture.until_expired(3).await;
}
