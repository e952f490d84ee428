//! Events of ours: written, read, and in time when brokers are away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use eidos_bus::{BusError, Consumer, Event, EventId, EventKind, Message, Publisher, Topic};
use eidos_sandbox::KafkaBroker;
use eidos_types::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};

use crate::broker::{Broker, PATIENCE, on_both, settings};

on_both!(
    an_event_arrives_with_its_key_identity_and_trace,
    events_with_one_key_keep_their_order,
    what_was_not_committed_is_read_again,
    a_message_of_another_type_is_named_and_not_retried,
);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Opened {
    wallet: String,
    number: u32,
}

impl EventKind for Opened {
    const TYPE: &'static str = "break.opened";
}

/// What is bounded by a delivery timeout of two seconds must end well before this.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(15);
    tokio::time::timeout(limit, future)
        .await
        .unwrap_or_else(|_elapsed| panic!("not done after {limit:?}"))
}

async fn in_process_topic(broker: &KafkaBroker) -> Topic {
    broker.create_topic("eidos-bus-test", 1).await.unwrap();
    Topic::new("eidos-bus-test").unwrap()
}

fn event(wallet: &str, number: u32) -> Event<Opened> {
    let clock = SystemClock::default();
    let payload = Opened {
        wallet: wallet.to_owned(),
        number,
    };
    Event::of(EventId::new(&clock), clock.now(), "bus-test", payload)
}

/// The event with its wallet as key and no trace.
fn keyed(event: &Event<Opened>) -> Message<'_, Opened> {
    Message {
        key: &event.payload.wallet,
        event,
        traceparent: None,
    }
}

/// Reads `count` messages, each committed, and fails if they do not come in time.
async fn read(consumer: &Consumer, count: usize) -> Vec<(Option<String>, Event<Opened>)> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.len() < count {
        assert!(
            Instant::now() < deadline,
            "only {} of {count} messages came",
            seen.len()
        );
        if let Some(message) = consumer.next(Duration::from_millis(500)).await.unwrap() {
            let event = message.decode().unwrap();
            seen.push((message.key().map(str::to_owned), event));
            consumer.commit(&message).await.unwrap();
        }
    }
    seen
}

