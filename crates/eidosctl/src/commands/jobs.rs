//! `jobs`, `pause`, `resume`, `report`.

use std::io::Write;

use anyhow::Result;
use eidos_types::JobName;
use serde_json::json;

use crate::cli::{Format, Pause};
use crate::client::Client;
use crate::output::{self, Column, Show};

const COLUMNS: &[Column] = &[
    ("JOB", "job", Show::Text),
    ("CRON", "cron", Show::Text),
    ("ENABLED", "enabled", Show::Text),
    ("PAUSED BY", "paused_by", Show::Text),
    ("WHY", "paused_reason", Show::Brief),
    ("RUNNING", "running", Show::Text),
    ("LAST SLOT", "last_slot", Show::Instant),
    ("LAST SUCCESS", "last_success_at", Show::Instant),
    ("NEXT SLOT", "next_run_at", Show::Instant),
];

pub(super) async fn list(client: &Client, format: Format, out: &mut dyn Write) -> Result<()> {
    let answer = client.get(&["jobs"]).send().await?;
    output::print(out, format, &answer, |out, answer| {
        output::list(out, answer, COLUMNS, "the service has no jobs")
    })?;
    Ok(())
}

pub(super) async fn set_paused(
    client: &Client,
    options: &Pause,
    paused: bool,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    let verb = if paused { "pause" } else { "resume" };
    let answer = client
        .post(&["jobs", options.job.as_str(), verb])
        .json(json!({ "reason": options.reason }))
        .send()
        .await?;
    output::print(out, format, &answer, |out, _| {
        writeln!(out, "{}: {verb}d", options.job)
    })?;
    Ok(())
}

pub(super) async fn report(
    client: &Client,
    job: &JobName,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    let answer = client.get(&["jobs", job.as_str(), "report"]).send().await?;
    output::print(out, format, &answer, |out, answer| {
        let execution = answer.get("execution").unwrap_or(&serde_json::Value::Null);
        output::record(out, execution, super::executions::SUMMARY)?;
        super::executions::report(out, execution, answer.get("report"))
    })?;
    Ok(())
}
