//! Real PostgreSQL, Redis and Kafka, stopped under the prober that keeps its own history in them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use eidos_sandbox::{KafkaServer, KafkaServerOptions};
use eidos_testkit::{
    Alertmanager, AlertmanagerOptions, ChildProcess, Command, Postgres, PostgresOptions, Redis, RedisOptions,
};
use serde_json::Value;

use crate::alertmanager::notified;
use crate::fixture::{Fixture, becomes, rounds, said};
use crate::http::{OK, Server, call};

const NAMES: [&str; 3] = ["kafka", "postgres", "redis"];
/// How often a round may be met in the middle before the test gives up.
const ATTEMPTS: usize = 10;

/// A round as the prober itself logged it when it ended.
struct Round {
    slot_ms: i64,
    failed: BTreeSet<String>,
    critical: BTreeSet<String>,
}

fn lines(child: &ChildProcess) -> Vec<Value> {
    let said = said(child);
    let lines = said.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines.collect()
}

fn ms(time: &Value) -> i64 {
    let time = time.as_str().unwrap();
    chrono::DateTime::parse_from_rfc3339(time)
        .unwrap()
        .timestamp_millis()
}

/// The rounds that have ended so far.
fn ended(child: &ChildProcess) -> Vec<Round> {
    let lines = lines(child).into_iter();
    let reports = lines.filter(|line| line["message"] == "run succeeded");
    let round = reports.map(|line| {
        let report: Value = serde_json::from_str(line["report"].as_str().unwrap()).unwrap();
        let targets = |key: &str, value: &str| {
            let targets = report["not_good"].as_array().unwrap().iter();
            let found = targets.filter(|target| target[key] == value);
            found
                .map(|target| target["target"].as_str().unwrap().to_owned())
                .collect()
        };
        Round {
            slot_ms: ms(&line["span"]["slot"]),
            failed: targets("seen", "failed"),
            critical: targets("level", "critical"),
        }
    });
    round.collect()
}

/// Stops the process between two rounds, and returns how many have ended.
async fn paused_between_rounds(child: &ChildProcess) -> usize {
    for _ in 0..ATTEMPTS {
        rounds(child, 1).await;
        child.pause().await;
        let (ended, lines) = (ended(child).len(), lines(child));
        let started = lines.iter().filter(|line| line["message"] == "run started");
        if started.count() == ended {
            return ended;
        }
        child.resume();
    }
    unreachable!("every pause met a round\n{}", said(child));
}

struct Servers {
    alertmanager: Alertmanager,
    postgres: Postgres,
    redis: Redis,
    kafka: KafkaServer,
}

impl Servers {
    async fn start(behind: &Server) -> Self {
        let options = AlertmanagerOptions {
            webhook: behind.url(),
            group_wait: Duration::from_millis(500),
        };
        let (alertmanager, postgres, redis, kafka) = tokio::join!(
            Alertmanager::start(&options),
            Postgres::start(PostgresOptions::default()),
            Redis::start(RedisOptions::default()),
            KafkaServer::start(KafkaServerOptions::default()),
        );
        Self {
            alertmanager: alertmanager.unwrap(),
            postgres: postgres.unwrap(),
            redis: redis.unwrap(),
            kafka: kafka.unwrap(),
        }
    }

    async fn stop_all_three(&self) {
        self.postgres.stop().await.unwrap();
        self.redis.stop().await.unwrap();
        self.kafka.stop().await.unwrap();
    }

    fn fixture(&self, receiver: &Server) -> Fixture {
        let (database, redis) = (self.postgres.url("postgres"), self.redis.url());
        Fixture::with_servers(
            &format!(
                "  targets:\n    postgres: {{ url: \"{database}\" }}\n    redis: {{ url: \"{redis}\" }}\n    kafka: {{ url: \"kafka://{}\" }}",
                self.kafka.bootstrap_servers(),
            ),
            &format!(
                "  webhooks: {{ pager: {{ url: \"{}\" }} }}\n  \
                 alertmanagers: {{ main: {{ url: \"{}\", every: 1m, group_wait: 1s }} }}",
                receiver.url(),
                self.alertmanager.url(),
            ),
            &database,
            &redis,
        )
    }
}

