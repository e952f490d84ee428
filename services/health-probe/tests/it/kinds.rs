//! Every kind of probe against the real server, and against one that speaks nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eidos_bus::Topic;
use eidos_sandbox::{KafkaServer, KafkaServerOptions};
use eidos_testkit::{
    Anvil, AnvilOptions, KafkaBroker, Postgres, PostgresOptions, Redis, RedisOptions, TestDb,
};
use eidos_types::{Clock, ManualClock, SystemClock};
use health_probe::domain::address::Address;
use health_probe::domain::limits::Limits;
use health_probe::domain::observation::{Observation, Seen};
use health_probe::domain::postgres::Role;
use health_probe::probes::{Prober, Target};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tonic_health::ServingStatus;

use crate::raw::{Raw, RawServer};

const LIMIT: Duration = Duration::from_secs(8);

fn target(url: &str) -> Target {
    Target::new("x".to_owned(), Address::parse(url).unwrap())
}

fn prober() -> Prober {
    Prober::new(LIMIT).unwrap()
}

/// What is found, with limits of the test's own.
async fn with_limits(target: &Target, change: impl FnOnce(&mut Limits)) -> Observation {
    let mut limits = Limits::defaults();
    change(&mut limits);
    let clock = Arc::new(SystemClock::default());
    prober().with_limits(limits, clock).probe(target).await
}

fn expect(found: &Observation, seen: Seen, part: &str) {
    assert_eq!(found.seen, seen, "{part}: {}", found.why);
    assert!(found.why.contains(part), "{part} is not in: {}", found.why);
}

#[tokio::test]
async fn a_server_that_speaks_nothing_fails_within_the_limit_and_a_bound_of_bytes() {
    const SHORT: Duration = Duration::from_millis(700);
    for does in [Raw::Hang, Raw::Trickle, Raw::Gigabyte, Raw::Close] {
        for scheme in [
            "http",
            "tls",
            "grpc",
            "grpcs",
            "postgres",
            "redis",
            "rediss",
            "kafka",
            "evm+http",
            "evm+https",
        ] {
            let server = RawServer::start(does).await;
            let target = target(&format!("{scheme}://127.0.0.1:{}", server.port));
            let found = Prober::new(SHORT).unwrap().probe(&target).await;
            assert_eq!(found.seen, Seen::Failed, "{scheme} {does:?}: {}", found.why);
            assert!(
                found.took < SHORT + Duration::from_millis(500),
                "{scheme} {does:?}: {:?}",
                found.took
            );
            assert!(!found.why.is_empty());
            let sent = server.sent_bytes();
            assert!(sent < 64 * 1024 * 1024, "{scheme} {does:?}: {sent} bytes");
        }
    }
}

#[tokio::test]
async fn grpc_says_what_its_health_service_says() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("up", ServingStatus::Serving).await;
    reporter
        .set_service_status("down", ServingStatus::NotServing)
        .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    for (service, seen, part) in [
        ("", Seen::Good, ""),
        ("up", Seen::Good, ""),
        ("down", Seen::Failed, "NOT_SERVING of 'down'"),
        ("strange", Seen::Failed, "does not know the service 'strange'"),
    ] {
        let found = prober()
            .probe(&target(&format!("grpc://127.0.0.1:{port}/{service}")))
            .await;
        expect(&found, seen, part);
    }
}

