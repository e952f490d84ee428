//! retention-manager keeps the databases lean: it creates monthly partitions ahead of time and removes expired data,
//! never unproved.
//!
//! | job | what it does |
//! |---|---|
//! | `partition-manage` | creates the partitions of the coming months and fills gaps ([`jobs::partition_manage`]) |
//! | `data-cleanup` | removes what has outlived its retention, after it was proved to exist elsewhere ([`jobs::data_cleanup`]) |
//!
//! Tables it owns: `eidos_jobs_disposal_units`, `eidos_jobs_disposals`, `eidos_jobs_legal_holds` (together with
//! archiver, by way of `eidos-disposal`). It changes the layout of the neighbours' partitioned tables.
//!
//! Invariants: bounds are computed in UTC in Rust and read from the catalogue, never from names; creating and dropping
//! never share a transaction, nor a job; nothing waits longer than `disposal.lock_timeout` for us; rows of a default
//! partition move in one transaction with the partition that takes them, so every row is visible at all times.
//!
//! A crash of `partition-manage` leaves nothing half done: a partition is created, filled and attached in one
//! transaction. The audit row is written after it; if the process dies between the two, the log has the line and the
//! next run goes on.
//!
//! Read in this order: [`domain`] (the decisions), [`jobs::partition_manage`] (the sentence), [`partitions`] (its SQL).

pub mod cleanup;
pub mod domain;
mod hold_target;
pub mod jobs;
pub mod partitions;
mod routes;
pub mod settings;
pub mod sources;
mod start;
mod store;

use eidos_runtime::Start;
use eidos_server::{JobCommand, ServiceDefinition};

pub use settings::RetentionSettings;

/// What a person starts by hand.
const COMMANDS: [JobCommand; 4] = [
    JobCommand {
        name: "plan",
        about: "Print what the next run would do, and the digest to apply it by",
        job: "data-cleanup",
        dry_run: true,
        required: &[],
    },
    JobCommand {
        name: "apply",
        about: "Do exactly what a plan says, or refuse if the world has changed",
        job: "data-cleanup",
        dry_run: false,
        required: &["plan"],
    },
    JobCommand {
        name: "undo",
        about: "Take a unit back: undo UNIT [--reason TEXT] [--hold=false]; its rows are in their table again, and writable",
        job: "data-cleanup",
        dry_run: false,
        required: &["undo"],
    },
    JobCommand {
        name: "store",
        about: "Accept a new archive store, once, or show which was: store accept --location URL --reason TEXT, store show",
        job: "data-cleanup",
        dry_run: false,
        required: &["store"],
    },
];

/// What `main` runs.
#[must_use]
pub fn service() -> ServiceDefinition<RetentionSettings> {
    ServiceDefinition {
        name: "retention-manager",
        about: "Creates partitions ahead of time and removes expired data, never unproved.",
        start: Start::Connected,
        build: |deps| Box::pin(start::build(deps)),
        routes: Some(routes::routes),
        reports: None,
        openapi: Some(include_str!("../openapi.json")),
        commands: &COMMANDS,
        queries: &[],
    }
}
