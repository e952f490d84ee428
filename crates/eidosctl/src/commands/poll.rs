//! [`Poll`]: looks at an execution until it has ended.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::time::Instant;

use super::executions;
use crate::Failure;
use crate::client::Client;
use crate::output::{self, Show};

/// How many looks in a row may fail before waiting is given up: a service that restarts answers again by then.
const TOLERATED_FAILURES: u32 = 30;

/// Looks at executions of one service at regular intervals.
pub(super) struct Poll<'a> {
    pub(super) client: &'a Client,
    pub(super) interval: Duration,
    timeout: Duration,
    pub(super) deadline: Instant,
}

impl<'a> Poll<'a> {
    /// Looks at `client`'s executions every `interval` for as long as `timeout`.
    pub(super) fn new(client: &'a Client, interval: Duration, timeout: Duration) -> Self {
        Self {
            client,
            interval,
            timeout,
            deadline: Instant::now() + timeout,
        }
    }

    /// Looks until the execution has ended, gives every look to `each`, and returns the last one.
    pub(super) async fn until_the_end(
        &self,
        id: &str,
        mut each: impl FnMut(&Value) -> Result<()>,
    ) -> Result<Value> {
        let mut failures = 0;
        loop {
            let status = match executions::fetch(self.client, id).await {
                Ok(execution) => {
                    failures = 0;
                    each(&execution)?;
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
            if Instant::now() + self.interval > self.deadline {
                return Err(Failure::StillRunning {
                    id: id.to_owned(),
                    status,
                    waited: self.timeout,
                }
                .into());
            }
            tokio::time::sleep(self.interval).await;
        }
    }
}

/// Checks whether the next look may succeed: the service restarts, or its proxy says so.
fn is_passing(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<Failure>(),
        Some(failure @ (Failure::Unreachable { .. } | Failure::Refused(_))) if matches!(failure.exit_code(), 69 | 75)
    )
}

/// Fails unless the execution ended with success.
pub(super) fn verdict(execution: &Value) -> Result<()> {
    let text = |field| output::field_text(execution, field, Show::Text);
    let status = text("status");
    if status == "success" {
        return Ok(());
    }
    let reason = match output::field_text(execution, "error_message", Show::Brief).as_str() {
        "-" => String::new(),
        message => format!(": {message}"),
    };
    Err(Failure::ExecutionFailed {
        id: text("execution_id"),
        job: text("job"),
        status,
        reason,
    }
    .into())
}
