//! archiver moves finished orders and settled trades out of the way, and brings exports back.
//!
//! | job | what it does |
//! |---|---|
//! | `archive-data` | finished rows older than 30 days → archive tables, in the same database; archive months older than two years → verified exports, then dropped ([`jobs::archive_data`]) |
//! | `verify-archive` | reads exports again, in full, and reports rot ([`jobs::verify_archive`]) |
//! | `restore-archive` | brings exported rows back, and proves them equal ([`jobs::restore_archive`]) |
//!
//! Tables it owns: `<table>_archive` of the two tables it moves, in their database; `eidos_jobs_archive_progress`. With
//! retention-manager it shares the units, the audit and the holds of eidos-disposal.
//!
//! Invariants: a row is in exactly one of the hot table, its archive table and a verified export; an order is never
//! archived while a trade of it is in the trades table; what a legal hold covers stays; a batch in which picked, deleted
//! and inserted differ is rolled back. A crash leaves whole batches done and the rest as it was: the next run starts
//! from the oldest row that is due (ruling 31).
//!
//! Read in this order: [`domain`] (the decisions; [`store::statement`] is a move), [`jobs::archive_data`], [`store`].

pub mod domain;
pub mod jobs;
pub mod profile;
pub mod settings;
mod start;
pub mod store;

use eidos_runtime::Start;
use eidos_server::{JobCommand, ServiceDefinition};

pub use settings::ArchiverSettings;

const COMMANDS: &[JobCommand] = &[
    JobCommand {
        name: "plan",
        about: "Show what archive-data would do now: every table, estimate, lock and step",
        job: "archive-data",
        dry_run: true,
        required: &[],
    },
    JobCommand {
        name: "apply",
        about: "Carry out exactly one plan, or refuse it if the world has changed since",
        job: "archive-data",
        dry_run: false,
        required: &["plan"],
    },
    JobCommand {
        name: "undo",
        about: "Take a month back that is on its way out of an archive table: undo UNIT [--reason TEXT] [--hold=false]",
        job: "archive-data",
        dry_run: false,
        required: &["undo"],
    },
    JobCommand {
        name: "store",
        about: "Accept a new archive store, once, or show which was: store accept --location URL --reason TEXT, store show",
        job: "archive-data",
        dry_run: false,
        required: &["store"],
    },
    JobCommand {
        name: "restore",
        about: "Bring exported rows back: --table T --range 2024-01..2024-03, or --unit ID; [--into side|original] [--triggers refuse|disable]",
        job: "restore-archive",
        dry_run: false,
        required: &[],
    },
    JobCommand {
        name: "verify",
        about: "Read exports again, in full, and report rot: [--table T] [--since 2024-01] [--sample N]",
        job: "verify-archive",
        dry_run: false,
        required: &[],
    },
];

/// What `main` runs.
#[must_use]
pub fn service() -> ServiceDefinition<ArchiverSettings> {
    ServiceDefinition {
        name: "archiver",
        about: "Moves finished orders and settled trades to archive tables, and brings exports back.",
        start: Start::Connected,
        build: |deps| Box::pin(start::build(deps)),
        routes: None,
        reports: None,
        openapi: None,
        commands: COMMANDS,
        queries: &[],
    }
}
