//! [`Unit`]: what is disposed of at once, and how far it is (`eidos_jobs_disposal_units`).
//!
//! ```text
//! partition:  planned → frozen → exporting → verified → quarantined → dropping → dropped
//!                          └────────── not archived ────────↗
//! rows:       planned → exporting → verified → deleting → deleted
//! ```
//! `abandoned` from every state in which nothing was taken away yet. A state is written before the act it announces
//! (`exporting`, `dropping`, `deleting`) or after the act that it proves (all others), in a fenced step, and only from
//! the state the caller has seen: two runs cannot both move a unit on.

use std::fmt;

use eidos_archive_store::{ArchiveFormat, ContentDigest, ManifestRef};
use eidos_core::fence::Step;
use eidos_plan::{Approval, audit};
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use serde::Serialize;
use uuid::Uuid;

use crate::DisposalError;
use crate::catalogue::Relation;

mod store;

pub use store::{
    abandoned_of, by_id, create, list_open, list_with_export, mark_checked, move_on, newest_exports,
    newest_manifests, newest_named, newest_of, open_of,
};

/// How far a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitState {
    /// Its row exists; nothing was done.
    Planned,
    /// Nobody can write to the partition.
    Frozen,
    /// Its folder in the object store may hold something.
    Exporting,
    /// Its export was read back and equals the table.
    Verified,
    /// The partition is detached and rests in `eidos_quarantine`.
    Quarantined,
    /// The table may be gone at any moment.
    Dropping,
    /// Rows may be gone at any moment.
    Deleting,
    /// The table is gone.
    Dropped,
    /// The rows are gone.
    Deleted,
    /// Given up before anything was taken away; `reason` says why.
    Abandoned,
}

impl UnitState {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Planned,
        Self::Frozen,
        Self::Exporting,
        Self::Verified,
        Self::Quarantined,
        Self::Dropping,
        Self::Deleting,
        Self::Dropped,
        Self::Deleted,
        Self::Abandoned,
    ];

    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Frozen => "frozen",
            Self::Exporting => "exporting",
            Self::Verified => "verified",
            Self::Quarantined => "quarantined",
            Self::Dropping => "dropping",
            Self::Deleting => "deleting",
            Self::Dropped => "dropped",
            Self::Deleted => "deleted",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether nothing more will happen to it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Dropped | Self::Deleted | Self::Abandoned)
    }

    fn from_stored(text: &str) -> Result<Self, DisposalError> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| unknown("state", text))
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What kind of unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    /// One partition.
    Partition,
    /// The rows of one month of a plain table.
    Rows,
}

impl UnitKind {
    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Rows => "rows",
        }
    }
}

/// What a unit is before it has a row.
#[derive(Debug, Clone, PartialEq)]
pub struct NewUnit {
    /// `UUIDv7`; also its folder in the object store.
    pub unit_id: Uuid,
    /// Its database.
    pub source: SourceName,
    /// The parent of a partition, or the plain table.
    pub table: Relation,
    /// The partition's name, or `table@2024-03`.
    pub unit_name: String,
    /// Partition or rows.
    pub kind: UnitKind,
    /// Of the partition or plain table.
    pub table_oid: u32,
    /// First key inside, epoch ms.
    pub lower_ms: i64,
    /// First key after it, epoch ms.
    pub upper_ms: i64,
    /// The format of its export; `None`: it goes without one.
    pub archive: Option<ArchiveFormat>,
    /// Of the partition's or table's columns.
    pub columns_fingerprint: String,
    /// On whose approval it goes.
    pub approval: Approval,
}

