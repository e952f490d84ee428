//! [`load`]: from layers to checked settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::collect::{collect, nearest};
use crate::jobs::JOB_KEYS;
use crate::layers::{fit, merge, parse_yaml};
pub use crate::tree::Origin;
use crate::tree::{Node, Tree};
use crate::{Problems, SettingsErrors, SuiteSettings, environment, expand, rules, transport};

/// The built-in defaults of everything the services share.
pub(crate) const SUITE_DEFAULTS: &str = include_str!("../suite.default.yaml");

/// The sections of [`SuiteSettings`].
pub(crate) const SUITE_SECTIONS: [&str; 10] = [
    "service",
    "scheduler",
    "jobs",
    "redis",
    "databases",
    "kafka",
    "auth",
    "telemetry",
    "data_retention",
    "security",
];

/// Sections that belong to one service. One file serves all services, so each accepts the others' sections and
/// leaves them unread. A new service's sections are added here.
const SERVICE_SECTIONS: [&str; 6] = [
    "archive_profile",
    "archive_store",
    "chain",
    "disposal",
    "reconciliation",
    "schema_profile",
];

/// What one service adds: its own top-level sections and its own job options.
///
/// Every struct below it should be `#[serde(deny_unknown_fields)]`, so that a misspelled key is refused.
pub trait ServiceSettings: DeserializeOwned + Serialize + Send + Sync + 'static {
    /// The embedded `settings.default.yaml`: a value for every key, with comments; may also change suite defaults
    /// and add keys to `jobs.<job>`.
    const DEFAULTS: &'static str;

    /// Reports values that are well-formed and cannot be used. Job options are read with
    /// [`Problems::job_options`].
    fn validate(&self, suite: &SuiteSettings, problems: &mut Problems) {
        let _ = (suite, problems);
    }
}

/// For tools that need nothing but the suite's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteOnly {}

impl ServiceSettings for SuiteOnly {
    const DEFAULTS: &'static str = "";
}

/// Where settings come from, besides the built-in defaults.
#[derive(Debug, Clone, Default)]
pub struct Input<'a> {
    /// `--config`; without it, the file named by `EIDOS_CONFIG`, if any.
    pub file: Option<&'a Path>,
    /// The process's environment: `EIDOS__…` and what `${VAR}` refers to.
    pub env: Vec<(String, String)>,
}

/// Checked settings, and where each value was written.
#[derive(Debug, Clone)]
pub struct Effective<T> {
    /// What every service shares.
    pub suite: SuiteSettings,
    /// What this service adds.
    pub service: T,
    /// The shape of the merged layers with the origin of each value, without the values.
    pub(crate) origins: Tree,
}

impl<T> Effective<T> {
    /// Where the value at a key path such as `redis.url` was written; `Default` if nowhere.
    pub fn origin(&self, key: &str) -> Origin {
        origin_of(&self.origins, key)
    }
}

pub(crate) fn origin_of(tree: &Tree, key: &str) -> Origin {
    find(tree, key)
        .map(|found| found.origin.clone())
        .unwrap_or_default()
}

/// The value at a key path. Keys may hold dots themselves, so every split is tried.
fn find<'a>(tree: &'a Tree, key: &str) -> Option<&'a Tree> {
    let whole = tree.child(key);
    whole.or_else(|| {
        key.match_indices('.')
            .find_map(|(at, _)| find(tree.child(&key[..at])?, &key[at + 1..]))
    })
}

/// Reads all layers and checks the result.
///
/// # Errors
/// Everything that is wrong, each with key path, value (secrets masked), origin, reason and fix.
pub fn load<T: ServiceSettings>(input: &Input<'_>) -> Result<Effective<T>, SettingsErrors> {
    let mut problems = Problems::default();
    let variables: BTreeMap<&str, &str> = input
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let defaults = default_layers::<T>(&variables, &mut problems);
    let file = file_layer(input.file, &variables, &defaults, &mut problems);
    let lower = merge(&[&defaults, &file]);
    let mut environment = environment::overlay(&input.env, &lower, &mut problems);
    fit(&mut environment, &defaults, "", &mut problems);
    let tree = merge(&[&lower, &environment]);

    let mut shaped = tree.clone();
    let shaped_defaults = shape(defaults, &Tree::empty_table(), &mut Problems::default());
    refuse_unknown_sections(&shaped, &shaped_defaults, &mut problems);
    refuse_unknown_jobs(&mut shaped, &shaped_defaults, &mut problems);
    let shaped = shape(shaped, &shaped_defaults, &mut problems);
    let (mut suite_tree, mut service_tree) = split(&shaped, &shaped_defaults);
    let (suite_defaults, service_defaults) = split(&shaped_defaults, &shaped_defaults);
    problems.job_defaults = shaped_defaults.child("jobs").cloned();

    let suite = collect::<SuiteSettings>(&mut suite_tree, &suite_defaults, "", &mut problems);
    let service = collect::<T>(&mut service_tree, &service_defaults, "", &mut problems);
    let suite = suite.map(transport::apply);
    if let Some(suite) = &suite {
        rules::check(suite, &mut problems);
        if let Some(service) = &service {
            service.validate(suite, &mut problems);
        }
    }
    problems.locate(|key| Some(find(&tree, key)?.written()?.to_string()));
    let (Some(suite), Some(service)) = (suite, service) else {
        problems.add(
            "settings",
            "are unusable: even the built-in defaults do not fit",
            "report this as a defect",
        );
        return problems
            .into_result()
            .and_then(|()| Err(SettingsErrors::default()));
    };
    problems.into_result()?;
    Ok(Effective {
        suite,
        service,
        origins: tree.origins(),
    })
}

