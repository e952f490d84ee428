//! Section `data_retention`: how long each table's data is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
}

const fn default_batch_size() -> u32 {
    1000
}
const fn default_sleep_ms() -> u32 {
    100
}

/// How long candles are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandleRetention {
    /// Days kept per interval (`1m` … `1w`), 0 = for ever.
    pub retention_by_interval: BTreeMap<String, u32>,
}
