//! Topics of a test's own on a broker, and what listens there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eidos_bus::{BusError, DeadLetter, Publisher, RawMessage, ReplayOptions, Topic, Turn, replay};
use eidos_devnet::matching::Topics;
use eidos_sandbox::{KafkaServer, KafkaServerOptions};
use eidos_settings::{GroupProtocol, KafkaSection, OffsetReset};
use order_expirer::workers::confirmations::Confirmations;
use tokio::sync::{OnceCell, oneshot, watch};
use tokio::task::JoinHandle;

use crate::fixture::WITHIN;

/// One Apache Kafka for all tests of this program: it takes seconds to start. It dies with this process.
static SERVER: OnceCell<KafkaServer> = OnceCell::const_new();
static TESTS: AtomicU64 = AtomicU64::new(1);

/// The three topics and their dead letters.
pub(crate) struct Kafka {
    pub(crate) brokers: String,
    pub(crate) topics: Topics,
}

impl Kafka {
    /// On the Apache Kafka of this program.
    pub(crate) async fn real() -> Self {
        let start = || KafkaServer::start(KafkaServerOptions::default());
        Self::on(SERVER.get_or_try_init(start).await.unwrap()).await
    }

    /// On an Apache Kafka of the test's own, which it can end and start again.
    pub(crate) async fn on(server: &KafkaServer) -> Self {
        let kafka = Self::named(server.bootstrap_servers());
        for (topic, partitions) in kafka.all() {
            server.create_topic(&topic, partitions).await.unwrap();
        }
        kafka
    }

    fn named(brokers: String) -> Self {
        let number = TESTS.fetch_add(1, Ordering::SeqCst);
        Self {
            brokers,
            topics: Topics::prefixed(&format!("t{number}-")),
        }
    }

    fn all(&self) -> Vec<(String, i32)> {
        let topics = [
            &self.topics.cancel_requests,
            &self.topics.order_cancelled,
            &self.topics.order_updates,
        ];
        let letters = topics.iter().map(|topic| (format!("{topic}-dlq"), 1));
        topics
            .iter()
            .map(|topic| ((*topic).clone(), 4))
            .chain(letters)
            .collect()
    }

    /// The settings that lead here, with requests on the topic.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let group = format!(
            "{}expirer",
            self.topics.order_updates.trim_end_matches("order-updates")
        );
        [
            ("KAFKA__BROKERS", format!("[\"{}\"]", self.brokers)),
            ("KAFKA__DELIVERY_TIMEOUT", "5s".to_owned()),
            ("KAFKA__SESSION_TIMEOUT", "6s".to_owned()),
            ("EXPIRY__TRANSPORT", "kafka".to_owned()),
            (
                "EXPIRY__KAFKA__CANCEL_REQUESTS",
                self.topics.cancel_requests.clone(),
            ),
            (
                "EXPIRY__KAFKA__ORDER_CANCELLED",
                self.topics.order_cancelled.clone(),
            ),
            ("EXPIRY__KAFKA__ORDER_UPDATES", self.topics.order_updates.clone()),
            ("EXPIRY__KAFKA__GROUP", group),
        ]
        .map(|(key, value)| (format!("EIDOS__{key}"), value))
        .to_vec()
    }

    fn section(&self) -> KafkaSection {
        KafkaSection {
            brokers: vec![self.brokers.clone()],
            client_id: "expirer-test".to_owned(),
            delivery_timeout: WITHIN,
            group_protocol: GroupProtocol::Classic,
            session_timeout: Duration::from_secs(6),
            join_timeout: WITHIN,
            offset_reset: OffsetReset::Earliest,
            dead_letter_topic: "{topic}-dlq".to_owned(),
        }
    }

    /// Writes messages, in order, all with one key.
    pub(crate) async fn write(&self, topic: &str, bodies: &[&str]) {
        let publisher = Publisher::connect(&self.section()).unwrap();
        let messages: Vec<RawMessage<'_>> = bodies
            .iter()
            .map(|body| RawMessage {
                key: "test",
                payload: body.as_bytes(),
                headers: &[],
                traceparent: None,
            })
            .collect();
        let topic = Topic::new(topic).unwrap();
        for outcome in publisher.publish_in_order(&topic, &messages).await {
            outcome.unwrap();
        }
    }

    /// The dead letters of a topic.
    pub(crate) async fn dead_letters(&self, topic: &str) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        let dry = ReplayOptions {
            dry_run: true,
            limit: None,
        };
        replay(&self.section(), &Topic::new(topic).unwrap(), dry, |letter| {
            letters.push(letter.clone());
        })
        .await
        .unwrap();
        letters
    }
}

/// A worker in the background.
pub(crate) struct Listening {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), BusError>>,
    turns: watch::Receiver<Option<Turn>>,
}

impl Listening {
    pub(crate) fn start(worker: Confirmations) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (told, turns) = watch::channel(None);
        let task = tokio::spawn(async move {
            let watch = |turn: &Turn| {
                told.send_replace(Some(*turn));
            };
            let stop = async {
                let _dropped_or_sent = stopped.await;
            };
            worker.read(watch, stop).await
        });
        Self { stop, task, turns }
    }

    /// Waits for a turn in which the worker is in its group and has read everything.
    pub(crate) async fn until_idle(&mut self) {
        // The lag is as old as the client's last report.
        self.turns.mark_unchanged();
        let waiting = self
            .turns
            .wait_for(|turn| turn.is_some_and(|turn| turn.is_alive(WITHIN) && turn.lag == 0));
        let came = tokio::time::timeout(WITHIN, waiting).await;
        came.expect("the worker does not catch up")
            .expect("the worker ended");
    }

    /// Waits for `what` while it works; a worker that ends before fails the test with its reason.
    pub(crate) async fn during(&mut self, what: impl Future<Output = ()>) {
        tokio::select! {
            () = what => {}
            ended = &mut self.task => panic!("the worker ended: {:?}", ended.unwrap()),
        }
    }

    /// Stops it in its orderly way.
    pub(crate) async fn stop(self) {
        let _ended_before = self.stop.send(());
        tokio::time::timeout(WITHIN, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    /// Waits until it fails.
    pub(crate) async fn error(self) -> BusError {
        tokio::time::timeout(WITHIN, self.task)
            .await
            .expect("the worker does not fail")
            .unwrap()
            .unwrap_err()
    }
}
