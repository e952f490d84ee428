//! Whose a key is. One file serves all services: a service checks the sections that every service has, its own sections
//! and the blocks of its own jobs. What else the file has is another service's, perhaps one that is newer than this
//! process, and stops nobody but its owner.

use std::collections::BTreeSet;

use crate::collect::{nearest, nearest_within};
use crate::problem::Problem;
use crate::tree::{Node, Origin, Tree};

/// A name that is this many edits away from an own one is a slip. More would be taken for the name of another service:
/// `schema_profile` is four away from `archive_profile`.
const SLIP: usize = 2;

/// The names that a service knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ownership {
    /// The sections that every service has.
    shared: BTreeSet<String>,
    /// The sections of this service.
    own: BTreeSet<String>,
    /// The jobs of this service.
    jobs: BTreeSet<String>,
}

/// A section or a job's block that is not this service's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// Such as `chain` or `jobs.stats-agg`.
    pub(crate) key: String,
    /// Where it was written.
    pub(crate) origin: Option<String>,
}

impl Ownership {
    /// Reads the names from the defaults: those of every service, and those of this one.
    pub(crate) fn of(shared: &Tree, service: &Tree) -> Self {
        let names = |tree: Option<&Tree>| -> BTreeSet<String> {
            let entries = tree.and_then(Tree::table).into_iter().flatten();
            entries.map(|(name, _)| name.clone()).collect()
        };
        let shared = names(Some(shared));
        Self {
            own: names(Some(service)).difference(&shared).cloned().collect(),
            jobs: names(service.child("jobs")),
            shared,
        }
    }

    /// Adds the names of another service.
    pub(crate) fn join(&mut self, other: &Self) {
        self.shared.extend(other.shared.iter().cloned());
        self.own.extend(other.own.iter().cloned());
        self.jobs.extend(other.jobs.iter().cloned());
    }

    /// Removes from the tree what is not this service's, and returns its names.
    pub(crate) fn set_aside(&self, tree: &mut Tree) -> Vec<Foreign> {
        let mut foreign = Vec::new();
        take_unknown(
            tree,
            "",
            |name| self.shared.contains(name) || self.own.contains(name),
            &mut foreign,
        );
        if let Some(jobs) = tree.at_mut(&["jobs"]) {
            take_unknown(jobs, "jobs.", |name| self.jobs.contains(name), &mut foreign);
        }
        foreign
    }

    /// Divides a tree into the sections of every service and those of this one.
    pub(crate) fn split(&self, tree: &Tree) -> (Tree, Tree) {
        let sections = |names: &BTreeSet<String>| {
            let entries = tree.table().into_iter().flatten();
            let wanted = entries.filter(|(name, _)| names.contains(*name));
            let table = wanted
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            Tree::new(Node::Table(table), Origin::Default)
        };
        (sections(&self.shared), sections(&self.own))
    }

    /// Describes a name that is a misspelt one of this service's; `None` if it is not near to any.
    pub(crate) fn near_miss(&self, foreign: &Foreign) -> Option<Problem> {
        let (name, known) = self.candidates(&foreign.key);
        let near = nearest_within(name, known.into_iter(), |_candidate| SLIP)?;
        Some(Problem {
            key: foreign.key.clone(),
            value: None,
            origin: foreign.origin.clone(),
            reason: "is not a key of this service and is not read".to_owned(),
            fix: Some(format!("did you mean {near}?")),
        })
    }

    /// Refuses a name that no service knows.
    pub(crate) fn refusal(&self, foreign: &Foreign) -> Problem {
        let (name, known) = self.candidates(&foreign.key);
        let what = if name == foreign.key { "section" } else { "job" };
        let fix = nearest(name, known.iter().copied()).map_or_else(
            || format!("{what}s are {}", known.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        Problem {
            key: foreign.key.clone(),
            value: None,
            origin: foreign.origin.clone(),
            reason: format!("is not a known {what}"),
            fix: Some(fix),
        }
    }

    /// The name below `jobs`, or else of a section, and the known names that it could have been, sorted.
    fn candidates<'a>(&'a self, key: &'a str) -> (&'a str, Vec<&'a str>) {
        match key.strip_prefix("jobs.") {
            Some(job) => (job, self.jobs.iter().map(String::as_str).collect()),
            None => (key, self.shared.union(&self.own).map(String::as_str).collect()),
        }
    }
}

fn take_unknown(tree: &mut Tree, prefix: &str, is_known: impl Fn(&str) -> bool, foreign: &mut Vec<Foreign>) {
    let Some(entries) = tree.table_mut() else { return };
    entries.retain(|name, value| {
        let known = is_known(name);
        if !known {
            foreign.push(Foreign {
                key: format!("{prefix}{name}"),
                origin: value.written().map(ToString::to_string),
            });
        }
        known
    });
}
