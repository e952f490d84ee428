//! Markets as the trading and the market service store them, and what their candles and statistics must be.
//!
//! [`Market::fill`] writes markets, public trades, candles of one minute and the trading service's rows, the same for the same
//! seed: quiet hours, bursts, a market that was listed in the middle of a day, and amounts with 18 decimals. It can leave
//! out minutes ([`Gap`]). [`Market::arrive_late`] writes what was left out, with trades that are stored long after they
//! happened. What must come out is recomputed from the generated trades alone, in exact decimals: [`Tape::candle`] and
//! [`Figures`]. [`verdict`] compares.

mod activity;
mod figures;
mod fill;
mod late;
mod tables;
mod tape;
pub mod verdict;

pub use figures::{Figures, Key};
pub use fill::{Gap, Market, MarketOptions};
pub use late::Arrived;
pub use tables::{list_market, store_minutes, stored_candles};
pub use tape::{Tape, trade};

pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 86_400_000;
