//! [`Publisher`]: a producer that may be switched off by settings.

use std::time::Duration;

use eidos_settings::KafkaSection;
use serde::Serialize;

use crate::producer::Producer;
use crate::{BusError, Delivered, Message, RawMessage, Topic};

/// What a job holds. With no brokers configured it is off: publishing succeeds and does nothing, and the start says
/// so. With brokers configured it is never silently off.
#[derive(Debug, Clone)]
pub struct Publisher(Option<Producer>);

impl Publisher {
    /// Returns the publisher that `kafka.brokers` asks for; an empty list switches it off.
    pub fn connect(settings: &KafkaSection) -> Result<Self, BusError> {
        if !settings.is_enabled() {
            tracing::info!("kafka.brokers is empty: events are not published");
            return Ok(Self::off());
        }
        tracing::info!(brokers = ?settings.brokers, "events are published to kafka");
        Producer::connect(settings).map(|producer| Self(Some(producer)))
    }

    /// Returns a publisher that is switched off.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Returns whether events leave the process.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes one event and waits until all in-sync replicas have it: at most twice the delivery timeout (once for
    /// room in the queue, once for the acknowledgement), and five seconds for the reason of a time-out. After
    /// [`BusError::Timeout`] the event may have arrived; send the same event again. `None`: it is switched off.
    pub async fn publish<T: Serialize + Sync>(
        &self,
        topic: &Topic,
        message: Message<'_, T>,
    ) -> Result<Option<Delivered>, BusError> {
        match &self.0 {
            Some(producer) => producer.publish(topic, message).await.map(Some),
            None => Ok(None),
        }
    }

    /// Writes one message without our envelope, with the promises of [`Self::publish`]. `None`: it is switched off.
    pub async fn publish_raw(
        &self,
        topic: &Topic,
        message: RawMessage<'_>,
    ) -> Result<Option<Delivered>, BusError> {
        match &self.0 {
            Some(producer) => producer.publish_raw(topic, message).await.map(Some),
            None => Ok(None),
        }
    }

    /// Writes messages without our envelope, in order: each is queued before the next, so that those of one key keep their
    /// order. All are waited for together, with the limits and promises of [`Self::publish`], and each has an outcome of
    /// its own. A message that cannot be queued ends the batch: those behind it are not sent. Empty: it is switched off.
    pub async fn publish_in_order(
        &self,
        topic: &Topic,
        messages: &[RawMessage<'_>],
    ) -> Vec<Result<Delivered, BusError>> {
        match &self.0 {
            Some(producer) => producer.publish_in_order(topic, messages).await,
            None => Vec::new(),
        }
    }

    /// Checks whether the brokers answer; succeeds when switched off.
    pub async fn check(&self, timeout: Duration) -> Result<(), BusError> {
        match &self.0 {
            Some(producer) => producer.check(timeout).await,
            None => Ok(()),
        }
    }

    /// Waits until everything queued is acknowledged, at most `timeout`.
    pub async fn flush(&self, timeout: Duration) -> Result<(), BusError> {
        match &self.0 {
            Some(producer) => producer.flush(timeout).await,
            None => Ok(()),
        }
    }
}