/// With a second for each probe, and two more before the next round.
fn prober(fixture: &Fixture) -> Command {
    fixture
        .command(&["serve"])
        .env("EIDOS__JOBS__HEALTH_MONITOR__CRON", "*/3 * * * * *")
        .env("EIDOS__PROBES__TIMEOUT", "1s")
        .env("EIDOS__PROBES__SLOW_AFTER", "900ms")
}

fn sorted(mut found: Vec<String>) -> Vec<String> {
    found.sort();
    found
}

fn all() -> BTreeSet<String> {
    BTreeSet::from(NAMES.map(str::to_owned))
}

/// Checks the four rounds after the stop, and returns the time of the third: from its slot to the next.
fn third_of(after: &[Round]) -> Range<i64> {
    for (index, round) in after[..4].iter().enumerate() {
        assert_eq!(round.failed, all(), "round {} after the stop", index + 1);
        let critical = if index < 2 { BTreeSet::new() } else { all() };
        assert_eq!(round.critical, critical, "round {} after the stop", index + 1);
    }
    after[2].slot_ms..after[3].slot_ms
}

fn is_in(third: &Range<i64>, at_ms: i64, what: &impl std::fmt::Debug) {
    assert!(
        third.contains(&at_ms),
        "{at_ms} is not in the third round {third:?}: {what:?}"
    );
}

/// What Alertmanager holds arrived in the third round.
async fn check_alertmanager(server: &Alertmanager, third: &Range<i64>) {
    let held = call(
        "GET",
        &server.url(),
        "/api/v2/alerts?filter=severity=critical",
        "",
    )
    .await;
    let held = held.as_array().unwrap();
    let names = held.iter().map(|alert| &alert["labels"]["target"]);
    let names: BTreeSet<String> = names.map(|name| name.as_str().unwrap().to_owned()).collect();
    assert_eq!((held.len(), names), (3, all()), "{held:#?}");
    for alert in held {
        // It is told once a minute: nothing has updated the alert since it arrived.
        is_in(third, ms(&alert["updatedAt"]), alert);
        assert_eq!(alert["status"]["state"], "active", "{alert}");
    }
}

/// Done-when 4. What counts is which of the prober's own rounds told, not how long it took.
#[tokio::test]
async fn done_when_4_everything_stops_and_the_third_round_tells_both_receivers() {
    let (receiver, behind) = (Server::start(OK).await, Server::start(OK).await);
    let servers = Servers::start(&behind).await;
    let fixture = servers.fixture(&receiver);
    let child = prober(&fixture).spawn();
    rounds(&child, 2).await;
    let before = paused_between_rounds(&child).await;
    let was_good = ended(&child).iter().all(|round| round.failed.is_empty());
    assert!(was_good, "{}", said(&child));
    assert!(receiver.notices().is_empty(), "{:?}", receiver.notices());
    servers.stop_all_three().await;
    child.resume();
    let expected = NAMES.map(|name| format!("open critical TargetUnhealthy {name}"));
    let expected = expected.to_vec();
    let notices = || sorted(receiver.notices());
    becomes("each is told", &child, &expected, notices).await;
    let firing = NAMES.map(|name| format!("firing critical TargetUnhealthy {name}"));
    becomes("Alertmanager notifies of each", &child, &firing.to_vec(), || {
        sorted(notified(&behind))
    })
    .await;
    let is_over = || ended(&child).len() >= before + 4;
    becomes("a fourth round ends", &child, &true, is_over).await;

    let third = third_of(&ended(&child).split_off(before));
    for request in receiver.requests() {
        is_in(&third, ms(&request.json()["sent_at"]), &request);
    }
    check_alertmanager(&servers.alertmanager, &third).await;
    rounds(&child, 3).await;
    assert_eq!(notices(), expected);
    // It starts in the middle of the outage, and knows.
    child.kill();
    let child = prober(&fixture).spawn();
    rounds(&child, 4).await;
    assert_eq!(notices(), expected);
}
