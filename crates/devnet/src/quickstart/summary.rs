//! What `quickstart --all` prints and writes: the jobs that ran, what was checked, and the verdict.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::json;

use super::whereabouts::Check;
use super::{Report, say, write_private};
use crate::history::HistoryManifest;

/// One job that ran.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Ran {
    /// The command line.
    pub(super) job: String,
    /// As stored with its execution.
    pub(super) status: String,
    /// Milliseconds, likewise.
    pub(super) duration_ms: i64,
    /// From the audit, or its report.
    pub(super) what: String,
    /// Whether it ended as it had to.
    pub(super) as_expected: bool,
}

/// The line of the reconciliation that ran before. Its duration is that of everything up to its verdict.
pub(super) fn reconciled(report: &Report, took: Duration) -> Ran {
    let is_clean = report.is_clean();
    Ran {
        job: "reconciliation".to_owned(),
        status: if is_clean { "success" } else { "failed" }.to_owned(),
        duration_ms: i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
        what: format!(
            "{} planted, {} found, {} missed, {} false breaks",
            report.planted.len() + report.movements.planted.len(),
            report.found.len() + report.movements.planted.len() - report.movements.missed.len(),
            report.missed.len() + report.movements.missed.len(),
            report.false_breaks.len() + report.movements.false_breaks.len()
        ),
        as_expected: is_clean,
    }
}

/// Prints both tables and the verdict, and writes the report. `true` means that everything held.
pub(super) fn conclude(
    dir: &Path,
    slot: &str,
    manifest: &HistoryManifest,
    ran: &[Ran],
    checks: &[Check],
    took: Duration,
) -> anyhow::Result<bool> {
    let mut jobs = Table::new();
    jobs.load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(["job", "status", "ms", "what it did"]);
    for run in ran {
        let mark = if run.as_expected { "" } else { "  <- unexpected" };
        let what: String = run.what.chars().take(110).collect();
        jobs.add_row([
            run.job.clone(),
            run.status.clone(),
            run.duration_ms.to_string(),
            format!("{what}{mark}"),
        ]);
    }
    say(&format!("\n{jobs}\n\n{}", checked(checks)));
    let failed = checks.iter().filter(|check| !check.holds).count();
    let unexpected = ran.iter().filter(|ran| !ran.as_expected).count();
    let path = dir.join("quickstart-all-report.json");
    let report = json!({
        "seed": manifest.seed, "slot": slot, "jobs": ran, "checks": checks, "traps": manifest.traps,
    });
    write_private(&path, &serde_json::to_string_pretty(&report)?)?;
    let verdict = if failed + unexpected == 0 { "OK" } else { "FAILED" };
    say(&format!(
        "{verdict}: {} jobs, {unexpected} ended otherwise than they had to; {} things checked in the databases and the \
         exports, {failed} violated ({} s)\nReport: {}",
        ran.len(),
        checks.len(),
        took.as_secs(),
        path.display()
    ));
    ensure!(!checks.is_empty(), "nothing was checked");
    Ok(failed + unexpected == 0)
}

/// One row per table or trap; what is violated says what it is.
fn checked(checks: &[Check]) -> Table {
    let mut found = Table::new();
    found
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(["about", "found", "holds"]);
    for about in checks.chunk_by(|left, right| left.about == right.about) {
        let figures: Vec<&str> = about.iter().map(|check| check.found.as_str()).collect();
        let violated: Vec<String> = about
            .iter()
            .filter(|check| !check.holds)
            .map(|check| format!("VIOLATED: {}", check.what))
            .collect();
        let verdict = if violated.is_empty() {
            "yes".to_owned()
        } else {
            violated.join("; ")
        };
        let name = about.first().map_or("", |check| check.about.as_str());
        found.add_row([name, &figures.join("; "), &verdict]);
    }
    found
}
