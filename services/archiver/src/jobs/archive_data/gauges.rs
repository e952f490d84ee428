//! The gauges, in every replica every minute.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Days;
use eidos_disposal::gauges;
use eidos_runtime::{Job, JobError, Observation};
use eidos_telemetry::metric;
use serde::Deserialize;

use super::job::ArchiveData;
use super::report::TableReport;

/// What the gauges need of a report.
#[derive(Deserialize)]
struct Last {
    tables: Vec<TableReport>,
    waiting_for_approval: BTreeMap<String, u64>,
    #[serde(default)]
    refused: BTreeMap<String, u64>,
}

/// The counters and histograms of this job at zero.
pub(super) fn series_from_zero(job: &ArchiveData) {
    for rule in &job.rules {
        let table = rule.table.as_str();
        metric::archive_batch_duration_from_zero(table);
        metric::disposal_rows(ArchiveData::NAME, rule.source.as_str(), table, "move", 0);
        gauges::rows_from_zero(ArchiveData::NAME, rule.source, &rule.archive);
    }
}

/// Sets them from what is true now, and those that only a run can know as the last run knew them, whichever replica that
/// was in. What waits for a run that does not come grows older all the same.
pub(super) async fn observe(job: &ArchiveData, seen: &Observation<'_>) -> Result<(), JobError> {
    if let Some(last) = seen.last_report::<Last>().await? {
        of_report(job, &last, seen);
    }
    let source = job.rules[0].source;
    gauges::quarantine(source, &job.pool).await?;
    let archives = job.rules.iter().map(|rule| rule.archive.as_str());
    Ok(gauges::open_units(seen.jobs_db(), source, archives).await?)
}

fn of_report(job: &ArchiveData, last: &Last, seen: &Observation<'_>) {
    let now = seen.now();
    let retention = Days::new(u64::from(job.options.retention_days));
    let due_ms = now.checked_sub_days(retention).unwrap_or(now).timestamp_millis();
    for table in &last.tables {
        let late = table
            .oldest_left_ms
            .map_or(0, |oldest| due_ms.saturating_sub(oldest));
        let late = Duration::from_millis(u64::try_from(late).unwrap_or_default());
        metric::archive_oldest_eligible_age(&table.table, late);
    }
    for rule in &job.rules {
        let archive = rule.archive.as_str();
        let waiting = last.waiting_for_approval.get(archive).copied();
        metric::retention_approvals_waiting(archive, waiting.unwrap_or_default());
        for table in [rule.table.as_str(), archive] {
            let refused = last.refused.get(table).copied();
            metric::disposal_refusals(ArchiveData::NAME, table, refused.unwrap_or_default());
        }
    }
}
