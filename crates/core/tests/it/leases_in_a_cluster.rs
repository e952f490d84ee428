//! Redis Cluster and Sentinel: what answers `MOVED` for half of the jobs is refused at start. Real servers.

use std::time::Duration;

use eidos_core::lease::{LeaseClient, LeaseError};
use eidos_testkit::{PortLease, Redis, RedisOptions, eventually};

use crate::fixture::SOON;
use crate::leases::{SECOND, held, request, settings};

/// Two primaries with half of the slots each.
struct Cluster {
    nodes: [Redis; 2],
    _buses: [PortLease; 2],
}

impl Cluster {
    async fn start() -> Self {
        let buses = [PortLease::take().unwrap(), PortLease::take().unwrap()];
        let node = async |bus: &PortLease, slots: [u16; 2]| {
            let redis = Redis::start(RedisOptions {
                config_lines: vec![
                    "cluster-enabled yes".to_owned(),
                    format!("cluster-port {}", bus.port()),
                ],
                ..RedisOptions::default()
            })
            .await
            .unwrap();
            run(
                &redis,
                &[
                    "CLUSTER",
                    "ADDSLOTSRANGE",
                    &slots[0].to_string(),
                    &slots[1].to_string(),
                ],
            )
            .await;
            redis
        };
        let nodes = [
            node(&buses[0], [0, 8191]).await,
            node(&buses[1], [8192, 16383]).await,
        ];
        let (port, bus) = (nodes[1].port().to_string(), buses[1].port().to_string());
        run(&nodes[0], &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
        let cluster = Self { nodes, _buses: buses };
        for node in &cluster.nodes {
            eventually("the nodes know all slots", SOON, async || {
                let info = run(node, &["CLUSTER", "INFO"]).await;
                info.contains("cluster_state:ok").then_some(()).ok_or(info)
            })
            .await;
        }
        cluster
    }
}

async fn run(redis: &Redis, command: &[&str]) -> String {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let mut cmd = redis::cmd(command[0]);
    for argument in &command[1..] {
        cmd.arg(argument);
    }
    cmd.query_async(&mut conn).await.unwrap()
}

#[tokio::test]
async fn a_node_of_a_redis_cluster_is_refused_at_start_by_name() {
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        let error = LeaseClient::connect(settings(&node.url(), "t"))
            .await
            .unwrap_err();
        let said = error.to_string();
        for part in [
            format!("127.0.0.1:{}", node.port()).as_str(),
            "Redis Cluster",
            "redis.url",
            "docs/redis.md",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(matches!(error, LeaseError::NotOneServer { .. }), "{error:?}");
    }
}

/// A user of little rights may not ask for much, but every user may say HELLO.
#[tokio::test]
async fn a_node_of_a_redis_cluster_is_known_without_the_right_to_ask_for_its_state() {
    let cluster = Cluster::start().await;
    let rule = [
        "ACL", "SETUSER", "eidos", "on", ">pw", "~*", "+ping", "+eval", "+evalsha", "+@write", "+@read",
    ];
    run(&cluster.nodes[0], &rule).await;
    let url = cluster.nodes[0].url().replace("redis://", "redis://eidos:pw@");
    let error = LeaseClient::connect(settings(&url, "t")).await.unwrap_err();
    assert!(matches!(error, LeaseError::NotOneServer { .. }), "{error:?}");
}

/// A proxy may hide the cluster at start, and a server may join one later.
#[tokio::test]
async fn a_lease_that_another_node_holds_names_the_cluster() {
    let redis = Redis::start(RedisOptions {
        config_lines: vec![
            "rename-command HELLO \"\"".to_owned(),
            "cluster-enabled yes".to_owned(),
        ],
        ..RedisOptions::default()
    })
    .await
    .unwrap();
    run(&redis, &["CLUSTER", "ADDSLOTSRANGE", "0", "1"]).await;
    let client = LeaseClient::connect(settings(&redis.url(), "t")).await.unwrap();
    let error = client
        .acquire(&request(Duration::from_secs(5)))
        .await
        .unwrap_err();
    assert!(matches!(error, LeaseError::NotOneServer { .. }), "{error:?}");
}

#[tokio::test]
async fn a_sentinel_is_refused_at_start_by_name() {
    let sentinel = Redis::start(RedisOptions {
        sentinel: true,
        ..RedisOptions::default()
    })
    .await
    .unwrap();
    let error = LeaseClient::connect(settings(&sentinel.url(), "t"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is a Sentinel"), "{error}");
}

#[tokio::test]
async fn a_server_of_its_own_is_taken() {
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let client = LeaseClient::connect(settings(&redis.url(), "t")).await.unwrap();
    held(&client, &request(5 * SECOND)).await.release().await.unwrap();
}
