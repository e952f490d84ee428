//! [`Manifest`]: what an export consists of and what proves that it is whole.

use crate::ArchiveFormat;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::column::{Column, KeyColumns};
use crate::digest::ContentDigest;
use crate::part_writer::{ExportTotals, PartFacts};
use crate::segment::Segment;
use crate::stats::ColumnStats;

/// The version of the manifest this program writes. It reads this one and all before it: version 1 has no
/// `column_numbers`, `ordered_by` and `snapshot_lsn`.
pub const MANIFEST_VERSION: u32 = 2;

/// What is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRequest {
    /// Names the export's folder. A new one for each attempt.
    pub unit_id: Uuid,
    /// The database, as `databases.<source>` names it.
    pub source: String,
    /// The table's schema.
    pub schema: String,
    /// The parent of a partition, or the plain table.
    pub table: String,
    /// The partition's name, or `table@2024-03`.
    pub unit_name: String,
    /// The columns of the COPY statement, in its order.
    pub columns: Vec<Column>,
    /// The attribute number of each column in `table`, which is the parent of a partition: Parquet's field ids. They
    /// stay when another column is dropped, positions do not. Empty: positions from 1.
    pub column_numbers: Vec<i16>,
    /// The columns that the COPY statement orders its rows by, ascending. Empty: rows are in no order.
    pub ordered_by: Vec<String>,
    /// A position in the write-ahead log, as PostgreSQL prints it: all rows were committed before it. `None`: the
    /// server did not say.
    pub snapshot_lsn: Option<String>,
    /// The primary key, in its order.
    pub primary_key: Vec<String>,
    /// The column whose month decides.
    pub time_column: String,
    /// `[lower, upper)` of the time column, epoch milliseconds.
    pub bounds_ms: (i64, i64),
    /// A statement that makes a table these rows go into.
    pub create_table: String,
    /// Parquet or CSV.
    pub format: ArchiveFormat,
    /// Rows of one segment; `None` makes none.
    pub segment_rows: Option<u32>,
    /// When it was made, for people.
    pub created_at: DateTime<Utc>,
    /// Who made it: service and version.
    pub exporter: String,
}

impl ExportRequest {
    pub(crate) fn key_columns(&self) -> KeyColumns {
        KeyColumns {
            time_column: self.time_column.clone(),
            primary_key: self.primary_key.clone(),
        }
    }

    /// What each part says of itself, for readers that see the file and not the manifest.
    pub(crate) fn part_facts(&self) -> PartFacts {
        let (lower, upper) = self.bounds_ms;
        let mut key_values = vec![
            ("eidos.source", self.source.clone()),
            ("eidos.table", format!("{}.{}", self.schema, self.table)),
            ("eidos.unit", self.unit_name.clone()),
            ("eidos.unit_id", self.unit_id.to_string()),
            ("eidos.time_column", self.time_column.clone()),
            ("eidos.lower_ms", lower.to_string()),
            ("eidos.upper_ms", upper.to_string()),
        ];
        key_values.extend(self.snapshot_lsn.clone().map(|lsn| ("eidos.snapshot_lsn", lsn)));
        PartFacts {
            column_numbers: self.column_numbers.clone(),
            ordered_by: self.ordered_by.clone(),
            key_values: key_values
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }
    }
}

/// One object with rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its key below the archive's URL.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
    /// Rows in it, never 0.
    pub rows: u64,
    /// Of these rows.
    pub digest: ContentDigest,
}

/// Everything that is known of an export: written last, as `manifest.json`, and never changed. Fields are those of
/// [`ExportRequest`] and what the export found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// As requested.
    pub unit_id: Uuid,
    /// As requested.
    pub source: String,
    /// As requested.
    pub schema: String,
    /// As requested.
    pub table: String,
    /// As requested.
    pub unit_name: String,
    /// As requested.
    pub bounds_ms: (i64, i64),
    /// As requested.
    pub format: ArchiveFormat,
    /// As requested.
    pub created_at: DateTime<Utc>,
    /// As requested.
    pub exporter: String,
    /// All rows of all parts.
    pub rows: u64,
    /// Of all rows.
    pub content_digest: ContentDigest,
    /// As requested.
    pub time_column: String,
    /// As requested.
    pub primary_key: Vec<String>,
    /// As requested.
    pub columns: Vec<Column>,
    /// As requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub column_numbers: Vec<i16>,
    /// As requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ordered_by: Vec<String>,
    /// As requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_lsn: Option<String>,
    /// As requested.
    pub create_table: String,
    /// In the order of rows. None for a table without rows.
    pub parts: Vec<Part>,
    /// One for each column, in order.
    pub column_stats: Vec<ColumnStats>,
    /// As requested.
    pub segment_rows: Option<u32>,
    /// In the order of rows; empty without `segment_rows`.
    pub segments: Vec<Segment>,
}

/// Which manifest, and which content it must have. A service that drops data keeps this in its own database: an object
/// store alone cannot prove that its manifest is the one that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRef {
    /// Its key below the archive's URL.
    pub key: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
}

