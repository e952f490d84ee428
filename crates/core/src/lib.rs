//! What makes a scheduled run happen once: lease, slot claim, fence, checkpoint, execution.
//!
//! Three independent guards, each with its own server and its own test:
//!
//! 1. [`lease`] (Redis): two nodes do not work at once. Lost or unknown past its deadline, it cancels the run.
//! 2. [`slot`] (PostgreSQL): each slot is claimed once, whoever's clock is ahead.
//! 3. [`fence`] (PostgreSQL): a stale node cannot write. A [`fence::Step`] is the only writable transaction.
//!
//! Losing Redis costs availability, never correctness. [`start`] puts claim, epoch and the execution's row
//! into one transaction, so that no crash leaves a slot claimed without a trace. [`checkpoint`] and
//! [`execution`] are what a run leaves behind; [`outbox`] publishes what it found; [`migrations`] owns the schema.

pub mod checkpoint;
pub mod db;
mod epoch;
mod error;
pub mod execution;
pub mod fence;
pub mod lease;
pub mod migrations;
mod observe;
pub mod outbox;
pub mod redis_client;
mod sections;
mod session;
pub mod slot;
pub mod sql;
pub mod start;
pub mod state;
mod step;
pub mod trigger;

pub use eidos_types::ident;
pub use error::CoreError;
