//! [`ArchiveFormat`].

use serde::{Deserialize, Serialize};

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
