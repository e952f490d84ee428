//! Messages that can never be read, planted on the topics, and the dead letters that they must become.

use std::time::Duration;

use eidos_bus::{BusError, DeadLetter, Publisher, RawMessage, ReplayOptions, Topic, replay};
use eidos_devnet::matching::Topics;
use eidos_settings::{GroupProtocol, KafkaSection, OffsetReset};

/// How long a message may take while the brokers are there.
const DELIVERED_WITHIN: Duration = Duration::from_secs(20);

/// Where poison goes, what it is, and what the reason of its dead letter says.
const UPDATES: [(&str, &str); 4] = [
    ("poison", "is not an event"),
    ("{\"order_id\":\"poison\"}", "missing field `status`"),
    ("{\"order_id\":7,\"status\":\"EXPIRED\"}", "invalid type"),
    (
        "{\"order_id\":\"\",\"status\":\"EXPIRED\"}",
        "is not the id of an order",
    ),
];
const REMOVALS: [(&str, &str); 2] = [
    ("{\"order_id\":\"poison\"}", "neither success nor result"),
    (
        "{\"order_id\":\"poison\",\"result\":\"eaten\"}",
        "which has no meaning",
    ),
];

/// One planted message, by where the brokers put it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planted {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// What the reason of its dead letter must say.
    pub(crate) reason: &'static str,
}

/// Plants one poison of each kind, spread over the partitions by `round`.
pub(crate) async fn plant(
    kafka: &KafkaSection,
    topics: &Topics,
    round: u32,
) -> Result<Vec<Planted>, BusError> {
    let publisher = Publisher::connect(kafka)?;
    let mut planted = Vec::new();
    let updates = UPDATES.iter().map(|poison| (&topics.order_updates, poison));
    let removals = REMOVALS.iter().map(|poison| (&topics.order_cancelled, poison));
    for (index, (name, (body, reason))) in updates.chain(removals).enumerate() {
        let topic = Topic::new(name.clone()).map_err(|error| BusError::Refused {
            topic: name.clone(),
            reason: error.to_string(),
        })?;
        let key = format!("{round}-{index}");
        let message = RawMessage {
            key: &key,
            payload: body.as_bytes(),
            headers: &[],
            traceparent: None,
        };
        if let Some(place) = publisher.publish_raw(&topic, message).await? {
            planted.push(Planted {
                topic: name.clone(),
                partition: place.partition,
                offset: place.offset,
                reason,
            });
        }
    }
    Ok(planted)
}

/// Reads every dead letter of the two topics, each with the topic that it comes from.
pub(crate) async fn dead_letters(
    kafka: &KafkaSection,
    topics: &Topics,
) -> anyhow::Result<Vec<(String, DeadLetter)>> {
    let mut letters = Vec::new();
    let dry = ReplayOptions {
        dry_run: true,
        limit: None,
    };
    for name in [&topics.order_updates, &topics.order_cancelled] {
        let topic = Topic::new(name.clone())?;
        replay(kafka, &topic, dry, |letter| {
            letters.push((name.clone(), letter.clone()));
        })
        .await?;
    }
    Ok(letters)
}

/// How this program reaches the brokers.
pub(crate) fn section(brokers: &str) -> KafkaSection {
    KafkaSection {
        brokers: vec![brokers.to_owned()],
        client_id: "fault-run".to_owned(),
        delivery_timeout: DELIVERED_WITHIN,
        group_protocol: GroupProtocol::Classic,
        session_timeout: Duration::from_secs(6),
        join_timeout: Duration::from_mins(1),
        offset_reset: OffsetReset::Earliest,
        dead_letter_topic: "{topic}-dlq".to_owned(),
    }
}
