//! The types every crate shares: exact money, ids, months, half-open time ranges, slots
//! and the clock; and the two wire forms of PostgreSQL that hot paths read by hand, `NUMERIC` and COPY BINARY.
//!
//! Nothing here does I/O, reads the wall clock by itself or uses floating point. Start with
//! [`Amount`] (how money is represented and why it cannot be a float or a `rust_decimal`) and
//! [`Clock`] (why time is a parameter).

mod address;
mod amount;
mod base_units;
mod clock;
pub mod copy_binary;
pub mod decimal;
pub mod ident;
mod ids;
mod instant;
mod job_name;
mod month;
pub mod numeric;
mod slot;
mod time_range;
mod total;

pub use address::{Address, Hash32, ParseHexError};
pub use amount::{Amount, AmountError};
pub use base_units::{BaseUnits, BaseUnitsError};
pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use ids::{BreakId, ExecutionId, NodeId};
pub use instant::{Instant, InstantError};
pub use job_name::{JobName, JobNameError};
pub use month::Month;
pub use numeric::NumericError;
pub use slot::{Slot, SlotRange};
pub use time_range::{TimeRange, rfc3339};
pub use total::Total;
