//! Processes that decide together over one Redis. Each has a target of the same name and a server of its own behind it.

use eidos_testkit::{ChildProcess, Redis, RedisOptions, TestDb};

use crate::fixture::{Fixture, WITHIN, becomes, rounds, said};
use crate::http::{Does, OK, Server};

const OPEN: &str = "open critical TargetUnhealthy trading";
const RESOLVED: &str = "resolved critical TargetUnhealthy trading";
const HELD: &str = "its alert is held";

struct Prober {
    target: Server,
    fixture: Fixture,
    child: ChildProcess,
}

/// Probers and the receiver that they share.
struct Probers {
    all: Vec<Prober>,
    receiver: Server,
    redis: Redis,
    /// A round waits for its history while there is no database.
    _db: TestDb,
}

impl Probers {
    async fn start(count: usize, vote: &str) -> Self {
        let receiver = Server::start(OK).await;
        let redis = Redis::start(RedisOptions::default()).await.unwrap();
        let db = TestDb::migrated().await;
        let mut all = Vec::new();
        for _ in 0..count {
            let target = Server::start(OK).await;
            let fixture = Fixture::with_servers(
                &format!(
                    "  vote: {vote}\n  targets: {{ trading: {{ url: \"{}\" }} }}",
                    target.url()
                ),
                &format!("  webhooks: {{ pager: {{ url: \"{}\" }} }}", receiver.url()),
                &db.url(),
                &redis.url(),
            );
            let child = fixture.serve();
            all.push(Prober {
                target,
                fixture,
                child,
            });
        }
        for prober in &all {
            rounds(&prober.child, 2).await;
        }
        Self {
            all,
            receiver,
            redis,
            _db: db,
        }
    }

    fn fail(&self, which: &[usize]) {
        for prober in which {
            self.all[*prober].target.now(Does::Close);
        }
    }

    async fn become_told(&self, what: &str, told: &[&str]) {
        becomes(what, &self.all[0].child, &texts(told), || self.receiver.notices()).await;
    }

    /// Whether nothing else is told while every prober makes rounds.
    async fn stay_told(&self, told: &[&str]) {
        for prober in &self.all {
            rounds(&prober.child, 4).await;
        }
        assert_eq!(self.receiver.notices(), texts(told));
    }
}

fn texts(told: &[&str]) -> Vec<String> {
    told.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn one_prober_of_three_tells_nobody_and_two_do_once() {
    let probers = Probers::start(3, "majority").await;
    probers.fail(&[0]);
    probers.all[0].child.wait_for_line(HELD, WITHIN).await;
    probers.stay_told(&[]).await;
    probers.fail(&[1]);
    probers.become_told("the majority tells", &[OPEN]).await;
    probers.stay_told(&[OPEN]).await;
    let text = &probers.receiver.requests()[0].body;
    assert!(text.contains("2 of 3 probers say critical or worse"), "{text}");
    // One of the two sees it work again: no majority any more.
    probers.all[1].target.now(OK);
    probers.become_told("its end", &[OPEN, RESOLVED]).await;
    probers.stay_told(&[OPEN, RESOLVED]).await;
    probers.fail(&[2]);
    probers.become_told("the next one", &[OPEN, RESOLVED, OPEN]).await;
}

#[tokio::test]
async fn with_any_one_prober_tells_and_the_end_waits_for_every_prober() {
    let probers = Probers::start(2, "any").await;
    probers.fail(&[0]);
    probers.become_told("one is enough", &[OPEN]).await;
    probers.fail(&[1]);
    probers.all[1]
        .child
        .wait_for_line("the level has changed", WITHIN)
        .await;
    probers.stay_told(&[OPEN]).await;
    probers.all[0].target.now(OK);
    probers.all[0].child.wait_for_line("recovered", WITHIN).await;
    probers.stay_told(&[OPEN]).await;
    probers.all[1].target.now(OK);
    probers.become_told("both see it work", &[OPEN, RESOLVED]).await;
    for prober in &probers.all {
        assert!(
            !said(&prober.child).contains(HELD),
            "no alert waited for anything"
        );
    }
}

/// A prober that is killed has no vote, after a while: what the other one sees is enough then.
#[tokio::test]
async fn with_all_a_prober_that_died_holds_no_alert_for_ever() {
    let mut probers = Probers::start(2, "all").await;
    probers.fail(&[0]);
    probers.all[0].child.wait_for_line(HELD, WITHIN).await;
    probers.stay_told(&[]).await;
    let died = probers.all.pop().unwrap();
    died.child.kill();
    probers.become_told("it decides alone", &[OPEN]).await;
    // It comes back, and sees the target work.
    let again = died.fixture.serve();
    probers
        .become_told("it has a vote again", &[OPEN, RESOLVED])
        .await;
    drop(again);
}

#[tokio::test]
async fn without_redis_each_prober_decides_alone() {
    let probers = Probers::start(2, "all").await;
    probers.fail(&[0]);
    probers.all[0].child.wait_for_line(HELD, WITHIN).await;
    probers.redis.stop().await.unwrap();
    probers.become_told("nobody can be asked", &[OPEN]).await;
    assert!(!said(&probers.all[1].child).contains("the level has changed"));
}
