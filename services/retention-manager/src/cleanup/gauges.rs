//! Gauges of what is on its way, in every replica every minute.

use eidos_disposal::gauges;
use eidos_runtime::{Job, JobError, Observation};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::job::DataCleanup;
use super::recover::sources_of;
use super::report::TableReport;
use super::without_rule::{self, Forgotten};

/// What the gauges need of a report.
#[derive(Deserialize)]
struct Last {
    tables: Vec<TableReport>,
    without_rule: Vec<Forgotten>,
    candles: Vec<Candles>,
}

/// What the gauges need of the report of one interval.
#[derive(Deserialize)]
struct Candles {
    table: String,
    kept: Vec<IgnoredAny>,
}

impl Last {
    /// Groups of candles of `table` that stay because nothing proves them.
    fn kept(&self, table: &str) -> u64 {
        let of_table = self.candles.iter().filter(|candles| candles.table == table);
        of_table.map(|candles| candles.kept.len() as u64).sum()
    }
}

/// The counters of this job at zero.
pub(crate) fn series_from_zero(job: &DataCleanup) {
    for (source, table) in job.rules.tables() {
        gauges::rows_from_zero(DataCleanup::NAME, source, table);
    }
}

/// Sets them from what is true now, and those that only a run can know as the last run knew them, whichever replica that
/// was in. A database that does not answer keeps its values; the others are looked at all the same.
pub(crate) async fn observe(job: &DataCleanup, seen: &Observation<'_>) -> Result<(), JobError> {
    for source in sources_of(job) {
        if let Ok(pool) = job.pool(source)
            && let Err(error) = gauges::quarantine(source, pool).await
        {
            tracing::warn!(%source, %error, "the gauge of the quarantine keeps its value");
        }
        let tables = job.rules.tables().filter(|(of, _)| *of == source);
        gauges::open_units(seen.jobs_db(), source, tables.map(|(_, table)| table.as_str())).await?;
    }
    if let Some(last) = seen.last_report::<Last>().await? {
        for table in &last.tables {
            table.publish(DataCleanup::NAME, last.kept(&table.table));
        }
        without_rule::publish(&job.sources, &last.without_rule);
    }
    Ok(())
}
