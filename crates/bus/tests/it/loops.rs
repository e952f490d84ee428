//! The loop of a service, against both brokers.

use std::time::Duration;

use eidos_bus::{BusError, Consumer, Handled, Received, ReplayOptions, Topic, replay};
use eidos_settings::{KafkaSection, OffsetReset};

use crate::broker::{Broker, PATIENCE, on_both};
use crate::running::{Recorder, Running, TRACE, options, write};

on_both!(
    what_is_done_is_committed_and_the_next_run_starts_after_it,
    a_raw_message_arrives_as_it_was_written,
    a_poison_message_is_isolated_and_replayed_once,
    a_refused_message_is_tried_again_and_becomes_a_dead_letter_in_the_end,
    an_unavailable_handler_ends_the_loop_and_loses_nothing,
    a_missing_topic_is_named,
    a_missing_dead_letter_topic_is_named,
    a_new_group_starts_where_the_setting_says,
    a_loop_that_is_stopped_between_attempts_ends_at_once,
);

async fn what_is_done_is_committed_and_the_next_run_starts_after_it(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    write(&kafka, &topic, &["a", "b"]).await;
    let first = Recorder::all_done();
    let mut running = Running::start(&kafka, &topic, &first);
    first.until_count(2).await;
    running
        .until_turn(|turn| turn.is_alive(PATIENCE) && turn.lag == 0)
        .await;
    running.stop().await;

    write(&kafka, &topic, &["c"]).await;
    let second = Recorder::all_done();
    let running = Running::start(&kafka, &topic, &second);
    second.until_count(1).await;
    running.stop().await;
    assert_eq!(
        (first.done().join(""), second.done().join("")),
        ("ab".into(), "c".into())
    );
}

async fn a_raw_message_arrives_as_it_was_written(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    write(&kafka, &topic, &["{\"order_id\":1}"]).await;
    let message = one(&kafka, &topic).await;
    assert_eq!(message.topic(), topic.as_str());
    assert_eq!(message.key(), Some("{\"order_id\":1}"));
    assert_eq!(message.json::<serde_json::Value>().unwrap()["order_id"], 1);
    assert_eq!(message.header("kind"), Some("test"));
    assert_eq!(message.traceparent(), Some(TRACE));
    assert!(message.timestamp_ms().unwrap() > 1_700_000_000_000);
}

async fn a_poison_message_is_isolated_and_replayed_once(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    write(&kafka, &topic, &["a", "bad", "b"]).await;
    let strict = Recorder::new(|text, _| match text {
        "bad" => Handled::poison("not an order"),
        _ => Handled::Done,
    });
    let running = Running::start(&kafka, &topic, &strict);
    assert_eq!(strict.until_count(2).await, ["a", "b"]);
    running.stop().await;
    assert_eq!(strict.attempts_of("bad"), 1);

    let letter = one(&kafka, &Topic::new(format!("{topic}-dlq")).unwrap()).await;
    assert_eq!((letter.key(), letter.payload()), (Some("bad"), b"bad".as_slice()));
    assert_eq!(letter.header("dlq_reason"), Some("not an order"));
    assert_eq!(letter.header("dlq_topic"), Some(topic.as_str()));
    assert_eq!(letter.header("dlq_partition"), Some("0"));
    assert_eq!(letter.header("dlq_offset"), Some("1"));
    assert_eq!(letter.header("dlq_attempts"), Some("1"));
    assert!(letter.header("dlq_timestamp_ms").is_some());
    assert_eq!(
        (letter.traceparent(), letter.header("kind")),
        (Some(TRACE), Some("test"))
    );

    let mut seen = Vec::new();
    let dry = ReplayOptions {
        dry_run: true,
        limit: None,
    };
    replay(&kafka, &topic, dry, |letter| seen.push(letter.clone()))
        .await
        .unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].reason.as_str(), seen[0].original_offset),
        ("not an order", Some(1))
    );
    let for_real = ReplayOptions::default();
    assert_eq!(replay(&kafka, &topic, for_real, |_| {}).await.unwrap(), 1);
    assert_eq!(replay(&kafka, &topic, for_real, |_| {}).await.unwrap(), 0, "once");

    let repaired = Recorder::all_done();
    let running = Running::start(&kafka, &topic, &repaired);
    assert_eq!(repaired.until_count(1).await, ["bad"]);
    running.stop().await;
}

async fn a_refused_message_is_tried_again_and_becomes_a_dead_letter_in_the_end(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    write(&kafka, &topic, &["never", "second", "fine"]).await;
    let recorder = Recorder::new(|text, attempt| match (text, attempt) {
        ("never", _) | ("second", 1) => Handled::retry("the market is closed"),
        _ => Handled::Done,
    });
    let running = Running::start(&kafka, &topic, &recorder);
    assert_eq!(recorder.until_count(2).await, ["second", "fine"]);
    running.stop().await;
    assert_eq!(
        (recorder.attempts_of("never"), recorder.attempts_of("second")),
        (3, 2)
    );
    let mut letters = Vec::new();
    let dry = ReplayOptions {
        dry_run: true,
        limit: Some(10),
    };
    replay(&kafka, &topic, dry, |letter| letters.push(letter.clone()))
        .await
        .unwrap();
    let [letter] = letters.as_slice() else {
        panic!("{letters:?}")
    };
    assert_eq!(
        (letter.attempts, letter.reason.as_str()),
        (3, "the market is closed")
    );
}

