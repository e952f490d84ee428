//! [`Producer`]: idempotent, acknowledged by all replicas, bounded in memory and in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eidos_settings::KafkaSection;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};
use serde::Serialize;

use crate::topic::OWN;
use crate::{BusError, Event, Topic};

/// How many messages may wait for the brokers. An event of ours is below 4 KiB, so this is a few MiB at worst.
const QUEUE_MESSAGES: u32 = 1_000;
/// The same bound in KiB, for large payloads.
const QUEUE_KIB: u32 = 16 * 1_024;
/// How long messages are gathered before they are sent, in milliseconds. Breaks are rare; a person waits for them.
const LINGER_MS: u32 = 5;

/// The pause before a full queue is tried again.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);
/// The longest question for the reason of a time-out.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// An event with the key that orders it and the trace it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a, T> {
    /// Messages with the same key keep their order.
    pub key: &'a str,
    /// The envelope.
    pub event: &'a Event<T>,
    /// The W3C `traceparent` of the run that caused it, so that the trace continues in the consumer.
    pub traceparent: Option<&'a str>,
}

/// A message without our envelope, for the exchange's topics: bytes as they are, a key and headers.
#[derive(Debug, Clone, Copy)]
pub struct RawMessage<'a> {
    /// Messages with the same key keep their order.
    pub key: &'a str,
    /// The body, usually JSON.
    pub payload: &'a [u8],
    /// Headers besides `traceparent`.
    pub headers: &'a [(&'a str, &'a str)],
    /// The W3C `traceparent` of the run that caused it. `None`: it has no trace.
    pub traceparent: Option<&'a str>,
}

/// What is handed to the client.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: OwnedHeaders,
}

/// Where a message was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The partition that the key belongs to.
    pub partition: i32,
    /// The offset within it.
    pub offset: i64,
}

/// A connection to the brokers that writes events. Cheap to clone; all clones share one queue.
#[derive(Clone)]
pub(crate) struct Producer {
    client: FutureProducer,
    brokers: Arc<[String]>,
    delivery_timeout: Duration,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

impl Producer {
    /// Returns a producer for `kafka.brokers`. Connections are made in the background and made again when they break, so an
    /// absent broker is not an error here; ask [`Producer::check`].
    pub(crate) fn connect(settings: &KafkaSection) -> Result<Self, BusError> {
        let delivery_timeout = settings.delivery_timeout;
        let client = ClientConfig::new()
            .set("bootstrap.servers", settings.brokers.join(","))
            .set("client.id", &settings.client_id)
            // Idempotence is what keeps order and uniqueness per partition through the client's own retries.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", delivery_timeout.as_millis().to_string())
            .set("queue.buffering.max.messages", QUEUE_MESSAGES.to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KIB.to_string())
            .set("linger.ms", LINGER_MS.to_string())
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "2000")
            // The partitioner of the Java client, so that our keys have the partitions that other clients give them.
            .set("partitioner", "murmur2_random")
            .create::<FutureProducer>()
            .map_err(|error| BusError::Settings {
                brokers: settings.brokers.clone(),
                reason: error.to_string(),
            })?;
        // A series that begins at 1 shows no increase, and no alert would see the first event that is lost.
        for topic in &OWN {
            for outcome in ["delivered"].iter().chain(BusError::OUTCOMES) {
                eidos_telemetry::metric::bus_events_from_zero(topic.metric_label(), outcome);
            }
        }
        Ok(Self {
            client,
            brokers: settings.brokers.clone().into(),
            delivery_timeout,
        })
    }

    /// Writes one event, as [`Publisher::publish`](crate::Publisher::publish) describes, and counts the outcome.
    pub(crate) async fn publish<T: Serialize + Sync>(
        &self,
        topic: &Topic,
        message: Message<'_, T>,
    ) -> Result<Delivered, BusError> {
        let outcome = self.send(topic, message).await;
        count(topic, &outcome);
        outcome
    }

    /// Writes one message as it is, and counts the outcome.
    pub(crate) async fn publish_raw(
        &self,
        topic: &Topic,
        message: RawMessage<'_>,
    ) -> Result<Delivered, BusError> {
        let record = raw(&message);
        let outcome = self.write(topic, record).await;
        count(topic, &outcome);
        outcome
    }

