//! The gauges, after a run and in every replica every minute.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Days, Utc};
use eidos_core::db::JobsDb;
use eidos_disposal::gauges;
use eidos_runtime::{JobError, Observation};
use eidos_telemetry::metric;
use serde::Deserialize;

use super::ArchiveData;
use super::report::{Report, TableReport};

/// What the gauges need of a report.
#[derive(Deserialize)]
struct Last {
    tables: Vec<TableReport>,
    waiting_for_approval: BTreeMap<String, u64>,
}

/// Sets them after a run, `now` by its clock.
pub(super) async fn publish(
    job: &ArchiveData,
    db: &JobsDb,
    report: &Report,
    now: DateTime<Utc>,
) -> Result<(), JobError> {
    of_report(job, &report.tables, &report.waiting_for_approval, now);
    of_databases(job, db).await
}

/// Sets them from what is true now, and those that only a run can know as the last run knew them, whichever replica that
/// was in. What waits for a run that does not come grows older all the same.
pub(super) async fn observe(job: &ArchiveData, seen: &Observation<'_>) -> Result<(), JobError> {
    if let Some(last) = seen.last_report::<Last>().await? {
        of_report(job, &last.tables, &last.waiting_for_approval, seen.now());
    }
    of_databases(job, seen.jobs_db()).await
}

fn of_report(job: &ArchiveData, tables: &[TableReport], waiting: &BTreeMap<String, u64>, now: DateTime<Utc>) {
    let retention = Days::new(u64::from(job.options.retention_days));
    let due_ms = now.checked_sub_days(retention).unwrap_or(now).timestamp_millis();
    for table in tables {
        let late = table
            .oldest_left_ms
            .map_or(0, |oldest| due_ms.saturating_sub(oldest));
        let late = Duration::from_millis(u64::try_from(late).unwrap_or_default());
        metric::archive_oldest_eligible_age(&table.table, late);
    }
    for rule in &job.rules {
        let archive = rule.archive.as_str();
        metric::retention_approvals_waiting(archive, waiting.get(archive).copied().unwrap_or_default());
    }
}

async fn of_databases(job: &ArchiveData, db: &JobsDb) -> Result<(), JobError> {
    let source = job.rules[0].source;
    gauges::quarantine(source, &job.pool).await?;
    let archives = job.rules.iter().map(|rule| rule.archive.as_str());
    Ok(gauges::open_units(db, source, archives).await?)
}
