//! Dead letters: messages that could not be handled, with the reason in their headers.

use eidos_settings::KafkaSection;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};

use crate::producer::{Producer, Record};
use crate::{BusError, Delivered, Received, Topic};

/// Every header that is added begins so; a replay removes them.
const PREFIX: &str = "dlq_";
/// Why it could not be handled.
pub(crate) const REASON: &str = "dlq_reason";
/// Where it was read.
pub(crate) const TOPIC: &str = "dlq_topic";
pub(crate) const PARTITION: &str = "dlq_partition";
pub(crate) const OFFSET: &str = "dlq_offset";
/// Its timestamp there, in epoch milliseconds; missing when it had none.
pub(crate) const TIMESTAMP: &str = "dlq_timestamp_ms";
/// How often it was tried.
pub(crate) const ATTEMPTS: &str = "dlq_attempts";
/// The group that could not handle it.
pub(crate) const GROUP: &str = "dlq_group";
/// How often it was replayed; the one header that stays.
pub(crate) const REPLAYS: &str = "replays";

/// A reason is cut at this many characters: an error may quote the whole message.
const REASON_CHARS: usize = 1_000;

/// Returns the dead-letter topic of `topic`.
pub fn dead_letter_topic(settings: &KafkaSection, topic: &Topic) -> Result<Topic, BusError> {
    let name = settings.dead_letter_topic.replace("{topic}", topic.as_str());
    Topic::new(name).map_err(|error| BusError::Refused {
        topic: topic.to_string(),
        reason: format!("it has no dead-letter topic: {error}; check kafka.dead_letter_topic"),
    })
}

/// Writes `message` to `to`, as it was and with the reason in its headers.
pub(crate) async fn write(
    producer: &Producer,
    to: &Topic,
    group: &str,
    message: &Received,
    attempts: u32,
    reason: &str,
) -> Result<Delivered, BusError> {
    let original = message.message();
    let mut headers = kept(message, &[]);
    let reason: String = reason.chars().take(REASON_CHARS).collect();
    headers = add(headers, REASON, &reason);
    headers = add(headers, TOPIC, message.topic());
    headers = add(headers, PARTITION, &message.partition().to_string());
    headers = add(headers, OFFSET, &message.offset().to_string());
    headers = add(headers, ATTEMPTS, &attempts.to_string());
    headers = add(headers, GROUP, group);
    if let Some(timestamp) = message.timestamp_ms() {
        headers = add(headers, TIMESTAMP, &timestamp.to_string());
    }
    let record = Record {
        key: original.key(),
        payload: original.payload(),
        headers,
    };
    producer.write(to, record).await
}

/// Returns the headers that the message had before it became a dead letter, the trace among them, but for `without`.
pub(crate) fn kept(message: &Received, without: &[&str]) -> OwnedHeaders {
    let headers = message.message().headers();
    headers
        .into_iter()
        .flat_map(|headers| headers.iter())
        .filter(|header| !header.key.starts_with(PREFIX) && !without.contains(&header.key))
        .fold(OwnedHeaders::new(), |kept, header| {
            kept.insert(Header {
                key: header.key,
                value: header.value,
            })
        })
}

pub(crate) fn add(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header {
        key,
        value: Some(value),
    })
}
