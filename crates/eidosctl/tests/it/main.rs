//! The operator's tool as a process, and the guards over the whole repository: floors, manifests, and that whatever can
//! go wrong has a metric, an alert and a runbook.

mod api;
mod floors;
mod manifests;
mod migrate;
mod observability;
mod program;
mod repository;
