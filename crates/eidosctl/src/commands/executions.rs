//! `executions`, `execution`, `cancel`.

use std::io::{self, Write};

use anyhow::Result;
use eidos_types::ExecutionId;
use serde_json::{Value, json};

use crate::cli::{Executions, Status};
use crate::client::Client;
use crate::output::{self, Column, Show};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    ("EXECUTION", "execution_id", Show::Text),
    ("STATUS", "status", Show::Text),
    ("TRIGGER", "trigger", Show::Text),
    ("SLOT", "slot", Show::Instant),
    ("STARTED", "started_at", Show::Instant),
    ("DURATION", "duration_ms", Show::DurationMs),
    ("WHY", "failure_kind", Show::Text),
    ("ERROR", "error_message", Show::Brief),
];

/// What is said about an execution before its report.
pub(super) const SUMMARY: &[Column] = &[
    ("execution", "execution_id", Show::Text),
    ("job", "job", Show::Text),
    ("status", "status", Show::Text),
    ("why", "failure_kind", Show::Text),
    ("trigger", "trigger", Show::Text),
    ("dry run", "dry_run", Show::Text),
    ("slot", "slot", Show::Instant),
    ("started", "started_at", Show::Instant),
    ("finished", "finished_at", Show::Instant),
    ("duration", "duration_ms", Show::DurationMs),
    ("attempt", "attempt", Show::Text),
    ("node", "node", Show::Text),
    ("cancelled by", "cancel_requested_by", Show::Text),
    ("error", "error_message", Show::Text),
];

pub(super) async fn list(session: &mut Session<'_>, options: &Executions) -> Result<()> {
    let answer = session
        .client
        .get(&["jobs", options.job.as_str(), "executions"])
        .query("status", options.status.map(Status::as_str))
        .query("page_size", Some(options.limit))
        .send()
        .await?;
    session.print(&answer, |out, answer| {
        output::list(out, answer, COLUMNS, "no executions")
    })
}

pub(super) async fn show(session: &mut Session<'_>, id: ExecutionId) -> Result<()> {
    let answer = fetch(&session.client, &id.to_string()).await?;
    session.print(&answer, print)
}

pub(super) async fn cancel(session: &mut Session<'_>, id: ExecutionId) -> Result<()> {
    let answer = session
        .client
        .post(&["executions", &id.to_string(), "cancel"])
        .json(json!({}))
        .send()
        .await?;
    session.print(&answer, |out, _| {
        writeln!(
            out,
            "{id}: asked to stop; it ends at its next step (eidosctl execution {id})"
        )
    })
}

/// Returns the execution as the service stores it.
pub(super) async fn fetch(client: &Client, id: &str) -> Result<Value> {
    client.get(&["executions", id]).send().await
}

/// Prints the execution as a person reads it.
pub(super) fn print(out: &mut dyn Write, execution: &Value) -> io::Result<()> {
    output::record(out, execution, SUMMARY)?;
    if let Some(done) = execution.pointer("/progress/done") {
        let total = output::field_text(execution, "progress/total", Show::Text);
        writeln!(
            out,
            "progress      {done} of {}",
            if total == "-" { "an unknown total" } else { &total }
        )?;
    }
    report(out, execution, execution.get("result"))
}

/// Prints the report as the job itself printed it; as JSON where an earlier release stored no such text.
pub(super) fn report(out: &mut dyn Write, execution: &Value, report: Option<&Value>) -> io::Result<()> {
    match execution.get("rendered").and_then(Value::as_str) {
        Some(text) => writeln!(out, "\n{}", text.trim_end()),
        None => output::block(out, "report", report),
    }
}
