//! What the engine does wrong, and how often.

use std::str::FromStr;

use anyhow::Context;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// The documented size of a window: orders that a caller may have without a verdict.
const WINDOW: u32 = 1_000;

/// What the matching engine does wrong. Shares are per mille of the orders, events or batches they are about; the
/// default is an engine without a fault.
///
/// On a command line it is `name=number,name=number`, with the names of the fields:
/// `drop_requests=50,retry_later=100`. `forget_on_restart` and `strict_sequence` are `true` or `false`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Misbehaviour {
    /// Share of requests that are read and then ignored: no verdict, no event, no removal.
    pub drop_requests: u16,
    /// Share of orders that are answered with `RETRY_LATER`.
    pub retry_later: u16,
    /// The pause that `RETRY_LATER` asks for.
    pub retry_after_ms: u32,
    /// Share of orders that are refused because "the market is halted".
    pub refuse: u16,
    /// Share of removals that are answered with `REMOVED` and then forgotten: the order stays, no event follows.
    pub answer_without_removal: u16,
    /// Share of removals whose event on `order-cancelled` is never published.
    pub drop_events: u16,
    /// Share of events that are published twice.
    pub duplicate_events: u16,
    /// Share of events that are delayed by up to `event_delay_ms`, so that later ones overtake them.
    pub delay_events: u16,
    /// The longest delay of an event.
    pub event_delay_ms: u32,
    /// Share of batches before which the window is closed for `pause_ms`.
    pub pause: u16,
    /// How long the window stays closed.
    pub pause_ms: u32,
    /// Share of batches in the middle of which the stream ends with `UNAVAILABLE`; what was decided is not reported.
    pub break_stream: u16,
    /// How long the engine takes for each batch.
    pub slow_ms: u32,
    /// Orders that a caller may have without a verdict.
    pub window: u32,
    /// Whether a restart loses the answers that were given under idempotency ids.
    pub forget_on_restart: bool,
    /// Whether cancel requests whose `sequence` is missing or not above the market's last one are dropped, as the
    /// documents' engine does.
    pub strict_sequence: bool,
}

impl Default for Misbehaviour {
    fn default() -> Self {
        Self {
            drop_requests: 0,
            retry_later: 0,
            retry_after_ms: 200,
            refuse: 0,
            answer_without_removal: 0,
            drop_events: 0,
            duplicate_events: 0,
            delay_events: 0,
            event_delay_ms: 1_000,
            pause: 0,
            pause_ms: 500,
            break_stream: 0,
            slow_ms: 0,
            window: WINDOW,
            forget_on_restart: false,
            strict_sequence: false,
        }
    }
}

impl Misbehaviour {
    /// Returns an engine with a little of every fault from which orders recover by asking again.
    #[must_use]
    pub fn a_bit_of_everything() -> Self {
        Self {
            drop_requests: 30,
            retry_later: 50,
            refuse: 30,
            answer_without_removal: 30,
            drop_events: 30,
            duplicate_events: 200,
            delay_events: 200,
            pause: 50,
            break_stream: 30,
            slow_ms: 2,
            forget_on_restart: true,
            ..Self::default()
        }
    }
}

impl FromStr for Misbehaviour {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut fields = serde_json::Map::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .with_context(|| format!("'{pair}' is not name=value"))?;
            let value = serde_json::from_str(value.trim())
                .with_context(|| format!("'{value}' of {name} is neither a number nor true or false"))?;
            fields.insert(name.trim().to_owned(), value);
        }
        serde_json::from_value(fields.into()).with_context(|| format!("misbehaviour '{text}'"))
    }
}

/// Decides by a seed what goes wrong when.
#[derive(Debug)]
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) const fn new(rng: StdRng) -> Self {
        Self(rng)
    }

    /// Returns true in `per_mille` of 1000 cases.
    pub(super) fn falls(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.0.random_range(0..1_000) < per_mille
    }

    /// Returns a number of milliseconds up to `most`.
    pub(super) fn up_to_ms(&mut self, most: u32) -> u64 {
        self.0.random_range(0..=u64::from(most))
    }
}
