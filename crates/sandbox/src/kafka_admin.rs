//! What an administrator asks real brokers for.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::error::SandboxError;

const ADMIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Creates a topic; an existing one is no error.
pub(crate) async fn create_topic(bootstrap: &str, topic: &str, partitions: i32) -> Result<(), SandboxError> {
    const ACTION: &str = "create a topic";
    let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    let results = client(bootstrap, ACTION)?
        .create_topics([&wanted], &options())
        .await
        .map_err(|error| refused(ACTION, &error))?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(failed(ACTION, format!("{name}: {code}"))),
        }
    }
    Ok(())
}

/// Deletes the messages of a partition before `offset`, as retention does.
pub(crate) async fn delete_before(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<(), SandboxError> {
    const ACTION: &str = "delete messages";
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset(topic, partition, Offset::Offset(offset))
        .map_err(|error| refused(ACTION, &error))?;
    let deleted = client(bootstrap, ACTION)?
        .delete_records(&before, &options())
        .await
        .map_err(|error| refused(ACTION, &error))?;
    for element in deleted.elements() {
        element.error().map_err(|error| refused(ACTION, &error))?;
    }
    Ok(())
}

/// Returns whether a broker answers a question for the cluster's metadata. Blocks for a second at most.
pub(crate) fn answers(bootstrap: &str) -> bool {
    use rdkafka::producer::{BaseProducer, Producer as _};
    let producer: Result<BaseProducer, KafkaError> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("log_level", "0")
        .create();
    producer.is_ok_and(|producer| {
        let metadata = producer.client().fetch_metadata(None, Duration::from_secs(1));
        metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
    })
}

fn client(bootstrap: &str, action: &'static str) -> Result<AdminClient<DefaultClientContext>, SandboxError> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .map_err(|error| refused(action, &error))
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(ADMIN_TIMEOUT))
        .request_timeout(Some(ADMIN_TIMEOUT))
}

pub(crate) fn refused(action: &'static str, error: &KafkaError) -> SandboxError {
    failed(action, error.to_string())
}

pub(crate) const fn failed(action: &'static str, reason: String) -> SandboxError {
    SandboxError::Kafka { action, reason }
}
