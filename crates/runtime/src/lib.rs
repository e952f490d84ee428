//! From a cron line to a finished execution: what every service of the suite stands on.
//!
//! ```text
//! bootstrap ── cli, settings, telemetry, signals
//!   └─ service ── connects, builds the jobs, serves, shuts down
//!        ├─ dispatcher ── the one loop: what is due? what was asked for? what was left behind?
//!        │    └─ pursue ── look, tick, try again
//!        │         └─ runner::tick ── acquire, open (claim), run within the budget, settle, release
//!        │              ├─ supervise ── one attempt: ends by itself, is told to stop, or is dropped
//!        │              └─ settle ── final row, metrics, slots that passed meanwhile
//!        ├─ worker_host ── lease, restart, end of each worker
//!        ├─ observation ── gauges of what is true, in every replica, whoever ran last
//!        └─ http, grpc ── both over `api`, where the rules are
//! ```
//!
//! A service implements [`Job`] and [`Worker`], lists its jobs and workers in a [`ServiceDefinition`] and calls [`main`]. The three guards that
//! make a slot run once are in `eidos-core`; this crate uses them in the right order.

mod api;
mod auth;
mod bootstrap;
mod cancel;
mod cli;
mod context;
mod continuation;
mod definition;
mod dispatcher;
mod error;
mod foreground;
mod grpc;
mod health;
mod http;
mod job;
mod observation;
mod observe;
mod open;
pub mod params;
mod progress;
mod pursue;
mod registry;
mod retry;
mod runner;
mod running;
mod schedule;
mod service;
mod settle;
mod sql;
mod supervise;
mod tables;
pub mod terminal;
mod unlocked;
mod vigil;
mod work;
mod worker;
mod worker_host;

pub use self::http::openapi_json;
pub use api::{ApiError, Caller};
pub use bootstrap::main;
pub use context::{JobContext, Standalone};
pub use definition::{JobCommand, Parts, ServiceDefinition, ServiceDeps};
pub use error::{BoxedError, CancelReason, JobError};
pub use foreground::{BadRunRequest, Foreground, RunRequest};
pub use health::{CheckResult, HealthRegistry, HealthReport, Severity};
pub use job::{Job, JobEntry};
pub use observation::Observation;
pub use registry::RegistryError;
pub use service::{Drained, Service, Serving};
pub use worker::{Worker, WorkerContext, WorkerEntry};