#[tokio::test]
async fn postgresql_is_measured_by_sessions_roles_and_idle_transactions() {
    let server = Postgres::start(PostgresOptions {
        max_connections: 20,
        ..PostgresOptions::default()
    })
    .await
    .unwrap();
    let mut target = target(&server.url("postgres"));
    expect(&prober().probe(&target).await, Seen::Good, "");
    target.role = Some(Role::Replica);
    expect(
        &prober().probe(&target).await,
        Seen::Failed,
        "should be a replica",
    );
    target.role = Some(Role::Primary);
    // A session holds its transaction open.
    let pool = sqlx::PgPool::connect(&server.url("postgres")).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    let found = with_limits(&target, |limits| {
        (
            limits.idle_in_transaction_warning,
            limits.idle_in_transaction_critical,
        ) = (Duration::ZERO, Duration::from_hours(1));
    })
    .await;
    expect(&found, Seen::Degraded, "idle in a transaction");
    assert!(pid > 0);
    transaction.rollback().await.unwrap();
    let found = with_limits(&target, |limits| {
        (
            limits.connections_warning_percent,
            limits.connections_critical_percent,
        ) = (1, 2);
    })
    .await;
    expect(&found, Seen::Failed, "connections are in use");
    // A role that sees nothing of others is said, and one that may not log in.
    sqlx::query("CREATE ROLE plain LOGIN")
        .execute(&pool)
        .await
        .unwrap();
    let url = server.url("postgres");
    let (_, place) = url.rsplit_once('@').unwrap();
    let plain = Target {
        role: None,
        ..Target::new(
            "x".to_owned(),
            Address::parse(&format!("postgres://plain@{place}")).unwrap(),
        )
    };
    expect(&prober().probe(&plain).await, Seen::Degraded, "GRANT pg_monitor");
    sqlx::query("GRANT pg_monitor TO plain")
        .execute(&pool)
        .await
        .unwrap();
    expect(&prober().probe(&plain).await, Seen::Good, "");
    let nobody = Address::parse(&format!("postgres://nobody:hunter2@{place}")).unwrap();
    let found = prober().probe(&Target::new("x".to_owned(), nobody)).await;
    expect(&found, Seen::Failed, "nobody");
    assert!(!found.why.contains("hunter2"), "{}", found.why);
}

#[tokio::test]
async fn redis_is_measured_by_role_login_memory_and_evictions() {
    let server = Redis::start(RedisOptions {
        password: Some("p@ss word%".to_owned().into()),
        config_lines: vec![
            "maxmemory 3mb".to_owned(),
            "maxmemory-policy allkeys-lru".to_owned(),
        ],
        ..RedisOptions::default()
    })
    .await
    .unwrap();
    let url = server.url();
    let mut good = target(&url);
    let prober = with_memory_limits();
    expect(&prober.probe(&good).await, Seen::Good, "");
    good.role = Some(Role::Replica);
    expect(&prober.probe(&good).await, Seen::Failed, "should be a replica");
    good.role = Some(Role::Primary);
    let (_, place) = url.rsplit_once('@').unwrap();
    expect(
        &prober.probe(&target(&format!("redis://{place}"))).await,
        Seen::Failed,
        "NOAUTH",
    );
    let wrong = prober.probe(&target(&format!("redis://:hunter2@{place}"))).await;
    expect(&wrong, Seen::Failed, "WRONGPASS");
    assert!(!wrong.why.contains("hunter2"));
    // More than it may hold: keys are evicted.
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let value = "x".repeat(10_000);
    for n in 0..400 {
        let _: () = redis::cmd("SET")
            .arg(format!("key{n}"))
            .arg(&value)
            .query_async(&mut connection)
            .await
            .unwrap();
    }
    expect(
        &prober.probe(&good).await,
        Seen::Degraded,
        "keys were evicted since the last probe",
    );
    expect(&prober.probe(&good).await, Seen::Good, "");
    let full = with_limits(&good, |limits| limits.memory_warning_percent = 10).await;
    assert_ne!(full.seen, Seen::Good, "{}", full.why);
}

/// Redis with a small limit is always nearly full.
fn with_memory_limits() -> Prober {
    let mut limits = Limits::defaults();
    (limits.memory_warning_percent, limits.memory_critical_percent) = (400, 500);
    prober().with_limits(limits, Arc::new(SystemClock::default()))
}

fn committed(brokers: &str, group: &str, topic: &str, next: i64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .create()
        .unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(topic, 0, Offset::Offset(next))
        .unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
}

async fn produced(brokers: &str, topic: &str, partitions: i32, messages: u32) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap();
    for partition in 0..partitions {
        for _ in 0..messages {
            let record: FutureRecord<'_, str, str> =
                FutureRecord::to(topic).payload("x").partition(partition);
            producer.send(record, LIMIT).await.unwrap();
        }
    }
}

fn lag_target(brokers: &str, group: &str, topic: &str) -> Target {
    let topics = vec![Topic::new(topic).unwrap()];
    Target {
        groups: BTreeMap::from([(group.to_owned(), topics)]),
        ..target(&format!("kafka://{brokers}"))
    }
}

