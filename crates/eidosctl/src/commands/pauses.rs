//! `pauses`: which operations may not move money, stopping one, and letting one move again.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::{PauseCommand, Pauses};
use crate::output::{self, Column, Show};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    ("OPERATION", "operation", Show::Text),
    ("TOKEN", "token", Show::Text),
    ("SINCE", "set_at", Show::Instant),
    ("BY", "set_by", Show::Text),
    ("BREAK", "break_id", Show::Text),
    ("REASON", "reason", Show::Brief),
];

/// Rows asked for at a time: the most that the service gives in one answer.
const PAGE: u32 = 1_000;

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

pub(super) async fn run(session: &mut Session<'_>, options: &Pauses) -> Result<()> {
    match options
        .command
        .as_ref()
        .unwrap_or(&PauseCommand::List { all: false })
    {
        PauseCommand::List { all } => list(session, *all).await,
        PauseCommand::Set {
            operation,
            token,
            reason,
            break_id,
        } => {
            let request = session.client.post(&["pauses", operation, token]);
            let body = json!({ "reason": reason, "break_id": break_id });
            let answer = request.json(body).send().await?;
            let done = format!("{operation} {token}: paused");
            show(
                session,
                &answer,
                &done,
                "but its key could not be written to Redis: the next run writes it",
            )
        }
        PauseCommand::Lift {
            operation,
            token,
            reason,
        } => {
            let request = session.client.post(&["pauses", operation, token, "lift"]);
            let answer = request.json(json!({ "reason": reason })).send().await?;
            let done = format!("{operation} {token}: lifted");
            show(
                session,
                &answer,
                &done,
                "but its key could not be removed from Redis: the next run removes it",
            )
        }
    }
}

/// Says what was done, and whether the services that move money know it already.
fn show(session: &mut Session<'_>, answer: &Value, done: &str, unannounced: &str) -> Result<()> {
    session.print(answer, |out, answer| {
        writeln!(out, "{done}")?;
        if answer.get("announced") == Some(&Value::Bool(false)) {
            writeln!(out, "{unannounced}")?;
        }
        Ok(())
    })
}

/// Reads every page, so that what is printed is all there is.
async fn list(session: &mut Session<'_>, all: bool) -> Result<()> {
    let (mut pauses, mut after) = (Vec::new(), None);
    loop {
        let answer = session
            .client
            .get(&["pauses"])
            .query("active", Some(!all))
            .query("limit", Some(PAGE))
            .query("after", after)
            .send()
            .await?;
        let page = output::items(&answer).iter();
        let in_force = |pause: &&Value| pause.get("lifted_at").is_none_or(Value::is_null);
        // A service of the version before answers with all of them.
        pauses.extend(page.filter(|pause| all || in_force(pause)).cloned());
        after = answer["next"].as_i64();
        if after.is_none() {
            break;
        }
    }
    let answer = json!({ "pauses": pauses });
    let (columns, nothing) = if all {
        (HISTORY, "no operation was ever paused")
    } else {
        (COLUMNS, "no operation is paused")
    };
    session.print(&answer, |out, answer| output::list(out, answer, columns, nothing))
}
