//! [`Handler`]: what a service does with one message, and what it says about it.

use crate::Received;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// Its effects are durable: the offset may be committed.
    Done,
    /// It can never be handled, such as malformed JSON. It becomes a dead letter at once.
    Poison {
        /// Why, for the operator who reads the dead letter.
        reason: String,
    },
    /// Another attempt may succeed. After the last attempt it becomes a dead letter.
    Retry {
        /// Why.
        reason: String,
    },
    /// No message can be handled now, for example because the database is away. Nothing is committed, no message
    /// becomes a dead letter, and the loop ends with an error, so that its worker is started again after a pause.
    Unavailable {
        /// Why.
        reason: String,
    },
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a caller hands over an error or a text, and has no use for it afterwards"
)]
impl Handled {
    /// The message can never be handled.
    pub fn poison(reason: impl ToString) -> Self {
        Self::Poison {
            reason: reason.to_string(),
        }
    }

    /// Another attempt may succeed.
    pub fn retry(reason: impl ToString) -> Self {
        Self::Retry {
            reason: reason.to_string(),
        }
    }

    /// No message can be handled now.
    pub fn unavailable(reason: impl ToString) -> Self {
        Self::Unavailable {
            reason: reason.to_string(),
        }
    }
}

/// What a service does with the messages of its topics.
///
/// A message can come again: after a crash, when another member takes over its partition, or from the dead letters.
pub trait Handler: Send + Sync {
    /// Handles one message. The messages of a partition come one after the other, in their order.
    fn handle(&self, message: &Received) -> impl Future<Output = Handled> + Send;

    /// Handles messages that have come already together, where that costs less than one after the other, and returns for
    /// each whether its effects are durable. [`Self::handle`] then gets the others one by one, so that what cannot be
    /// handled is found, retried and isolated as without this. `messages` are at least two and at most
    /// [`LoopOptions::together`](crate::LoopOptions::together), those of a partition in their order. An implementation has
    /// a time limit of its own.
    fn handle_together(&self, messages: &[Received]) -> impl Future<Output = Vec<bool>> + Send {
        std::future::ready(vec![false; messages.len()])
    }
}
