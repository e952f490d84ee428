//! `breaks`: what the reconciliation found.

use std::io::Write;

use anyhow::{Result, bail};
use eidos_types::BreakId;
use serde_json::{Value, json};

use crate::cli::{Breaks, Format};
use crate::client::Client;
use crate::output::{self, Column, Show};

/// The most rows the service gives in one answer.
const MOST: u32 = 1_000;

const COLUMNS: &[Column] = &[
    ("BREAK", "break_id", Show::Text),
    ("STATUS", "status", Show::Text),
    ("SEVERITY", "severity", Show::Text),
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

pub(super) async fn run(
    client: &Client,
    options: &Breaks,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    // The service filters by status, token and wallet; id and severity are picked out here, from all it gives.
    let picks = options.id.is_some() || options.severity.is_some();
    let asked = if picks { MOST } else { options.limit };
    let answer = client
        .get(&["breaks"])
        .query("status", options.status.as_ref())
        .query("token", options.token.as_ref())
        .query("wallet", options.wallet.as_ref())
        .query("limit", Some(asked))
        .send()
        .await?;
    let is_cut = u64::try_from(output::items(&answer).len()).unwrap_or(u64::MAX) >= u64::from(asked);
    if let Some(id) = options.id {
        return show(&answer, id, is_cut, format, out);
    }
    let answer = match &options.severity {
        Some(severity) => json!({ "breaks": of_severity(&answer, severity, options.limit) }),
        None => answer,
    };
    output::print(out, format, &answer, |out, answer| {
        output::list(out, answer, COLUMNS, "no breaks")?;
        if is_cut {
            writeln!(
                out,
                "... only the newest {asked} were asked for; narrow with --status, --token or --wallet"
            )?;
        }
        Ok(())
    })?;
    Ok(())
}

fn of_severity(answer: &Value, severity: &str, limit: u32) -> Vec<Value> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let rows = output::items(answer).iter();
    rows.filter(|row| row["severity"] == severity)
        .take(limit)
        .cloned()
        .collect()
}

fn show(answer: &Value, id: BreakId, is_cut: bool, format: Format, out: &mut dyn Write) -> Result<()> {
    let wanted = id.to_string();
    let Some(row) = output::items(answer)
        .iter()
        .find(|row| row["break_id"] == wanted.as_str())
    else {
        let hint = if is_cut {
            " among the newest; narrow with --status, --token or --wallet"
        } else {
            ""
        };
        bail!("there is no break {id}{hint}");
    };
    output::print(out, format, row, |out, row| {
        output::record(out, row, COLUMNS)?;
        output::block(out, "evidence", row.get("evidence"))
    })?;
    Ok(())
}
