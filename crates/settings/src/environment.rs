//! `EIDOS__SECTION__KEY`: the last layer.
//!
//! `__` separates the steps of a key path; case does not matter, and `_` stands for the hyphen of a known key:
//! `EIDOS__JOBS__CLEANUP_ORDERS__TIMEOUT` is `jobs.cleanup-orders.timeout`. A number is an index of a list
//! (`EIDOS__AUTH__TOKENS__0__TOKEN`). Lists are JSON or words between commas, tables are JSON objects.

use std::collections::{BTreeMap, BTreeSet};

use crate::problem::Problems;
use crate::tree::{Node, Origin, Tree};

const PREFIX: &str = "EIDOS__";

/// Writes the variables over `merged`, which holds every lower layer, and returns only what they change.
pub(crate) fn overlay(variables: &[(String, String)], merged: &Tree, problems: &mut Problems) -> Tree {
    let mut named: Vec<(&str, Vec<&str>, &str)> = Vec::new();
    for (name, value) in variables {
        let Some(path) = strip_prefix(name) else { continue };
        let steps: Vec<&str> = path.split("__").collect();
        if steps.iter().any(|step| step.is_empty()) {
            problems.add(
                name.as_str(),
                "is not a settings variable",
                "write EIDOS__SECTION__KEY",
            );
        } else {
            named.push((name, steps, value));
        }
    }
    // Shorter paths first: a table given whole is refined by its keys, whatever order the environment has.
    named.sort_by(|left, right| (left.1.len(), left.0).cmp(&(right.1.len(), right.0)));
    refuse_repeated(&named, problems);
    let mut overlay = Tree::empty_table();
    for (name, steps, value) in named {
        let origin = Origin::Environment {
            name: name.to_owned(),
        };
        let value = Tree::new(Node::Text(value.to_owned()), origin);
        set(&mut overlay, Some(merged), &steps, value);
    }
    overlay
}

/// Two spellings of one key: which of them counts would be decided by the alphabet.
fn refuse_repeated(variables: &[(&str, Vec<&str>, &str)], problems: &mut Problems) {
    let mut spellings: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (name, steps, _) in variables {
        spellings
            .entry(normal(&steps.join(".")))
            .or_default()
            .insert(name);
    }
    for (key, names) in spellings.iter().filter(|(_, names)| names.len() > 1) {
        let listed: Vec<&str> = names.iter().copied().collect();
        problems.add(
            key.as_str(),
            format!("is set by more than one variable: {}", listed.join(", ")),
            "keep one of them",
        );
    }
}

/// Whether `key` is `ancestor` or below it, in whichever of both spellings.
pub(crate) fn is_within(key: &str, ancestor: &str) -> bool {
    let (key, ancestor) = (normal(key), normal(ancestor));
    let rest = key.strip_prefix(&ancestor);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A key whatever its case, with `_` for hyphens.
fn normal(key: &str) -> String {
    key.to_ascii_lowercase().replace('-', "_")
}

fn strip_prefix(name: &str) -> Option<&str> {
    let prefix = name.get(..PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then(|| &name[PREFIX.len()..])
}

/// Walks `steps` down the overlay beside the lower layers, which know how the keys are spelled.
fn set(overlay: &mut Tree, lower: Option<&Tree>, steps: &[&str], value: Tree) {
    let Some((step, rest)) = steps.split_first() else {
        *overlay = value;
        return;
    };
    // Layers replace lists whole, so a changed list starts as a copy of the lower one.
    if let (Node::Table(entries), Some(Node::List(items))) = (&overlay.node, lower.map(|tree| &tree.node))
        && entries.is_empty()
        && step.parse::<usize>().is_ok()
    {
        overlay.node = Node::List(items.clone());
    }
    match &mut overlay.node {
        Node::List(items) if step.parse::<usize>().is_ok_and(|index| index <= items.len()) => {
            let index = step.parse::<usize>().unwrap_or_default();
            if index == items.len() {
                items.push(Tree::empty_table());
            }
            if let Some(item) = items.get_mut(index) {
                set(item, None, rest, value);
            }
        }
        Node::Table(entries) => {
            let key = spelled(step, lower, entries.keys());
            let below = lower.and_then(|tree| tree.child(&key));
            let entry = entries.entry(key).or_insert_with(Tree::empty_table);
            set(entry, below, rest, value);
        }
        // A value given whole by another variable: its keys cannot be refined, unless it is an object.
        node => {
            let parsed = match node {
                Node::Text(text) => serde_json::from_str(text).ok(),
                _ => None,
            };
            *overlay = match parsed {
                Some(object @ serde_json::Value::Object(_)) => Tree::from_json(object, &overlay.origin),
                _ => Tree::empty_table(),
            };
            set(overlay, lower, steps, value);
        }
    }
}

/// The known key a step stands for; an unknown one as it would be written in a file.
fn spelled<'a>(step: &str, lower: Option<&'a Tree>, siblings: impl Iterator<Item = &'a String>) -> String {
    let wanted = normal(step);
    let known: Vec<&String> = lower
        .and_then(Tree::table)
        .into_iter()
        .flat_map(|entries| entries.keys())
        .collect();
    let found = known
        .iter()
        .copied()
        .chain(siblings)
        .find(|key| normal(key) == wanted);
    // Where the known keys have hyphens, an unknown one was meant to have them too.
    let hyphens = known.iter().any(|key| key.contains('-'));
    let as_written = || {
        if hyphens {
            wanted.replace('_', "-")
        } else {
            step.to_ascii_lowercase()
        }
    };
    found.cloned().unwrap_or_else(as_written)
}
