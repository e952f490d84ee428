//! Events: written with their fact, sent at least once to every destination, in order for each key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use eidos_core::CoreError;
use eidos_core::outbox::{
    self, DeliveryError, Destination, GIVE_UP_AFTER, KEEP_DELIVERED, Outbox, OutboxEvent,
};
use eidos_types::{BreakId, Clock};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use sqlx::PgPool;

use crate::fixture::{Fixture, at};

const SOURCE: &str = "recon-svc";

/// A destination that remembers what it was sent, and refuses while it is told to.
struct Remembering {
    name: &'static str,
    topic: Option<&'static str>,
    limit: Duration,
    state: Mutex<(bool, Vec<OutboxEvent>)>,
}

impl Remembering {
    fn new(name: &'static str) -> Arc<Self> {
        Self::of_topic(name, None)
    }

    fn of_topic(name: &'static str, topic: Option<&'static str>) -> Arc<Self> {
        Arc::new(Self {
            name,
            topic,
            limit: Duration::from_secs(5),
            state: Mutex::new((true, Vec::new())),
        })
    }

    fn works(&self, works: bool) {
        self.state.lock().unwrap().0 = works;
    }

    fn kinds(&self) -> Vec<String> {
        self.state
            .lock()
            .unwrap()
            .1
            .iter()
            .map(|event| event.kind.clone())
            .collect()
    }
}

impl Destination for Remembering {
    fn name(&self) -> &str {
        self.name
    }

    fn topic(&self) -> Option<&str> {
        self.topic
    }

    fn attempt_limit(&self) -> Duration {
        self.limit
    }

    fn deliver<'a>(&'a self, event: &'a OutboxEvent) -> BoxFuture<'a, Result<(), DeliveryError>> {
        let mut state = self.state.lock().unwrap();
        state.1.push(event.clone());
        let outcome = if state.0 {
            Ok(())
        } else {
            Err(DeliveryError("refused".to_owned()))
        };
        std::future::ready(outcome).boxed()
    }
}

type Act = Box<dyn Fn() -> BoxFuture<'static, Result<(), DeliveryError>> + Send + Sync>;

/// A destination that does what a test wants with each event.
struct Acting {
    name: &'static str,
    limit: Duration,
    act: Act,
}

impl Acting {
    fn new(
        name: &'static str,
        limit: Duration,
        act: impl Fn() -> BoxFuture<'static, Result<(), DeliveryError>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            limit,
            act: Box::new(act),
        }
    }
}

impl Destination for Acting {
    fn name(&self) -> &str {
        self.name
    }

    fn topic(&self) -> Option<&str> {
        None
    }

    fn attempt_limit(&self) -> Duration {
        self.limit
    }

    fn deliver<'a>(&'a self, _event: &'a OutboxEvent) -> BoxFuture<'a, Result<(), DeliveryError>> {
        (self.act)()
    }
}

fn event(fixture: &Fixture, kind: &str, key: &str) -> OutboxEvent {
    OutboxEvent {
        event_id: BreakId::new(&fixture.clock).as_uuid(),
        source: SOURCE.to_owned(),
        topic: "breaks".to_owned(),
        kind: kind.to_owned(),
        key: key.to_owned(),
        occurred_at: fixture.clock.now(),
        payload: json!({ "kind": kind }),
    }
}

async fn record(fixture: &Fixture, events: &[(&str, &str)]) {
    let mut conn = fixture.control().acquire().await.unwrap();
    for (kind, key) in events {
        outbox::record(&mut conn, &event(fixture, kind, key))
            .await
            .unwrap();
    }
}

fn outbox_of(fixture: &Fixture, destinations: &[&Arc<Remembering>]) -> Outbox {
    let destinations = destinations
        .iter()
        .map(|one| Arc::clone(*one) as Arc<dyn Destination>)
        .collect();
    Outbox::new(fixture.jobs.clone(), SOURCE, destinations)
}

/// Makes every wait and claim pass.
async fn time_passes(pool: &PgPool) {
    sqlx::query(
        "UPDATE eidos_jobs_outbox_deliveries SET next_attempt_at = clock_timestamp() WHERE state = 'pending'",
    )
    .execute(pool)
    .await
    .unwrap();
}

