//! recon-svc proves that the chain and the books agree.
//!
//! | job | what it does |
//! |---|---|
//! | `reconciliation` | the Vault's balances against the books, account by account ([`jobs::reconciliation`]) |
//!
//! Beside the job, [`workers`] deliver its events to Kafka and webhooks.
//!
//! Tables it owns: `eidos_jobs_reconciliation_records`, `eidos_jobs_reconciliation_checkpoints`, `eidos_jobs_dust`,
//! `eidos_jobs_breaks`, `eidos_jobs_break_history`, `eidos_jobs_break_chain`, `eidos_jobs_operation_pauses`, `eidos_jobs_chain_blocks`, `eidos_jobs_chain_limits`; events go to `eidos_jobs_outbox`. It
//! reads the neighbours' tables and never writes them.
//!
//! Invariants: both sides are read at one cut; nothing is rounded; a difference is a break only when it was seen
//! twice and did not change; tokens are never added together; a checkpoint moves only with the results it stands for.
//!
//! Read in this order: [`dimensions::balance`] (the decisions and the two sides), [`jobs::reconciliation`] (the sentence),
//! `eidos_recon` (the engine), [`explain`] (why a break exists), [`store`] (what the API reads), [`workers`] (who is notified).

pub mod dimensions;
pub mod explain;
pub mod jobs;
pub mod reports;
mod routes;
pub mod settings;
mod start;
pub mod store;
pub mod workers;

use eidos_runtime::Start;
use eidos_server::{Query, ServiceDefinition};

pub use settings::ReconSettings;

const QUERIES: &[Query<ReconSettings>] = &[Query {
    name: "explain",
    about: "Say why a break exists: the first event on which chain and books part, and what shows it",
    argument: "BREAK",
    answer: explain::at_a_terminal,
}];

/// What `main` runs.
#[must_use]
pub fn service() -> ServiceDefinition<ReconSettings> {
    ServiceDefinition {
        name: "recon-svc",
        about: "Proves that the chain and the books agree.",
        start: Start::Connected,
        build: |deps| Box::pin(start::build(deps)),
        routes: Some(routes::routes),
        reports: Some(reports::reports),
        openapi: Some(include_str!("../openapi.json")),
        commands: &[],
        queries: QUERIES,
    }
}
