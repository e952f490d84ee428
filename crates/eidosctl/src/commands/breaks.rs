//! `breaks`: what the reconciliation found.

use anyhow::Result;
use eidos_types::BreakId;

use crate::cli::Breaks;
use crate::output::{self, Column, Show};
use crate::session::Session;

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

pub(super) async fn run(session: &mut Session<'_>, options: &Breaks) -> Result<()> {
    if let Some(id) = options.id {
        return show(session, id).await;
    }
    let answer = session
        .client
        .get(&["breaks"])
        .query("status", options.status.as_ref())
        .query("severity", options.severity.as_ref())
        .query("token", options.token.as_ref())
        .query("wallet", options.wallet.as_ref())
        .query("after", options.after.as_ref())
        .query("limit", Some(options.limit))
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
        output::record(out, row, COLUMNS)?;
        output::block(out, "evidence", row.get("evidence"))
    })
}
