//! [`ServiceDefinition`]: what a service tells the framework.

use std::sync::Arc;

use axum::Router;
use eidos_runtime::{Build, ServiceDeps, Start};
use eidos_settings::ServiceSettings;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::Reports;

/// Builds what answers about a service's own tables.
pub type BuildReports<S> = fn(&ServiceDeps<S>) -> Arc<dyn Reports>;

/// What makes a service: its name, its settings type `S`, its jobs and its workers.
pub struct ServiceDefinition<S: ServiceSettings> {
    /// The binary's name, such as `recon-svc`.
    pub name: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// What must answer before it starts: [`Start::Connected`] for every service but one that watches the servers.
    pub start: Start,
    /// Connects what jobs and workers need and builds them. An error refuses the start: say what is wrong and the fix.
    pub build: Build<S>,
    /// Further HTTP routes below `/v1`. The server authenticates them: `GET` needs the role viewer, everything else
    /// operator; handlers find the [`crate::Caller`] in the request's extensions.
    pub routes: Option<fn(&ServiceDeps<S>) -> Router>,
    /// The description of `routes`: an `OpenAPI` document with `paths` and `components.schemas`, as JSON text.
    pub openapi: Option<&'static str>,
    /// What existing gRPC clients ask about the service's own tables.
    pub reports: Option<BuildReports<S>>,
    /// Names for runs that people start by hand, such as `plan` for a dry run.
    pub commands: &'static [JobCommand],
    /// Questions that people ask at a terminal.
    pub queries: &'static [Query<S>],
}

/// A command of a service's binary that reads and prints. It is no run: it takes no lease and leaves no history.
pub struct Query<S: ServiceSettings> {
    /// What is typed, such as `explain`.
    pub name: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// What its only argument is, such as `BREAK`.
    pub argument: &'static str,
    /// Answers it.
    pub answer: fn(ServiceDeps<S>, String) -> BoxFuture<'static, anyhow::Result<Answer>>,
}

/// What a [`Query`] prints.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// For programs.
    pub value: Value,
    /// For people.
    pub text: String,
}

/// A command of a service's binary that is a run of one of its jobs: the same lease, fence and history as any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobCommand {
    /// What is typed, such as `plan`.
    pub name: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// The job it runs unless `--job` names another.
    pub job: &'static str,
    /// Whether it is always a dry run.
    pub dry_run: bool,
    /// Parameters without which it makes no sense, such as `plan` for `apply`.
    pub required: &'static [&'static str],
}