async fn ages(pool: &PgPool, by: Duration) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "UPDATE eidos_jobs_outbox_deliveries SET created_at = created_at - interval '{0} s', \
             delivered_at = delivered_at - interval '{0} s', next_attempt_at = clock_timestamp(); \
         UPDATE eidos_jobs_outbox SET routed_at = routed_at - interval '{0} s'",
        by.as_secs() + 60
    )))
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn an_event_exists_exactly_if_its_step_was_committed() {
    let fixture = Fixture::new().await;
    let (kept, dropped) = (event(&fixture, "kept", "k"), event(&fixture, "dropped", "k"));
    let fence = fixture.run().await.fence;
    for (event, commits) in [(&kept, true), (&dropped, false)] {
        let mut step = fence.step(&fixture.jobs).await.unwrap();
        outbox::record(step.conn(), event).await.unwrap();
        if commits {
            step.commit().await.unwrap();
        }
    }
    // The same step again after a crash whose commit had arrived.
    let mut step = fence.step(&fixture.jobs).await.unwrap();
    outbox::record(step.conn(), &kept).await.unwrap();
    step.commit().await.unwrap();

    let sink = Remembering::new("sink");
    let outbox = outbox_of(&fixture, &[&sink]);
    outbox.route().await.unwrap();
    while outbox.deliver(&*sink).await.unwrap() > 0 {}
    let sent = sink.state.lock().unwrap().1.clone();
    assert_eq!(sent.len(), 1, "{sent:?}");
    // PostgreSQL keeps microseconds.
    let exact = OutboxEvent {
        occurred_at: kept.occurred_at,
        ..sent[0].clone()
    };
    assert_eq!(exact, kept);
}

#[tokio::test]
async fn events_of_a_key_keep_their_order_and_a_failing_one_holds_back_only_its_own() {
    let fixture = Fixture::new().await;
    record(&fixture, &[("1", "a"), ("2", "a"), ("3", "b"), ("4", "a")]).await;
    let sink = Remembering::new("sink");
    let outbox = outbox_of(&fixture, &[&sink]);
    outbox.route().await.unwrap();
    sink.works(false);
    assert_eq!(outbox.deliver(&*sink).await.unwrap(), 2, "the first of each key");
    assert_eq!(outbox.deliver(&*sink).await.unwrap(), 0, "both wait");
    sink.works(true);
    time_passes(fixture.db.pool()).await;
    while outbox.deliver(&*sink).await.unwrap() > 0 {}
    assert_eq!(sink.kinds(), ["1", "3", "1", "3", "2", "4"]);
}

#[tokio::test]
async fn a_destination_that_fails_delays_no_other_and_takes_only_its_topic() {
    let fixture = Fixture::new().await;
    record(&fixture, &[("1", "a"), ("2", "a")]).await;
    let (works, fails) = (Remembering::new("works"), Remembering::new("fails"));
    let other = Remembering::of_topic("other", Some("pauses"));
    let outbox = outbox_of(&fixture, &[&works, &fails, &other]);
    outbox.route().await.unwrap();
    fails.works(false);
    for _round in 0..5 {
        for destination in outbox.destinations() {
            outbox.deliver(&**destination).await.unwrap();
        }
    }
    assert_eq!(works.kinds(), ["1", "2"]);
    assert_eq!(fails.kinds(), ["1"], "and then it waits");
    assert!(other.kinds().is_empty());
    let backlog = outbox.backlog().await.unwrap();
    let pending: Vec<(&str, u64)> = backlog
        .iter()
        .map(|one| (one.destination.as_str(), one.pending))
        .collect();
    assert_eq!(pending, [("fails", 2), ("works", 0), ("other", 0)]);
}