/// Suite defaults below the service's, which may name variables (`rpc_url: "${CHAIN_RPC_URL:http://…}"`).
fn default_layers<T: ServiceSettings>(variables: &BTreeMap<&str, &str>, problems: &mut Problems) -> Tree {
    let suite = parse_yaml(SUITE_DEFAULTS, &Origin::Default, "suite.default.yaml", problems);
    let mut service = parse_yaml(T::DEFAULTS, &Origin::Default, "settings.default.yaml", problems);
    expand::expand(&mut service, variables, problems);
    merge(&[&suite, &service])
}

fn file_layer(
    file: Option<&Path>,
    variables: &BTreeMap<&str, &str>,
    defaults: &Tree,
    problems: &mut Problems,
) -> Tree {
    let named = variables
        .get(crate::CONFIG_FILE_VARIABLE)
        .copied()
        .filter(|path| !path.is_empty());
    let Some(path) = file.or(named.map(Path::new)) else {
        return Tree::empty_table();
    };
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.add(
                name,
                format!("cannot be read: {error}"),
                "give --config (or EIDOS_CONFIG) the path of a readable YAML file",
            );
            return Tree::empty_table();
        }
    };
    let origin = Origin::File {
        path: name.clone(),
        unset: None,
    };
    let mut tree = parse_yaml(&text, &origin, &name, problems);
    expand::expand(&mut tree, variables, problems);
    fit(&mut tree, defaults, "", problems);
    tree
}

fn refuse_unknown_sections(tree: &Tree, defaults: &Tree, problems: &mut Problems) {
    let known: BTreeSet<&str> = defaults
        .table()
        .into_iter()
        .flat_map(|entries| entries.keys().map(String::as_str))
        .chain(SUITE_SECTIONS)
        .chain(SERVICE_SECTIONS)
        .collect();
    for section in tree.table().into_iter().flat_map(|entries| entries.keys()) {
        if !known.contains(section.as_str()) {
            let fix = match nearest(section, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!(
                    "sections are {}",
                    known.iter().copied().collect::<Vec<_>>().join(", ")
                ),
            };
            problems.add(section.as_str(), "is not a known section", fix);
        }
    }
}

/// Every job of the suite is in the defaults; another name is a mistake.
fn refuse_unknown_jobs(tree: &mut Tree, defaults: &Tree, problems: &mut Problems) {
    let Some(known) = defaults.child("jobs").and_then(Tree::table) else {
        return;
    };
    let Some(jobs) = tree.at_mut(&["jobs"]).and_then(Tree::table_mut) else {
        return;
    };
    jobs.retain(|job, _| {
        let is_known = known.contains_key(job);
        if !is_known {
            let fix = match nearest(job, known.keys().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => format!(
                    "jobs are {}",
                    known.keys().cloned().collect::<Vec<_>>().join(", ")
                ),
            };
            problems.add(format!("jobs.{job}"), "is not a known job", fix);
        }
        is_known
    });
}

