//! [`LoopOptions`]: what a loop is told; [`Turn`]: what it tells.

use std::time::Duration;

use crate::Topic;

/// What a loop reads and how patient it is with a message.
#[derive(Debug, Clone)]
pub struct LoopOptions {
    /// The consumer group. All replicas of a service use the same one.
    pub group: String,
    /// The topics.
    pub topics: Vec<Topic>,
    /// How often a message is tried before it becomes a dead letter, at least once.
    pub attempts: u32,
    /// The pause after the first attempt; it doubles with every further one.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
    /// The limit of one attempt. A longer one counts as refused.
    pub attempt_timeout: Duration,
    /// How many messages that have come already are offered to
    /// [`Handler::handle_together`](crate::Handler::handle_together). 1: none.
    pub together: usize,
}

impl LoopOptions {
    /// Five attempts of at most 30 s, with pauses from 200 ms to 5 s; one message at a time.
    pub fn new(group: impl Into<String>, topics: impl IntoIterator<Item = Topic>) -> Self {
        Self {
            group: group.into(),
            topics: topics.into_iter().collect(),
            attempts: 5,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(30),
            together: 1,
        }
    }

    /// The longest time that one message can take.
    pub(crate) fn longest(&self) -> Duration {
        (self.attempt_timeout + self.longest_pause) * self.attempts.max(1)
    }
}

/// How a loop is, told in every turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Time since a broker last answered. `None`: none has yet.
    pub answered_ago: Option<Duration>,
    /// Whether this member is in its group.
    pub joined: bool,
    /// Messages that this member's partitions have and the group has not handled.
    pub lag: u64,
    /// Offsets of this run that the group had not handled and the log does not have any more, or that the group had
    /// handled and the log lost.
    pub lost: u64,
}

impl Turn {
    /// Returns whether the loop does its work: it is in its group and a broker answered within `limit`.
    #[must_use]
    pub fn is_alive(&self, limit: Duration) -> bool {
        self.joined && self.answered_ago.is_some_and(|ago| ago <= limit)
    }
}
