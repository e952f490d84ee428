//! [`Plan`]: what would be done, for a person to read and for a later run to do exactly.
//!
//! The digest covers what identifies the work: job, slot, and of each item source, table, object, action and identity.
//! Estimates, sizes and sentences are not part of it: they may change without the work changing. A dry run's report
//! carries the plan (`plan.digest`), so the history of executions is where plans are kept and found again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use eidos_settings::SourceName;
use eidos_types::Slot;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{PlanError, render};

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A partition is created and attached.
    Create,
    /// Rows leave a default partition for one of their own.
    Drain,
    /// A partition is exported, verified, detached and later dropped.
    ArchiveAndDrop,
    /// A partition is detached and later dropped, without an export.
    Drop,
    /// A partition in quarantine is dropped.
    DropQuarantined,
    /// Rows are exported, verified and deleted.
    ArchiveAndDelete,
    /// Rows are deleted, without an export.
    Delete,
    /// Rows move to another table.
    Move,
}

impl Action {
    /// Returns it in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Drain => "drain",
            Self::ArchiveAndDrop => "archive and drop",
            Self::Drop => "drop without archive",
            Self::DropQuarantined => "drop from quarantine",
            Self::ArchiveAndDelete => "archive and delete",
            Self::Delete => "delete without archive",
            Self::Move => "move",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanItem {
    /// The logical database.
    pub source: SourceName,
    /// The table, `schema.name`.
    pub table: String,
    /// The partition, the month of rows, or the table again.
    pub object: String,
    /// What is done to it.
    pub action: Action,
    /// `[from, to)` of the time key, epoch ms.
    pub window_ms: Option<(i64, i64)>,
    /// About how many rows; `None`: nobody counted.
    pub rows_estimate: Option<u64>,
    /// Disk the object takes.
    pub bytes: Option<u64>,
    /// Which locks, and for how long.
    pub locks: Vec<String>,
    /// What is done, in order.
    pub steps: Vec<String>,
    /// Why.
    pub reason: String,
    /// What keeps it from being done: a hold, an approval that is missing.
    pub blocked: Option<String>,
    /// What identifies the work. Another identity is another plan.
    pub identity: Value,
}

/// Something a reader of the plan should know that is no work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Note(pub String);

impl Note {
    /// A sentence.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// What would be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The job that would do it.
    pub job: String,
    /// The slot it is for: every cutoff follows from it.
    pub slot: Slot,
    /// Identifies the work, hexadecimal SHA-256.
    pub digest: String,
    /// The work, in the order it would be done.
    pub items: Vec<PlanItem>,
    /// What else a reader should know.
    pub notes: Vec<Note>,
}

/// The same piece of work in two plans.
pub(crate) type Key<'a> = (SourceName, &'a str, &'a str, Action);

impl PlanItem {
    pub(crate) fn key(&self) -> Key<'_> {
        (self.source, &self.table, &self.object, self.action)
    }
}

impl Plan {
    /// A plan with its digest.
    ///
    /// # Errors
    /// [`PlanError::Refused`] when two items are the same piece of work: then nobody could say which is meant.
    pub fn new(
        job: impl Into<String>,
        slot: Slot,
        items: Vec<PlanItem>,
        notes: Vec<Note>,
    ) -> Result<Self, PlanError> {
        let job = job.into();
        let mut keys = BTreeSet::new();
        for item in &items {
            if !keys.insert(item.key()) {
                let what = format!(
                    "the plan names '{} {}' twice; this is a mistake of ours",
                    item.action, item.object
                );
                return Err(PlanError::refused("plan", what));
            }
        }
        let digest = digest(&job, slot, &items);
        Ok(Self {
            job,
            slot,
            digest,
            items,
            notes,
        })
    }

    /// Returns it for a person.
    #[must_use]
    pub fn render(&self) -> String {
        render::render(self)
    }
}

/// Over the identity of the work, independent of the order of items and of keys.
pub(crate) fn digest(job: &str, slot: Slot, items: &[PlanItem]) -> String {
    let mut items: Vec<&PlanItem> = items.iter().collect();
    items.sort_by(|a, b| a.key().cmp(&b.key()));
    let items: Vec<Value> = items
        .iter()
        .map(|item| {
            json!([
                item.source.as_str(),
                item.table,
                item.object,
                item.action,
                item.identity
            ])
        })
        .collect();
    let mut canonical = String::new();
    write_canonical(&json!([job, slot.ms(), items]), &mut canonical);
    hex::encode(Sha256::digest(canonical))
}

/// JSON with sorted keys and no blanks: the same value is the same text, whichever map it was kept in.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            for (i, (key, value)) in sorted.into_iter().enumerate() {
                out.push(if i == 0 { '{' } else { ',' });
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push_str(if map.is_empty() { "{}" } else { "}" });
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                out.push(if i == 0 { '[' } else { ',' });
                write_canonical(value, out);
            }
            out.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        plain => out.push_str(&plain.to_string()),
    }
}
