//! `trigger`: request a run, and wait for it if asked.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::executions;
use crate::Failure;
use crate::cli::{Format, Trigger};
use crate::client::Client;
use crate::output::{self, Show};

/// How often a run that is waited for is looked at.
const POLL: Duration = Duration::from_secs(1);
/// How many looks in a row may fail before waiting is given up: a service that restarts is back by then.
const TOLERATED_FAILURES: u32 = 30;

pub(super) async fn run(
    client: &Client,
    options: &Trigger,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    let key = options
        .idempotency_key
        .clone()
        .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let mut body = json!({ "dry_run": options.dry_run });
    if !options.params.is_empty() {
        body["params"] = options.params.iter().cloned().collect::<Map<_, _>>().into();
    }
    let answer = client
        .post(&["jobs", options.job.as_str(), "trigger"])
        .idempotency_key(&key)
        .json(body)
        .send()
        .await?;
    if !options.wait {
        output::print(out, format, &answer, |out, answer| {
            let created = answer.get("created").and_then(Value::as_bool).unwrap_or(true);
            let what = if created {
                "requested"
            } else {
                "was requested before with this key"
            };
            writeln!(
                out,
                "{}: {what}",
                output::field_text(answer, "execution_id", Show::Text)
            )
        })?;
        return Ok(());
    }
    let id = answer
        .get("execution_id")
        .and_then(Value::as_str)
        .context("the service did not say which execution it requested")?;
    let execution = wait(client, id, options.wait_timeout).await?;
    output::print(out, format, &execution, executions::print)?;
    verdict(id, options, &execution)
}

/// Looks at the execution until it has ended.
async fn wait(client: &Client, id: &str, timeout: Duration) -> Result<Value> {
    let deadline = Instant::now() + timeout;
    let mut failures = 0;
    loop {
        let status = match executions::fetch(client, id).await {
            Ok(execution) => {
                failures = 0;
                let status = output::field_text(&execution, "status", Show::Text);
                if !matches!(status.as_str(), "pending" | "running") {
                    return Ok(execution);
                }
                status
            }
            Err(error) => {
                failures += 1;
                if failures >= TOLERATED_FAILURES || !is_passing(&error) {
                    return Err(error);
                }
                "out of sight".to_owned()
            }
        };
        if Instant::now() + POLL > deadline {
            return Err(Failure::StillRunning {
                id: id.to_owned(),
                status,
                waited: timeout,
            }
            .into());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether the next look may succeed: the service restarts, or its proxy says so.
fn is_passing(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<Failure>(),
        Some(failure @ (Failure::Unreachable { .. } | Failure::Refused(_))) if matches!(failure.exit_code(), 69 | 75)
    )
}

fn verdict(id: &str, options: &Trigger, execution: &Value) -> Result<()> {
    let status = output::field_text(execution, "status", Show::Text);
    if status == "success" {
        return Ok(());
    }
    let reason = match output::field_text(execution, "error_message", Show::Brief).as_str() {
        "-" => String::new(),
        message => format!(": {message}"),
    };
    Err(Failure::ExecutionFailed {
        id: id.to_owned(),
        job: options.job.to_string(),
        status,
        reason,
    }
    .into())
}
