//! [`BusError`]: what can go wrong, and whether trying again can help.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A message was not (known to be) delivered, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The client could not be created from the settings.
    #[error("kafka client for brokers {brokers:?} refused its settings: {reason}; check kafka.brokers")]
    Settings {
        /// `kafka.brokers` as configured (host names, no credentials).
        brokers: Vec<String>,
        /// What librdkafka said.
        reason: String,
    },
    /// The payload could not be turned into JSON.
    #[error("event for topic {topic} cannot be written as JSON: {source}")]
    Encode {
        /// Where it was going.
        topic: String,
        /// What serde said.
        source: serde_json::Error,
    },
    /// A received message is not one of our envelopes. It will not become one by reading it again.
    #[error("message {topic}[{partition}]@{offset} is not an event: {source}")]
    Decode {
        /// Where it was read.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// What serde said.
        source: serde_json::Error,
    },
    /// The producer's own queue stayed full: the brokers take messages slower than they are made.
    #[error("topic {topic}: the producer queue stayed full for {waited:?}; the brokers do not keep up")]
    QueueFull {
        /// Where it was going.
        topic: String,
        /// How long was waited for room.
        waited: Duration,
    },
    /// No acknowledgement within the delivery timeout. The message may have arrived: send it again with the same id.
    #[error("topic {topic}: not acknowledged within {waited:?}; are the brokers of kafka.brokers reachable?")]
    Timeout {
        /// Where it was going.
        topic: String,
        /// The delivery timeout.
        waited: Duration,
    },
    /// The message, or the topic, was refused by the broker.
    #[error("topic {topic}: {reason}")]
    Refused {
        /// Where it was going or coming from.
        topic: String,
        /// What the broker said.
        reason: String,
    },
    /// The brokers did not answer a question about themselves.
    #[error("brokers {brokers:?} did not answer within {waited:?}: {reason}")]
    Unreachable {
        /// `kafka.brokers` as configured.
        brokers: Vec<String>,
        /// How long was waited.
        waited: Duration,
        /// What librdkafka said.
        reason: String,
    },
    /// Messages were still unacknowledged when the time for flushing was over.
    #[error("{left} messages were still unacknowledged after flushing for {waited:?}")]
    FlushIncomplete {
        /// How many.
        left: i32,
        /// How long was waited.
        waited: Duration,
    },
    /// Topics are missing. Kafka tells a consumer nothing about them: it waits for ever.
    #[error("the brokers {brokers:?} have no topic {}; create it, or correct the setting that names it", topics.join(", "))]
    MissingTopics {
        /// `kafka.brokers` as configured.
        brokers: Vec<String>,
        /// The names.
        topics: Vec<String>,
    },
    /// A consumer is not in its group, so that it hears nothing.
    #[error(
        "group {group}: not joined for {waited:?} (the client is {state}; its last error: {last_error}); can the \
         brokers create the topic __consumer_offsets, and may this client use the group?"
    )]
    NotJoined {
        /// The group.
        group: String,
        /// For how long.
        waited: Duration,
        /// The client's words for what it is doing.
        state: String,
        /// What the client reported last.
        last_error: String,
    },
    /// Messages were handled and their offsets could not be committed.
    #[error(
        "group {group}: no commit for {waited:?} (last error: {last_error}); handled messages will be read again"
    )]
    NotCommitted {
        /// The group.
        group: String,
        /// For how long.
        waited: Duration,
        /// What the client reported last.
        last_error: String,
    },
    /// The group's offset is not in the log and `kafka.offset_reset` is `fail`.
    #[error(
        "group {group}: {topic}[{partition}] has the offsets {low}..{high} and the group is at {}, {lost} offsets away; \
         kafka.offset_reset is fail: set the group's offset, or set kafka.offset_reset to earliest or latest",
        next.map_or_else(|| "none".to_owned(), |next| next.to_string())
    )]
    NoUsableOffset {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The group's next offset. `None`: it has none.
        next: Option<i64>,
        /// The first offset of the log.
        low: i64,
        /// The offset that the next message gets.
        high: i64,
        /// Offsets between the group's and the log.
        lost: u64,
    },
    /// The service cannot handle any message now.
    #[error("group {group}: {topic}[{partition}]@{offset} waits, and all after it: {reason}")]
    HandlerUnavailable {
        /// The group.
        group: String,
        /// Where the message is.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// What the handler said.
        reason: String,
    },
    /// The client of a group was refused.
    #[error("group {group}: {reason}")]
    Group {
        /// The group.
        group: String,
        /// What was refused, and why.
        reason: String,
    },
    /// The client's own thread is gone; only a restart helps.
    #[error("the kafka client is closed")]
    Closed,
}

impl BusError {
    /// Returns whether sending or reading again later can succeed without a change of anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::QueueFull { .. }
            | Self::Timeout { .. }
            | Self::Unreachable { .. }
            | Self::FlushIncomplete { .. }
            | Self::NotJoined { .. }
            | Self::NotCommitted { .. }
            | Self::HandlerUnavailable { .. } => true,
            Self::Settings { .. }
            | Self::Encode { .. }
            | Self::Decode { .. }
            | Self::Refused { .. }
            | Self::MissingTopics { .. }
            | Self::NoUsableOffset { .. }
            | Self::Group { .. }
            | Self::Closed => false,
        }
    }

    /// The values that [`Self::as_str`] can have for an event that was to be published.
    pub(crate) const OUTCOMES: &'static [&'static str] =
        &["queue_full", "timeout", "encode", "refused", "closed"];

    /// Returns the value of the metrics' label `outcome`.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "queue_full",
            Self::Timeout { .. } => "timeout",
            Self::Unreachable { .. } => "unreachable",
            Self::FlushIncomplete { .. } => "flush_incomplete",
            Self::Settings { .. } => "settings",
            Self::Encode { .. } => "encode",
            Self::Decode { .. } => "decode",
            Self::Refused { .. } => "refused",
            Self::MissingTopics { .. } => "missing_topics",
            Self::NotJoined { .. } => "not_joined",
            Self::NotCommitted { .. } => "not_committed",
            Self::NoUsableOffset { .. } => "no_usable_offset",
            Self::HandlerUnavailable { .. } => "handler_unavailable",
            Self::Group { .. } => "group",
            Self::Closed => "closed",
        }
    }

    /// Returns whether the brokers' code about a topic is a refusal that only a person can change.
    pub(crate) const fn is_refusal(code: RDKafkaErrorCode) -> bool {
        matches!(
            code,
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::InvalidTopic
        )
    }

    pub(crate) fn sending(topic: &str, error: &KafkaError, waited: Duration) -> Self {
        let topic = topic.to_owned();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Self::QueueFull { topic, waited },
            // The request or its answer may have been lost: either way the outcome is unknown.
            Some(
                RDKafkaErrorCode::MessageTimedOut
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown,
            ) => Self::Timeout { topic, waited },
            _ => Self::Refused {
                topic,
                reason: error.to_string(),
            },
        }
    }
}
