//! `disposals`: what was moved, exported or removed, by whom and why.

use anyhow::Result;

use crate::cli::Disposals;
use crate::output::{self, Column, Show};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    ("ID", "id", Show::Text),
    ("AT", "at", Show::Instant),
    ("JOB", "job_name", Show::Text),
    ("SOURCE", "source", Show::Text),
    ("TABLE", "table_name", Show::Text),
    ("OBJECT", "object_name", Show::Text),
    ("ACTION", "action", Show::Text),
    ("ROWS", "row_count", Show::Text),
    ("APPROVED BY", "approved_by", Show::Text),
    ("WHY", "reason", Show::Brief),
];

pub(super) async fn list(session: &mut Session<'_>, options: &Disposals) -> Result<()> {
    let answer = session
        .client
        .get(&["disposals"])
        .query("source", options.source.as_ref())
        .query("table", options.table.as_ref())
        .query("job", options.job.as_ref())
        .query("action", options.action.as_ref())
        .query("unit", options.unit)
        .query("before", options.before)
        .query("limit", Some(options.limit))
        .send()
        .await?;
    session.print(&answer, |out, answer| {
        output::list(out, answer, COLUMNS, "nothing was disposed of")?;
        match answer["next"].as_i64() {
            Some(next) => writeln!(out, "... there may be more; go on with --before {next}"),
            None => Ok(()),
        }
    })
}