/// A unit's row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unit {
    /// `UUIDv7`; also its folder in the object store.
    pub unit_id: Uuid,
    /// The job that moves it.
    pub job_name: String,
    /// Its database.
    pub source: SourceName,
    /// The parent of a partition, or the plain table.
    pub table: Relation,
    /// The partition's name, or `table@2024-03`.
    pub unit_name: String,
    /// Partition or rows.
    pub kind: UnitKind,
    /// Of the partition or plain table.
    pub table_oid: u32,
    /// First key inside, epoch ms.
    pub lower_ms: i64,
    /// First key after it, epoch ms.
    pub upper_ms: i64,
    /// How far it is.
    pub state: UnitState,
    /// Whether a verified copy is demanded.
    pub archived: bool,
    /// The format of its export.
    pub format: Option<ArchiveFormat>,
    /// Of its export.
    pub manifest_key: Option<String>,
    /// Of its export.
    pub manifest_sha256: Option<String>,
    /// Of its rows.
    pub content_digest: Option<String>,
    /// Its rows, counted.
    pub row_count: Option<i64>,
    /// Size of its export.
    pub stored_bytes: Option<i64>,
    /// Of its columns.
    pub columns_fingerprint: String,
    /// The plan that named it.
    pub plan_digest: String,
    /// On whose approval it goes.
    pub approved_by: String,
    /// `schema.table` while it rests in quarantine.
    pub quarantine_table: Option<String>,
    /// From when on it may be dropped, epoch ms.
    pub drop_after_ms: Option<i64>,
    /// Why it was abandoned.
    pub reason: Option<String>,
    /// What its table was like when it failed for good; `None`: it did not.
    pub failed_as: Option<String>,
    /// When its export was last read in full, epoch ms.
    pub checked_at_ms: Option<i64>,
    /// What is wrong with its export; `None` if it is sound.
    pub rot: Option<String>,
    /// When its row was made, epoch ms.
    pub created_at_ms: i64,
}

/// What is written together with a new state; `None` leaves a column as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// The verified export.
    pub evidence: Option<Evidence>,
    /// Rows, counted.
    pub row_count: Option<i64>,
    /// `schema.table` in quarantine.
    pub quarantine_table: Option<String>,
    /// From when on it may be dropped, epoch ms.
    pub drop_after_ms: Option<i64>,
    /// Why it was abandoned.
    pub reason: Option<String>,
    /// What its table was like when it failed for good.
    pub failed_as: Option<String>,
}

/// What proves that the rows exist elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The manifest.
    pub manifest: ManifestRef,
    /// Of the rows, as they were read from the table and again from the export.
    pub digest: ContentDigest,
    /// Their number.
    pub rows: i64,
    /// Size of the export.
    pub stored_bytes: i64,
}

impl Unit {
    /// Where its export's manifest is, once it was verified.
    #[must_use]
    pub fn manifest(&self) -> Option<ManifestRef> {
        Some(ManifestRef {
            key: self.manifest_key.clone()?,
            sha256: self.manifest_sha256.clone()?,
        })
    }

    /// Returns on whose approval it goes.
    #[must_use]
    pub fn approval(&self) -> Approval {
        Approval {
            plan_digest: self.plan_digest.clone(),
            approved_by: self.approved_by.clone(),
        }
    }

    /// An audit row about it, to be completed.
    #[must_use]
    pub fn act(&self, action: &'static str, reason: impl Into<String>) -> audit::Act {
        audit::Act {
            unit_id: Some(self.unit_id),
            source: self.source,
            table: self.table.clone(),
            object: self.unit_name.clone(),
            action,
            rows: self.row_count,
            bytes: self.stored_bytes,
            plan_digest: Some(self.plan_digest.clone()),
            approved_by: self.approved_by.clone(),
            reason: reason.into(),
            evidence: serde_json::json!({}),
        }
    }
}

/// A state, an act and one commit: what most steps on a unit are.
///
/// # Errors
/// [`DisposalError::Refused`] when the unit is no longer in the state it was read in; [`DisposalError::Job`] when the
/// run was replaced; [`DisposalError::Sql`].
pub async fn move_on_recorded(
    ctx: &JobContext,
    unit: &Unit,
    to: UnitState,
    change: &Change,
    act: &audit::Act,
) -> Result<Unit, DisposalError> {
    let mut step: Step<'_> = ctx.step().await?;
    let moved = move_on(&mut step, ctx, unit, to, change).await?;
    let act = audit::Act {
        rows: act.rows.or(moved.row_count),
        bytes: act.bytes.or(moved.stored_bytes),
        ..act.clone()
    };
    audit::record(&mut step, ctx, &act).await?;
    step.commit().await?;
    Ok(moved)
}

fn unknown(column: &str, text: &str) -> DisposalError {
    DisposalError::refused(
        "stored",
        format!(
            "eidos_jobs_disposal_units.{column} holds '{text}', which this program does not know; was it written by a newer version?"
        ),
    )
}
