//! [`Sink`]: what is told of alerts.

mod log;
mod webhook;

use futures::future::BoxFuture;

use crate::Notice;

pub use log::LogSink;
pub use webhook::{Webhook, WebhookSettings, signature};

/// Where notices go. Each sink is told by a loop of its own, one notice after the other.
pub trait Sink: Send + Sync {
    /// The name in states, metrics and logs; unique in a process.
    fn name(&self) -> &str;

    /// Delivers one notice, within a time limit of its own. `now_ms` is the time of the attempt.
    fn send<'a>(&'a self, notice: &'a Notice, now_ms: i64) -> BoxFuture<'a, Result<(), SendError>>;
}

/// Why a sink did not accept a notice.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The same notice is refused again: the receiver or its settings must change.
    #[error("refused: {0}")]
    Refused(String),
    /// Another attempt may succeed. The notice may have arrived.
    #[error("{0}")]
    Later(String),
}
