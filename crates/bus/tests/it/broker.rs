//! The brokers that the tests run against: librdkafka's own in this process, and a private Apache Kafka.

use std::time::Duration;

use eidos_bus::{EventId, Topic};
use eidos_sandbox::{KafkaBroker, KafkaServer, KafkaServerOptions};
use eidos_settings::{GroupProtocol, KafkaSection, OffsetReset};
use eidos_types::SystemClock;
use tokio::sync::OnceCell;

/// What must come comes well before this, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A broker and how groups are formed there.
pub(crate) struct Broker {
    kind: Kind,
    protocol: GroupProtocol,
}

enum Kind {
    Embedded(KafkaBroker),
    /// One for all tests of this program: a Java program takes seconds to start. It dies with this process.
    Real(&'static KafkaServer),
}

static SERVER: OnceCell<KafkaServer> = OnceCell::const_new();

impl Broker {
    /// librdkafka's own broker, or the one that `KAFKA_BROKERS` names.
    pub(crate) fn embedded() -> Self {
        Self {
            kind: Kind::Embedded(KafkaBroker::start().unwrap()),
            protocol: GroupProtocol::Classic,
        }
    }

    pub(crate) async fn real() -> Self {
        let start = || KafkaServer::start(KafkaServerOptions::default());
        Self {
            kind: Kind::Real(SERVER.get_or_try_init(start).await.unwrap()),
            protocol: GroupProtocol::Classic,
        }
    }

    pub(crate) fn with(self, protocol: GroupProtocol) -> Self {
        Self { protocol, ..self }
    }

    pub(crate) fn settings(&self) -> KafkaSection {
        let bootstrap = match &self.kind {
            Kind::Embedded(broker) => broker.bootstrap_servers().to_owned(),
            Kind::Real(server) => server.bootstrap_servers(),
        };
        KafkaSection {
            group_protocol: self.protocol,
            ..settings(&bootstrap, PATIENCE)
        }
    }

    /// A topic of this test alone, with a dead-letter topic.
    pub(crate) async fn topic(&self, partitions: i32) -> Topic {
        let topic = fresh_name();
        self.create(&topic, partitions).await;
        self.create(&format!("{topic}-dlq"), 1).await;
        Topic::new(topic).unwrap()
    }

    pub(crate) async fn create(&self, topic: &str, partitions: i32) {
        match &self.kind {
            Kind::Embedded(broker) => broker.create_topic(topic, partitions).await,
            Kind::Real(server) => server.create_topic(topic, partitions).await,
        }
        .unwrap();
    }

    /// Deletes what partition 0 has before `offset`.
    pub(crate) async fn delete_before(&self, topic: &Topic, offset: i64) {
        let server = self.server();
        server.delete_before(topic.as_str(), 0, offset).await.unwrap();
    }

    fn server(&self) -> &'static KafkaServer {
        match &self.kind {
            Kind::Real(server) => server,
            Kind::Embedded(_) => panic!("only a real broker deletes"),
        }
    }

    /// A topic that the brokers do not have, and do not create when asked.
    pub(crate) async fn missing_topic(&self) -> Topic {
        let topic = fresh_name();
        // Real ones create none by themselves.
        if let Kind::Embedded(broker) = &self.kind
            && !broker.is_external()
        {
            broker.deny_topic(&topic).await.unwrap();
        }
        Topic::new(topic).unwrap()
    }
}

fn fresh_name() -> String {
    format!("eidos-bus-test-{}", EventId::new(&SystemClock::default()))
}

pub(crate) fn settings(brokers: &str, delivery_timeout: Duration) -> KafkaSection {
    KafkaSection {
        brokers: brokers
            .split(',')
            .filter(|broker| !broker.is_empty())
            .map(str::to_owned)
            .collect(),
        client_id: "bus-test".to_owned(),
        delivery_timeout,
        group_protocol: GroupProtocol::Classic,
        session_timeout: Duration::from_secs(6),
        join_timeout: PATIENCE,
        offset_reset: OffsetReset::Earliest,
        dead_letter_topic: "{topic}-dlq".to_owned(),
    }
}

/// Runs each test against both brokers; against the real one, loops also with both group protocols.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&$crate::broker::Broker::embedded()).await;
            })*
        }
        mod real {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&$crate::broker::Broker::real().await).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// Runs each test against a real broker, with the classic group protocol and with KIP-848.
macro_rules! on_both_protocols {
    ($($test:ident),* $(,)?) => {
        mod classic_protocol {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&$crate::broker::Broker::real().await).await;
            })*
        }
        mod consumer_protocol {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let broker = $crate::broker::Broker::real().await;
                super::$test(&broker.with(eidos_settings::GroupProtocol::Consumer)).await;
            })*
        }
    };
}
pub(crate) use on_both_protocols;
