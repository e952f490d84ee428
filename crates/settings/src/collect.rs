//! All errors of a tree in one go.
//!
//! Serde stops at the first error. So: read; on an error note its path, put the default there (or a value that fits the
//! type, or remove the key, or the entry that cannot be without it), and read again. Every round removes one mistake,
//! so the number of rounds is bounded by the number of values. What was replaced is marked: nothing that follows from
//! it is reported, everything else is.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::problem::{Problem, Problems};
use crate::secret;
use crate::tree::{Node, Origin, Tree};
use crate::tree_de::ReadError;

/// More mistakes than this in one file are not worth listing.
const MAX_ROUNDS: usize = 500;

/// Reads a `T`, noting every mistake below `prefix` (empty at the root). `None` if nothing usable is left.
pub(crate) fn collect<T: DeserializeOwned>(
    tree: &mut Tree,
    defaults: &Tree,
    prefix: &str,
    problems: &mut Problems,
) -> Option<T> {
    let mut stood_in = BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let error = match serde_path_to_error::deserialize::<_, T>(&*tree) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let path = steps(error.path());
        report(tree, &path, error.inner(), prefix, problems);
        let repaired = repair(
            tree,
            defaults,
            &path,
            error.inner(),
            prefix,
            problems,
            &mut stood_in,
        );
        if !repaired {
            return None;
        }
    }
    None
}

/// The path as keys and indexes of the tree.
fn steps(path: &serde_path_to_error::Path) -> Vec<String> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// How a path is shown: the keys of a job stand beside its common keys, where they were written.
pub(crate) fn key_of(prefix: &str, path: &[String]) -> String {
    let inner: Vec<&str> = path
        .iter()
        .enumerate()
        .filter(|(at, step)| {
            !(*at == 2 && *step == "options" && path.first().is_some_and(|first| first == "jobs"))
        })
        .map(|(_, step)| step.as_str())
        .collect();
    match (prefix.is_empty(), inner.is_empty()) {
        (true, _) => inner.join("."),
        (false, true) => prefix.to_owned(),
        (false, false) => format!("{prefix}.{}", inner.join(".")),
    }
}

fn report(tree: &Tree, path: &[String], error: &ReadError, prefix: &str, problems: &mut Problems) {
    let mut path = path.to_vec();
    if let ReadError::MissingKey { name } = error {
        path.push((*name).to_owned());
    }
    let key = key_of(prefix, &path);
    let found = tree.at(&path);
    let unset = match found.map(|found| &found.origin) {
        Some(Origin::File { unset, .. }) => unset.clone(),
        _ => None,
    };
    let (reason, fix) = match (error, unset) {
        (ReadError::WrongType { expected, .. }, Some(variable)) => (
            format!("has no value: it is made of the environment variable {variable}, which is not set"),
            Some(format!("set {variable} to {expected}")),
        ),
        (ReadError::MissingKey { .. }, _) => ("is missing".to_owned(), Some("add it".to_owned())),
        (ReadError::UnknownKey { known }, _) => ("is not a known key".to_owned(), nearest_key(&path, known)),
        (ReadError::UnknownWord { known }, _) => {
            let word = found.and_then(|found| match &found.node {
                Node::Text(text) => nearest(text, known.iter().map(String::as_str)),
                _ => path
                    .last()
                    .and_then(|last| nearest(last, known.iter().map(String::as_str))),
            });
            (
                error.to_string(),
                word.map(|word| format!("did you mean {word}?")),
            )
        }
        _ => (error.to_string(), None),
    };
    // Free text of an error may repeat the value.
    let reason = match error {
        ReadError::Other(_) if secret::may_hold_secret(&key) => "cannot be used".to_owned(),
        _ => reason,
    };
    let value = match error {
        ReadError::UnknownKey { .. } => None,
        _ => found.and_then(|found| shown_node(&key, &found.node)),
    };
    let origin = found.and_then(Tree::written).map(ToString::to_string);
    problems.push(Problem {
        key,
        value,
        origin,
        reason,
        fix,
    });
}

