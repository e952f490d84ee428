//! Real PostgreSQL, Redis and Kafka, stopped under the prober that keeps its own history in them.

use eidos_testkit::{KafkaBroker, Postgres, PostgresOptions, Redis, RedisOptions};

use crate::fixture::{Fixture, becomes, rounds};
use crate::http::{OK, Server};

#[tokio::test]
async fn done_when_4_everything_stops_and_each_server_is_told_after_three_rounds() {
    let receiver = Server::start(OK).await;
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let redis = Redis::start(RedisOptions::default()).await.unwrap();
    let kafka = KafkaBroker::start_in_process().unwrap();
    let (database, redis_url) = (postgres.url("postgres"), redis.url());
    let fixture = Fixture::with_servers(
        &format!(
            "  targets:\n    postgres: {{ url: \"tcp://127.0.0.1:{}\" }}\n    redis: {{ url: \"tcp://127.0.0.1:{}\" }}\n    kafka: {{ url: \"tcp://{}\" }}",
            postgres.port(),
            redis.port(),
            kafka.bootstrap_servers(),
        ),
        &format!("  webhooks: {{ pager: {{ url: \"{}\" }} }}", receiver.url()),
        &database,
        &redis_url,
    );
    let child = fixture.serve();
    rounds(&child, 2).await;
    assert!(receiver.notices().is_empty(), "{:?}", receiver.notices());
    drop((postgres, redis, kafka));
    let expected = ["kafka", "postgres", "redis"]
        .map(|name| format!("open critical TargetUnhealthy {name}"))
        .to_vec();
    let notices = || {
        let mut notices = receiver.notices();
        notices.sort();
        notices
    };
    becomes("each is told", &child, &expected, notices).await;
    rounds(&child, 3).await;
    assert_eq!(notices(), expected);
    // It starts in the middle of the outage, and knows.
    child.kill();
    let child = fixture.serve();
    rounds(&child, 4).await;
    assert_eq!(notices(), expected);
}
