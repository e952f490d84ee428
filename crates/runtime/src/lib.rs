//! From a cron line to a finished execution, and the loops beside it: what every service of the suite runs on.
//!
//! ```text
//! engine ── connects, builds jobs and workers, starts, drains
//!   ├─ dispatcher ── the one loop: what is due? what was asked for? what was left behind?
//!   │    └─ run_due ── look, tick, try again
//!   │         └─ runner::tick ── acquire, open (claim), run within the budget, finish, release
//!   │              ├─ supervise ── one attempt: ends by itself, is told to stop, or is dropped
//!   │              └─ finish ── final row, metrics, slots that passed meanwhile
//!   ├─ worker_host ── lease, restart, end of each worker
//!   ├─ foreground ── one run for a terminal
//!   └─ observation ── gauges of what is true, in every replica, whoever ran last
//! ```
//!
//! A service implements [`Job`] and [`Worker`] and lists them in [`Parts`]. The three guards that make a slot run once are
//! in `eidos-core`; this crate uses them in the right order. HTTP, gRPC and the command line are in `eidos-server`.

mod cancel;
mod context;
mod deps;
mod dispatcher;
mod engine;
mod error;
mod finish;
mod foreground;
mod health;
mod heartbeat;
mod job;
mod observation;
mod observation_rounds;
mod observe;
mod open;
pub mod params;
mod progress;
mod registry;
mod resume;
mod retry;
mod run_due;
mod runner;
mod running;
mod schedule;
mod sql;
mod start_again;
mod supervise;
pub mod terminal;
mod unlocked;
mod work;
mod worker;
mod worker_host;

pub use context::{JobContext, Standalone};
pub use deps::{Build, Built, Parts, ServiceDeps, Start};
pub use engine::{Drained, Engine};
pub use error::{BoxedError, CancelReason, JobError, chain};
pub use foreground::{BadRunRequest, Foreground, RunRequest};
pub use health::{CheckResult, HealthRegistry, HealthReport, Severity};
pub use job::{Job, JobEntry, take_rendered};
pub use observation::Observation;
pub use registry::{RegisteredJob, RegistryError};
pub use schedule::has_come;
pub use worker::{Worker, WorkerContext, WorkerEntry};
