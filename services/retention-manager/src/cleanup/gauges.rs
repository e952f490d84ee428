//! Gauges of what is on its way: after a run, and in every replica every minute.

use eidos_core::db::JobsDb;
use eidos_disposal::gauges;
use eidos_runtime::{JobError, Observation};
use serde::Deserialize;

use super::recover::sources_of;
use super::report::TableReport;
use super::without_rule::{self, Forgotten};
use crate::jobs::data_cleanup::DataCleanup;

/// What the gauges need of a report.
#[derive(Deserialize)]
struct Last {
    tables: Vec<TableReport>,
    without_rule: Vec<Forgotten>,
}

/// Sets them from what is true now. A database that does not answer has been reported by its tables already.
pub(super) async fn publish(job: &DataCleanup, db: &JobsDb) {
    for source in sources_of(job) {
        if let Ok(pool) = job.pool(source)
            && let Err(error) = gauges::quarantine(source, pool).await
        {
            tracing::warn!(%source, %error, "the gauge of the quarantine keeps its value");
        }
        let tables = job.rules.tables().filter(|(of, _)| *of == source);
        let tables = tables.map(|(_, table)| table.as_str());
        if let Err(error) = gauges::open_units(db, source, tables).await {
            tracing::warn!(%source, %error, "the gauges of open units keep their values");
        }
    }
}

/// Sets them, and those that only a run can know as the last run knew them, whichever replica that was in.
pub(crate) async fn observe(job: &DataCleanup, seen: &Observation<'_>) -> Result<(), JobError> {
    publish(job, seen.jobs_db()).await;
    if let Some(last) = seen.last_report::<Last>().await? {
        last.tables.iter().for_each(TableReport::publish);
        without_rule::publish(&job.sources, &last.without_rule);
    }
    Ok(())
}
