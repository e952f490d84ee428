//! The matching engine over Kafka: requests on the topic `cancel-requests`, keyed by market so that those of one market keep
//! their order. The brokers' acknowledgement says that the topic has a request, and nothing about the order.

use std::time::Duration;

use eidos_bus::{BusError, Publisher, RawMessage, Topic};
use eidos_telemetry::trace_context;
use eidos_types::SharedClock;
use serde::Serialize;

use super::engine::{Answers, OrderVerdict};
use crate::domain::life::{Reason, Verdict};
use crate::settings::{KafkaTransport, Numbering};
use crate::store::requests::Request;

/// How to publish. Nothing is connected before the first use.
#[derive(Debug, Clone)]
pub struct CancelRequests {
    publisher: Publisher,
    topic: Topic,
    window: u32,
    numbering: Numbering,
    check_within: Duration,
    clock: SharedClock,
}

/// A message of the topic. The engine of the documents reads `timestamp`, other consumers `requested_at`.
#[derive(Debug, Serialize)]
struct CancelRequest<'a> {
    order_id: &'a str,
    market: &'a str,
    wallet: &'a str,
    timestamp: i64,
    requested_at: i64,
    reason: &'static str,
    idempotency_id: &'a str,
    attempt_epoch: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
}

/// A request that waits to be published.
struct Queued {
    idempotency_id: String,
    market: String,
    body: Vec<u8>,
}

/// Publishes batches, one after the other.
pub struct Publishing {
    of: CancelRequests,
    queued: Vec<Queued>,
    /// Why publishing ended, where that came behind requests that were delivered.
    failed: Option<BusError>,
}

impl CancelRequests {
    /// Prepares publishing.
    ///
    /// # Errors
    /// If the name of the topic cannot be used.
    pub fn new(
        publisher: Publisher,
        settings: &KafkaTransport,
        check_within: Duration,
        clock: SharedClock,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            publisher,
            topic: Topic::new(settings.cancel_requests.clone())?,
            window: settings.window,
            numbering: settings.sequence,
            check_within,
            clock,
        })
    }

    /// Begins to publish, once the brokers answer: a request that is not sent is not counted as sent.
    ///
    /// # Errors
    /// [`BusError`]: they do not.
    pub async fn open(&self) -> Result<Publishing, BusError> {
        self.check().await?;
        Ok(Publishing {
            of: self.clone(),
            queued: Vec::new(),
            failed: None,
        })
    }

    /// Checks whether the brokers answer.
    ///
    /// # Errors
    /// [`BusError`]: they do not.
    pub async fn check(&self) -> Result<(), BusError> {
        self.publisher.check(self.check_within).await
    }

    /// How many requests may be published about which nothing is known.
    #[must_use]
    pub const fn window(&self) -> u32 {
        self.window
    }

    /// Whether each request carries a sequence number.
    #[must_use]
    pub const fn is_numbered(&self) -> bool {
        matches!(self.numbering, Numbering::Clock)
    }

    fn queued(&self, request: &Request, sequence: Option<i64>) -> Queued {
        let now_ms = self.clock.now_ms();
        let idempotency_id = request.idempotency_id();
        let message = CancelRequest {
            order_id: &request.order_id,
            market: &request.market,
            wallet: &request.wallet,
            timestamp: now_ms,
            requested_at: now_ms,
            reason: match request.reason {
                Reason::Expired => "EXPIRED",
                Reason::ZeroQuantity => "ZERO_QUANTITY",
            },
            idempotency_id: &idempotency_id,
            attempt_epoch: request.facts.epoch,
            sequence,
        };
        Queued {
            // Strings and numbers are always JSON.
            body: serde_json::to_vec(&message).unwrap_or_default(),
            market: request.market.clone(),
            idempotency_id,
        }
    }
}

impl Publishing {
    /// Whether everything that was queued has been published.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.queued.is_empty() && self.failed.is_none()
    }

    /// Queues a batch for [`Self::publish`].
    pub fn queue(&mut self, requests: &[Request], first_number: Option<i64>) {
        let numbers = (0_i64..).map(|index| first_number.map(|first| first.saturating_add(index)));
        let queued = requests
            .iter()
            .zip(numbers)
            .map(|(request, number)| self.of.queued(request, number));
        self.queued.extend(queued);
    }

    /// Publishes what is queued, in order, and returns which requests the brokers have.
    ///
    /// # Errors
    /// [`BusError`]: they have none of them; what they do not have may arrive nevertheless.
    pub async fn publish(&mut self) -> Result<Answers, BusError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let queued = std::mem::take(&mut self.queued);
        let trace = trace_context::traceparent(&tracing::Span::current());
        let messages: Vec<RawMessage<'_>> = queued
            .iter()
            .map(|request| RawMessage {
                key: &request.market,
                payload: &request.body,
                headers: &[],
                traceparent: trace.as_deref(),
            })
            .collect();
        let outcomes = self
            .of
            .publisher
            .publish_in_order(&self.of.topic, &messages)
            .await;
        let mut verdicts = Vec::with_capacity(queued.len());
        for (request, outcome) in queued.iter().zip(outcomes) {
            match outcome {
                Ok(_place) => verdicts.push(OrderVerdict {
                    idempotency_id: request.idempotency_id.clone(),
                    verdict: Verdict::Delivered,
                    reason: String::new(),
                    retry_after_ms: 0,
                }),
                Err(error) => {
                    self.failed.get_or_insert(error);
                }
            }
        }
        match self.failed.take() {
            Some(error) if verdicts.is_empty() => Err(error),
            failed => {
                self.failed = failed;
                Ok(Answers {
                    verdicts,
                    window: None,
                })
            }
        }
    }
}
