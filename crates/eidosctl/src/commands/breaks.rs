//! `breaks`: what the reconciliation found, and what is done about it.

use std::io::{self, Write};

use anyhow::{Context as _, Result};
use eidos_types::BreakId;
use serde_json::{Value, json};

use crate::cli::{BreakCommand, BreakList, Breaks, Edited};
use crate::output::{self, Column, Show};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    ("BREAK", "break_id", Show::Text),
    ("VERSION", "version", Show::Text),
    ("STATUS", "status", Show::Text),
    ("SEVERITY", "severity", Show::Text),
    ("AGE", "age", Show::Text),
    ("ASSIGNEE", "assignee", Show::Text),
    ("DIMENSION", "dimension", Show::Text),
    ("KIND", "kind", Show::Text),
    ("DIRECTION", "direction", Show::Text),
    ("WALLET", "wallet_address", Show::Text),
    ("TOKEN", "token", Show::Text),
    ("BOOKS", "offchain_value", Show::Amount),
    ("CHAIN", "onchain_value", Show::Amount),
    ("DIFFERENCE", "diff_value", Show::Amount),
    ("USDC", "usdc_value", Show::Amount),
    ("CAUSE", "evidence/hint/cause", Show::Text),
    ("FIRST SEEN", "first_seen", Show::Instant),
    ("LAST SEEN", "last_seen", Show::Instant),
];

/// Beyond [`COLUMNS`], of one break.
const LIFE: &[Column] = &[
    ("SUBJECT", "subject", Show::Text),
    ("OCCURRENCES", "occurrences", Show::Text),
    ("ACKNOWLEDGED BY", "acknowledged_by", Show::Text),
    ("ACKNOWLEDGED AT", "acknowledged_at", Show::Instant),
    ("ENDED BY", "resolved_by", Show::Text),
    ("ENDED AT", "resolved_at", Show::Instant),
    ("REASON", "resolved_reason", Show::Text),
    ("CRITICAL BY AGE", "escalated_at", Show::Instant),
    ("BREAK BEFORE", "previous_id", Show::Text),
];

const HISTORY: &[Column] = &[
    ("AT", "at", Show::Instant),
    ("EVENT", "event", Show::Text),
    ("BY", "by", Show::Text),
    ("VERSION", "version", Show::Text),
    ("DETAILS", "details", Show::Brief),
    ("LINK", "seq", Show::Text),
];

pub(super) async fn run(session: &mut Session<'_>, options: &Breaks) -> Result<()> {
    match (&options.command, options.id) {
        (None, None) => list(session, &options.list).await,
        (None, Some(id)) => show(session, id).await,
        (Some(BreakCommand::Show { id }), _) => show(session, *id).await,
        (Some(BreakCommand::List(filter)), _) => list(session, filter).await,
        (Some(BreakCommand::Explain { id }), _) => explain(session, *id).await,
        (Some(command), _) => edit(session, command).await,
    }
}

async fn list(session: &mut Session<'_>, filter: &BreakList) -> Result<()> {
    let answer = session
        .client
        .get(&["breaks"])
        .query("status", filter.status.as_ref())
        .query("severity", filter.severity.as_ref())
        .query("dimension", filter.dimension.as_ref())
        .query("token", filter.token.as_ref())
        .query("wallet", filter.wallet.as_ref())
        .query("subject", filter.subject.as_ref())
        .query("assignee", filter.assignee.as_ref())
        .query("age", filter.age.as_ref())
        .query("after", filter.after.as_ref())
        .query("limit", Some(filter.limit))
        .send()
        .await?;
    session.print(&answer, |out, answer| {
        output::list(out, answer, COLUMNS, "no breaks")?;
        match answer["next"].as_str() {
            Some(next) => writeln!(out, "... there are more; go on with --after {next}"),
            None => Ok(()),
        }
    })
}

async fn show(session: &mut Session<'_>, id: BreakId) -> Result<()> {
    let row = session.client.get(&["breaks", &id.to_string()]).send().await?;
    session.print(&row, |out, row| {
        record(out, row)?;
        output::block(out, "evidence", row.get("evidence"))?;
        if let Some(events) = row
            .get("history")
            .filter(|events| !output::items(events).is_empty())
        {
            writeln!(out, "\nhistory, newest first")?;
            output::list(out, events, HISTORY, "")?;
        }
        if row["older_events"] == true {
            writeln!(out, "... and older events")?;
        }
        Ok(())
    })
}

async fn explain(session: &mut Session<'_>, id: BreakId) -> Result<()> {
    let path = ["breaks", &id.to_string(), "explanation"];
    let answer = session.client.get(&path).send().await?;
    session.print(&answer, |out, answer| {
        write!(out, "{}", answer["text"].as_str().unwrap_or_default())
    })
}

fn record(out: &mut dyn Write, row: &Value) -> io::Result<()> {
    output::record(out, row, &[COLUMNS, LIFE].concat())
}

async fn edit(session: &mut Session<'_>, command: &BreakCommand) -> Result<()> {
    let (edited, action, mut body) = match command {
        BreakCommand::List(_) | BreakCommand::Show { .. } | BreakCommand::Explain { .. } => return Ok(()),
        BreakCommand::Ack { edited, note } => (edited, "acknowledge", json!({ "note": note })),
        BreakCommand::Assign { edited, to, note, .. } => {
            (edited, "assign", json!({ "assignee": to, "note": note }))
        }
        BreakCommand::Comment { edited, text } => (edited, "comment", json!({ "text": text })),
        BreakCommand::Resolve { edited, reason } => (edited, "resolve", json!({ "reason": reason })),
        BreakCommand::WriteOff { edited, reason } => (edited, "write-off", json!({ "reason": reason })),
    };
    let id = edited.id.to_string();
    body["version"] = version(session, edited).await?.into();
    let request = session.client.post(&["breaks", &id, action]);
    let answer = request.json(body).send().await?;
    session.print(&answer, record)
}

/// The version that the person saw, else the present one.
async fn version(session: &Session<'_>, edited: &Edited) -> Result<i64> {
    if let Some(seen) = edited.seen {
        return Ok(seen);
    }
    let row = session
        .client
        .get(&["breaks", &edited.id.to_string()])
        .send()
        .await?;
    row["version"].as_i64().with_context(|| {
        format!(
            "{} does not say the version of break {}: is the service older than this tool?",
            session.client.base(),
            edited.id
        )
    })
}
