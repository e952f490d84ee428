//! What the dimensions of movements share: deposits, withdrawals and trades are compared one by one, where a balance is a sum.
//!
//! A movement is an event of the contracts, or a row of the books that should have one. Both sides agree about it or there is a
//! break; nothing is netted, so two faults that hide each other in a balance are two breaks here.

pub mod event;
pub mod judged;
pub mod key;
pub mod kind;
pub mod tally;
pub mod weight;
