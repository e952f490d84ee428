//! health-probe against targets and receivers that misbehave, as a process that is killed, and while real PostgreSQL, Redis
//! and Kafka are stopped.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's")]

mod alertmanager;
mod blind;
mod certificates;
mod cool_down;
mod dependencies;
mod drill;
mod email;
mod episodes;
mod fixture;
mod heartbeats;
mod http;
mod kinds;
mod operation;
mod probes;
mod raw;
mod receivers;
mod servers_down;
mod silences;
mod sinks;
mod voting;
