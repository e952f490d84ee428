//! [`Plan`]: what would be done, for a person to read and for a later run to do exactly.
//!
//! The digest covers what identifies the work: job, slot, and of each item source, table, object, action and identity.
//! Estimates, sizes and sentences are not part of it: they may change without the work changing. A dry run's report
//! carries the plan (`plan.digest`), so the history of executions is where plans are kept and found again.

mod find;
mod render;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use eidos_settings::SourceName;
use eidos_types::Slot;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use find::find_planned;

use crate::DisposalError;

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
    /// In words.
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
type Key<'a> = (SourceName, &'a str, &'a str, Action);

impl PlanItem {
    fn key(&self) -> Key<'_> {
        (self.source, &self.table, &self.object, self.action)
    }
}

impl Plan {
    /// A plan with its digest.
    ///
    /// # Errors
    /// [`DisposalError::Refused`] when two items are the same piece of work: then nobody could say which is meant.
    pub fn new(
        job: impl Into<String>,
        slot: Slot,
        items: Vec<PlanItem>,
        notes: Vec<Note>,
    ) -> Result<Self, DisposalError> {
        let job = job.into();
        let mut keys = BTreeSet::new();
        for item in &items {
            if !keys.insert(item.key()) {
                let what = format!(
                    "the plan names '{} {}' twice; this is a mistake of ours",
                    item.action, item.object
                );
                return Err(DisposalError::refused("plan", what));
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

    /// For a person.
    #[must_use]
    pub fn render(&self) -> String {
        render::render(self)
    }
}

/// Over the identity of the work, independent of the order of items and of keys.
fn digest(job: &str, slot: Slot, items: &[PlanItem]) -> String {
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

/// The world is not as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan {digest} no longer fits: {}", differences.join("; "))]
pub struct PlanChanged {
    /// The plan that was to be applied.
    pub digest: String,
    /// What is different, a sentence each.
    pub differences: Vec<String>,
}

/// Whether `now`, made for the same slot, is the work that `planned` names.
///
/// # Errors
/// [`PlanChanged`] says what is different.
pub fn verify_unchanged(planned: &Plan, now: &Plan) -> Result<(), PlanChanged> {
    verify_remaining(planned, now, |_item| false)
}

/// As [`verify_unchanged`], for a plan that was carried out in part: `done` tells which of its items were done, or
/// are on their way, on this very plan's word. They are in no later plan.
///
/// # Errors
/// [`PlanChanged`] says what is different.
pub fn verify_remaining(
    planned: &Plan,
    now: &Plan,
    done: impl Fn(&PlanItem) -> bool,
) -> Result<(), PlanChanged> {
    let mut differences = Vec::new();
    if planned.job != now.job || planned.slot != now.slot {
        differences.push(format!(
            "it is for {} and slot {}, not for {} and slot {}",
            planned.job, planned.slot, now.job, now.slot
        ));
    }
    let current: BTreeMap<Key<'_>, &PlanItem> = now.items.iter().map(|item| (item.key(), item)).collect();
    let known: BTreeSet<Key<'_>> = planned.items.iter().map(PlanItem::key).collect();
    for item in &planned.items {
        match current.get(&item.key()) {
            None if done(item) => {}
            None => differences.push(format!("'{} {}' is not due any more", item.action, item.object)),
            Some(current) => differences.extend(changes(item, current)),
        }
    }
    for item in now.items.iter().filter(|item| !known.contains(&item.key())) {
        differences.push(format!(
            "'{} {}' is due now and was not planned",
            item.action, item.object
        ));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(PlanChanged {
        digest: planned.digest.clone(),
        differences,
    })
}

/// What is different about one piece of work.
fn changes(planned: &PlanItem, now: &PlanItem) -> Vec<String> {
    let mut found = Vec::new();
    if planned.blocked.is_none()
        && let Some(block) = &now.blocked
    {
        found.push(format!("{} is blocked now: {block}", planned.object));
    }
    match (&planned.identity, &now.identity) {
        (Value::Object(was), Value::Object(is)) => {
            let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            for key in keys.into_iter().filter(|key| was.get(*key) != is.get(*key)) {
                if key.ends_with("fingerprint") {
                    found.push(format!(
                        "the columns of {} are not what they were",
                        planned.object
                    ));
                    continue;
                }
                found.push(format!(
                    "{} of {} was {} and is {}",
                    key.replace('_', " "),
                    planned.object,
                    shown(was.get(key)),
                    shown(is.get(key))
                ));
            }
        }
        (was, is) if was != is => found.push(format!("{} is not what it was", planned.object)),
        _ => {}
    }
    found
}

/// A value in a sentence: short.
fn shown(value: Option<&Value>) -> String {
    const LONGEST: usize = 60;
    let text = value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    if text.chars().count() <= LONGEST {
        return text;
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("{head}…")
}
