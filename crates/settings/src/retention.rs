//! Section `data_retention`: how long each table's data is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::SourceName;

/// Section `data_retention`. Keys of the maps are table names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRetention {
    /// Monthly partitions, dropped whole.
    pub partitioned_tables: BTreeMap<String, PartitionedTable>,
    /// Plain tables, deleted in batches.
    pub regular_tables: BTreeMap<String, RegularTable>,
    /// Candles, kept per interval.
    pub timescaledb: BTreeMap<String, CandleRetention>,
    /// Tables that are kept for ever on purpose, so that they are not reported as forgotten. `*` stands for any
    /// characters.
    #[serde(default)]
    pub keep_forever: Vec<String>,
}

/// The file format of an archived partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArchiveFormat {
    /// Parquet with zstd.
    #[default]
    Parquet,
    /// CSV with a header line.
    Csv,
}

/// How long the partitions of a table are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionedTable {
    /// Whole months kept, 1–1200.
    pub retention_months: u32,
    /// Whether a partition is exported and verified before it is dropped.
    #[serde(default)]
    pub archive_before_drop: bool,
    /// Format of that export.
    #[serde(default)]
    pub archive_format: ArchiveFormat,
    /// Which database holds the table; unset: told from its name (`eidos_risk_…` is in `risk`).
    #[serde(default)]
    pub source: Option<SourceName>,
    /// Whether scheduled runs wait for a person to apply the plan.
    #[serde(default)]
    pub require_approval: bool,
    /// Days a detached partition rests before it is dropped, 0–3650; unset: `disposal.quarantine_days`.
    #[serde(default)]
    pub quarantine_days: Option<u32>,
}

/// How long the rows of a plain table are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegularTable {
    /// Whole months kept, 1–1200.
    pub retention_months: u32,
    /// Rows deleted per transaction, 1–100000.
    #[serde(default = "default_batch_size")]
    pub batch_size: u32,
    /// Pause between two batches, in milliseconds, 0–60000.
    #[serde(default = "default_sleep_ms")]
    pub sleep_ms: u32,
    /// Which database holds the table; unset: told from its name.
    #[serde(default)]
    pub source: Option<SourceName>,
    /// The column a row's age is told by: epoch milliseconds.
    #[serde(default = "default_time_column")]
    pub time_column: String,
    /// Which rows are finished business. Others are never deleted, however old. Unset: what the service knows about
    /// the tables of the requirement; without a rule every row counts as finished.
    #[serde(default)]
    pub finished: Option<FinishedRule>,
    /// Whether rows are exported and verified before they are deleted; unset:
    /// `jobs.data-cleanup.archive_before_cleanup`.
    #[serde(default)]
    pub archive_before_delete: Option<bool>,
    /// Format of that export.
    #[serde(default)]
    pub archive_format: ArchiveFormat,
    /// Whether scheduled runs wait for a person to apply the plan.
    #[serde(default)]
    pub require_approval: bool,
}

/// Which rows of a table are finished business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishedRule {
    /// The column that says so.
    pub column: String,
    /// Its values in finished rows: texts or integers.
    pub values: Vec<Value>,
}

const fn default_batch_size() -> u32 {
    1000
}
const fn default_sleep_ms() -> u32 {
    100
}
fn default_time_column() -> String {
    "created_at".to_owned()
}

/// How long candles are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandleRetention {
    /// Days kept per interval (`1m` … `1w`), 0 = for ever.
    pub retention_by_interval: BTreeMap<String, u32>,
    /// Which coarser interval proves a finer one before it is deleted; unset: 1h for the minutes, 4h for 1h, 1d for 4h.
    #[serde(default)]
    pub proved_by: BTreeMap<String, String>,
    /// Which database holds the table; unset: told from its name.
    #[serde(default)]
    pub source: Option<SourceName>,
    /// Whether scheduled runs wait for a person to apply the plan.
    #[serde(default)]
    pub require_approval: bool,
}
