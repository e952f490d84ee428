//! A small service over real PostgreSQL and Redis: what is scheduled, asked for, refused and shut down.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failing helper must fail the test that called it"
)]
#![expect(
    clippy::too_many_lines,
    reason = "tables of refusals and rows read best in one place"
)]

mod api_grpc;
mod api_http;
mod harness;
mod http_server;
mod observation;
mod runs;
mod scheduling;
mod shutdown;
mod small_service;
mod start;
mod workers;
