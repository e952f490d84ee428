//! [`Received`]: a message that was read.

use rdkafka::message::{Headers as _, Message as _, OwnedMessage, Timestamp};
use serde::de::DeserializeOwned;

use crate::{BusError, Event, EventId};

/// A message that was read and is not committed yet.
#[derive(Debug)]
pub struct Received(OwnedMessage);

impl Received {
    pub(crate) const fn new(message: OwnedMessage) -> Self {
        Self(message)
    }

    /// Returns the envelope and its payload.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Event<T>, BusError> {
        self.json()
    }

    /// Returns the payload of a message that has no envelope of ours.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, BusError> {
        serde_json::from_slice(self.payload()).map_err(|source| BusError::Decode {
            topic: self.topic().to_owned(),
            partition: self.partition(),
            offset: self.offset(),
            source,
        })
    }

    /// Returns the event's identity from the header, without parsing the body. `None`: the message is not ours.
    #[must_use]
    pub fn event_id(&self) -> Option<EventId> {
        self.header("event_id")?.parse().ok()
    }

    /// Returns the event's type from the header. `None`: the message is not ours.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.header("type")
    }

    /// Returns the W3C trace of the producer. `None`: it had none.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.header("traceparent")
    }

    /// Returns the ordering key. `None`: there is none, or it is not text.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        std::str::from_utf8(self.0.key()?).ok()
    }

    /// Returns the topic it was read from.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.0.topic()
    }

    /// Returns the partition it was read from.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    /// Returns its offset in the partition.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    /// Returns the bytes as they were written; empty for a message without a payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.0.payload().unwrap_or_default()
    }

    /// Returns when it was made, or appended where the topic says so, in epoch milliseconds. `None`: nobody said.
    #[must_use]
    pub fn timestamp_ms(&self) -> Option<i64> {
        match self.0.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => Some(ms),
        }
    }

    /// Returns the first header of this name. `None`: there is none, or it is not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.0.headers()?;
        let value = headers.iter().find(|header| header.key == name)?.value?;
        std::str::from_utf8(value).ok()
    }

    pub(crate) const fn message(&self) -> &OwnedMessage {
        &self.0
    }
}