async fn an_event_arrives_with_its_key_identity_and_trace(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    let publisher = Publisher::connect(&kafka).unwrap();
    assert!(publisher.is_on());
    publisher.check(PATIENCE).await.unwrap();

    let sent = event("0xabc", 7);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let message = Message {
        key: "0xabc",
        event: &sent,
        traceparent: Some(traceparent),
    };
    let delivered = publisher
        .publish(&topic, message)
        .await
        .unwrap()
        .expect("it is on");
    assert_eq!(delivered.partition, 0);

    let consumer =
        Consumer::subscribe(&kafka, &format!("group-{topic}"), std::slice::from_ref(&topic)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let received = loop {
        assert!(Instant::now() < deadline, "the event did not arrive");
        if let Some(received) = consumer.next(Duration::from_millis(500)).await.unwrap() {
            break received;
        }
    };
    assert_eq!(received.decode::<Opened>().unwrap(), sent);
    assert_eq!(received.key(), Some("0xabc"));
    assert_eq!(received.event_id(), Some(sent.event_id));
    assert_eq!(received.kind(), Some("break.opened"));
    assert_eq!(received.traceparent(), Some(traceparent));
    assert_eq!(received.offset(), delivered.offset);
    publisher.flush(PATIENCE).await.unwrap();
}

async fn events_with_one_key_keep_their_order(broker: &Broker) {
    const WALLETS: [&str; 5] = ["0xa", "0xb", "0xc", "0xd", "0xe"];
    const EACH: u32 = 40;
    let (topic, kafka) = (broker.topic(4).await, broker.settings());
    let publisher = Publisher::connect(&kafka).unwrap();

    // Queued at once, without waiting for each other: order must come from the producer, not from the caller.
    let events: Vec<_> = (0..EACH)
        .flat_map(|number| WALLETS.map(|wallet| event(wallet, number)))
        .collect();
    let sends = events.iter().map(|event| {
        let message = keyed(event);
        publisher.publish(&topic, message)
    });
    let delivered = futures::future::try_join_all(sends).await.unwrap();
    let partitions: std::collections::BTreeSet<i32> =
        delivered.iter().flatten().map(|at| at.partition).collect();
    assert!(
        partitions.len() > 1,
        "keys spread over partitions, or order per key proves nothing"
    );

    let consumer =
        Consumer::subscribe(&kafka, &format!("group-{topic}"), std::slice::from_ref(&topic)).unwrap();
    let mut per_key: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (key, event) in read(&consumer, events.len()).await {
        assert_eq!(key.as_deref(), Some(event.payload.wallet.as_str()));
        per_key
            .entry(event.payload.wallet)
            .or_default()
            .push(event.payload.number);
    }
    for wallet in WALLETS {
        assert_eq!(per_key[wallet], (0..EACH).collect::<Vec<_>>(), "{wallet}");
    }
}

async fn what_was_not_committed_is_read_again(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    let publisher = Publisher::connect(&kafka).unwrap();
    for number in 0..3 {
        let event = event("0xa", number);
        publisher.publish(&topic, keyed(&event)).await.unwrap();
    }
    let group = format!("group-{topic}");
    let first = Consumer::subscribe(&kafka, &group, std::slice::from_ref(&topic)).unwrap();
    assert_eq!(read(&first, 1).await[0].1.payload.number, 0);
    // The second message is read, but the process dies before its effects are durable.
    let deadline = Instant::now() + PATIENCE;
    while first.next(Duration::from_millis(500)).await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "the second message did not come");
    }
    drop(first);

    let second = Consumer::subscribe(&kafka, &group, std::slice::from_ref(&topic)).unwrap();
    let numbers: Vec<u32> = read(&second, 2)
        .await
        .into_iter()
        .map(|(_, event)| event.payload.number)
        .collect();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn an_unreachable_broker_is_an_error_in_bounded_time() {
    // A port that was free a moment ago: no process listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let timeout = Duration::from_secs(2);
    let publisher = Publisher::connect(&settings(&format!("127.0.0.1:{port}"), timeout)).unwrap();

    let event = event("0xa", 1);
    let message = keyed(&event);
    let topic = Topic::new("nowhere").unwrap();
    let publishing = publisher.publish(&topic, message);
    let error = in_time(publishing).await.unwrap_err();
    assert!(matches!(error, BusError::Timeout { .. }), "{error}");
    assert!(error.is_retryable());

    let error = publisher.check(Duration::from_secs(1)).await.unwrap_err();
    assert!(
        matches!(error, BusError::Unreachable { .. }) && error.to_string().contains(&port.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_refused_by_its_name_although_the_delivery_timeout_is_short() {
    let broker = KafkaBroker::start_in_process().unwrap();
    let missing = Topic::new("eidos-not-created").unwrap();
    broker.deny_topic(missing.as_str()).await.unwrap();
    let kafka = settings(broker.bootstrap_servers(), Duration::from_secs(2));
    let publisher = Publisher::connect(&kafka).unwrap();
    let event = event("0xa", 1);
    let message = || keyed(&event);
    let error = in_time(publisher.publish(&missing, message())).await.unwrap_err();
    assert!(matches!(error, BusError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("eidos-not-created"), "{error}");
    assert!(!error.is_retryable(), "a person has to create it");

    // The brokers are there, the topic is there, and no broker acknowledges: that is a time-out and not a refusal.
    let there = in_process_topic(&broker).await;
    broker.take_down().await.unwrap();
    let error = in_time(publisher.publish(&there, message())).await.unwrap_err();
    assert!(matches!(error, BusError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_broker_that_comes_back_gets_the_same_event_once() {
    let broker = KafkaBroker::start_in_process().unwrap();
    let topic = in_process_topic(&broker).await;
    let kafka = settings(broker.bootstrap_servers(), PATIENCE);
    let publisher = Publisher::connect(&kafka).unwrap();
    let first = event("0xa", 0);
    publisher.publish(&topic, keyed(&first)).await.unwrap();

    broker.take_down().await.unwrap();
    let second = event("0xa", 1);
    let sending = publisher.publish(&topic, keyed(&second));
    let restart = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        broker.bring_up().await.unwrap();
    };
    let (delivered, ()) = tokio::join!(sending, restart);
    delivered.unwrap();

    let consumer =
        Consumer::subscribe(&kafka, &format!("group-{topic}"), std::slice::from_ref(&topic)).unwrap();
    let events: Vec<_> = read(&consumer, 2)
        .await
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    assert_eq!(events, [first, second]);
    assert!(
        consumer.next(Duration::from_secs(1)).await.unwrap().is_none(),
        "an event was written twice"
    );
}

#[tokio::test]
async fn a_full_queue_is_an_error_in_bounded_time() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let timeout = Duration::from_secs(2);
    let publisher = Publisher::connect(&settings(&format!("127.0.0.1:{port}"), timeout)).unwrap();
    let topic = Topic::new("nowhere").unwrap();
    let event = event("0xa", 1);
    // More than the queue holds: some never get in, and every one of them ends.
    let sends = (0..1_500).map(|_| publisher.publish(&topic, keyed(&event)));
    let outcomes = in_time(futures::future::join_all(sends)).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Err(error) if error.is_retryable()))
    );
}

#[tokio::test]
async fn no_brokers_means_off_and_never_an_error() {
    let publisher = Publisher::connect(&settings("", PATIENCE)).unwrap();
    assert!(!publisher.is_on());
    let event = event("0xa", 1);
    let message = keyed(&event);
    assert_eq!(
        publisher.publish(&eidos_bus::BREAKS, message).await.unwrap(),
        None
    );
    publisher.check(Duration::ZERO).await.unwrap();
    publisher.flush(Duration::ZERO).await.unwrap();
}

async fn a_message_of_another_type_is_named_and_not_retried(broker: &Broker) {
    let (topic, kafka) = (broker.topic(1).await, broker.settings());
    let publisher = Publisher::connect(&kafka).unwrap();
    let sent = event("0xa", 1);
    publisher.publish(&topic, keyed(&sent)).await.unwrap();
    let consumer =
        Consumer::subscribe(&kafka, &format!("group-{topic}"), std::slice::from_ref(&topic)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let received = loop {
        assert!(Instant::now() < deadline, "the event did not arrive");
        if let Some(received) = consumer.next(Duration::from_millis(500)).await.unwrap() {
            break received;
        }
    };
    // Read as another type: the error says where it is, so that a person can look.
    let error = received.decode::<Vec<String>>().unwrap_err();
    assert!(!error.is_retryable());
    assert!(error.to_string().contains(&format!("{topic}[0]@0")), "{error}");
}
