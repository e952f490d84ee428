//! order-expirer has expired orders removed by the matching engine, and proves that each of them ended.
//!
//! | job | what it does |
//! |---|---|
//! | `cleanup-orders` | asks the engine for each expired order, and reads the order's row until it ended ([`jobs::cleanup_orders`]) |
//! | `expiry-sweep` | reads every order, and counts those that should have ended ([`jobs::expiry_sweep`]) |
//!
//! With brokers, the worker `expiry-confirmations` ([`workers::confirmations`]) hears on Kafka what became of orders, and
//! has their rows read at once.
//!
//! Tables it owns: `eidos_jobs_order_expiries`. It reads the trading service's orders and never writes them (ruling 29).
//!
//! Invariants: a request is durable before it is sent; a repetition has the same id until an answer was not confirmed in
//! time; only the order's row ends a request, an event has it read sooner; the engine never has more orders
//! without an answer than its window. A crash leaves requests without an answer, which the next runs repeat.
//!
//! Read in this order: [`domain`] (the decisions), [`jobs::cleanup_orders`] (the sentence), [`sources`] (the engine, its
//! topics and the cache), [`workers`], [`store`].

pub mod domain;
pub mod jobs;
pub mod profile;
pub mod settings;
pub mod sources;
mod start;
pub mod store;
pub mod workers;

use eidos_runtime::Start;
use eidos_server::{JobCommand, ServiceDefinition};

pub use settings::ExpirerSettings;

const COMMANDS: &[JobCommand] = &[JobCommand {
    name: "plan",
    about: "Show which orders cleanup-orders would ask the matching engine for now",
    job: "cleanup-orders",
    dry_run: true,
    required: &[],
}];

/// What `main` runs.
#[must_use]
pub fn service() -> ServiceDefinition<ExpirerSettings> {
    ServiceDefinition {
        name: "order-expirer",
        about: "Has expired orders removed by the matching engine, and proves that each ended.",
        start: Start::Connected,
        build: |deps| Box::pin(start::build(deps)),
        routes: None,
        reports: None,
        openapi: None,
        commands: COMMANDS,
        queries: &[],
    }
}
