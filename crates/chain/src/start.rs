//! The start is patient: an answer that says nothing about a question is asked for again, until the time is up.
//!
//! Behind a balancer one of the nodes may be a block behind, another one may have just been restarted. "Not offered",
//! "no such view" and "no such contract" are therefore concluded only from answers that say so, at a final block.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ChainError;
use crate::rpc::RpcClient;
use crate::settings::RpcSettings;

/// How often a block that the node does not have is asked for before another one is pinned.
const TRIES_PER_PIN: u32 = 4;
/// How often a node must say that it knows no final block.
const TRIES_FOR_FINALITY: u32 = 4;

/// The time that the start has.
#[derive(Debug)]
pub(crate) struct Start {
    rpc: Arc<RpcClient>,
    until: Instant,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Start {
    pub(crate) fn new(settings: &RpcSettings, rpc: Arc<RpcClient>) -> Self {
        Self {
            rpc,
            until: Instant::now() + settings.start_patience,
            first_pause: settings.retry_base,
            longest_pause: settings.retry_max,
        }
    }

    /// True while another attempt may be made.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() < self.until
    }

    /// Waits a little before another block is pinned.
    pub(crate) async fn pause(&self) {
        tokio::time::sleep(self.jittered(self.longest_pause.min(self.first_pause * 8))).await;
        self.shift_turn().await;
    }

    /// Asks until there is an answer, an error that will not pass, or no time left.
    pub(crate) async fn ask<T, F>(&self, question: impl Fn() -> F) -> Result<T, ChainError>
    where
        F: Future<Output = Result<T, ChainError>>,
    {
        let mut pause = self.first_pause;
        let mut tries = 1;
        loop {
            let error = match question().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if tries >= most_tries(&error) || !self.has_time() {
                return Err(error);
            }
            tracing::info!(%error, "the node is asked again: this says nothing about what it offers");
            tokio::time::sleep(self.jittered(pause)).await;
            pause = (pause * 2).min(self.longest_pause);
            self.shift_turn().await;
            tries += 1;
        }
    }

    /// A balancer that takes turns may give a repeated question to the same backend for ever; now and then one request
    /// more gives it to the next. What it answers does not matter.
    async fn shift_turn(&self) {
        if rand::random_bool(0.5)
            && let Err(error) = self.rpc.call::<Value>("eth_chainId", ()).await
        {
            tracing::debug!(%error, "eth_chainId");
        }
    }

    /// Half of the pause at least, and never past the end.
    fn jittered(&self, pause: Duration) -> Duration {
        pause
            .mul_f64(rand::random_range(0.5..=1.0))
            .min(self.until.saturating_duration_since(Instant::now()))
    }
}

/// What the node answered is repeated at once, more often, or until the time is up.
fn most_tries(error: &ChainError) -> u32 {
    match error {
        error if error.needs_new_pin() => TRIES_PER_PIN,
        ChainError::Refused { setting, .. } if setting == "finality" => TRIES_FOR_FINALITY,
        ChainError::Node { .. } => u32::MAX,
        error if error.is_retryable() => u32::MAX,
        _ => 1,
    }
}