    /// Writes messages as [`Publisher::publish_in_order`](crate::Publisher::publish_in_order) describes.
    pub(crate) async fn publish_in_order(
        &self,
        topic: &Topic,
        messages: &[RawMessage<'_>],
    ) -> Vec<Result<Delivered, BusError>> {
        let mut queued = Vec::with_capacity(messages.len());
        let mut refused = None;
        for message in messages {
            match self.queue(topic, raw(message)).await {
                Ok(delivery) => queued.push(delivery),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let mut outcomes = Vec::with_capacity(messages.len());
        let mut is_explained = false;
        for delivery in queued {
            let outcome = match delivery.await {
                Ok(Ok(delivery)) => Ok(Delivered {
                    partition: delivery.partition,
                    offset: delivery.offset,
                }),
                Ok(Err((error, _message))) => {
                    let error = BusError::sending(topic.as_str(), &error, self.delivery_timeout);
                    // The reason of the first time-out is that of all: the brokers are asked once.
                    let first = !std::mem::replace(&mut is_explained, true);
                    Err(if first {
                        self.explain(topic, error).await
                    } else {
                        error
                    })
                }
                Err(_canceled) => Err(BusError::Closed),
            };
            outcomes.push(outcome);
        }
        outcomes.extend(refused.map(Err));
        for outcome in &outcomes {
            count(topic, outcome);
        }
        outcomes
    }

    /// Hands a message to the client's queue, waiting for room within the delivery timeout.
    async fn queue(&self, topic: &Topic, message: Record<'_>) -> Result<DeliveryFuture, BusError> {
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(topic.as_str()).headers(message.headers);
        record.key = message.key;
        record.payload = message.payload;
        let until = Instant::now() + self.delivery_timeout;
        loop {
            match self.client.send_result(record) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < until =>
                {
                    record = back;
                    tokio::time::sleep(QUEUE_PAUSE).await;
                }
                Err((error, _record)) => {
                    return Err(BusError::sending(topic.as_str(), &error, self.delivery_timeout));
                }
            }
        }
    }

    async fn send<T: Serialize + Sync>(
        &self,
        topic: &Topic,
        message: Message<'_, T>,
    ) -> Result<Delivered, BusError> {
        let body = serde_json::to_vec(message.event).map_err(|source| BusError::Encode {
            topic: topic.to_string(),
            source,
        })?;
        let record = Record {
            key: Some(message.key.as_bytes()),
            payload: Some(&body),
            headers: headers(&message),
        };
        self.write(topic, record).await
    }

    /// Writes one message and waits until all in-sync replicas have it.
    pub(crate) async fn write(&self, topic: &Topic, message: Record<'_>) -> Result<Delivered, BusError> {
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(topic.as_str()).headers(message.headers);
        record.key = message.key;
        record.payload = message.payload;
        match self.client.send(record, self.delivery_timeout).await {
            Ok(delivery) => Ok(Delivered {
                partition: delivery.partition,
                offset: delivery.offset,
            }),
            Err((KafkaError::Canceled, _)) => Err(BusError::Closed),
            Err((error, _)) => {
                let error = BusError::sending(topic.as_str(), &error, self.delivery_timeout);
                Err(self.explain(topic, error).await)
            }
        }
    }

    /// Replaces a time-out by the brokers' refusal, where that is its reason: librdkafka waits 30 s for a topic that does
    /// not exist to appear, longer than our delivery timeout, so only the metadata says that it is missing.
    async fn explain(&self, topic: &Topic, error: BusError) -> BusError {
        if !matches!(error, BusError::Timeout { .. }) {
            return error;
        }
        let (client, name) = (self.client.clone(), topic.to_string());
        let timeout = QUESTION_TIMEOUT.min(self.delivery_timeout);
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = client.client().fetch_metadata(Some(&name), timeout).ok()?;
            let topic = metadata.topics().iter().find(|topic| topic.name() == name)?;
            topic.error().map(RDKafkaErrorCode::from)
        });
        match asked.await {
            Ok(Some(code)) if BusError::is_refusal(code) => BusError::Refused {
                topic: topic.to_string(),
                reason: format!("the brokers say {code}; create the topic, or let this client write to it"),
            },
            _ => error,
        }
    }

    /// Asks the brokers for their cluster's metadata: the readiness check.
    pub(crate) async fn check(&self, timeout: Duration) -> Result<(), BusError> {
        let client = self.client.clone();
        let answer = tokio::task::spawn_blocking(move || client.client().fetch_metadata(None, timeout)).await;
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(BusError::Unreachable {
                brokers: self.brokers.to_vec(),
                waited: timeout,
                reason: error.to_string(),
            }),
            Err(_) => Err(BusError::Closed),
        }
    }

    /// Waits until everything queued is acknowledged, at most `timeout`. Called once, at the end of the process.
    pub(crate) async fn flush(&self, timeout: Duration) -> Result<(), BusError> {
        let client = self.client.clone();
        let flushed = tokio::task::spawn_blocking(move || client.flush(timeout)).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(BusError::FlushIncomplete {
                left: self.client.in_flight_count(),
                waited: timeout,
            }),
            Err(_) => Err(BusError::Closed),
        }
    }
}

/// Counts how the delivery of a message ended.
fn count(topic: &Topic, outcome: &Result<Delivered, BusError>) {
    let word = outcome.as_ref().map_or_else(BusError::as_str, |_| "delivered");
    eidos_telemetry::metric::bus_event(topic.metric_label(), word);
}

fn raw<'a>(message: &RawMessage<'a>) -> Record<'a> {
    let own = message.headers.iter();
    let headers = own.fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(*value),
        })
    });
    Record {
        key: Some(message.key.as_bytes()),
        payload: Some(message.payload),
        headers: with_trace(headers, message.traceparent),
    }
}

/// `event_id` and `type` are repeated outside the body, so that a consumer can skip a message without parsing it.
fn headers<T>(message: &Message<'_, T>) -> OwnedHeaders {
    let event_id = message.event.event_id.to_string();
    let headers = OwnedHeaders::new_with_capacity(3)
        .insert(Header {
            key: "event_id",
            value: Some(event_id.as_str()),
        })
        .insert(Header {
            key: "type",
            value: Some(message.event.kind.as_str()),
        });
    with_trace(headers, message.traceparent)
}

fn with_trace(headers: OwnedHeaders, traceparent: Option<&str>) -> OwnedHeaders {
    match traceparent {
        Some(traceparent) => headers.insert(Header {
            key: "traceparent",
            value: Some(traceparent),
        }),
        None => headers,
    }
}