/// A finished export.
#[derive(Debug, Clone)]
pub struct Exported {
    /// What was written.
    pub manifest: Manifest,
    /// The manifest's key below the archive's URL.
    pub manifest_key: String,
    /// SHA-256 of the manifest's bytes, hexadecimal.
    pub manifest_sha256: String,
}

impl Exported {
    /// Returns what to keep and to verify.
    #[must_use]
    pub fn reference(&self) -> ManifestRef {
        ManifestRef {
            key: self.manifest_key.clone(),
            sha256: self.manifest_sha256.clone(),
        }
    }
}

/// What a verification proved, by reading every byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Rows decoded.
    pub rows: u64,
    /// Of these rows: equal to the manifest's.
    pub digest: ContentDigest,
    /// All parts and the manifest.
    pub stored_bytes: u64,
}

impl Manifest {
    /// Of an export whose parts are stored.
    pub(crate) fn of(request: &ExportRequest, parts: Vec<Part>, totals: ExportTotals) -> Self {
        Self {
            version: MANIFEST_VERSION,
            unit_id: request.unit_id,
            source: request.source.clone(),
            schema: request.schema.clone(),
            table: request.table.clone(),
            unit_name: request.unit_name.clone(),
            bounds_ms: request.bounds_ms,
            format: request.format,
            created_at: request.created_at,
            exporter: request.exporter.clone(),
            rows: totals.rows,
            content_digest: totals.digest,
            time_column: request.time_column.clone(),
            primary_key: request.primary_key.clone(),
            columns: request.columns.clone(),
            column_numbers: request.column_numbers.clone(),
            ordered_by: request.ordered_by.clone(),
            snapshot_lsn: request.snapshot_lsn.clone(),
            create_table: request.create_table.clone(),
            parts,
            column_stats: totals.column_stats,
            segment_rows: request.segment_rows,
            segments: totals.segments,
        }
    }

    pub(crate) fn key_columns(&self) -> KeyColumns {
        KeyColumns {
            time_column: self.time_column.clone(),
            primary_key: self.primary_key.clone(),
        }
    }

    /// Returns the bytes of `manifest.json`: always the same for the same content.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the bytes of `manifest.json` and checks that it does not contradict itself.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("it is not a manifest of version 1 to {MANIFEST_VERSION}: {error}"))?;
        manifest.contradiction().map_or(Ok(manifest), Err)
    }

    /// Returns what in it cannot be true at once. `None`: nothing.
    pub(crate) fn contradiction(&self) -> Option<String> {
        if !(1..=MANIFEST_VERSION).contains(&self.version) {
            return Some(format!(
                "it has version {}, this program reads 1 to {MANIFEST_VERSION}",
                self.version
            ));
        }
        let whole = (self.rows, self.content_digest);
        if sum(self.parts.iter().map(|part| (part.rows, part.digest))) != whole {
            return Some("its parts do not add up to its rows and digest".to_owned());
        }
        let segments = self.segments.iter().map(|segment| (segment.rows, segment.digest));
        if self.segment_rows.is_some() && sum(segments) != whole {
            return Some("its segments do not add up to its rows and digest".to_owned());
        }
        (self.column_stats.len() != self.columns.len())
            .then(|| "it has not one statistic for each column".to_owned())
    }
}

fn sum(pieces: impl Iterator<Item = (u64, ContentDigest)>) -> (u64, ContentDigest) {
    pieces.fold((0, ContentDigest::ZERO), |(rows, mut digest), piece| {
        digest.merge(&piece.1);
        (rows.saturating_add(piece.0), digest)
    })
}

/// SHA-256, hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1 of this program wrote it.
    const VERSION_1: &str = r#"{"version": 1, "unit_id": "01900000-0000-7000-8000-000000000000", "source": "risk",
        "schema": "public", "table": "eidos_risk_events", "unit_name": "eidos_risk_events_2024_01", "bounds_ms": [0, 1],
        "format": "parquet", "created_at": "2026-11-20T00:00:00Z", "exporter": "data-cleanup/1", "rows": 0,
        "content_digest": "DIGEST", "time_column": "created_at", "primary_key": ["id"],
        "columns": [{"name": "id", "pg_type": "bigint", "nullable": false}], "create_table": "CREATE TABLE x ()",
        "parts": [], "column_stats": [{"name": "id", "nulls": 0, "min": null, "max": null, "sum": null}],
        "segment_rows": null, "segments": []}"#;

    #[test]
    fn a_manifest_of_version_1_is_read_and_one_of_the_future_is_refused() {
        let old = VERSION_1.replace("DIGEST", &ContentDigest::ZERO.to_string());
        let manifest = Manifest::from_bytes(old.as_bytes()).unwrap();
        assert_eq!((manifest.version, manifest.column_numbers.len()), (1, 0));
        assert_eq!((manifest.ordered_by.len(), manifest.snapshot_lsn), (0, None));
        let future = old.replace("\"version\": 1", "\"version\": 3");
        let refused = Manifest::from_bytes(future.as_bytes()).unwrap_err();
        assert!(
            refused.contains("version 3") && refused.contains("1 to 2"),
            "{refused}"
        );
    }
}