#[tokio::test]
async fn replicas_share_the_work_and_a_claim_that_lapsed_is_taken_over() {
    let fixture = Fixture::new().await;
    let keys: Vec<String> = (0..40).map(|key| key.to_string()).collect();
    let events: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), key.as_str())).collect();
    record(&fixture, &events).await;
    let sink = Remembering::new("sink");
    let (one, two) = (outbox_of(&fixture, &[&sink]), outbox_of(&fixture, &[&sink]));
    let (routed_one, routed_two) = tokio::join!(one.route(), two.route());
    routed_one.unwrap();
    routed_two.unwrap();
    // A replica that dies while it sends: its future is dropped, nothing is recorded.
    let hanging = Acting::new("sink", Duration::from_mins(10), || std::future::pending().boxed());
    let died = tokio::time::timeout(Duration::from_millis(500), one.deliver(&hanging)).await;
    assert!(died.is_err());
    loop {
        let (first, second) = tokio::join!(one.deliver(&*sink), two.deliver(&*sink));
        if first.unwrap() + second.unwrap() == 0 {
            break;
        }
    }
    assert_eq!(sink.kinds().len(), 24, "16 are claimed by the replica that died");
    time_passes(fixture.db.pool()).await;
    while one.deliver(&*sink).await.unwrap() > 0 {}
    let mut kinds = sink.kinds();
    kinds.sort_by_key(|kind| kind.parse::<u32>().unwrap());
    assert_eq!(kinds, keys, "each once");
}

#[tokio::test]
async fn a_claim_that_lapsed_records_nothing() {
    let fixture = Fixture::new().await;
    record(&fixture, &[("1", "a")]).await;
    let sink = Remembering::new("sink");
    let outbox = outbox_of(&fixture, &[&sink]);
    outbox.route().await.unwrap();
    // While it sends, the claim lapses and another replica makes the next attempt.
    let pool = fixture.db.pool().clone();
    let slow = Acting::new("sink", Duration::from_secs(5), move || {
        let pool = pool.clone();
        async move {
            let next = "UPDATE eidos_jobs_outbox_deliveries SET attempts = attempts + 1";
            sqlx::query(next).execute(&pool).await.unwrap();
            Ok(())
        }
        .boxed()
    });
    outbox.deliver(&slow).await.unwrap();
    assert_eq!(outbox.backlog().await.unwrap()[0].pending, 1);
}

#[tokio::test]
async fn what_cannot_be_delivered_for_a_week_is_given_up_visibly_and_holds_back_nothing() {
    let fixture = Fixture::new().await;
    record(&fixture, &[("1", "a")]).await;
    let (sink, gone) = (Remembering::new("sink"), Remembering::new("gone"));
    outbox_of(&fixture, &[&sink, &gone]).route().await.unwrap();
    // The next version has no "gone" in its settings.
    let outbox = outbox_of(&fixture, &[&sink]);
    sink.works(false);
    outbox.deliver(&*sink).await.unwrap();
    outbox.upkeep().await.unwrap();
    ages(fixture.db.pool(), GIVE_UP_AFTER).await;
    record(&fixture, &[("2", "a")]).await;
    outbox.route().await.unwrap();
    outbox.deliver(&*sink).await.unwrap();
    outbox.upkeep().await.unwrap();
    sink.works(true);
    outbox.deliver(&*sink).await.unwrap();
    assert_eq!(sink.kinds(), ["1", "1", "2"]);
    ages(fixture.db.pool(), KEEP_DELIVERED).await;
    outbox.upkeep().await.unwrap();
    let backlog = outbox.backlog().await.unwrap();
    let dead: Vec<(&str, u64, u64)> = backlog
        .iter()
        .map(|one| (one.destination.as_str(), one.pending, one.dead))
        .collect();
    assert_eq!(
        dead,
        [("gone", 0, 1), ("sink", 0, 1)],
        "kept until a person decides"
    );
    let errors: Vec<String> =
        sqlx::query_scalar("SELECT last_error FROM eidos_jobs_outbox_deliveries ORDER BY destination")
            .fetch_all(fixture.db.pool())
            .await
            .unwrap();
    assert_eq!(errors, ["no replica is configured to deliver to it", "refused"]);
}

