//! [`ColumnStats`]: what a person compares when a digest says no.

mod summary;

use serde::{Deserialize, Serialize};

pub(crate) use summary::StatsCollector;

/// What is known of one column over all rows of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnStats {
    /// Its name.
    pub name: String,
    /// How many NULLs.
    pub nulls: u64,
    /// The smallest value as PostgreSQL prints it. Text compares by bytes; NaN is left out. Absent for bytea and
    /// json(b), when no value is there, and when the text is longer than 256 bytes.
    pub min: Option<String>,
    /// The largest value, likewise.
    pub max: Option<String>,
    /// The exact sum of integers and numerics; absent for other types, and when no value is there.
    pub sum: Option<String>,
}