/// Brings the tree into the form of the types: a job's own keys into `options`, times a job does not name from
/// the suite's, databases without URL left out.
fn shape(mut tree: Tree, defaults: &Tree, problems: &mut Problems) -> Tree {
    let default_timeout = tree.at(&["scheduler", "default_timeout"]).cloned();
    let lock_ttl = tree.at(&["redis", "lock_ttl"]).cloned();
    if let Some(jobs) = tree.at_mut(&["jobs"]).and_then(Tree::table_mut) {
        for (name, job) in jobs {
            let Some(entries) = job.table_mut() else { continue };
            if let Some(timeout) = &default_timeout {
                entries
                    .entry("timeout".to_owned())
                    .or_insert_with(|| timeout.clone());
            }
            if let (Some(ttl), Some(lock)) = (&lock_ttl, entries.get_mut("lock").and_then(Tree::table_mut)) {
                lock.entry("ttl".to_owned()).or_insert_with(|| ttl.clone());
            }
            let own: Vec<String> = entries
                .keys()
                .filter(|key| !JOB_KEYS.contains(&key.as_str()))
                .cloned()
                .collect();
            let known = defaults.at(&["jobs", name, "options"]).and_then(Tree::table);
            let mut options = BTreeMap::new();
            for key in own {
                let Some(value) = entries.remove(&key) else {
                    continue;
                };
                let path = format!("jobs.{name}.{key}");
                if let Some(value) = checked_option(&path, &key, value, known, problems) {
                    options.insert(key, value);
                }
            }
            entries.insert(
                "options".to_owned(),
                Tree::new(Node::Table(options), Origin::Default),
            );
        }
    }
    if let Some(databases) = tree.at_mut(&["databases"]).and_then(Tree::table_mut) {
        databases.retain(|_, database| {
            let is_blank =
                |value: &Tree| matches!(&value.node, Node::Null) || value.node == Node::Text(String::new());
            database
                .table()
                .is_none_or(|keys| !keys.iter().all(|(key, value)| key == "url" && is_blank(value)))
        });
    }
    tree
}

/// A key of one job: known (it has a default, if only `null`), and of the kind of its default.
fn checked_option(
    path: &str,
    key: &str,
    value: Tree,
    known: Option<&BTreeMap<String, Tree>>,
    problems: &mut Problems,
) -> Option<Tree> {
    // The defaults themselves define what is known.
    let Some(known) = known else { return Some(value) };
    let Some(default) = known.get(key) else {
        let keys: Vec<&str> = known.keys().map(String::as_str).chain(JOB_KEYS).collect();
        let fix = nearest(key, keys.iter().copied()).map_or_else(
            || format!("known here: {}", keys.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        problems.add(path, "is not a known key", fix);
        return None;
    };
    let node = match (&default.node, &value.node) {
        (Node::Bool(_), Node::Text(text)) => text.trim().parse().ok().map(Node::Bool),
        (Node::Int(_), Node::Text(text)) => text.trim().parse().ok().map(Node::Int),
        (Node::Float(_), Node::Text(text)) => text.trim().parse().ok().map(Node::Float),
        (Node::Float(_), Node::Int(_)) | (Node::Null, _) => Some(value.node.clone()),
        (default, given) if std::mem::discriminant(default) == std::mem::discriminant(given) => {
            Some(given.clone())
        }
        _ => None,
    };
    let Some(node) = node else {
        let (reason, fix) = match &value.origin {
            Origin::File {
                unset: Some(name), ..
            } => (
                format!("has no value: it is made of the environment variable {name}, which is not set"),
                format!("set {name} to {}", default.node.kind()),
            ),
            _ => (
                format!("should be {}, not {}", default.node.kind(), value.node.kind()),
                "correct the value".to_owned(),
            ),
        };
        problems.add(path, reason, fix);
        problems.mark_replaced(path);
        return Some(default.clone());
    };
    Some(Tree::new(node, value.origin))
}

/// The suite's sections, and those of this service (the ones its defaults have).
fn split(tree: &Tree, defaults: &Tree) -> (Tree, Tree) {
    let (mut suite, mut service) = (BTreeMap::new(), BTreeMap::new());
    for (section, value) in tree.table().into_iter().flatten() {
        if SUITE_SECTIONS.contains(&section.as_str()) {
            suite.insert(section.clone(), value.clone());
        } else if defaults.child(section).is_some() {
            service.insert(section.clone(), value.clone());
        }
    }
    (
        Tree::new(Node::Table(suite), Origin::Default),
        Tree::new(Node::Table(service), Origin::Default),
    )
}

impl Problems {
    /// Reads a job's own keys as `T`, reporting all that is wrong with them. What cannot be read is replaced by its
    /// default, so that the rest can be checked too; `None` if even that does not help.
    pub fn job_options<T: DeserializeOwned>(&mut self, suite: &SuiteSettings, job: &str) -> Option<T> {
        let section = suite
            .jobs
            .iter()
            .find(|(name, _)| name.as_str() == job)
            .map(|(_, section)| section);
        let options = section.map_or_else(|| serde_json::json!({}), |section| section.options.clone());
        let mut tree = Tree::from_json(options, &Origin::Default);
        let defaults = self.job_defaults.as_ref();
        let defaults = defaults
            .and_then(|jobs| jobs.at(&[job, "options"]))
            .cloned()
            .unwrap_or_else(Tree::empty_table);
        collect(&mut tree, &defaults, &format!("jobs.{job}"), self)
    }
}
