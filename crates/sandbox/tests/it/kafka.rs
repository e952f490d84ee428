//! The Kafka broker: a message there and back, and an outage.

use std::time::Duration;

use eidos_sandbox::{KafkaBroker, SandboxError};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, TopicPartitionList};

fn producer(broker: &KafkaBroker) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("message.timeout.ms", "1000")
        .set("reconnect.backoff.max.ms", "100")
        .create()
        .unwrap()
}

#[tokio::test]
async fn a_message_goes_through() {
    let broker = KafkaBroker::start_in_process().unwrap();
    broker.create_topic("events", 2).await.unwrap();
    broker.create_topic("events", 2).await.unwrap();
    let record = FutureRecord::<str, str>::to("events")
        .partition(1)
        .payload("hello");
    producer(&broker)
        .send(record, Duration::from_secs(5))
        .await
        .map_err(|(error, _)| error)
        .unwrap();

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut assigned = TopicPartitionList::new();
    assigned
        .add_partition_offset("events", 1, rdkafka::Offset::Beginning)
        .unwrap();
    consumer.assign(&assigned).unwrap();
    let message = consumer.poll(Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(message.payload(), Some(b"hello".as_slice()));
}

#[tokio::test]
async fn a_broker_that_is_down_refuses_and_comes_back() {
    let broker = KafkaBroker::start_in_process().unwrap();
    broker.create_topic("events", 1).await.unwrap();
    let producer = producer(&broker);
    let send = async || {
        producer
            .send(
                FutureRecord::<str, str>::to("events").payload("x"),
                Duration::ZERO,
            )
            .await
    };
    send().await.unwrap();
    broker.take_down().await.unwrap();
    assert!(send().await.is_err());
    broker.bring_up().await.unwrap();
    send().await.unwrap();
}

#[tokio::test]
async fn a_topic_without_partitions_is_refused() {
    let broker = KafkaBroker::start_in_process().unwrap();
    assert!(matches!(
        broker.create_topic("events", 0).await,
        Err(SandboxError::Kafka { .. })
    ));
}
