//! `units`: how far the removal of each month of a table is.

use anyhow::Result;

use crate::cli::Units;
use crate::output::{self, Column, Show};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    ("UNIT", "unit_id", Show::Text),
    ("SOURCE", "source", Show::Text),
    ("NAME", "unit_name", Show::Text),
    ("STATE", "state", Show::Text),
    ("FROM", "lower_ms", Show::Instant),
    ("TO", "upper_ms", Show::Instant),
    ("ROWS", "row_count", Show::Text),
    ("DROP AFTER", "drop_after_ms", Show::Instant),
    ("APPROVED BY", "approved_by", Show::Text),
    ("ROT", "rot", Show::Brief),
    ("WHY", "reason", Show::Brief),
    ("UPDATED", "updated_at", Show::Instant),
];

pub(super) async fn list(session: &mut Session<'_>, options: &Units) -> Result<()> {
    let answer = session
        .client
        .get(&["units"])
        .query("source", options.source.as_ref())
        .query("table", options.table.as_ref())
        .query("state", options.state.as_ref())
        .query("before", options.before)
        .query("limit", Some(options.limit))
        .send()
        .await?;
    session.print(&answer, |out, answer| {
        output::list(out, answer, COLUMNS, "no units")?;
        match answer["next"].as_str() {
            Some(next) => writeln!(out, "... there may be more; go on with --before {next}"),
            None => Ok(()),
        }
    })
}