async fn an_unavailable_handler_ends_the_loop_and_loses_nothing(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    write(&kafka, &topic, &["a", "b"]).await;
    let down = Recorder::new(|text, _| match text {
        "b" => Handled::unavailable("the database is away"),
        _ => Handled::Done,
    });
    let error = Running::start(&kafka, &topic, &down).error().await;
    assert!(
        matches!(error, BusError::HandlerUnavailable { offset: 1, .. }),
        "{error}"
    );
    assert!(
        error.is_retryable() && error.to_string().contains("the database is away"),
        "{error}"
    );
    let up = Recorder::all_done();
    let running = Running::start(&kafka, &topic, &up);
    assert_eq!(up.until_count(1).await, ["b"]);
    running.stop().await;
}

async fn a_missing_topic_is_named(broker: &Broker) {
    let topic = broker.missing_topic().await;
    let error = Running::start(&broker.settings(), &topic, &Recorder::all_done())
        .error()
        .await;
    assert!(matches!(error, BusError::MissingTopics { .. }), "{error}");
    assert!(error.to_string().contains(topic.as_str()), "{error}");
}

async fn a_missing_dead_letter_topic_is_named(broker: &Broker) {
    let (topic, missing) = (broker.topic(1).await, broker.missing_topic().await);
    let kafka = KafkaSection {
        dead_letter_topic: missing.to_string(),
        ..broker.settings()
    };
    let error = Running::start(&kafka, &topic, &Recorder::all_done())
        .error()
        .await;
    let BusError::MissingTopics { topics, .. } = &error else {
        panic!("{error}")
    };
    assert!(
        topics.len() == 1 && topics[0].contains(missing.as_str()),
        "{error}"
    );
}

async fn a_new_group_starts_where_the_setting_says(broker: &Broker) {
    let topic = broker.topic(1).await;
    let with = |offset_reset| KafkaSection {
        offset_reset,
        ..broker.settings()
    };
    write(&broker.settings(), &topic, &["old"]).await;
    let error = Running::start(&with(OffsetReset::Fail), &topic, &Recorder::all_done())
        .error()
        .await;
    assert!(
        matches!(
            error,
            BusError::NoUsableOffset {
                next: None,
                high: 1,
                ..
            }
        ),
        "{error}"
    );

    let earliest = Recorder::all_done();
    let running = Running::start(&with(OffsetReset::Earliest), &topic, &earliest);
    assert_eq!(earliest.until_count(1).await, ["old"]);
    running.stop().await;

    // The decision is committed, so that a restart before the first message does not skip what came meanwhile.
    let mut late = options(&topic);
    late.group.push_str("-late");
    let latest = Recorder::all_done();
    let kafka = with(OffsetReset::Latest);
    let running = Running::start_with(&kafka, late.clone(), &latest);
    committed(&kafka, &late.group, &topic, 1).await;
    running.stop().await;
    write(&kafka, &topic, &["new"]).await;
    let running = Running::start_with(&kafka, late, &latest);
    assert_eq!(latest.until_count(1).await, ["new"]);
    running.stop().await;
}

async fn a_loop_that_is_stopped_between_attempts_ends_at_once(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    write(&kafka, &topic, &["a"]).await;
    let mut patient = options(&topic);
    (patient.first_pause, patient.longest_pause) = (Duration::from_hours(1), Duration::from_hours(1));
    let recorder = Recorder::new(|_, _| Handled::retry("later"));
    let mut running = Running::start_with(&kafka, patient, &recorder);
    running.until_turn(|_| recorder.attempts_of("a") == 1).await;
    running.stop().await;
    let again = Recorder::all_done();
    let running = Running::start(&kafka, &topic, &again);
    again.until_count(1).await;
    running.stop().await;
}

/// The next message of a topic, for a group that nobody else has.
async fn one(kafka: &KafkaSection, topic: &Topic) -> Received {
    let consumer = Consumer::subscribe(kafka, &format!("one-{topic}"), std::slice::from_ref(topic)).unwrap();
    let received = consumer.next(PATIENCE).await.unwrap();
    received.expect("no message came")
}

/// Waits until the group's offset is `wanted`.
async fn committed(kafka: &KafkaSection, group: &str, topic: &Topic, wanted: i64) {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    let client: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers.join(","))
        .set("group.id", group)
        .create()
        .unwrap();
    let (name, deadline) = (topic.to_string(), std::time::Instant::now() + PATIENCE);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut asked = rdkafka::TopicPartitionList::new();
            asked.add_partition(&name, 0);
            let stored = client.committed_offsets(asked, Duration::from_secs(5)).unwrap();
            if stored.elements()[0].offset() == rdkafka::Offset::Offset(wanted) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{stored:?}");
        }
    })
    .await
    .unwrap();
}
