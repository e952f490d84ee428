//! `holds`: which rows must not be removed, keeping more of them, and leaving some to the rules again.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::{HoldCommand, Holds, NewHold};
use crate::output::{self, Column, Show};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    ("HOLD", "hold_id", Show::Text),
    ("SOURCE", "source", Show::Text),
    ("TABLE", "table", Show::Text),
    ("FROM", "from_ms", Show::Instant),
    ("TO", "to_ms", Show::Instant),
    ("BY", "placed_by", Show::Text),
    ("SINCE", "placed_at", Show::Instant),
    ("REASON", "reason", Show::Brief),
];

/// [`COLUMNS`], and how those ended that are history.
const HISTORY: &[Column] = &[
    ("HOLD", "hold_id", Show::Text),
    ("SOURCE", "source", Show::Text),
    ("TABLE", "table", Show::Text),
    ("FROM", "from_ms", Show::Instant),
    ("TO", "to_ms", Show::Instant),
    ("REASON", "reason", Show::Brief),
    ("LIFTED AT", "lifted_at", Show::Instant),
    ("LIFTED BY", "lifted_by", Show::Text),
    ("LIFT REASON", "lift_reason", Show::Brief),
];

/// Rows asked for at a time: the most that the service gives in one answer.
const PAGE: usize = 1_000;

pub(super) async fn run(session: &mut Session<'_>, options: &Holds) -> Result<()> {
    match options
        .command
        .as_ref()
        .unwrap_or(&HoldCommand::List { all: false })
    {
        HoldCommand::List { all } => list(session, *all).await,
        HoldCommand::Place(hold) => place(session, hold).await,
        HoldCommand::Lift { id, reason } => {
            let request = session.client.post(&["holds", &id.to_string(), "lift"]);
            let answer = request.json(json!({ "reason": reason })).send().await?;
            session.print(&answer, |out, _answer| writeln!(out, "{id}: lifted"))
        }
    }
}

async fn place(session: &mut Session<'_>, hold: &NewHold) -> Result<()> {
    let mut body = json!({ "source": hold.source, "table": hold.table, "reason": hold.reason });
    for (key, instant) in [("from", &hold.from), ("to", &hold.to)] {
        if let Some(instant) = instant {
            body[key] = instant.clone();
        }
    }
    let answer = session.client.post(&["holds"]).json(body).send().await?;
    session.print(&answer, |out, answer| {
        output::record(out, &with_table(&answer["hold"]), COLUMNS)?;
        match answer["warning"].as_str() {
            Some(warning) => writeln!(out, "warning: {warning}"),
            None => Ok(()),
        }
    })
}

/// Reads every page, so that what is printed is all there is.
async fn list(session: &mut Session<'_>, all: bool) -> Result<()> {
    let mut holds: Vec<Value> = Vec::new();
    loop {
        let answer = session
            .client
            .get(&["holds"])
            .query("all", Some(all))
            .query("limit", Some(PAGE))
            .query("offset", Some(holds.len()))
            .send()
            .await?;
        let page = output::items(&answer);
        holds.extend(page.iter().cloned());
        if page.len() < PAGE {
            break;
        }
    }
    let (columns, nothing) = if all {
        (HISTORY, "no hold was ever placed")
    } else {
        (COLUMNS, "no hold is in force")
    };
    session.print(&json!({ "holds": holds }), |out, answer| {
        let rows: Vec<Value> = output::items(answer).iter().map(with_table).collect();
        output::list(out, &json!(rows), columns, nothing)
    })
}

/// The hold with its table as one word, as it was placed.
fn with_table(hold: &Value) -> Value {
    let mut hold = hold.clone();
    if let (Some(schema), Some(name)) = (hold["table"]["schema"].as_str(), hold["table"]["name"].as_str()) {
        hold["table"] = format!("{schema}.{name}").into();
    }
    hold
}
