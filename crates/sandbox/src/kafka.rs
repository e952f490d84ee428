//! [`KafkaBroker`]: librdkafka's own broker in this process, or the real one that `KAFKA_BROKERS` names.

use std::sync::mpsc;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::error::SandboxError;
use crate::kafka_admin::{self, refused};

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Order = Box<dyn FnOnce(&Cluster) + Send>;

/// A Kafka broker for tests and the quickstart.
///
/// librdkafka's broker speaks the real protocol over TCP (producers, idempotent and transactional ones, consumer
/// groups with commits), so other processes can use it too. It keeps everything in memory and is gone with this
/// process; it has no access control, no retention and no compaction. Where that matters, use
/// [`KafkaServer`](crate::KafkaServer), or name real brokers in `KAFKA_BROKERS`.
#[derive(Debug)]
pub struct KafkaBroker {
    bootstrap: String,
    /// `None` when the brokers are real ones.
    orders: Option<mpsc::Sender<Order>>,
}

impl KafkaBroker {
    /// The brokers of `KAFKA_BROKERS` when it is set and not empty, else a broker of our own.
    ///
    /// # Errors
    /// [`SandboxError::Kafka`].
    pub fn start() -> Result<Self, SandboxError> {
        match std::env::var("KAFKA_BROKERS") {
            Ok(brokers) if !brokers.trim().is_empty() => Ok(Self {
                bootstrap: brokers,
                orders: None,
            }),
            _ => Self::start_in_process(),
        }
    }

    /// A broker of our own, whatever `KAFKA_BROKERS` says: for tests that break it.
    ///
    /// # Errors
    /// [`SandboxError::Kafka`].
    pub fn start_in_process() -> Result<Self, SandboxError> {
        let (orders, inbox) = mpsc::channel::<Order>();
        let (ready, started) = mpsc::sync_channel(1);
        // The handle of the cluster may not leave the thread that made it, so it gets a thread of its own.
        std::thread::Builder::new()
            .name("sandbox-kafka".to_owned())
            .spawn(move || host(&inbox, &ready))
            .map_err(SandboxError::process("start", "the thread of the Kafka broker"))?;
        let bootstrap =
            started
                .recv()
                .map_err(|_gone| gone("start"))?
                .map_err(|reason| SandboxError::Kafka {
                    action: "start",
                    reason,
                })?;
        Ok(Self {
            bootstrap,
            orders: Some(orders),
        })
    }

    /// `host:port`, several of them separated by commas.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap
    }

    /// Whether the brokers are real ones.
    #[must_use]
    pub const fn is_external(&self) -> bool {
        self.orders.is_none()
    }

    /// Creates a topic; an existing one is no error.
    ///
    /// # Errors
    /// [`SandboxError::Kafka`].
    pub async fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), SandboxError> {
        const ACTION: &str = "create a topic";
        if partitions < 1 {
            // librdkafka's broker would take it and then never accept a message.
            let reason = format!("{topic} needs at least one partition, not {partitions}");
            return Err(SandboxError::Kafka {
                action: ACTION,
                reason,
            });
        }
        if self.orders.is_none() {
            return kafka_admin::create_topic(&self.bootstrap, topic, partitions).await;
        }
        let topic = topic.to_owned();
        let created = self
            .order(ACTION, move |cluster| cluster.create_topic(&topic, partitions, 1))
            .await?;
        match created {
            Err(error) if error.rdkafka_error_code() != Some(RDKafkaErrorCode::TopicAlreadyExists) => {
                Err(SandboxError::Kafka {
                    action: ACTION,
                    reason: error.to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Makes our own broker answer that it has no such topic, as real ones do that create none by themselves (ours does).
    ///
    /// # Errors
    /// [`SandboxError::Kafka`]; real brokers are not ours to change.
    pub async fn deny_topic(&self, topic: &str) -> Result<(), SandboxError> {
        const ACTION: &str = "deny a topic";
        let topic = topic.to_owned();
        self.order(ACTION, move |cluster| {
            cluster.topic_error(&topic, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        })
        .await?
        .map_err(|error| refused(ACTION, &error))
    }

    /// Takes our own broker off the network: connections are closed and refused.
    ///
    /// # Errors
    /// [`SandboxError::Kafka`]; real brokers are not ours to stop.
    pub async fn take_down(&self) -> Result<(), SandboxError> {
        const ACTION: &str = "take the broker down";
        self.order(ACTION, |cluster| cluster.broker_down(1))
            .await?
            .map_err(|error| refused(ACTION, &error))
    }

    /// Brings our own broker back, with everything it held.
    ///
    /// # Errors
    /// As [`Self::take_down`].
    pub async fn bring_up(&self) -> Result<(), SandboxError> {
        const ACTION: &str = "bring the broker up";
        self.order(ACTION, |cluster| cluster.broker_up(1))
            .await?
            .map_err(|error| refused(ACTION, &error))
    }

    async fn order<T: Send + 'static>(
        &self,
        action: &'static str,
        act: impl FnOnce(&Cluster) -> T + Send + 'static,
    ) -> Result<T, SandboxError> {
        let orders = self.orders.as_ref().ok_or_else(|| SandboxError::Kafka {
            action,
            reason: format!("{} are real brokers (KAFKA_BROKERS)", self.bootstrap),
        })?;
        let (reply, answer) = tokio::sync::oneshot::channel();
        let order: Order = Box::new(move |cluster| {
            let _ = reply.send(act(cluster));
        });
        orders.send(order).map_err(|_gone| gone(action))?;
        answer.await.map_err(|_gone| gone(action))
    }
}

/// Life of the broker's thread: ends when the last [`KafkaBroker`] handle is dropped.
fn host(inbox: &mpsc::Receiver<Order>, ready: &mpsc::SyncSender<Result<String, String>>) {
    let cluster = match MockCluster::new(1) {
        Ok(cluster) => cluster,
        Err(error) => {
            let _ = ready.send(Err(error.to_string()));
            return;
        }
    };
    let _ = ready.send(Ok(cluster.bootstrap_servers()));
    for order in inbox {
        order(&cluster);
    }
}

fn gone(action: &'static str) -> SandboxError {
    SandboxError::Kafka {
        action,
        reason: "the broker's thread has ended".to_owned(),
    }
}
