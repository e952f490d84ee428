//! health-probe looks at services and servers, and sends alerts while everything else is down.
//!
//! | part | what it does |
//! |---|---|
//! | job `health-monitor` | one round: probes every target, reduces each result at once ([`jobs::health_monitor`]) |
//! | one worker per receiver | tells its receiver what it does not know yet ([`workers::delivery`]) |
//!
//! It owns no tables. States and what is still to be sent are in one local file ([`state_file`]).
//!
//! Invariants: it starts and works while PostgreSQL and Redis are down; three failures in a row make a target critical, never
//! fewer; an unknown result is never a failure; a receiver hears of an episode at least once, and of its end if it may have
//! heard of the begin. A run that a person starts only looks: it changes no state and sends nothing. A crash repeats at most the
//! notice that was being sent.
//!
//! Read in this order: [`domain::reducer`] (what a result means), [`jobs::health_monitor`] (a round), [`monitor`] (what is known).

pub mod domain;
pub mod jobs;
pub mod monitor;
pub mod probes;
mod receivers;
pub mod settings;
mod start;
pub mod state_file;
pub mod store;
pub mod workers;

use eidos_runtime::Start;
use eidos_server::ServiceDefinition;

pub use settings::ProbeSettings;

/// What `main` runs.
#[must_use]
pub fn service() -> ServiceDefinition<ProbeSettings> {
    ServiceDefinition {
        name: "health-probe",
        about: "Probes services and servers, and sends alerts while everything else is down.",
        start: Start::Unconnected,
        build: |deps| Box::pin(start::build(deps)),
        routes: None,
        reports: None,
        openapi: None,
        commands: &[],
    }
}
