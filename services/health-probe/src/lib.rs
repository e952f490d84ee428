//! health-probe looks at services and servers, and sends alerts while everything else is down.
//!
//! | part | what it does |
//! |---|---|
//! | job `health-monitor` | one round: probes every target, reduces each result at once ([`jobs::health_monitor`]) |
//! | one worker per receiver | tells its receiver what it does not know yet ([`workers::delivery`]) |
//! | one worker per Alertmanager | reads what it silences, for the other receivers |
//! | one worker for the vote | hears what the other probers see, over Redis ([`workers::voting`]) |
//! | one worker per heartbeat | asks an address outside that notices when it is no longer asked |
//! | job `alert-drill` | proves that every receiver can be told, when a person asks for it ([`jobs::alert_drill`]) |
//!
//! It owns no tables; in Redis, the keys of [`sources::cool_down`] and [`sources::ballots`]. States and what is still to be
//! sent are in one local file ([`state_file`]).
//!
//! Invariants: it starts and works while PostgreSQL and Redis are down; three failures in a row make a target critical, never
//! fewer; an unknown result is never a failure; a receiver hears of an episode at least once, and of its end if it may have
//! heard of the begin. A round that a person starts only looks: it changes no state and sends nothing. A crash repeats at most
//! the notice that was being sent.
//!
//! Read in this order: [`domain::reducer`] (what a result means), [`jobs::health_monitor`] (a round), [`monitor`] (what is known).

mod claims;
pub mod domain;
pub mod jobs;
pub mod monitor;
pub mod probes;
mod receivers;
pub mod settings;
pub mod sources;
mod start;
pub mod state_file;
pub mod store;
pub mod workers;

use eidos_runtime::Start;
use eidos_server::{JobCommand, ServiceDefinition};

pub use settings::ProbeSettings;

const COMMANDS: &[JobCommand] = &[JobCommand {
    name: "drill",
    about: "Tell every receiver of an alert that means nothing, and of its end: drill [--sink NAME] [--severity warning]",
    job: "alert-drill",
    dry_run: false,
    required: &[],
}];

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
        commands: COMMANDS,
        queries: &[],
    }
}