/// A scalar as it may be shown; tables and lists are not.
fn shown_node(key: &str, node: &Node) -> Option<String> {
    let text = match node {
        Node::Bool(flag) => flag.to_string(),
        Node::Int(number) => number.to_string(),
        Node::Float(number) => number.to_string(),
        Node::Text(text) => text.clone(),
        Node::Null | Node::List(_) | Node::Table(_) => return None,
    };
    Some(if secret::may_hold_secret(key) {
        secret::MASK.to_owned()
    } else {
        secret::shown(key, &text)
    })
}

fn nearest_key(path: &[String], known: &[String]) -> Option<String> {
    let last = path.last()?;
    match nearest(last, known.iter().map(String::as_str)) {
        Some(key) => Some(format!("did you mean {key}?")),
        None if known.is_empty() => Some("remove it: no keys are known here".to_owned()),
        None => Some(format!("known here: {}", known.join(", "))),
    }
}

/// The known word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest_within(word, known, |candidate| (candidate.len().max(3) / 3).max(2))
}

/// The known word that is nearest, at most `limit` edits away.
pub(crate) fn nearest_within<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str>,
    limit: impl Fn(&str) -> usize,
) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit(candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Takes the mistake out of the tree; false if nothing is left to change.
fn repair(
    tree: &mut Tree,
    defaults: &Tree,
    path: &[String],
    error: &ReadError,
    prefix: &str,
    problems: &mut Problems,
    stood_in: &mut BTreeSet<(String, String)>,
) -> bool {
    if let ReadError::UnknownKey { .. } = error {
        return tree.remove(path);
    }
    let mut path = path.to_vec();
    if let ReadError::MissingKey { name } = error {
        let missing = [path.as_slice(), &[(*name).to_owned()]].concat();
        problems.mark_replaced(&key_of(prefix, &missing));
        let default = defaults.at(&missing).cloned();
        // Without a default, the next round says which type is expected.
        let value = default.or_else(|| {
            let first = stood_in.insert((key_of(prefix, &missing), "nothing".to_owned()));
            first.then(|| Tree::new(Node::Null, Origin::Default))
        });
        if let (Some(value), Some(entries)) = (value, tree.at_mut(&path).and_then(Tree::table_mut)) {
            entries.insert((*name).to_owned(), value);
            return true;
        }
    }
    if let (None, Some(node)) = (defaults.at(&path), stand_in(error))
        && let Some(current) = tree.at_mut(&path)
        && stood_in.insert((key_of(prefix, &path), error.to_string()))
    {
        problems.mark_replaced(&key_of(prefix, &path));
        current.node = node;
        return true;
    }
    while !path.is_empty() {
        problems.mark_replaced(&key_of(prefix, &path));
        if let (Some(current), Some(default)) = (tree.at_mut(&path), defaults.at(&path))
            && current.node != default.node
        {
            *current = default.clone();
            return true;
        }
        if take_out(tree, &path, prefix, problems) {
            return true;
        }
        path.pop();
    }
    // The root itself: the defaults as a whole are the last resort.
    let changed = tree.node != defaults.node;
    tree.clone_from(defaults);
    changed
}

/// A value of the type that was expected, for a key that has no default: with it, what stands beside the key can be
/// read and checked.
fn stand_in(error: &ReadError) -> Option<Node> {
    match error {
        ReadError::UnknownWord { known } => Some(Node::Text(known.first()?.clone())),
        ReadError::WrongType { expected, .. } | ReadError::OutOfRange { expected } => {
            Some(match expected.as_str() {
                "true or false" => Node::Bool(false),
                "a list" => Node::List(Vec::new()),
                "a table of keys" => Node::Table(BTreeMap::new()),
                number if number.contains("number") => Node::Int(0),
                _ => Node::Text(String::new()),
            })
        }
        _ => None,
    }
}

/// Removes a key, or an entry of a list, whose followers then keep the numbers they were written with.
fn take_out(tree: &mut Tree, path: &[String], prefix: &str, problems: &mut Problems) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let is_list = tree
        .at(parents)
        .is_some_and(|parent| matches!(parent.node, Node::List(_)));
    let removed = tree.remove(path);
    if let (true, true, Ok(index)) = (removed, is_list, last.parse()) {
        problems.mark_taken_out(&key_of(prefix, parents), index);
    }
    removed
}
