//! `breaks`: what the reconciliation found.

use std::io::Write;

use anyhow::Result;

use crate::cli::{Breaks, Format};
use crate::client::Client;
use crate::output::{self, Column, Show};

const COLUMNS: &[Column] = &[
    ("BREAK", "break_id", Show::Text),
    ("STATUS", "status", Show::Text),
    ("SEVERITY", "severity", Show::Text),
    ("DIMENSION", "dimension", Show::Text),
    ("KIND", "kind", Show::Text),
    ("WALLET", "wallet_address", Show::Text),
    ("TOKEN", "token", Show::Text),
    ("BOOKS", "offchain_value", Show::Text),
    ("CHAIN", "onchain_value", Show::Text),
    ("DIFFERENCE", "diff_value", Show::Text),
    ("FIRST SEEN", "first_seen", Show::Instant),
];

pub(super) async fn run(
    client: &Client,
    options: &Breaks,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    if let Some(id) = options.id {
        let answer = client.get(&["breaks", &id.to_string()]).send().await?;
        output::print(out, format, &answer, |out, answer| {
            output::record(out, answer, COLUMNS)?;
            output::block(out, "evidence", answer.get("evidence"))
        })?;
        return Ok(());
    }
    let answer = client
        .get(&["breaks"])
        .query("status", options.status.as_ref())
        .query("severity", options.severity.as_ref())
        .query("token", options.token.as_ref())
        .query("page_size", Some(options.limit))
        .send()
        .await?;
    output::print(out, format, &answer, |out, answer| {
        output::list(out, answer, COLUMNS, "no breaks")
    })?;
    Ok(())
}
