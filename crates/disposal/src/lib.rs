//! How rows leave a database: exported, verified, quarantined, dropped, audited.
//!
//! A **unit** is what is disposed of at once: a monthly partition ([`partition`]) or the rows of one month of a plain
//! table. It moves through states that are written down before the act they announce ([`mod@unit`]), every act on
//! somebody's data leaves a row that is never changed ([`eidos_plan::audit`]), and whatever a row claims, the catalogue of the
//! source database and the object store are asked again before anything is destroyed.
//!
//! The invariants, and where they are kept:
//! * nothing is dropped whose copy was not read back, decoded and compared in this very run ([`partition`]);
//! * nothing is written by a run that was replaced: every statement runs in a fenced step;
//! * nobody waits longer than `disposal.lock_timeout` for a lock of ours ([`settings`]);
//! * names prove nothing: tables are known by oid, months by their bounds ([`catalogue`], [`eidos_pg::bounds`]);
//! * a crash between any two statements leaves a state the next run continues from
//!   (`docs/adr/0008-disposal-of-a-unit.md`).

pub mod catalogue;
pub mod destination;
mod error;
pub mod export;
pub mod gauges;
mod lasting;
mod lifecycle;
pub mod new_partition;
pub mod pace;
pub mod partition;
mod person;
pub mod rows;
pub mod settings;
mod source;
pub mod unit;
mod unreadable;

pub use error::{DisposalError, Refusal, split_refusal};
pub use person::PersonsAct;
pub use source::source_connection;