#[tokio::test]
async fn delivered_events_are_deleted_after_their_time() {
    let fixture = Fixture::new().await;
    record(&fixture, &[("1", "a"), ("2", "b")]).await;
    let sink = Remembering::new("sink");
    let outbox = outbox_of(&fixture, &[&sink]);
    outbox.route().await.unwrap();
    outbox.deliver(&*sink).await.unwrap();
    let stored = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_outbox")
            .fetch_one(fixture.db.pool())
            .await
            .unwrap()
    };
    outbox.upkeep().await.unwrap();
    assert_eq!(stored().await, 2);
    record(&fixture, &[("3", "c")]).await;
    outbox.route().await.unwrap();
    ages(fixture.db.pool(), KEEP_DELIVERED).await;
    outbox.upkeep().await.unwrap();
    assert_eq!(stored().await, 1, "one was not delivered");
    outbox.deliver(&*sink).await.unwrap();
    ages(fixture.db.pool(), KEEP_DELIVERED).await;
    outbox.upkeep().await.unwrap();
    assert_eq!(stored().await, 0);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_cut_off() {
    let fixture = Fixture::new().await;
    record(&fixture, &[("1", "a")]).await;
    let never = Arc::new(Acting::new("never", Duration::from_millis(50), || {
        std::future::pending().boxed()
    }));
    let outbox = Outbox::new(
        fixture.jobs.clone(),
        SOURCE,
        vec![Arc::clone(&never) as Arc<dyn Destination>],
    );
    outbox.route().await.unwrap();
    assert_eq!(outbox.deliver(&*never).await.unwrap(), 1);
    let error: String = sqlx::query_scalar("SELECT last_error FROM eidos_jobs_outbox_deliveries")
        .fetch_one(fixture.db.pool())
        .await
        .unwrap();
    assert_eq!(error, "not acknowledged within 50ms");
}

/// What recon-svc of the version before had not published when the schema was migrated.
#[tokio::test]
async fn pending_announcements_of_the_version_before_become_events_under_their_ids() -> Result<(), CoreError>
{
    let fixture = Fixture::new().await;
    let statements = include_str!("../../../../migrations/0012_outbox.sql");
    let carry_over = &statements[statements.find("INSERT INTO eidos_jobs_outbox").unwrap()..];
    let ids = [BreakId::new(&fixture.clock), BreakId::new(&fixture.clock)];
    for (id, at) in ids.iter().zip(["2026-01-02T00:00:00.5Z", "2026-01-01T00:00:00Z"]) {
        let value = json!({
            "event_id": id, "kind": "break.opened", "topic": "eidos-jobs-breaks", "key": "0x1", "occurred_at": at,
            "payload": { "token": "USDC" },
        });
        sqlx::query("INSERT INTO eidos_jobs_checkpoints (job_name, checkpoint_key, value, epoch) VALUES ('reconciliation', $1, $2, 1)")
            .bind(format!("announce/{id}"))
            .bind(value)
            .execute(fixture.db.pool())
            .await
            .unwrap();
    }
    sqlx::raw_sql(carry_over)
        .execute(fixture.db.pool())
        .await
        .unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_checkpoints")
        .fetch_one(fixture.db.pool())
        .await
        .unwrap();
    assert_eq!(left, 0);
    let sink = Remembering::new("sink");
    let outbox = outbox_of(&fixture, &[&sink]);
    outbox.route().await?;
    while outbox.deliver(&*sink).await? > 0 {}
    let sent = sink.state.lock().unwrap().1.clone();
    let seen: Vec<_> = sent
        .iter()
        .map(|event| (event.event_id, event.occurred_at))
        .collect();
    assert_eq!(
        seen,
        [
            (ids[1].as_uuid(), at("2026-01-01T00:00:00Z")),
            (ids[0].as_uuid(), at("2026-01-02T00:00:00.5Z"))
        ]
    );
    assert_eq!(
        (sent[0].topic.as_str(), sent[0].key.as_str()),
        ("eidos-jobs-breaks", "0x1")
    );
    assert_eq!(
        (sent[0].kind.as_str(), &sent[0].payload),
        ("break.opened", &json!({ "token": "USDC" }))
    );
    Ok(())
}