#[tokio::test]
async fn kafka_lag_counts_partitions_that_a_group_never_committed() {
    let broker = KafkaBroker::start_in_process().unwrap();
    let brokers = broker.bootstrap_servers().to_owned();
    broker.create_topic("orders", 2).await.unwrap();
    expect(
        &prober().probe(&target(&format!("kafka://{brokers}"))).await,
        Seen::Good,
        "",
    );
    produced(&brokers, "orders", 2, 10).await;
    committed(&brokers, "expirer", "orders", 8);
    // Two are left in one partition, and all ten in the other.
    let lag = lag_target(&brokers, "expirer", "orders");
    let limited = |warning, critical| {
        move |limits: &mut Limits| {
            (limits.consumer_lag_warning, limits.consumer_lag_critical) = (warning, critical);
        }
    };
    expect(&with_limits(&lag, limited(12, 100)).await, Seen::Good, "");
    let found = with_limits(&lag, limited(11, 100)).await;
    expect(
        &found,
        Seen::Degraded,
        "has not handled 12 messages; 1 of its partitions were never committed",
    );
    expect(
        &with_limits(&lag, limited(1, 11)).await,
        Seen::Failed,
        "12 messages",
    );
    broker.deny_topic("gone").await.unwrap();
    let gone = lag_target(&brokers, "expirer", "gone");
    expect(
        &prober().probe(&gone).await,
        Seen::Failed,
        "topic gone of group expirer does not exist",
    );
    broker.take_down().await.unwrap();
    assert_eq!(prober().probe(&lag).await.seen, Seen::Failed);
}

#[tokio::test]
async fn a_real_kafka_says_who_its_controller_is() {
    let kafka = KafkaServer::start(KafkaServerOptions::default()).await.unwrap();
    let brokers = kafka.bootstrap_servers();
    kafka.create_topic("orders", 3).await.unwrap();
    let cluster = eidos_bus::cluster(std::slice::from_ref(&brokers), LIMIT)
        .await
        .unwrap();
    assert!(cluster.controller.is_some(), "{cluster:?}");
    assert_eq!((cluster.brokers.len(), cluster.partitions), (1, 3));
    let lag = lag_target(&brokers, "expirer", "orders");
    produced(&brokers, "orders", 1, 3).await;
    let found = with_limits(&lag, |limits| limits.consumer_lag_warning = 2).await;
    expect(&found, Seen::Degraded, "has not handled 3 messages");
}

#[tokio::test]
async fn a_node_is_measured_by_the_age_of_its_newest_block() {
    let node = Anvil::start(AnvilOptions::default()).await.unwrap();
    let target = target(&format!("evm+{}", node.url()));
    let clock = Arc::new(ManualClock::at(SystemClock::default().now()));
    node.request("evm_mine", "[]").await.unwrap();
    let prober = prober().with_limits(Limits::defaults(), Arc::<ManualClock>::clone(&clock));
    expect(&prober.probe(&target).await, Seen::Good, "");
    clock.advance(Duration::from_mins(2));
    expect(&prober.probe(&target).await, Seen::Degraded, "the newest block");
    clock.advance(Duration::from_mins(10));
    expect(&prober.probe(&target).await, Seen::Failed, "the newest block");
}

