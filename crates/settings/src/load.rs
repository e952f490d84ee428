//! [`load`]: from layers to checked settings.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::collect::{collect, nearest};
use crate::jobs::JOB_KEYS;
use crate::layers::{fit, merge, parse_yaml};
use crate::ownership::{Foreign, Ownership};
pub use crate::tree::Origin;
use crate::tree::{Node, Tree};
use crate::{Problem, Problems, SettingsErrors, SuiteSettings, environment, expand, rules, transport};

/// The built-in defaults of the sections that every service has.
pub const SHARED_DEFAULTS: &str = include_str!("../shared.default.yaml");

/// What one service owns: its own top-level sections and the blocks of its jobs.
///
/// Every struct below it should be `#[serde(deny_unknown_fields)]`, so that a misspelled key is refused.
pub trait ServiceSettings: DeserializeOwned + Serialize + Send + Sync + 'static {
    /// The embedded `settings.default.yaml`: a value for every key of the service's sections and of its jobs' blocks,
    /// with comments; may also change shared defaults. Its sections and jobs are the ones that the service owns.
    const DEFAULTS: &'static str;

    /// Keys of other services that this one reads as well, see [`SuiteSettings::borrowed`].
    const READS: &'static [&'static str] = &[];

    /// The jobs' own keys: a field for each job that has any, named after the job. [`NoOptions`]: no job has any.
    type Options: DeserializeOwned + Send + Sync + 'static;

    /// Reports values that are well-formed and cannot be used.
    fn validate(&self, options: &Self::Options, suite: &SuiteSettings, problems: &mut Problems) {
        let _ = (options, suite, problems);
    }

    /// Reports what is missing for a start of this service. A file for all services may leave it out, so only
    /// [`load_to_start`] asks.
    fn validate_start(&self, problems: &mut Problems) {
        let _ = problems;
    }
}

/// For services whose jobs have no keys of their own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// For tools that need nothing but the sections that every service has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteOnly {}

impl ServiceSettings for SuiteOnly {
    const DEFAULTS: &'static str = "";
    type Options = NoOptions;
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
pub struct Effective<T: ServiceSettings> {
    /// What every service has.
    pub suite: SuiteSettings,
    /// What this service adds.
    pub service: T,
    /// The own keys of this service's jobs.
    pub options: T::Options,
    /// The shape of the merged layers with the origin of each value, without the values.
    pub(crate) origins: Tree,
    warnings: Vec<Problem>,
}

impl<T: ServiceSettings> Effective<T> {
    /// Returns the keys that are not this service's and look like misspelt ones of its own.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

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

/// Reads all layers and checks what this service owns and what every service has. Sections and jobs of other services
/// are left unread.
///
/// # Errors
/// Everything that is wrong, each with key path, value (secrets masked), origin, reason and fix.
pub fn load<T: ServiceSettings>(input: &Input<'_>) -> Result<Effective<T>, SettingsErrors> {
    read(input).settings
}

/// As [`load`], for a process of this service: what is missing for its start is refused with everything else.
///
/// # Errors
/// As [`load`].
pub fn load_to_start<T: ServiceSettings>(input: &Input<'_>) -> Result<Effective<T>, SettingsErrors> {
    let effective = load::<ToStart<T>>(input)?;
    Ok(Effective {
        suite: effective.suite,
        service: effective.service.0,
        options: effective.options,
        origins: effective.origins,
        warnings: effective.warnings,
    })
}

/// The same settings with one more check.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct ToStart<T>(T);

impl<T: ServiceSettings> ServiceSettings for ToStart<T> {
    const DEFAULTS: &'static str = T::DEFAULTS;
    const READS: &'static [&'static str] = T::READS;
    type Options = T::Options;

