//! The loop of a service, against both brokers.

use std::sync::Mutex;
use std::time::Duration;

use eidos_bus::{
    BusError, Consumer, ConsumerLoop, Handled, Handler, LoopOptions, Publisher, RawMessage, Received,
    ReplayOptions, Topic, replay,
};
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
    messages_that_have_come_are_handled_together_and_the_others_one_by_one,
    a_batch_keeps_its_order_and_each_message_has_its_outcome,
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

/// Does together whatever is a number, up to three at once.
#[derive(Default)]
struct Numbers {
    together: Mutex<Vec<Vec<String>>>,
    alone: Mutex<Vec<String>>,
}

impl Handler for Numbers {
    async fn handle(&self, message: &Received) -> Handled {
        let text = text(message);
        self.alone.lock().unwrap().push(text.clone());
        match text.parse::<u32>() {
            Ok(_) => Handled::Done,
            Err(_) => Handled::poison("not a number"),
        }
    }

    async fn handle_together(&self, messages: &[Received]) -> Vec<bool> {
        let texts: Vec<String> = messages.iter().map(text).collect();
        let done = texts.iter().map(|text| text.parse::<u32>().is_ok()).collect();
        self.together.lock().unwrap().push(texts);
        done
    }
}

fn text(message: &Received) -> String {
    String::from_utf8(message.payload().to_vec()).unwrap()
}

async fn messages_that_have_come_are_handled_together_and_the_others_one_by_one(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    let texts: Vec<String> = (0..20)
        .map(|n| if n == 7 { "x".to_owned() } else { n.to_string() })
        .collect();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    write(&kafka, &topic, &all).await;
    let handler = Numbers::default();
    let options = LoopOptions {
        together: 3,
        ..options(&topic)
    };
    let reading = ConsumerLoop::new(&kafka, options).unwrap();
    let have_all_come = || {
        let (together, alone) = (handler.together.lock().unwrap(), handler.alone.lock().unwrap());
        // The poison is handled alone, whether it was offered together before or not.
        alone.contains(&"x".to_owned())
            && texts.iter().all(|text| {
                together
                    .iter()
                    .flatten()
                    .chain(alone.iter())
                    .any(|seen| seen == text)
            })
    };
    let stop = async {
        while !have_all_come() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let read = reading.run(&handler, |_| {}, stop);
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("not all came")
        .unwrap();
    let together = handler.together.into_inner().unwrap();
    assert!(
        together.iter().all(|batch| (2..=3).contains(&batch.len())),
        "{together:?}"
    );
    assert!(together.iter().map(Vec::len).sum::<usize>() > 10, "{together:?}");
    assert!(handler.alone.into_inner().unwrap().contains(&"x".to_owned()));
    let mut letters = Vec::new();
    let dry = ReplayOptions {
        dry_run: true,
        limit: None,
    };
    replay(&kafka, &topic, dry, |letter| letters.push(letter.clone()))
        .await
        .unwrap();
    assert_eq!(
        letters
            .iter()
            .map(|letter| letter.original_offset)
            .collect::<Vec<_>>(),
        [Some(7)]
    );

    // Everything was committed: the next member gets what comes after.
    write(&kafka, &topic, &["20"]).await;
    let recorder = Recorder::all_done();
    let running = Running::start(&kafka, &topic, &recorder);
    assert_eq!(recorder.until_count(1).await, ["20"]);
    running.stop().await;
}

async fn a_batch_keeps_its_order_and_each_message_has_its_outcome(broker: &Broker) {
    let (topic, kafka) = (broker.topic(4).await, broker.settings());
    let publisher = Publisher::connect(&kafka).unwrap();
    let texts: Vec<(String, String)> = (0..1_500).map(|n| ((n % 5).to_string(), n.to_string())).collect();
    let messages: Vec<RawMessage<'_>> = texts
        .iter()
        .map(|(key, text)| RawMessage {
            key,
            payload: text.as_bytes(),
            headers: &[],
            traceparent: None,
        })
        .collect();
    // More than the queue takes at once.
    let outcomes = publisher.publish_in_order(&topic, &messages).await;
    assert_eq!(outcomes.len(), 1_500);
    assert!(outcomes.iter().all(Result::is_ok));
    let recorder = Recorder::all_done();
    let running = Running::start(&kafka, &topic, &recorder);
    let read: Vec<u32> = recorder
        .until_count(1_500)
        .await
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    running.stop().await;
    for key in 0..5 {
        let of_key: Vec<u32> = read.iter().copied().filter(|n| n % 5 == key).collect();
        assert!(of_key.is_sorted() && of_key.len() == 300, "{of_key:?}");
    }
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
