//! [`Sink`]: what is told of alerts.

mod alertmanager;
mod email;
mod heartbeat;
mod log;
mod pager_duty;
mod post;
mod silences;
mod slack;
mod webhook;

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::Notice;

pub use alertmanager::{Alertmanager, AlertmanagerSettings};
pub use email::{Email, EmailSettings, Encryption};
pub use heartbeat::{Heartbeat, HeartbeatSettings};
pub use log::LogSink;
pub use pager_duty::{PagerDuty, PagerDutySettings};
pub use silences::{Silence, SilencesOf};
pub use slack::{Slack, SlackSettings};
pub use webhook::{Webhook, WebhookSettings, signature};

/// Where notices go. Each sink is told by a loop of its own, one notice after the other.
pub trait Sink: Send + Sync {
    /// The name in states, metrics and logs; unique in a process.
    fn name(&self) -> &str;

    /// Delivers one notice, within a time limit of its own. `now_ms` is the time of the attempt.
    fn send<'a>(&'a self, notice: &'a Notice, now_ms: i64) -> BoxFuture<'a, Result<(), SendError>>;

    /// How many notices it takes at once.
    fn batch(&self) -> usize {
        1
    }

    /// Delivers several notices, and returns an outcome for each.
    fn send_all<'a>(
        &'a self,
        notices: &'a [Notice],
        now_ms: i64,
    ) -> BoxFuture<'a, Vec<Result<(), SendError>>> {
        async move {
            let mut outcomes = Vec::new();
            for notice in notices {
                outcomes.push(self.send(notice, now_ms).await);
            }
            outcomes
        }
        .boxed()
    }

    /// Returns what it says of a notice that it accepted; for most sinks, accepting it is all that can be seen.
    ///
    /// # Errors
    /// It does not have what it accepted, or notifies no receiver of it.
    fn confirm<'a>(&'a self, _notice: &'a Notice) -> BoxFuture<'a, Result<String, SendError>> {
        std::future::ready(Ok("accepted".to_owned())).boxed()
    }

    /// How long after it accepted a notice it has passed it on: an end that is sent before may hide the begin.
    fn notifies_within(&self) -> Duration {
        Duration::ZERO
    }

    /// The longest time that one delivery takes.
    fn delivers_within(&self) -> Duration;

    /// Tells it that the sender works, if it wants to know. Called once after each round that saw something.
    fn pulse(&self, _now_ms: i64) -> BoxFuture<'_, Result<(), SendError>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// Why a sink did not accept a notice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The same notice is refused again: the receiver or its settings must change.
    #[error("refused: {0}")]
    Refused(String),
    /// Another attempt may succeed. The notice may have arrived.
    #[error("{0}")]
    Later(String),
}
