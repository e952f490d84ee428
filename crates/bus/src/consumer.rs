//! [`Consumer`]: reads messages; the caller says when an offset is done.

use std::sync::Arc;
use std::time::Duration;

use eidos_settings::{GroupProtocol, KafkaSection};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::membership::Membership;
use crate::{BusError, Received, Topic};

/// How much unread data is kept per partition, in KiB.
const PREFETCH_KIB: u32 = 4 * 1_024;
/// How often the client reports its state.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A request that is not answered for this long has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for the answer to a commit.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);
/// A member that does not ask for a message for this long loses its partitions, unless its caller needs longer.
const POLL_INTERVAL: Duration = Duration::from_mins(5);

/// The client below every consumer.
pub(crate) type Client = StreamConsumer<Membership>;

/// One member of a consumer group.
pub struct Consumer {
    client: Arc<Client>,
    group: String,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// How a client of a group is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemberOptions<'a> {
    pub(crate) group: &'a str,
    /// What librdkafka does without a usable offset: `earliest`, or `error` to be told.
    pub(crate) reset: &'static str,
    /// The longest time between two polls.
    pub(crate) poll_interval: Duration,
}

impl Consumer {
    /// Joins `group` for `topics`. A group that never committed starts at the oldest message.
    pub fn subscribe(settings: &KafkaSection, group: &str, topics: &[Topic]) -> Result<Self, BusError> {
        Ok(Self {
            client: Arc::new(join(settings, MemberOptions::reading(group), topics)?),
            group: group.to_owned(),
        })
    }

    /// Returns the next message. `None`: none came within `timeout`.
    pub async fn next(&self, timeout: Duration) -> Result<Option<Received>, BusError> {
        match tokio::time::timeout(timeout, self.client.recv()).await {
            Err(_elapsed) => Ok(None),
            Ok(Ok(message)) => Ok(Some(Received::new(message.detach()))),
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
        let topic = message.topic().to_owned();
        let refused = |error: KafkaError| BusError::Refused {
            topic: topic.clone(),
            reason: error.to_string(),
        };
        offsets
            .add_partition_offset(message.topic(), message.partition(), next)
            .map_err(refused)?;
        let client = Arc::clone(&self.client);
        let commit = tokio::task::spawn_blocking(move || client.commit(&offsets, CommitMode::Sync));
        match tokio::time::timeout(COMMIT_TIMEOUT, commit).await {
            Ok(committed) => committed.map_err(|_join| BusError::Closed)?.map_err(refused),
            Err(_elapsed) => Err(BusError::Timeout {
                topic,
                waited: COMMIT_TIMEOUT,
            }),
        }
    }
}

impl<'a> MemberOptions<'a> {
    /// A client that reads from the oldest message on.
    pub(crate) const fn reading(group: &'a str) -> Self {
        Self {
            group,
            reset: "earliest",
            poll_interval: POLL_INTERVAL,
        }
    }
}

/// Creates a client and joins the group.
pub(crate) fn join(
    settings: &KafkaSection,
    member: MemberOptions<'_>,
    topics: &[Topic],
) -> Result<Client, BusError> {
    let client = connect(settings, member)?;
    let names: Vec<&str> = topics.iter().map(Topic::as_str).collect();
    client
        .subscribe(&names)
        .map_err(|error| refused(settings, &error))?;
    Ok(client)
}

fn refused(settings: &KafkaSection, error: &KafkaError) -> BusError {
    BusError::Settings {
        brokers: settings.brokers.clone(),
        reason: error.to_string(),
    }
}

/// Creates a client that has joined no group yet.
pub(crate) fn connect(settings: &KafkaSection, member: MemberOptions<'_>) -> Result<Client, BusError> {
    let poll_interval = member.poll_interval.max(POLL_INTERVAL);
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("client.id", &settings.client_id)
        .set("group.id", member.group)
        // An offset moves only after the caller's effects are durable.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", member.reset)
        .set("max.poll.interval.ms", poll_interval.as_millis().to_string())
        .set("queued.max.messages.kbytes", PREFETCH_KIB.to_string())
        .set("socket.timeout.ms", REQUEST_TIMEOUT.as_millis().to_string())
        .set("statistics.interval.ms", REPORT_EVERY.as_millis().to_string())
        .set("reconnect.backoff.max.ms", "2000")
        .set("socket.keepalive.enable", "true");
    match settings.group_protocol {
        GroupProtocol::Classic => config
            .set("group.protocol", "classic")
            // How soon another member takes over a dead one's partitions.
            .set(
                "session.timeout.ms",
                settings.session_timeout.as_millis().to_string(),
            ),
        // The brokers decide the session timeout; the client refuses to be told one.
        GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
    };
    config
        .create_with_context(Membership::new(member.group))
        .map_err(|error| refused(settings, &error))
}
