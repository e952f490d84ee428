//! What an administrator asks real brokers for.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::error::SandboxError;

const ADMIN_TIMEOUT: Duration = Duration::from_secs(20);
const METADATA_WITHIN: Duration = Duration::from_secs(1);

/// Creates a topic, and waits until it is in the metadata that members of groups read: brokers learn of it later than the controller
/// that answers the request. An existing one is no error.
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
    let (bootstrap, name) = (bootstrap.to_owned(), topic.to_owned());
    let known = tokio::task::spawn_blocking(move || is_known_in_time(&bootstrap, &name));
    match known.await {
        Ok(true) => Ok(()),
        _ => Err(failed(
            ACTION,
            format!(
                "{topic} has no leader {} s after it was created",
                ADMIN_TIMEOUT.as_secs()
            ),
        )),
    }
}

/// Looks until every partition of the topic has a leader; false: not within the limit. All topics are asked for: some brokers
/// create one that is asked for by its name.
fn is_known_in_time(bootstrap: &str, topic: &str) -> bool {
    let started = Instant::now();
    let Ok(producer) = quiet_producer(bootstrap) else {
        return false;
    };
    while started.elapsed() < ADMIN_TIMEOUT {
        let metadata = producer.client().fetch_metadata(None, METADATA_WITHIN);
        let has_leaders = metadata.is_ok_and(|metadata| {
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            found.is_some_and(|found| {
                let partitions = found.partitions();
                !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0)
            })
        });
        if has_leaders {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
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
    quiet_producer(bootstrap).is_ok_and(|producer| {
        let metadata = producer.client().fetch_metadata(None, METADATA_WITHIN);
        metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
    })
}

fn quiet_producer(bootstrap: &str) -> Result<BaseProducer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("log_level", "0")
        .create()
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
