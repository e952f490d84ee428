//! [`Consumer`]: reads events; the caller says when an offset is done.

use std::sync::Arc;
use std::time::Duration;

use eidos_settings::KafkaSection;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::de::DeserializeOwned;

use crate::{BusError, Event, EventId, Topic};

/// How much unread data is kept per partition, in KiB.
const PREFETCH_KIB: u32 = 4 * 1_024;
/// A member without a heartbeat for this long is replaced, in milliseconds. Kafka's own limits are 6 s and 30 min.
const SESSION_TIMEOUT_MS: u32 = 10_000;

/// One member of a consumer group.
pub struct Consumer {
    client: Arc<StreamConsumer>,
    group: String,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// A message that was read and is not committed yet.
#[derive(Debug)]
pub struct Received(OwnedMessage);

impl Consumer {
    /// Joins `group` for `topics`. A group that never committed starts at the oldest message.
    pub fn subscribe(settings: &KafkaSection, group: &str, topics: &[Topic]) -> Result<Self, BusError> {
        let refused = |error: KafkaError| BusError::Settings {
            brokers: settings.brokers.clone(),
            reason: error.to_string(),
        };
        let client = ClientConfig::new()
            .set("bootstrap.servers", settings.brokers.join(","))
            .set("client.id", &settings.client_id)
            .set("group.id", group)
            // An offset moves only after the caller's effects are durable.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // How soon another member takes over a dead one's partitions.
            .set("session.timeout.ms", SESSION_TIMEOUT_MS.to_string())
            .set("queued.max.messages.kbytes", PREFETCH_KIB.to_string())
            .set("socket.keepalive.enable", "true")
            .create::<StreamConsumer>()
            .map_err(refused)?;
        let names: Vec<&str> = topics.iter().map(Topic::as_str).collect();
        client.subscribe(&names).map_err(refused)?;
        Ok(Self {
            client: Arc::new(client),
            group: group.to_owned(),
        })
    }

    /// Returns the next message. `None`: none came within `timeout` (an empty poll is the heartbeat that readiness
    /// counts).
    pub async fn next(&self, timeout: Duration) -> Result<Option<Received>, BusError> {
        match tokio::time::timeout(timeout, self.client.recv()).await {
            Err(_elapsed) => Ok(None),
            Ok(Ok(message)) => Ok(Some(Received(message.detach()))),
            Ok(Err(error)) => Err(BusError::Refused {
                topic: format!("group {}", self.group),
                reason: error.to_string(),
            }),
        }
    }

    /// Marks `message`, and with it everything before it in its partition, as done. Waits for the broker.
    pub async fn commit(&self, message: &Received) -> Result<(), BusError> {
        let mut offsets = TopicPartitionList::new();
        let next = Offset::Offset(message.offset().saturating_add(1));
        let topic = message.0.topic().to_owned();
        let refused = |error: KafkaError| BusError::Refused {
            topic: topic.clone(),
            reason: error.to_string(),
        };
        offsets
            .add_partition_offset(message.0.topic(), message.partition(), next)
            .map_err(refused)?;
        let client = Arc::clone(&self.client);
        tokio::task::spawn_blocking(move || client.commit(&offsets, CommitMode::Sync))
            .await
            .map_err(|_join| BusError::Closed)?
            .map_err(refused)
    }
}

impl Received {
    /// Returns the envelope and its payload.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Event<T>, BusError> {
        serde_json::from_slice(self.0.payload().unwrap_or_default()).map_err(|source| BusError::Decode {
            topic: self.0.topic().to_owned(),
            partition: self.partition(),
            offset: self.offset(),
            source,
        })
    }

    /// Returns the event's identity from the header, without parsing the body. `None`: the message is not ours.
    #[must_use]
    pub fn event_id(&self) -> Option<EventId> {
        self.header("event_id")?.parse().ok()
    }

    /// Returns the event's type from the header. `None`: the message is not ours.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.header("type")
    }

    /// Returns the W3C trace of the producer. `None`: it had none.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.header("traceparent")
    }

    /// Returns the ordering key. `None`: there is none, or it is not text.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        std::str::from_utf8(self.0.key()?).ok()
    }

    /// Returns the partition it was read from.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    /// Returns its offset in the partition.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.0.headers()?;
        let value = headers.iter().find(|header| header.key == name)?.value?;
        std::str::from_utf8(value).ok()
    }
}
