//! Candles without a database: [`Interval`] (how long one lasts and where its windows begin) and [`Candle`] (what a window
//! of trades adds up to, and when two candles say the same).
//!
//! Services fold millions of candles in SQL. The rules of the fold are here, in exact arithmetic and with property tests,
//! and the tests of those services compare what their SQL wrote with what [`Candle::fold`] says.

mod candle;
mod interval;

pub use candle::{Candle, CandleError, Trade};
pub use interval::{Interval, IntervalError, WeekStart};
