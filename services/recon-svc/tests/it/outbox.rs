//! Events reach Kafka and every webhook, whichever process is killed at whichever step, and only under their own ids.
//!
//! The parent plays the receivers and starts this test binary again as the processes that deliver: crash points exist in
//! test code only.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use eidos_bus::{BREAKS, Consumer, Event, OPERATION_PAUSES, Publisher};
use eidos_core::outbox::{self, DeliveryError, Destination, Outbox, OutboxEvent};
use eidos_runtime::{Parts, ServiceDeps, Start};
use eidos_server::{Service, ServiceDefinition};
use eidos_settings::{GroupProtocol, Input, KafkaSection, OffsetReset};
use eidos_testkit::{
    CRASH_VARIABLE, ChildProcess, Command, KafkaBroker, TestDb, TestRedis, crash_point, eventually,
};
use eidos_types::{Clock, SystemClock};
use futures::FutureExt;
use futures::future::BoxFuture;
use recon_svc::ReconSettings;
use recon_svc::jobs::reconciliation::events::SOURCE;
use recon_svc::workers::outbox::{destinations, of_outbox};
use serde_json::{Value, json};
use uuid::Uuid;

const WITHIN: Duration = Duration::from_mins(2);
/// Longest attempt of a webhook, and of Kafka once.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Set in a process that delivers; without it that "test" has nothing to do.
const ROLE: &str = "OUTBOX_TEST_ROLE";
/// Every step of a delivery at which a process is killed, and at which pass.
const STEPS: [&str; 9] = [
    "routing",
    "claimed-kafka",
    "sent-kafka",
    "sent-kafka:4",
    // The first events are recorded as delivered, the next ones are claimed.
    "claimed-kafka:8",
    "claimed-webhook",
    "claimed-webhook:3",
    "sent-webhook",
    "sent-webhook:4",
];

/// A destination whose process may die just before and just after it sends, and while it is asked what it takes, which is
/// inside the transaction that routes.
struct Mortal(Arc<dyn Destination>);

impl Mortal {
    fn kind(&self) -> &str {
        self.0.name().split(':').next().unwrap_or_default()
    }
}

impl Destination for Mortal {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn topic(&self) -> Option<&str> {
        crash_point("routing");
        self.0.topic()
    }

    fn attempt_limit(&self) -> Duration {
        self.0.attempt_limit()
    }

    fn deliver<'a>(&'a self, event: &'a OutboxEvent) -> BoxFuture<'a, Result<(), DeliveryError>> {
        async move {
            crash_point(&format!("claimed-{}", self.kind()));
            let sent = self.0.deliver(event).await;
            crash_point(&format!("sent-{}", self.kind()));
            sent
        }
        .boxed()
    }
}

fn kafka(brokers: &str) -> KafkaSection {
    KafkaSection {
        brokers: vec![brokers.to_owned()],
        client_id: "outbox-test".to_owned(),
        delivery_timeout: ATTEMPT,
        group_protocol: GroupProtocol::Classic,
        session_timeout: Duration::from_secs(10),
        join_timeout: Duration::from_mins(1),
        offset_reset: OffsetReset::Earliest,
        dead_letter_topic: "{topic}-dlq".to_owned(),
    }
}

/// recon-svc without its job, so that it needs neither chain nor books.
fn delivering() -> ServiceDefinition<ReconSettings> {
    ServiceDefinition {
        name: "recon-svc",
        about: "delivers",
        start: Start::Connected,
        build: |deps: ServiceDeps<ReconSettings>| {
            async move {
                let suite = &deps.settings.suite;
                let webhooks: Vec<String> =
                    std::env::var("WEBHOOKS")?.split(',').map(str::to_owned).collect();
                let bus = Publisher::connect(&suite.kafka)?;
                let destinations = destinations(bus, suite.kafka.delivery_timeout, &webhooks, ATTEMPT)?
                    .into_iter()
                    .map(|one| Arc::new(Mortal(one)) as Arc<dyn Destination>)
                    .collect();
                let outbox = Outbox::new(deps.jobs_db.clone(), SOURCE, destinations);
                Ok(Parts {
                    jobs: Vec::new(),
                    workers: of_outbox(&outbox),
                })
            }
            .boxed()
        },
        routes: None,
        reports: None,
        openapi: None,
        commands: &[],
        queries: &[],
    }
}

/// A process of the test below: it delivers until it is killed.
#[tokio::test]
async fn a_process_that_delivers() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let env = std::env::vars()
        .filter(|(name, _)| name.starts_with("EIDOS__"))
        .collect();
    let settings = eidos_settings::load::<ReconSettings>(&Input { file: None, env }).unwrap();
    let clock = Arc::new(SystemClock::default());
    let service = Service::connect(&delivering(), Arc::new(settings), clock)
        .await
        .unwrap();
    let mut serving = service.serve().await.unwrap();
    writeln!(std::io::stdout(), "serving").unwrap();
    panic!("{:#}", serving.failed().await);
}

