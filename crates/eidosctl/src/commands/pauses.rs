//! `pauses`: which operations may not move money, and letting one move again.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::{Format, PauseCommand, Pauses};
use crate::client::Client;
use crate::output::{self, Column, Show};

const COLUMNS: &[Column] = &[
    ("OPERATION", "operation", Show::Text),
    ("TOKEN", "token", Show::Text),
    ("SINCE", "set_at", Show::Instant),
    ("BY", "set_by", Show::Text),
    ("BREAK", "break_id", Show::Text),
    ("REASON", "reason", Show::Brief),
];

/// Beyond [`COLUMNS`], for pauses that are history.
const HISTORY: &[Column] = &[
    ("OPERATION", "operation", Show::Text),
    ("TOKEN", "token", Show::Text),
    ("SET AT", "set_at", Show::Instant),
    ("SET BY", "set_by", Show::Text),
    ("LIFTED AT", "lifted_at", Show::Instant),
    ("LIFTED BY", "lifted_by", Show::Text),
    ("LIFT REASON", "lift_reason", Show::Brief),
];

pub(super) async fn run(
    client: &Client,
    options: &Pauses,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    match options
        .command
        .as_ref()
        .unwrap_or(&PauseCommand::List { all: false })
    {
        PauseCommand::List { all } => list(client, *all, format, out).await,
        PauseCommand::Lift {
            operation,
            token,
            reason,
        } => {
            let answer = client
                .post(&["pauses", operation, token, "lift"])
                .json(json!({ "reason": reason }))
                .send()
                .await?;
            output::print(out, format, &answer, |out, answer| {
                writeln!(out, "{operation} {token}: lifted")?;
                if answer.get("announced") == Some(&Value::Bool(false)) {
                    writeln!(
                        out,
                        "but not announced everywhere (Redis, Kafka, webhooks): the next run repeats it"
                    )?;
                }
                Ok(())
            })?;
            Ok(())
        }
    }
}

async fn list(client: &Client, all: bool, format: Format, out: &mut dyn Write) -> Result<()> {
    let answer = client.get(&["pauses"]).send().await?;
    if all {
        output::print(out, format, &answer, |out, answer| {
            output::list(out, answer, HISTORY, "no operation was ever paused")
        })?;
        return Ok(());
    }
    let in_force: Vec<&Value> = output::items(&answer)
        .iter()
        .filter(|pause| pause.get("lifted_at").is_none_or(Value::is_null))
        .collect();
    let answer = json!({ "pauses": in_force });
    output::print(out, format, &answer, |out, answer| {
        output::list(out, answer, COLUMNS, "no operation is paused")
    })?;
    Ok(())
}
