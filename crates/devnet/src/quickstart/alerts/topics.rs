//! A Kafka of its own for the ends of orders: the broker that recon-svc publishes to is taken away in one of the troubles, and
//! orders must go on ending after it.

use std::time::Duration;

use anyhow::Context;
use eidos_sandbox::{KafkaServer, KafkaServerOptions};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use crate::matching::Topics;

/// One partition each, so that a message is behind every one that was written before.
const PARTITIONS: i32 = 1;
const PARTITION: i32 = 0;
const QUEUED_WITHIN: Duration = Duration::from_secs(5);
const DELIVERED_WITHIN_MS: &str = "20000";

/// No event of any service.
const POISON: &str = "planted";

/// A running Kafka with the topics of the matching engine and the trading service, and those of their dead letters.
pub(super) struct OrderTopics {
    server: KafkaServer,
    topics: Topics,
}

impl OrderTopics {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let server = KafkaServer::start(KafkaServerOptions::default()).await?;
        let topics = Topics::default();
        for topic in [
            &topics.cancel_requests,
            &topics.order_cancelled,
            &topics.order_updates,
        ] {
            server.create_topic(topic, PARTITIONS).await?;
            server.create_topic(&format!("{topic}-dlq"), 1).await?;
        }
        Ok(Self { server, topics })
    }

    pub(super) fn brokers(&self) -> String {
        self.server.bootstrap_servers()
    }

    /// Writes a message that no service can read.
    pub(super) async fn poison(&self) -> anyhow::Result<()> {
        self.write().await.map(drop)
    }

    /// Writes two such messages and deletes the first, with everything before it.
    pub(super) async fn write_and_delete(&self) -> anyhow::Result<()> {
        self.write().await?;
        let last = self.write().await?;
        self.server
            .delete_before(&self.topics.order_updates, PARTITION, last)
            .await?;
        Ok(())
    }

    /// Kills the server.
    pub(super) async fn take_down(&self) -> anyhow::Result<()> {
        Ok(self.server.kill().await?)
    }

    /// Returns the offset of what it wrote.
    async fn write(&self) -> anyhow::Result<i64> {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .set("message.timeout.ms", DELIVERED_WITHIN_MS)
            .create()?;
        let topic = &self.topics.order_updates;
        let record = FutureRecord::to(topic).key(POISON).payload(POISON);
        let delivered = producer
            .send(record, Timeout::After(QUEUED_WITHIN))
            .await
            .map_err(|(error, _message)| error)
            .with_context(|| format!("writing to {topic}"))?;
        Ok(delivered.offset)
    }
}
