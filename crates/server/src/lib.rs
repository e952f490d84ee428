//! What a service offers to the outside: HTTP, gRPC and the command line around the jobs and workers of `eidos-runtime`.
//!
//! ```text
//! bootstrap ── cli, settings, telemetry, signals
//!   └─ service ── binds the servers, starts the engine, shuts down
//!        └─ http, grpc ── both over `api`, where the rules are; `auth` says who asks
//! ```
//!
//! A service lists its parts in a [`ServiceDefinition`] and calls [`main`].

mod api;
mod auth;
mod bootstrap;
mod cli;
mod definition;
mod grpc;
mod http;
mod service;
mod sql;
mod tables;

pub use self::http::openapi_json;
pub use api::{
    ApiError, Caller, PageRequest, PageView, ReconciliationTotals, RecordPage, RecordQuery, RecordView,
    Reports, StatisticView, StatisticsQuery, TokenTotals,
};
pub use bootstrap::main;
pub use definition::{Answer, BuildReports, JobCommand, Query, ServiceDefinition};
pub use service::{Service, Serving};
