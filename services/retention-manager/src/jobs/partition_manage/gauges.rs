//! The gauges, in every replica every minute.

use eidos_disposal::{DisposalError, source_connection};
use eidos_runtime::{Job, JobError, Observation};
use eidos_telemetry::metric;
use eidos_types::Slot;
use serde::Deserialize;

use super::job::{ManagedTable, PartitionManage};
use super::report::TableReport;
use crate::partitions::parent::Parent;

/// What the gauges need of a report.
#[derive(Deserialize)]
struct Last {
    tables: Vec<TableReport>,
}

/// The counters of this job at zero.
pub(super) fn series_from_zero(job: &PartitionManage) {
    for managed in &job.tables {
        let (source, table) = (managed.source.as_str(), managed.table.as_str());
        metric::disposal_rows(PartitionManage::NAME, source, table, "drain", 0);
    }
}

/// Gaps and rows in default partitions as the last run left them, whichever replica that was in: on the first of a month
/// the next one ahead is missing until the run of that day. How far the months reach is asked anew: they also run out
/// when the job does not run.
pub(super) async fn observe(job: &PartitionManage, seen: &Observation<'_>) -> Result<(), JobError> {
    if let Some(last) = seen.last_report::<Last>().await? {
        last.tables.iter().for_each(TableReport::publish);
    }
    let now = Slot::at(seen.now());
    for table in &job.tables {
        if let Err(error) = months_ahead(job, table, now).await {
            let name = table.table.as_str();
            tracing::warn!(source = %table.source, table = name, %error, "its gauge of months ahead keeps its value");
        }
    }
    Ok(())
}

async fn months_ahead(job: &PartitionManage, table: &ManagedTable, now: Slot) -> Result<(), DisposalError> {
    let mut conn = source_connection(job.pool(table.source)?).await?;
    let parent = Parent::read(&mut conn, &table.table).await?;
    let months = job.rules(now, table).months_covered(&parent.partitions);
    metric::partition_months_ahead(table.source.as_str(), table.table.as_str(), u64::from(months));
    Ok(())
}
