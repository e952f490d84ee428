//! What only a real broker does: retention, restarts on the same data, rebalancing, refusing its own topics.

use std::collections::BTreeSet;
use std::time::Duration;

use eidos_bus::{BusError, Topic};
use eidos_sandbox::{KafkaServer, KafkaServerOptions};
use eidos_settings::{KafkaSection, OffsetReset};

use crate::broker::{Broker, PATIENCE, on_both_protocols, settings};
use crate::running::{Recorder, Running, write};

on_both_protocols!(
    messages_deleted_before_they_were_read_are_counted_and_reading_goes_on,
    a_group_beyond_the_end_of_the_log_is_noticed,
    a_group_behind_the_log_fails_where_an_operator_decides,
    two_members_share_the_partitions_and_one_takes_over,
);

async fn messages_deleted_before_they_were_read_are_counted_and_reading_goes_on(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    read_one_and_lose_three(broker, &kafka, &topic).await;
    let after = Recorder::all_done();
    let mut running = Running::start(&kafka, &topic, &after);
    assert_eq!(after.until_count(1).await, ["5"]);
    running.until_turn(|turn| turn.lost == 3).await;
    running.stop().await;
}

/// As after an election of a replica that had not received everything.
async fn a_group_beyond_the_end_of_the_log_is_noticed(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    write(&kafka, &topic, &["1", "2", "3"]).await;
    set_offset(&kafka, &format!("group-{topic}"), &topic, 10).await;
    let recorder = Recorder::all_done();
    let mut running = Running::start(&kafka, &topic, &recorder);
    assert_eq!(recorder.until_count(3).await, ["1", "2", "3"]);
    running.until_turn(|turn| turn.lost == 7).await;
    running.stop().await;
}

/// Moves a group without members.
async fn set_offset(kafka: &KafkaSection, group: &str, topic: &Topic, offset: i64) {
    use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
    let client: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers.join(","))
        .set("group.id", group)
        .create()
        .unwrap();
    let mut offsets = rdkafka::TopicPartitionList::new();
    offsets
        .add_partition_offset(topic.as_str(), 0, rdkafka::Offset::Offset(offset))
        .unwrap();
    tokio::task::spawn_blocking(move || client.commit(&offsets, CommitMode::Sync))
        .await
        .unwrap()
        .unwrap();
}

async fn a_group_behind_the_log_fails_where_an_operator_decides(broker: &Broker) {
    let topic = broker.topic(1).await;
    read_one_and_lose_three(broker, &broker.settings(), &topic).await;
    let kafka = KafkaSection {
        offset_reset: OffsetReset::Fail,
        ..broker.settings()
    };
    let error = Running::start(&kafka, &topic, &Recorder::all_done())
        .error()
        .await;
    let expected = BusError::NoUsableOffset {
        group: format!("group-{topic}"),
        topic: topic.to_string(),
        partition: 0,
        next: Some(1),
        low: 4,
        high: 5,
        lost: 3,
    };
    assert_eq!(error.to_string(), expected.to_string());
}

/// A group that has read the first of five messages, of which retention then deletes four.
async fn read_one_and_lose_three(broker: &Broker, kafka: &KafkaSection, topic: &Topic) {
    write(kafka, topic, &["1"]).await;
    let first = Recorder::all_done();
    let running = Running::start(kafka, topic, &first);
    first.until_count(1).await;
    running.stop().await;
    write(kafka, topic, &["2", "3", "4", "5"]).await;
    broker.delete_before(topic, 4).await;
}

async fn two_members_share_the_partitions_and_one_takes_over(broker: &Broker) {
    let (topic, kafka) = (broker.topic(4).await, broker.settings());
    let (one, two) = (Recorder::all_done(), Recorder::all_done());
    let (mut first, mut second) = (
        Running::start(&kafka, &topic, &one),
        Running::start(&kafka, &topic, &two),
    );
    first.until_joined().await;
    second.until_joined().await;
    // Both get some: messages are written until it is so.
    let mut written = BTreeSet::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    while one.done().is_empty() || two.done().is_empty() {
        assert!(
            std::time::Instant::now() < deadline,
            "one member has no partition"
        );
        let batch: Vec<String> = (0..8)
            .map(|number| format!("{}-{number}", written.len()))
            .collect();
        write(
            &kafka,
            &topic,
            &batch.iter().map(String::as_str).collect::<Vec<_>>(),
        )
        .await;
        written.extend(batch);
    }
    first.stop().await;
    let late: Vec<String> = (0..8).map(|number| format!("late-{number}")).collect();
    write(
        &kafka,
        &topic,
        &late.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    written.extend(late);
    let before: BTreeSet<String> = one.done().into_iter().collect();
    two.until(|done| {
        let done: BTreeSet<String> = done.iter().cloned().chain(before.iter().cloned()).collect();
        written.is_subset(&done)
    })
    .await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_survives_a_broker_that_is_killed_and_started_again() {
    let server = KafkaServer::start(KafkaServerOptions::default()).await.unwrap();
    let topic = Topic::new("orders").unwrap();
    for name in ["orders", "orders-dlq"] {
        server.create_topic(name, 1).await.unwrap();
    }
    let kafka = settings(&server.bootstrap_servers(), PATIENCE);
    write(&kafka, &topic, &["before"]).await;
    let recorder = Recorder::all_done();
    let mut running = Running::start(&kafka, &topic, &recorder);
    recorder.until_count(1).await;
    server.kill().await.unwrap();
    // Silence is told: a worker that beats while the loop is alive stops beating.
    running
        .until_turn(|turn| !turn.is_alive(Duration::from_secs(2)))
        .await;
    server.start_again().await.unwrap();
    write(&kafka, &topic, &["after"]).await;
    let done = recorder
        .until(|done| done.last().is_some_and(|last| last == "after"))
        .await;
    // At least once: what was not committed when the broker died may come again.
    assert_eq!(done.into_iter().collect::<BTreeSet<_>>().len(), 2);
    running
        .until_turn(|turn| turn.is_alive(Duration::from_secs(5)))
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_offsets_topic_cannot_be_made_is_an_error_with_words() {
    // As in a cluster that has fewer brokers than the topic has replicas.
    let options = KafkaServerOptions {
        config_lines: vec!["offsets.topic.replication.factor=3".to_owned()],
        ..KafkaServerOptions::default()
    };
    let server = KafkaServer::start(options).await.unwrap();
    let topic = Topic::new("orders").unwrap();
    for name in ["orders", "orders-dlq"] {
        server.create_topic(name, 1).await.unwrap();
    }
    let kafka = KafkaSection {
        join_timeout: Duration::from_secs(3),
        ..settings(&server.bootstrap_servers(), PATIENCE)
    };
    write(&kafka, &topic, &["a"]).await;
    let error = Running::start(&kafka, &topic, &Recorder::all_done())
        .error()
        .await;
    assert!(matches!(error, BusError::NotJoined { .. }), "{error}");
    assert!(error.to_string().contains("__consumer_offsets"), "{error}");
    assert!(error.is_retryable());
}