/// What arrived where, in order.
type Inboxes = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;

/// Three webhooks: `good` answers, `bad` refuses, `slow` answers too late.
async fn webhooks(inboxes: Inboxes) -> String {
    let app = Router::new().route("/{inbox}", post(receive)).with_state(inboxes);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

async fn receive(
    State(inboxes): State<Inboxes>,
    Path(inbox): Path<String>,
    Json(event): Json<Value>,
) -> StatusCode {
    let healed = {
        let mut inboxes = inboxes.lock().unwrap();
        inboxes.entry(inbox.clone()).or_default().push(event);
        inboxes.contains_key("healed")
    };
    match inbox.as_str() {
        "bad" if !healed => StatusCode::INTERNAL_SERVER_ERROR,
        "slow" if !healed => {
            tokio::time::sleep(ATTEMPT * 3).await;
            StatusCode::OK
        }
        _ => StatusCode::OK,
    }
}

struct Scene {
    db: TestDb,
    redis: TestRedis,
    kafka: KafkaBroker,
    inboxes: Inboxes,
    webhooks: String,
    recorded: Vec<OutboxEvent>,
}

impl Scene {
    async fn new() -> Self {
        let kafka = KafkaBroker::start_in_process().unwrap();
        for topic in [BREAKS, OPERATION_PAUSES] {
            kafka.create_topic(topic.as_str(), 2).await.unwrap();
        }
        let inboxes = Inboxes::default();
        Self {
            db: TestDb::migrated().await,
            redis: TestRedis::shared().await,
            kafka,
            webhooks: webhooks(Arc::clone(&inboxes)).await,
            inboxes,
            recorded: Vec::new(),
        }
    }

    /// Five breaks and six pauses; two keys have several events, whose order counts.
    async fn record(&mut self, round: usize) {
        let clock = SystemClock::default();
        let mut tx = self.db.pool().begin().await.unwrap();
        for number in 0..11 {
            let topic = if number % 2 == 0 { OPERATION_PAUSES } else { BREAKS };
            let key = if number < 6 {
                format!("{round}-same")
            } else {
                format!("{round}-{number}")
            };
            let event = OutboxEvent {
                event_id: Uuid::from_u128((self.recorded.len() + 1) as u128),
                source: SOURCE.to_owned(),
                topic: topic.as_str().to_owned(),
                kind: "test.happened".to_owned(),
                key,
                occurred_at: clock.now(),
                payload: json!({ "number": self.recorded.len() }),
            };
            outbox::record(&mut tx, &event).await.unwrap();
            self.recorded.push(event);
        }
        tx.commit().await.unwrap();
    }

    fn process(&self, armed: Option<&str>) -> ChildProcess {
        let urls = ["good", "bad", "slow"].map(|inbox| format!("{}/{inbox}", self.webhooks));
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "outbox::a_process_that_delivers", "--nocapture"])
            .env(ROLE, "deliver")
            .env("WEBHOOKS", urls.join(","))
            .env(CRASH_VARIABLE, armed.unwrap_or_default())
            .env("EIDOS__DATABASES__JOBS__URL", self.db.url())
            .env("EIDOS__REDIS__URL", self.redis.url())
            .env("EIDOS__REDIS__LOCK_PREFIX", self.redis.prefix())
            .env(
                "EIDOS__KAFKA__BROKERS",
                format!("[\"{}\"]", self.kafka.bootstrap_servers()),
            )
            .env("EIDOS__KAFKA__DELIVERY_TIMEOUT", "1s")
            .env("EIDOS__SERVICE__ENV", "dev")
            .env("EIDOS__SERVICE__HTTP_HOST", "127.0.0.1")
            .env("EIDOS__SERVICE__GRPC_HOST", "127.0.0.1")
            .env("EIDOS__SERVICE__HTTP_PORT", "0")
            .env("EIDOS__SERVICE__GRPC_PORT", "0")
            .spawn()
    }

    /// Claims of killed processes lapse, and waits are over.
    async fn time_passes(&self) {
        sqlx::query("UPDATE eidos_jobs_outbox_deliveries SET next_attempt_at = clock_timestamp() WHERE state = 'pending'")
            .execute(self.db.pool())
            .await
            .unwrap();
    }

    async fn pending(&self, destination: &str) -> i64 {
        sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM eidos_jobs_outbox WHERE routed_at IS NULL) + count(*) \
             FROM eidos_jobs_outbox_deliveries WHERE state = 'pending' AND destination LIKE $1",
        )
        .bind(destination)
        .fetch_one(self.db.pool())
        .await
        .unwrap()
    }

    async fn everything_reaches(&self, destination: &str) {
        eventually("everything is delivered", WITHIN, async || {
            match self.pending(destination).await {
                0 => Ok(()),
                left => Err(format!("{left} events are not delivered to {destination}")),
            }
        })
        .await;
    }

    /// The name of the destination that a webhook of this scene has.
    fn destination(&self, inbox: &str) -> String {
        let url = [format!("{}/{inbox}", self.webhooks)];
        let limit = Duration::from_secs(1);
        destinations(Publisher::off(), limit, &url, limit).unwrap()[0]
            .name()
            .to_owned()
    }

    fn pauses(&self) -> impl Iterator<Item = &OutboxEvent> {
        self.recorded
            .iter()
            .filter(|event| event.topic == OPERATION_PAUSES.as_str())
    }

    /// Everything of both topics, in the order of each partition.
    async fn on_kafka(&self) -> Vec<Value> {
        let settings = kafka(self.kafka.bootstrap_servers());
        let consumer = Consumer::subscribe(&settings, "receiver", &[BREAKS, OPERATION_PAUSES]).unwrap();
        let (mut seen, mut quiet) = (Vec::new(), 0);
        // A group's first assignment takes a while; what was acknowledged before is there then.
        while quiet < 10 || seen.len() < self.recorded.len() && quiet < 60 {
            match consumer.next(Duration::from_millis(500)).await.unwrap() {
                None => quiet += 1,
                Some(message) => {
                    quiet = 0;
                    let event: Event<Value> = message.decode().unwrap();
                    seen.push(serde_json::to_value(event).unwrap());
                }
            }
        }
        seen
    }
}

