//! The words every crate shares: exact money, ids, half-open time windows, slots and the clock.
//!
//! Nothing here does I/O, reads the wall clock by itself or uses floating point. Start with
//! [`Amount`] (how money is represented and why it cannot be a float or a `rust_decimal`) and
//! [`Clock`] (why time is a parameter).

mod address;
mod amount;
mod base_units;
mod clock;
pub mod ident;
mod ids;
mod instant;
mod job_name;
mod numeric;
mod total;
mod window;

pub use address::{Address, Hash32, ParseHexError};
pub use amount::{Amount, AmountError};
pub use base_units::{BaseUnits, BaseUnitsError};
pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use ids::{BreakId, ExecutionId, NodeId};
pub use instant::{Instant, InstantError};
pub use job_name::{JobName, JobNameError};
pub use numeric::NumericError;
pub use total::Total;
pub use window::{Slot, SlotRange, Window, WindowError};