#[tokio::test]
async fn file_systems_and_memory_are_read_from_the_kernel() {
    let full = |limits: &mut Limits| (limits.disk_warning_percent, limits.disk_critical_percent) = (0, 100);
    expect(
        &with_limits(&target("disk:///"), full).await,
        Seen::Degraded,
        "of its bytes are in use",
    );
    let none = prober().probe(&target("disk:///no/such/directory")).await;
    expect(&none, Seen::Failed, "/no/such/directory: No such file");
    assert_ne!(prober().probe(&target("memory:///")).await.seen, Seen::Unknown);

    let root = eidos_testkit::ScratchDir::create("memory").unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let target = target(&format!("memory://{}", root.path().display()));
    expect(
        &prober().probe(&target).await,
        Seen::Unknown,
        "neither a control group",
    );
    write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 190 kB\n");
    expect(
        &prober().probe(&target).await,
        Seen::Degraded,
        "81 % of the memory of the machine",
    );
    // The limit of a group above this process's own is the nearest one.
    write("proc/self/cgroup", "0::/pod/container\n");
    write("sys/fs/cgroup/pod/container/memory.max", "max\n");
    write("sys/fs/cgroup/pod/memory.max", "1000\n");
    write("sys/fs/cgroup/pod/memory.current", "980\n");
    write("sys/fs/cgroup/pod/memory.stat", "inactive_file 20\n");
    expect(
        &prober().probe(&target).await,
        Seen::Failed,
        "96 % of the memory of the control group",
    );
    write("sys/fs/cgroup/pod/memory.stat", "inactive_file 900\n");
    write(
        "sys/fs/cgroup/pod/memory.pressure",
        "some avg10=0.00 avg60=50.00 avg300=0.00 total=0\n",
    );
    expect(
        &prober().probe(&target).await,
        Seen::Failed,
        "waited for memory in 50.00 %",
    );
}

#[tokio::test]
async fn late_jobs_differences_and_missing_reconciliation_are_read_from_the_jobs_database() {
    let db = TestDb::migrated().await;
    let now_ms = SystemClock::default().now_ms();
    let prober = prober().with_jobs(db.pool().clone());
    let jobs = Target {
        periods: BTreeMap::from([("kline-agg".to_owned(), Duration::from_mins(5))]),
        ..target("jobs://executions")
    };
    let (differences, data) = (
        target("reconciliation://differences"),
        target("reconciliation://data"),
    );
    expect(
        &prober.probe(&jobs).await,
        Seen::Failed,
        "kline-agg has no successful run",
    );
    expect(&prober.probe(&differences).await, Seen::Good, "");
    expect(&prober.probe(&data).await, Seen::Failed, "has ever compared");
    let ran = |ago_ms: i64, status: &str| {
        format!(
            "INSERT INTO eidos_jobs_executions (job_name, status, started_at, created_at, execution_id, trigger) VALUES \
             ('kline-agg', '{status}', {0}, {0}, gen_random_uuid(), 'schedule')",
            now_ms - ago_ms
        )
    };
    db.sql(&ran(700_000, "success")).await;
    db.sql(&ran(1_000, "failed")).await;
    expect(
        &prober.probe(&jobs).await,
        Seen::Failed,
        "the newest success of kline-agg is 11m",
    );
    db.sql(&ran(1_000, "success")).await;
    expect(&prober.probe(&jobs).await, Seen::Good, "");
    let checkpoint = |ago: &str| {
        format!(
            "INSERT INTO eidos_jobs_reconciliation_checkpoints (job_type, mode, last_time, settings_digest) VALUES \
             ('balance', 'incremental', now() - interval '{ago}', 'x') ON CONFLICT (job_type, mode, shard) DO UPDATE SET \
             last_time = EXCLUDED.last_time"
        )
    };
    db.sql(&checkpoint("3 hours")).await;
    expect(
        &prober.probe(&data).await,
        Seen::Failed,
        "balance was last compared 3h",
    );
    db.sql(&checkpoint("1 minute")).await;
    expect(&prober.probe(&data).await, Seen::Good, "");
    let found_break = |token: &str, severity: &str, usdc: &str| {
        format!(
            "INSERT INTO eidos_jobs_breaks (break_id, dimension, token, kind, severity, direction, first_seen, last_seen, \
             usdc_value, evidence) VALUES (gen_random_uuid(), 'balance', '{token}', 'k', '{severity}', 'surplus', now(), now(), \
             {usdc}, '{{}}')"
        )
    };
    db.sql(&found_break("A", "warning", "100")).await;
    expect(
        &prober.probe(&differences).await,
        Seen::Degraded,
        "1 differences of at most 100 USDC",
    );
    db.sql(&found_break("B", "warning", "100.01")).await;
    expect(&prober.probe(&differences).await, Seen::Failed, "largest: 100.01");
    // A database that does not answer says nothing of jobs.
    db.pool().close().await;
    expect(
        &prober.probe(&data).await,
        Seen::Unknown,
        "the jobs database does not answer",
    );
}
