//! Why two sides of a subject differ: the first event on which they part, what kind of mistake that is, and what shows it.
//!
//! A dimension reads the events of a subject, each with what either side did for it ([`Event`]), and what it could not read
//! ([`Searched`]). This module says which of them diverge, what they add up to, and what is left ([`explain`]). It reads
//! nothing: reading is bounded where it happens, and a bound that was reached is part of the explanation.
//!
//! Read in this order: [`event`], [`cause`], [`decide`], [`render`].

pub mod cause;
pub mod decide;
pub mod event;
#[cfg(test)]
mod model_tests;
pub mod render;

pub use cause::Cause;
pub use decide::{Diverging, Explanation, explain};
pub use event::{Event, Evidence, History, Known, Opposite, Posting, Searched};
