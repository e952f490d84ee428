//! The topics: `cancel-requests` into the engine, `order-cancelled` to the trading service, `order-updates` to all.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::messages::{OrderCancelled, OrderUpdate, Topics};

/// How long the broker may take for a message.
const DELIVERY_TIMEOUT_MS: &str = "5000";
/// Messages taken together.
const BATCH: usize = 500;
/// How long a batch waits for one more message.
const GATHER: Duration = Duration::from_millis(5);

/// Writes the engine's and the trading service's messages.
#[derive(Clone)]
pub(super) struct Producer {
    client: FutureProducer,
    topics: Topics,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

impl Producer {
    pub(super) fn connect(brokers: &str, topics: &Topics) -> anyhow::Result<Self> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("client.id", "devnet-matching")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS)
            .set("linger.ms", "2")
            .set("reconnect.backoff.max.ms", "1000")
            .set("partitioner", "murmur2_random")
            .create()
            .with_context(|| format!("a producer for {brokers}"))?;
        Ok(Self {
            client,
            topics: topics.clone(),
        })
    }

    /// Publishes on `order-cancelled`, in order.
    pub(super) async fn cancelled(&self, events: &[OrderCancelled]) -> anyhow::Result<()> {
        let keyed = events.iter().map(|event| (event.order_id.as_str(), event));
        self.send(&self.topics.order_cancelled, keyed).await
    }

    /// Publishes on `order-updates`, in order.
    pub(super) async fn updated(&self, updates: &[OrderUpdate]) -> anyhow::Result<()> {
        let keyed = updates.iter().map(|update| (update.order_id.as_str(), update));
        self.send(&self.topics.order_updates, keyed).await
    }

    async fn send<'a, T: Serialize + 'a>(
        &self,
        topic: &str,
        keyed: impl Iterator<Item = (&'a str, &'a T)>,
    ) -> anyhow::Result<()> {
        let sent = keyed.map(|(key, message)| async move {
            let body = serde_json::to_vec(message)?;
            let record = FutureRecord::to(topic).key(key).payload(&body);
            let queued = self.client.send(record, Timeout::After(Duration::from_secs(5)));
            queued
                .await
                .map_err(|(error, _message)| anyhow::Error::new(error).context(format!("writing to {topic}")))
        });
        try_join_all(sent).await.map(|_delivered| ())
    }
}

/// Reads one topic as a member of a group; offsets move when the caller says so.
pub(super) struct Reader(Arc<StreamConsumer>);

impl Reader {
    pub(super) fn subscribe(brokers: &str, group: &str, topic: &str) -> anyhow::Result<Self> {
        let client: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("client.id", "devnet-matching")
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("reconnect.backoff.max.ms", "1000")
            .create()
            .with_context(|| format!("a consumer for {brokers}"))?;
        client
            .subscribe(&[topic])
            .with_context(|| format!("subscribing to {topic}"))?;
        Ok(Self(Arc::new(client)))
    }

    /// Waits for messages and returns up to 500 of them, in order.
    pub(super) async fn batch(&self) -> anyhow::Result<Vec<OwnedMessage>> {
        let mut batch = vec![self.0.recv().await?.detach()];
        while batch.len() < BATCH
            && let Ok(Ok(message)) = tokio::time::timeout(GATHER, self.0.recv()).await
        {
            batch.push(message.detach());
        }
        Ok(batch)
    }

    /// Commits what was read up to and with `batch`.
    pub(super) async fn done(&self, batch: &[OwnedMessage]) -> anyhow::Result<()> {
        let mut offsets = TopicPartitionList::new();
        for message in batch {
            let next = Offset::Offset(message.offset().saturating_add(1));
            // A later offset of the same partition replaces the earlier one.
            if offsets
                .find_partition(message.topic(), message.partition())
                .is_some()
            {
                offsets.set_partition_offset(message.topic(), message.partition(), next)?;
            } else {
                offsets.add_partition_offset(message.topic(), message.partition(), next)?;
            }
        }
        let client = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || client.commit(&offsets, CommitMode::Sync)).await??;
        Ok(())
    }
}

/// Reads the bodies that are what they should be; others are logged and left out.
pub(super) fn decode<T: DeserializeOwned>(batch: &[OwnedMessage]) -> Vec<T> {
    let decoded = batch.iter().filter_map(|message| {
        serde_json::from_slice(message.payload().unwrap_or_default())
            .inspect_err(|error| {
                let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
                tracing::warn!("{topic}[{partition}]@{offset} is not understood and left out: {error}");
            })
            .ok()
    });
    decoded.collect()
}