fn id_of(event: &Value) -> Uuid {
    event["event_id"].as_str().unwrap().parse().unwrap()
}

/// Each expected event at least once and none under another id; first arrivals of a key in the order of recording.
fn check<'a>(place: &str, arrived: &[Value], expected: impl Iterator<Item = &'a OutboxEvent>) {
    let expected: Vec<&OutboxEvent> = expected.collect();
    let ids: BTreeSet<Uuid> = arrived.iter().map(id_of).collect();
    let wanted: BTreeSet<Uuid> = expected.iter().map(|event| event.event_id).collect();
    assert_eq!(ids, wanted, "{place}");
    let mut first: Vec<Uuid> = Vec::new();
    for event in arrived {
        let of = expected.iter().find(|one| one.event_id == id_of(event)).unwrap();
        assert_eq!(event["payload"], of.payload, "{place}: an id names one fact");
        if !first.contains(&of.event_id) {
            first.push(of.event_id);
        }
    }
    let mut by_key: BTreeMap<(&str, &str), Vec<Uuid>> = BTreeMap::new();
    for id in first {
        let of = expected.iter().find(|one| one.event_id == id).unwrap();
        by_key.entry((&of.topic, &of.key)).or_default().push(id);
    }
    for (key, ids) in by_key {
        assert!(ids.is_sorted(), "{place}: {key:?} arrived as {ids:?}");
    }
}

#[tokio::test]
async fn every_event_is_delivered_under_its_id_whichever_process_is_killed_at_whichever_step() {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let mut scene = Scene::new().await;
    for (round, step) in STEPS.iter().enumerate() {
        scene.record(round).await;
        let status = scene.process(Some(step)).wait_exit(WITHIN).await;
        assert_eq!(status.signal(), Some(9), "{step} was not reached");
    }
    // Two replicas share what is left; one of them is killed while they do.
    scene.record(STEPS.len()).await;
    let (one, two) = (scene.process(None), scene.process(None));
    for child in [&one, &two] {
        child.wait_for_line("serving", WITHIN).await;
    }
    one.kill();
    scene.record(STEPS.len() + 1).await;

    let (good, bad, slow) = (
        scene.destination("good"),
        scene.destination("bad"),
        scene.destination("slow"),
    );
    scene.time_passes().await;
    // Neither the webhook that refuses nor the one that is slow delays the others.
    scene.everything_reaches("kafka").await;
    scene.everything_reaches(&good).await;
    let pauses = i64::try_from(scene.pauses().count()).unwrap();
    assert_eq!(
        (scene.pending(&bad).await, scene.pending(&slow).await),
        (pauses, pauses)
    );
    check("kafka", &scene.on_kafka().await, scene.recorded.iter());
    let inbox = |name: &str| {
        scene
            .inboxes
            .lock()
            .unwrap()
            .get(name)
            .cloned()
            .unwrap_or_default()
    };
    check("the good webhook", &inbox("good"), scene.pauses());

    scene
        .inboxes
        .lock()
        .unwrap()
        .insert("healed".to_owned(), Vec::new());
    eventually(
        "the webhooks that work again get everything",
        WITHIN,
        async || {
            // Nobody waits for the back-off.
            scene.time_passes().await;
            match scene.pending("webhook:%").await {
                0 => Ok(()),
                left => Err(left),
            }
        },
    )
    .await;
    check("the bad webhook", &inbox("bad"), scene.pauses());
    check("the slow webhook", &inbox("slow"), scene.pauses());
    two.terminate();
}
