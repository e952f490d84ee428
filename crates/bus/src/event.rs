//! [`Event`]: the envelope every message of ours has.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use eidos_types::Clock;
use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};

/// The identity of one event (`UUIDv7`). It is minted when the fact is recorded, stored with it, and stays the same
/// however often the event is sent: a consumer that remembers it sees each fact once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// A fresh identity whose time part is the clock's.
    #[must_use]
    pub fn new(clock: &dyn Clock) -> Self {
        let now = clock.now();
        // Times before 1970 do not exist in this product; they would only lose their order.
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        Self(Uuid::new_v7(Timestamp::from_unix(
            NoContext,
            seconds,
            now.timestamp_subsec_nanos(),
        )))
    }

    /// The identity of a fact that already has one (a break's, a pause's), so that sending it again after a crash
    /// repeats the event instead of making a second one.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The value to store.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EventId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A payload that knows the name of its event, such as `break.opened`.
pub trait EventKind {
    /// The value of the envelope's `type`: lower case, a noun and a past participle joined by a dot.
    const TYPE: &'static str;
}

/// What is written to a topic: the fact, and who says so and when.
///
/// Amounts inside `payload` are decimal strings, never JSON numbers, as on every other topic of the exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<T> {
    /// Stable identity of the fact.
    pub event_id: EventId,
    /// What happened, such as `break.opened`. A consumer skips types it does not know.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened, UTC, RFC 3339.
    pub occurred_at: DateTime<Utc>,
    /// The service that says so, such as `recon-svc`.
    pub source: String,
    /// The fact itself.
    pub payload: T,
}

impl<T: EventKind> Event<T> {
    /// An event for a fact that happened at `occurred_at` and whose identity is stored with it.
    pub fn of(event_id: EventId, occurred_at: DateTime<Utc>, source: impl Into<String>, payload: T) -> Self {
        Self {
            event_id,
            kind: T::TYPE.to_owned(),
            occurred_at,
            source: source.into(),
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use eidos_types::ManualClock;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Opened {
        amount: String,
    }

    impl EventKind for Opened {
        const TYPE: &'static str = "break.opened";
    }

    #[test]
    fn the_envelope_is_the_documented_one() {
        let clock = ManualClock::at("2026-03-01T10:00:00.25Z".parse().unwrap());
        let id = EventId::new(&clock);
        let payload = Opened {
            amount: "100.000000000000000001".to_owned(),
        };
        let event = Event::of(id, clock.now(), "recon-svc", payload);

        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(
            json,
            json!({
                "event_id": id.to_string(),
                "type": "break.opened",
                "occurred_at": "2026-03-01T10:00:00.250Z",
                "source": "recon-svc",
                "payload": { "amount": "100.000000000000000001" },
            })
        );
        assert_eq!(serde_json::from_value::<Event<Opened>>(json).unwrap(), event);
        assert_eq!(id.as_uuid().get_version_num(), 7);
    }
}
