//! Metrics of what leaves a database: partitions, exports, moves.

use std::time::Duration;

use super::as_gauge;

/// `disposal_rows_total`: rows that were moved, exported, deleted, dropped or restored.
pub fn disposal_rows(job: &str, source: &'static str, table: &str, action: &'static str, count: u64) {
    metrics::counter!("disposal_rows_total", "job" => job.to_owned(), "source" => source,
        "table" => table.to_owned(), "action" => action)
    .increment(count);
}

/// `disposal_refusals_total`: refusals to remove data because a check failed, by reason.
pub fn disposal_refused(job: &str, table: &str, reason: &'static str) {
    metrics::counter!("disposal_refusals_total", "job" => job.to_owned(), "table" => table.to_owned(),
        "reason" => reason)
    .increment(1);
}

/// `disposal_refusals`: refusals of the job's newest run to remove data of a table.
pub fn disposal_refusals(job: &str, table: &str, count: u64) {
    metrics::gauge!("disposal_refusals", "job" => job.to_owned(), "table" => table.to_owned())
        .set(as_gauge(count));
}

/// `disposal_units_open`: partitions and months of rows whose disposal has not ended, by state.
pub fn disposal_units_open(source: &'static str, table: &str, state: &'static str, count: u64) {
    metrics::gauge!("disposal_units_open", "source" => source, "table" => table.to_owned(), "state" => state)
        .set(as_gauge(count));
}

/// `archive_stored_bytes_total`: bytes of verified exports.
pub fn archive_stored_bytes(source: &'static str, table: &str, bytes: u64) {
    metrics::counter!("archive_stored_bytes_total", "source" => source, "table" => table.to_owned())
        .increment(bytes);
}

/// `archive_rot_units`: exports that passed verification once and fail it now.
pub fn archive_rot_units(count: u64) {
    metrics::gauge!("archive_rot_units").set(as_gauge(count));
}

/// `archive_oldest_eligible_age_seconds`: time since the oldest row that should be archived was due.
pub fn archive_oldest_eligible_age(table: &str, age: Duration) {
    metrics::gauge!("archive_oldest_eligible_age_seconds", "table" => table.to_owned())
        .set(age.as_secs_f64());
}

/// `archive_batch_duration_seconds`: time of a batch, from the selection of its rows to its commit.
pub fn archive_batch_duration(table: &str, duration: Duration) {
    metrics::histogram!("archive_batch_duration_seconds", "table" => table.to_owned()).record(duration);
}

/// `archive_batch_duration_seconds` without a batch: a series that first appears with its first batch shows no increase.
pub fn archive_batch_duration_from_zero(table: &str) {
    let _empty = metrics::histogram!("archive_batch_duration_seconds", "table" => table.to_owned());
}

/// `quarantine_bytes`: disk space of detached partitions that are not dropped yet.
pub fn quarantine_bytes(source: &'static str, bytes: u64) {
    metrics::gauge!("quarantine_bytes", "source" => source).set(as_gauge(bytes));
}

/// `partition_months_ahead`: whole months after the current one that have a partition.
pub fn partition_months_ahead(source: &'static str, table: &str, count: u64) {
    metrics::gauge!("partition_months_ahead", "source" => source, "table" => table.to_owned())
        .set(as_gauge(count));
}

/// `partition_gaps`: time ranges without a partition, for which none could be created.
pub fn partition_gaps(source: &'static str, table: &str, count: u64) {
    metrics::gauge!("partition_gaps", "source" => source, "table" => table.to_owned()).set(as_gauge(count));
}

/// `partition_default_rows`: rows in a default partition.
pub fn partition_default_rows(source: &'static str, table: &str, count: u64) {
    metrics::gauge!("partition_default_rows", "source" => source, "table" => table.to_owned())
        .set(as_gauge(count));
}

/// `retention_tables_without_rule`: tables without a retention rule.
pub fn retention_tables_without_rule(source: &'static str, count: u64) {
    metrics::gauge!("retention_tables_without_rule", "source" => source).set(as_gauge(count));
}

/// `retention_approvals_waiting`: planned changes of a table that wait for an approval.
pub fn retention_approvals_waiting(table: &str, count: u64) {
    metrics::gauge!("retention_approvals_waiting", "table" => table.to_owned()).set(as_gauge(count));
}