    fn validate(&self, options: &T::Options, suite: &SuiteSettings, problems: &mut Problems) {
        self.0.validate(options, suite, problems);
        self.0.validate_start(problems);
    }
}

/// The settings of one service, and what it left unread.
pub(crate) struct Reading<T: ServiceSettings> {
    pub(crate) settings: Result<Effective<T>, SettingsErrors>,
    pub(crate) ownership: Ownership,
    pub(crate) foreign: Vec<Foreign>,
}

pub(crate) fn read<T: ServiceSettings>(input: &Input<'_>) -> Reading<T> {
    let mut problems = Problems::default();
    let variables: BTreeMap<&str, &str> = input
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let (defaults, ownership) = default_layers::<T>(&variables, &mut problems);
    let file = file_layer(input.file, &variables, &defaults, &mut problems);
    let lower = merge(&[&defaults, &file]);
    let mut environment = environment::overlay(&input.env, &lower, &mut problems);
    fit(&mut environment, &defaults, "", &mut problems);
    let mut tree = merge(&[&lower, &environment]);

    let borrowed = borrowed(&tree, T::READS);
    let origins = tree.origins();
    let foreign = ownership.set_aside(&mut tree);
    problems.forget(|key| {
        foreign
            .iter()
            .any(|foreign| environment::is_within(key, &foreign.key))
    });
    let warnings = foreign
        .iter()
        .filter_map(|foreign| ownership.near_miss(foreign))
        .collect();
    let settings = typed(tree, defaults, origins, &ownership, borrowed, problems, warnings);
    Reading {
        settings,
        ownership,
        foreign,
    }
}

/// From merged layers to checked types.
fn typed<T: ServiceSettings>(
    tree: Tree,
    defaults: Tree,
    origins: Tree,
    ownership: &Ownership,
    borrowed: BTreeMap<&'static str, String>,
    mut problems: Problems,
    warnings: Vec<Problem>,
) -> Result<Effective<T>, SettingsErrors> {
    let defaults = shape(defaults, &Tree::empty_table(), &mut Problems::default());
    let shaped = shape(tree, &defaults, &mut problems);
    let (mut suite_tree, mut service_tree) = ownership.split(&shaped);
    let (suite_defaults, service_defaults) = ownership.split(&defaults);

    let suite = collect::<SuiteSettings>(&mut suite_tree, &suite_defaults, "", &mut problems);
    let service = collect::<T>(&mut service_tree, &service_defaults, "", &mut problems);
    let (mut own_keys, own_defaults) = (own_keys(&shaped), own_keys(&defaults));
    let options = collect::<T::Options>(&mut own_keys, &own_defaults, "jobs", &mut problems);
    let suite = suite.map(transport::apply);
    let suite = suite.map(|suite| SuiteSettings { borrowed, ..suite });
    if let Some(suite) = &suite {
        rules::check(suite, &mut problems);
        if let (Some(service), Some(options)) = (&service, &options) {
            service.validate(options, suite, &mut problems);
        }
    }
    problems.locate(|key| Some(find(&origins, key)?.written()?.to_string()));
    let (Some(suite), Some(service), Some(options)) = (suite, service, options) else {
        problems.add(
            "settings",
            "are unusable: even the built-in defaults do not fit",
            "report this as a defect",
        );
        return Err(problems.into_errors(warnings));
    };
    if !problems.is_empty() {
        return Err(problems.into_errors(warnings));
    }
    Ok(Effective {
        suite,
        service,
        options,
        origins,
        warnings,
    })
}

/// The own keys of the jobs that have any, by job.
fn own_keys(shaped: &Tree) -> Tree {
    let jobs = shaped.child("jobs").and_then(Tree::table).into_iter().flatten();
    let own = jobs.filter_map(|(name, job)| Some((name.clone(), job.child("options")?.clone())));
    let own = own.filter(|(_, options)| options.table().is_some_and(|keys| !keys.is_empty()));
    Tree::new(Node::Table(own.collect()), Origin::Default)
}

/// The texts at keys of other services.
fn borrowed(tree: &Tree, keys: &[&'static str]) -> BTreeMap<&'static str, String> {
    let text = |key: &str| match &find(tree, key)?.node {
        Node::Text(text) => Some(text.clone()),
        _ => None,
    };
    // A variable cannot have the hyphens of a job that is not known here.
    let found = |key: &str| text(key).or_else(|| text(&key.replace('-', "_")));
    keys.iter().filter_map(|key| Some((*key, found(key)?))).collect()
}

/// Shared defaults below the service's, which may name variables (`rpc_url: "${CHAIN_RPC_URL:http://…}"`), and whose
/// each of them is.
fn default_layers<T: ServiceSettings>(
    variables: &BTreeMap<&str, &str>,
    problems: &mut Problems,
) -> (Tree, Ownership) {
    let shared = parse_yaml(SHARED_DEFAULTS, &Origin::Default, "shared.default.yaml", problems);
    let mut service = parse_yaml(T::DEFAULTS, &Origin::Default, "settings.default.yaml", problems);
    expand::expand(&mut service, variables, problems);
    (merge(&[&shared, &service]), Ownership::of(&shared, &service))
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
        line: 0,
        unset: None,
    };
    let mut tree = parse_yaml(&text, &origin, &name, problems);
    expand::expand(&mut tree, variables, problems);
    fit(&mut tree, defaults, "", problems);
    tree
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
