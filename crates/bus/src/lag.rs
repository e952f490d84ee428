//! [`group_lag`]: what a group has not handled, from log ends and committed offsets.
//!
//! Tools that describe a group leave out partitions without a committed offset once the group is empty; here they count from the
//! begin of their log.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::{BusError, Topic};

/// Between two questions to a coordinator that is not ready.
const PAUSE: Duration = Duration::from_millis(100);

/// What a group has left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupLag {
    /// Messages.
    pub messages: u64,
    /// Partitions without a committed offset.
    pub never_committed: u32,
    /// Topics that the brokers do not have.
    pub missing_topics: Vec<String>,
}

/// Adds up what `group` has not handled of `topics`. It does not become a member and commits nothing. The questions block a
/// thread of their own, together no longer than `limit`.
///
/// # Errors
/// [`BusError::Unreachable`] or [`BusError::Settings`].
pub async fn group_lag(
    brokers: &[String],
    group: &str,
    topics: &[Topic],
    limit: Duration,
) -> Result<GroupLag, BusError> {
    let (servers, group, topics) = (brokers.to_vec(), group.to_owned(), topics.to_vec());
    let counting = tokio::task::spawn_blocking(move || count(&servers, &group, &topics, limit));
    counting.await.map_err(|_join| BusError::Closed)?
}

/// The time that is left of a limit.
struct Deadline(Instant);

impl Deadline {
    fn left(&self) -> Duration {
        // Zero would mean "for ever" to some of the client's calls.
        self.0
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    }
}

fn count(brokers: &[String], group: &str, topics: &[Topic], limit: Duration) -> Result<GroupLag, BusError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers.join(","))
        .set("client.id", "eidos-lag")
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .set("socket.timeout.ms", limit.as_millis().max(10).to_string())
        .create()
        .map_err(|error: KafkaError| BusError::Settings {
            brokers: brokers.to_vec(),
            reason: error.to_string(),
        })?;
    let deadline = Deadline(Instant::now() + limit);
    let unreachable = |error: KafkaError| BusError::Unreachable {
        brokers: brokers.to_vec(),
        waited: limit,
        reason: error.to_string(),
    };
    let mut lag = GroupLag::default();
    let mut partitions = TopicPartitionList::new();
    for topic in topics {
        match partitions_of(&consumer, topic, &deadline).map_err(unreachable)? {
            Some(ids) => ids.iter().for_each(|id| {
                partitions.add_partition(topic.as_str(), *id);
            }),
            None => lag.missing_topics.push(topic.to_string()),
        }
    }
    if partitions.count() == 0 {
        return Ok(lag);
    }
    let committed = committed(&consumer, &partitions, &deadline).map_err(unreachable)?;
    for element in committed.elements() {
        let (low, high) = consumer
            .fetch_watermarks(element.topic(), element.partition(), deadline.left())
            .map_err(unreachable)?;
        let next = if let Offset::Offset(next) = element.offset() {
            next.max(low)
        } else {
            lag.never_committed += 1;
            low
        };
        let left = u64::try_from(high.saturating_sub(next)).unwrap_or_default();
        lag.messages = lag.messages.saturating_add(left);
    }
    Ok(lag)
}

/// Asks again while the group's coordinator is elected or loads: brokers that have just started answer so.
fn committed(
    consumer: &BaseConsumer,
    partitions: &TopicPartitionList,
    deadline: &Deadline,
) -> Result<TopicPartitionList, KafkaError> {
    loop {
        let answer = consumer.committed_offsets(partitions.clone(), deadline.left());
        let passes = |error: &KafkaError| {
            matches!(
                error.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::NotCoordinator
                        | RDKafkaErrorCode::CoordinatorNotAvailable
                        | RDKafkaErrorCode::CoordinatorLoadInProgress
                )
            )
        };
        match answer {
            Err(error) if passes(&error) && deadline.left() > PAUSE => std::thread::sleep(PAUSE),
            answer => return answer,
        }
    }
}

/// `None`: there is no such topic.
fn partitions_of(
    consumer: &BaseConsumer,
    topic: &Topic,
    deadline: &Deadline,
) -> Result<Option<Vec<i32>>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic.as_str()), deadline.left())?;
    let answer = metadata
        .topics()
        .iter()
        .find(|found| found.name() == topic.as_str());
    let Some(answer) = answer else { return Ok(None) };
    if answer
        .error()
        .is_some_and(|error| BusError::is_refusal(RDKafkaErrorCode::from(error)))
    {
        return Ok(None);
    }
    Ok(Some(
        answer.partitions().iter().map(MetadataPartition::id).collect(),
    ))
}
