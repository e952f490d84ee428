//! `jobs`, `pause`, `resume`, `report`.

use std::io::Write;

use anyhow::Result;
use eidos_types::JobName;
use serde_json::{Value, json};

use crate::cli::{Format, Pause};
use crate::client::Client;
use crate::environment::{Environment, ask_each};
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

/// Lists the jobs of every service. JSON is a service's own answer; of several services, an object by their names.
pub(super) async fn list(environment: &Environment, format: Format, out: &mut dyn Write) -> Result<()> {
    if let [only] = environment.services.as_slice() {
        let answer = only.client.get(&["jobs"]).send().await?;
        return Ok(output::print(out, format, &answer, |out, answer| {
            output::list(out, answer, COLUMNS, "the service has no jobs")
        })?);
    }
    let (mut answers, mut rows) = (serde_json::Map::new(), Vec::new());
    let mut failed = None;
    for (service, answer) in ask_each(&environment.services, &["jobs"]).await {
        match answer {
            Ok(answer) => {
                rows.extend(
                    output::items(&answer)
                        .iter()
                        .map(|job| of_service(job, &service.name)),
                );
                answers.insert(service.name.clone(), answer);
            }
            Err(error) => {
                failed = Some(error.context(format!("the jobs of {} are not known", service.name)));
            }
        }
    }
    let of = [("SERVICE", "service", Show::Text)];
    let columns: Vec<Column> = of.into_iter().chain(COLUMNS.iter().copied()).collect();
    output::print(out, format, &answers.into(), |out, _| {
        output::list(out, &rows.into(), &columns, "no service has a job")
    })?;
    failed.map_or(Ok(()), Err)
}

/// Returns the job with the service that has it.
fn of_service(job: &Value, service: &str) -> Value {
    let mut job = job.clone();
    job["service"] = service.into();
    job
}

/// Returns the job as its service lists it.
pub(super) async fn fetch(client: &Client, job: &JobName) -> Result<Value> {
    client.get(&["jobs", job.as_str()]).send().await
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
        let execution = answer.get("execution").unwrap_or(&Value::Null);
        output::record(out, execution, super::executions::SUMMARY)?;
        super::executions::report(out, execution, answer.get("report"))
    })
}
