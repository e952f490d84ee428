//! What is wrong with the settings: where, which value, why, and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::secret;
use crate::tree::Origin;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key path, such as `jobs.cleanup-orders.timeout`; a file's path if the file itself cannot be read.
    pub key: String,
    /// The value as a person may see it: secrets are masked, tables and lists left out.
    pub value: Option<String>,
    /// Where the value was written, such as `file eidos.yaml` or `environment EIDOS__REDIS__URL`.
    pub origin: Option<String>,
    /// What is wrong with it.
    pub reason: String,
    /// What to do.
    pub fix: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        if let Some(value) = self
            .value
            .as_deref()
            .filter(|value| !is_quoted(&self.reason, value))
        {
            write!(f, "'{value}' ")?;
        }
        f.write_str(&self.reason)?;
        if let Some(origin) = &self.origin {
            write!(f, " [{origin}]")?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "; {fix}")?;
        }
        Ok(())
    }
}

/// Whether a reason already shows the value: many error texts begin with what they were given.
fn is_quoted(reason: &str, value: &str) -> bool {
    [('\'', '\''), ('"', '"'), ('`', '`')]
        .iter()
        .any(|(open, close)| reason.contains(&format!("{open}{value}{close}")))
        || (value.len() > 3 && reason.contains(value))
}

/// Where checks report what they find. A check goes on after a problem, so that all of them are seen at once.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    /// Keys whose value was replaced after a problem: what the checks see there is not what was written.
    replaced: BTreeSet<String>,
    /// Entries of lists that were taken out because they could not be read, by the list's key: their places as
    /// written. What follows them is seen one place nearer to the front.
    taken_out: BTreeMap<String, BTreeSet<usize>>,
}

impl Problems {
    /// Reports that the value at `key` cannot be used, without showing the value.
    pub fn add(&mut self, key: impl Into<String>, reason: impl Into<String>, fix: impl Into<String>) {
        self.push(Problem {
            key: key.into(),
            value: None,
            origin: None,
            reason: reason.into(),
            fix: Some(fix.into()),
        });
    }

    /// Reports that `value` at `key` cannot be used. A key that names a secret is masked.
    pub fn add_value(
        &mut self,
        key: impl Into<String>,
        value: impl fmt::Display,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let key = key.into();
        let value = Some(secret::shown(&key, &value.to_string()));
        self.push(Problem {
            key,
            value,
            origin: None,
            reason: reason.into(),
            fix: Some(fix.into()),
        });
    }

    /// True while nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether values that are only fit for a developer's machine must be refused: outside `dev`, and where the
    /// environment itself could not be read.
    pub fn is_strict(&self, suite: &crate::SuiteSettings) -> bool {
        !suite.service.is_dev() || self.replaced.iter().any(|key| is_at_or_below("service.env", key))
    }

    /// Reports that a database is not configured although `why` needs it. In `dev` the start says so; elsewhere it is
    /// refused with everything else.
    pub fn needs_source(&mut self, suite: &crate::SuiteSettings, source: crate::SourceName, why: &str) {
        let name = source.as_str().to_ascii_uppercase();
        if self.is_strict(suite) && !suite.databases.contains_key(&source) {
            self.add(
                format!("databases.{source}.url"),
                format!("is not set: {why}"),
                format!("set it (EIDOS__DATABASES__{name}__URL)"),
            );
        }
    }

    /// Reports a key that one text writes more than once; `places` says where, with a leading separator.
    pub(crate) fn repeated(&mut self, key: &str, origin: &Origin, places: &str) {
        self.push(Problem {
            key: key.to_owned(),
            value: None,
            origin: Some(origin.to_string()),
            reason: format!("is written more than once{places}"),
            fix: Some("keep one of them".to_owned()),
        });
    }

    /// Records a problem, unless it only follows from a value that was reported and replaced.
    pub(crate) fn push(&mut self, mut problem: Problem) {
        problem.key = self.as_written(&problem.key);
        let follows = self.replaced.iter().any(|key| is_at_or_below(&problem.key, key));
        if !follows && !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// From now on, problems at or below `key` are consequences of one already reported.
    pub(crate) fn mark_replaced(&mut self, key: &str) {
        self.replaced.insert(self.as_written(key));
    }

    /// From now on, the list at `key` is without the entry that is at `index` now.
    pub(crate) fn mark_taken_out(&mut self, key: &str, index: usize) {
        let key = self.as_written(key);
        let gone = self.taken_out.entry(key).or_default();
        let written = place_as_written(gone, index);
        gone.insert(written);
    }

    /// The key path with the list indexes of the file, whatever was taken out since.
    fn as_written(&self, key: &str) -> String {
        if self.taken_out.is_empty() {
            return key.to_owned();
        }
        let mut written = String::new();
        for step in key.split('.') {
            let gone = self.taken_out.get(&written);
            let index = gone.and_then(|gone| Some(place_as_written(gone, step.parse().ok()?)));
            if !written.is_empty() {
                written.push('.');
            }
            match index {
                Some(index) => written.push_str(&index.to_string()),
                None => written.push_str(step),
            }
        }
        written
    }

    /// Fills in where each value was written.
    pub(crate) fn locate(&mut self, origin_of: impl Fn(&str) -> Option<String>) {
        for problem in self.found.iter_mut().filter(|problem| problem.origin.is_none()) {
            problem.origin = origin_of(&problem.key);
        }
    }

    /// Drops what was reported at keys that turned out to be another service's.
    pub(crate) fn forget(&mut self, is_foreign: impl Fn(&str) -> bool) {
        self.found.retain(|problem| !is_foreign(&problem.key));
    }

    pub(crate) fn into_errors(self, warnings: Vec<Problem>) -> SettingsErrors {
        SettingsErrors::new(self.found, warnings)
    }
}

/// The `index`-th place that is not gone.
fn place_as_written(gone: &BTreeSet<usize>, index: usize) -> usize {
    gone.iter().fold(
        index,
        |place, gone| if *gone <= place { place + 1 } else { place },
    )
}

fn is_at_or_below(key: &str, ancestor: &str) -> bool {
    key.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Everything that is wrong with the settings, in key order. Exit code [`crate::EXIT_CODE`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsErrors {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl SettingsErrors {
    pub(crate) fn new(mut problems: Vec<Problem>, warnings: Vec<Problem>) -> Self {
        problems.sort_by(|left, right| left.key.cmp(&right.key));
        Self { problems, warnings }
    }

    /// The problems; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => writeln!(f, "1 problem in the settings:")?,
            count => writeln!(f, "{count} problems in the settings:")?,
        }
        for problem in &self.problems {
            writeln!(f, "  - {problem}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  - warning: {warning}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsErrors {}
