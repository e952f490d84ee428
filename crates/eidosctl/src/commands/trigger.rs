//! `trigger`: request a run, and wait for it if asked.

use std::time::Duration;

use anyhow::{Context as _, Result};
use eidos_types::JobName;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::poll::{self, Poll};
use super::{executions, jobs};
use crate::Failure;
use crate::cli::Trigger;
use crate::output::{self, Show};
use crate::session::Session;

/// How often a run that is waited for is polled.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long after its wait a further attempt may need to show up: lease, epoch, row.
const RETRY_SLACK: Duration = Duration::from_secs(5);
/// How many executions are searched for a further attempt.
const RECENT: u32 = 20;

pub(super) async fn run(session: &mut Session<'_>, options: &Trigger) -> Result<()> {
    let key = options
        .idempotency_key
        .clone()
        .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let mut body = json!({ "dry_run": options.dry_run });
    if !options.params.is_empty() {
        body["params"] = params(options)?.into();
    }
    let answer = session
        .client
        .post(&["jobs", options.job.as_str(), "trigger"])
        .idempotency_key(&key)
        .json(body)
        .send()
        .await?;
    if !options.wait {
        return session.print(&answer, |out, answer| {
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
        });
    }
    let id = answer
        .get("execution_id")
        .and_then(Value::as_str)
        .context("the service did not say which execution it requested")?;
    let waiting = Waiting {
        poll: Poll::new(&session.client, INTERVAL, options.wait_timeout),
        job: &options.job,
        key: &key,
    };
    let execution = waiting.for_the_last_attempt(id).await?;
    session.print(&execution, executions::print)?;
    poll::verdict(&execution)
}

/// Returns the parameters as one object.
fn params(options: &Trigger) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    for (key, value) in &options.params {
        if object.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::Settings(format!("--param {key} is given twice; keep one of them")).into());
        }
    }
    Ok(object)
}

/// Polls a run until it has ended, and the attempts that follow it.
struct Waiting<'a> {
    poll: Poll<'a>,
    job: &'a JobName,
    key: &'a str,
}

impl Waiting<'_> {
    /// Returns the execution that nothing follows: one that did not fail, or after which no further attempt was made.
    async fn for_the_last_attempt(&self, id: &str) -> Result<Value> {
        let mut execution = self.poll.until_the_end(id, |_| Ok(())).await?;
        while let Some(within) = self.time_until_retry(&execution).await? {
            let Some(next) = self.next_attempt(&execution, within).await? else {
                break;
            };
            execution = self.poll.until_the_end(&next, |_| Ok(())).await?;
        }
        Ok(execution)
    }

    /// Returns how long a further attempt may take to begin. `None`: there is none after `execution`.
    async fn time_until_retry(&self, execution: &Value) -> Result<Option<Duration>> {
        if execution["status"] != "failed" || execution["failure_kind"] != "error" {
            return Ok(None);
        }
        let job = jobs::fetch(self.poll.client, self.job).await?;
        let number = |pointer: &str| job.pointer(pointer).and_then(Value::as_u64);
        let attempt = execution["attempt"].as_u64().unwrap_or(1);
        let (Some(most), Some(base_ms), Some(max_ms)) = (
            number("/retry/max_attempts"),
            number("/retry/base_ms"),
            number("/retry/max_ms"),
        ) else {
            // A service of an earlier release does not say.
            return Ok(None);
        };
        if attempt >= most {
            return Ok(None);
        }
        let doublings = u32::try_from(attempt - 1).unwrap_or(u32::MAX).min(30);
        let longest = Duration::from_millis(base_ms.saturating_mul(1 << doublings).min(max_ms));
        Ok(Some(longest + RETRY_SLACK))
    }

    /// Returns the attempt that follows `execution`. `None`: none begins in time, so the failure was final.
    async fn next_attempt(&self, execution: &Value, within: Duration) -> Result<Option<String>> {
        let until = (Instant::now() + within).min(self.poll.deadline);
        let attempt = execution["attempt"].as_u64().unwrap_or(1);
        loop {
            let page = self
                .poll
                .client
                .get(&["jobs", self.job.as_str(), "executions"])
                .query("page_size", Some(RECENT))
                .send()
                .await?;
            let next = output::items(&page).iter().find(|other| {
                other["idempotency_key"] == self.key && other["attempt"].as_u64() > Some(attempt)
            });
            if let Some(next) = next {
                return Ok(next["execution_id"].as_str().map(ToOwned::to_owned));
            }
            if Instant::now() + INTERVAL > until {
                return Ok(None);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
