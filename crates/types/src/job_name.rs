//! [`JobName`]: the noun that appears in SQL, metrics, alerts, URLs and runbooks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// A job's name in kebab-case, 1–100 characters (`job_name VARCHAR(100)`), such as `archive-data`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct JobName(String);

/// The text is not a job name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a job name: use 1 to 100 lower-case letters, digits and single hyphens, such as archive-data"
)]
pub struct JobNameError(String);

impl JobName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobName {
    type Err = JobNameError;

    fn from_str(text: &str) -> Result<Self, JobNameError> {
        let word = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if text.len() <= 100 && text.split('-').all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(JobNameError(text.chars().take(120).collect()))
        }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for JobName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requirements_names_are_valid() {
        for name in ["reconciliation", "cleanup-orders", "kline-agg", "health-monitor"] {
            assert_eq!(name.parse::<JobName>().unwrap().as_str(), name);
        }
        for name in ["", "-", "a--b", "Reconciliation", "a_b", "a b", &"x".repeat(101)] {
            assert!(name.parse::<JobName>().is_err(), "{name}");
        }
    }
}
