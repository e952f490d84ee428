//! `jobs`, `pause`, `resume`, `report`.

use anyhow::Result;
use eidos_types::JobName;
use serde_json::json;

use crate::cli::Pause;
use crate::output::{self, Column, Show};
use crate::session::Session;

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

pub(super) async fn list(session: &mut Session<'_>) -> Result<()> {
    let answer = session.client.get(&["jobs"]).send().await?;
    session.print(&answer, |out, answer| {
        output::list(out, answer, COLUMNS, "the service has no jobs")
    })
}

pub(super) async fn set_paused(session: &mut Session<'_>, options: &Pause, paused: bool) -> Result<()> {
    let verb = if paused { "pause" } else { "resume" };
    let answer = session
        .client
        .post(&["jobs", options.job.as_str(), verb])
        .json(json!({ "reason": options.reason }))
        .send()
        .await?;
    session.print(&answer, |out, _| writeln!(out, "{}: {verb}d", options.job))
}

pub(super) async fn report(session: &mut Session<'_>, job: &JobName) -> Result<()> {
    let answer = session
        .client
        .get(&["jobs", job.as_str(), "report"])
        .send()
        .await?;
    session.print(&answer, |out, answer| {
        let execution = answer.get("execution").unwrap_or(&serde_json::Value::Null);
        output::record(out, execution, super::executions::SUMMARY)?;
        super::executions::report(out, execution, answer.get("report"))
    })
}
