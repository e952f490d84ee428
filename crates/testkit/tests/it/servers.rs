//! The servers that tests share.

use eidos_testkit::{TestRedis, shared_anvil, shared_kafka};

#[tokio::test]
async fn each_test_has_its_own_prefix_on_one_redis() {
    let (one, two) = tokio::join!(TestRedis::shared(), TestRedis::shared());
    assert_eq!(one.url(), two.url());
    assert_ne!(one.prefix(), two.prefix());
    let mut connection = redis::Client::open(one.url())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    redis::cmd("SET")
        .arg(format!("{}:k", one.prefix()))
        .arg("v")
        .query_async::<()>(&mut connection)
        .await
        .unwrap();
    let other: Option<String> = redis::cmd("GET")
        .arg(format!("{}:k", two.prefix()))
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(other, None);
}

#[tokio::test]
async fn the_chain_and_the_broker_are_there() {
    let node = shared_anvil().await;
    assert!(
        node.request("eth_chainId", "[]")
            .await
            .unwrap()
            .contains("0x7a69")
    );
    shared_kafka().await.create_topic("there", 1).await.unwrap();
}
