//! Whether the work is still what was planned, and what is different.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::plan::Key;
use crate::{Plan, PlanItem};

/// The work is not what it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan {digest} no longer fits: {}", differences.join("; "))]
pub struct PlanChanged {
    /// The plan that was to be applied.
    pub digest: String,
    /// What is different, a sentence each.
    pub differences: Vec<String>,
}

/// Checks whether `now`, made for the same slot, is the work that `planned` names. `done` says which items this very
/// plan has done or begun already: they may be missing.
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
