//! What is wrong with the settings: where, which value, why, and what to do.

use std::collections::BTreeSet;
use std::fmt;

use crate::secret;

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
        if let Some(value) = &self.value {
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

/// Where checks report what they find. A check goes on after a problem, so that all of them are seen at once.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    /// Keys whose value was replaced after a problem: what the checks see there is not what was written.
    replaced: BTreeSet<String>,
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

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// Records a problem, unless it only follows from a value that was reported and replaced.
    pub(crate) fn push(&mut self, problem: Problem) {
        let follows = self.replaced.iter().any(|key| is_at_or_below(&problem.key, key));
        if !follows && !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// From now on, problems at or below `key` are consequences of one already reported.
    pub(crate) fn mark_replaced(&mut self, key: &str) {
        self.replaced.insert(key.to_owned());
    }

    /// Fills in where each value was written.
    pub(crate) fn locate(&mut self, origin_of: impl Fn(&str) -> Option<String>) {
        for problem in self.found.iter_mut().filter(|problem| problem.origin.is_none()) {
            problem.origin = origin_of(&problem.key);
        }
    }

    pub(crate) fn into_result(mut self) -> Result<(), SettingsErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by(|left, right| left.key.cmp(&right.key));
        Err(SettingsErrors(self.found))
    }
}

fn is_at_or_below(key: &str, ancestor: &str) -> bool {
    key.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Everything that is wrong with the settings, in key order. Exit code [`crate::EXIT_CODE`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsErrors(Vec<Problem>);

impl SettingsErrors {
    /// The problems; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "1 problem in the settings:")?,
            count => writeln!(f, "{count} problems in the settings:")?,
        }
        for problem in &self.0 {
            writeln!(f, "  - {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsErrors {}
