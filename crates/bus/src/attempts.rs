//! The attempts to handle one message.

use std::time::Duration;

use eidos_telemetry::{metric, trace_context};
use tracing::Instrument as _;

use crate::{BusError, Handled, Handler, LoopOptions, Received};

/// How the attempts ended.
#[derive(Debug)]
pub(crate) enum Verdict {
    Done,
    Poison {
        attempts: u32,
        reason: String,
    },
    /// The last attempt was refused as well.
    Exhausted {
        attempts: u32,
        reason: String,
    },
    /// The loop was stopped between two attempts.
    Stopped,
}

impl Verdict {
    /// The values of the metrics' label `outcome`.
    pub(crate) const WORDS: &'static [&'static str] = &["done", "poison", "exhausted"];

    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Poison { .. } => "poison",
            Self::Exhausted { .. } => "exhausted",
            Self::Stopped => "stopped",
        }
    }
}

/// The attempts to handle `message`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempts<'a> {
    pub(crate) options: &'a LoopOptions,
    pub(crate) message: &'a Received,
}

impl Attempts<'_> {
    /// Tries until the handler is done with the message, the attempts are used up, or the loop is stopped.
    pub(crate) async fn all<H: Handler>(
        self,
        handler: &H,
        between: impl Fn() + Send + Sync,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Verdict, BusError> {
        let (options, message) = (self.options, self.message);
        let mut stop = std::pin::pin!(stop);
        let mut pause = options.first_pause;
        let mut attempts = 0_u32;
        loop {
            attempts += 1;
            let reason = match self.once(handler, attempts).await {
                Handled::Done => return Ok(Verdict::Done),
                Handled::Poison { reason } => return Ok(Verdict::Poison { attempts, reason }),
                Handled::Retry { reason } if attempts >= options.attempts => {
                    return Ok(Verdict::Exhausted { attempts, reason });
                }
                Handled::Retry { reason } => reason,
                Handled::Unavailable { reason } => return Err(self.unavailable(reason)),
            };
            tracing::warn!(
                group = %options.group, topic = message.topic(), partition = message.partition(),
                offset = message.offset(), attempts, reason, ?pause, "the message is tried again"
            );
            metric::bus_message_retried(&options.group, message.topic());
            between();
            tokio::select! {
                biased;
                () = &mut stop => return Ok(Verdict::Stopped),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(options.longest_pause);
        }
    }

    /// One attempt, in the trace of the message's producer.
    async fn once<H: Handler>(self, handler: &H, attempt: u32) -> Handled {
        let (message, limit) = (self.message, self.options.attempt_timeout);
        let span = tracing::info_span!(
            "bus.handle",
            group = %self.options.group, topic = message.topic(), partition = message.partition(),
            offset = message.offset(), attempt
        );
        if let Some(traceparent) = message.traceparent() {
            trace_context::continue_from_text(&span, traceparent);
        }
        let handling = handler.handle(message).instrument(span);
        tokio::time::timeout(limit, handling)
            .await
            .unwrap_or_else(|_elapsed| took_too_long(limit))
    }

    fn unavailable(self, reason: String) -> BusError {
        BusError::HandlerUnavailable {
            group: self.options.group.clone(),
            topic: self.message.topic().to_owned(),
            partition: self.message.partition(),
            offset: self.message.offset(),
            reason,
        }
    }
}

fn took_too_long(limit: Duration) -> Handled {
    Handled::Retry {
        reason: format!("it took longer than {limit:?}"),
    }
}
