//! [`Topic`]: a checked Kafka topic name, and the topics this product writes.

use std::borrow::Cow;
use std::fmt;

/// A Kafka topic name: 1–249 characters out of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topic(Cow<'static, str>);

/// The text is not a topic name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a Kafka topic name: use 1 to 249 letters, digits, '.', '_' and '-'")]
pub struct TopicError(String);

/// Breaks found by the reconciliation, keyed by wallet (by token where a break has no wallet), so that the history
/// of one wallet arrives in order.
pub const BREAKS: Topic = Topic(Cow::Borrowed("eidos-jobs-breaks"));

/// Pauses of money-moving operations, set and lifted, keyed by `operation:token`, so that a lift never overtakes
/// its pause (ruling 26).
pub const OPERATION_PAUSES: Topic = Topic(Cow::Borrowed("eidos-jobs-operation-pauses"));

/// The topics that this product writes.
pub(crate) const OWN: [Topic; 2] = [BREAKS, OPERATION_PAUSES];

impl Topic {
    /// A topic whose name comes from settings.
    pub fn new(name: impl Into<String>) -> Result<Self, TopicError> {
        let name = name.into();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let well_formed =
            (1..=249).contains(&name.len()) && name.bytes().all(legal) && name != "." && name != "..";
        if let Some(own) = OWN.iter().find(|own| own.as_str() == name) {
            // A topic of ours that was stored as text is still one of ours.
            Ok(own.clone())
        } else if well_formed {
            Ok(Self(Cow::Owned(name)))
        } else {
            Err(TopicError(name.chars().take(260).collect()))
        }
    }

    /// The value of the metrics' label `topic`: our own topics by name, so that their number is bounded.
    pub(crate) const fn metric_label(&self) -> &'static str {
        match self.0 {
            Cow::Borrowed(name) => name,
            Cow::Owned(_) => "other",
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_topics_pass_their_own_check() {
        for topic in OWN {
            assert_eq!(Topic::new(topic.as_str()).unwrap(), topic);
        }
    }

    #[test]
    fn the_label_of_a_topic_of_ours_is_the_topic_however_it_was_made() {
        for topic in OWN {
            let stored = Topic::new(topic.as_str().to_owned()).unwrap();
            assert_eq!(stored.metric_label(), topic.as_str());
        }
        assert_eq!(Topic::new("not-ours").unwrap().metric_label(), "other");
    }

    #[test]
    fn names_kafka_would_refuse_are_refused_here() {
        for name in ["", ".", "..", "a b", "breaks\n", "größe", &"x".repeat(250)] {
            assert!(Topic::new(name).is_err(), "{name:?}");
        }
        assert!(Topic::new("x".repeat(249)).is_ok());
    }
}
