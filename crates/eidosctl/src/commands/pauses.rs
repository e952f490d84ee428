//! `pauses`: which operations may not move money, and letting one move again.

use std::io::Write;

use anyhow::Result;
use serde_json::json;

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

pub(super) async fn run(
    client: &Client,
    options: &Pauses,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    match options.command.as_ref().unwrap_or(&PauseCommand::List) {
        PauseCommand::List => {
            let answer = client.get(&["pauses"]).send().await?;
            output::print(out, format, &answer, |out, answer| {
                output::list(out, answer, COLUMNS, "no operation is paused")
            })?;
        }
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
            output::print(out, format, &answer, |out, _| {
                writeln!(out, "{operation} {token}: lifted")
            })?;
        }
    }
    Ok(())
}
