//! The layers, the errors and the secrets of `eidos-settings`, from outside.

#![expect(clippy::unwrap_used, reason = "a test's helper fails the test")]
#![expect(
    clippy::duration_suboptimal_units,
    reason = "seconds compare with the requirement's tables"
)]

mod at_once;
mod cron;
mod environment;
mod fail_fast;
mod files;
mod mistakes;
mod pages;
mod secrets;

use std::io::Write as _;
use std::path::PathBuf;

use eidos_settings::{
    Effective, Input, Problem, Problems, ServiceSettings, SettingsErrors, SuiteOnly, SuiteSettings, load,
};
use serde::{Deserialize, Serialize};

/// A small service, as its crate would declare it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sample {
    pub(crate) sample: SampleSection,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SampleSection {
    pub(crate) batch_size: u32,
    pub(crate) note: Option<String>,
    pub(crate) hosts: Vec<String>,
    #[serde(serialize_with = "eidos_settings::secret::masked_option")]
    pub(crate) api_key: Option<secrecy::SecretString>,
    pub(crate) webhook: Option<Talkative>,
}

/// A type whose error repeats what it was given.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Talkative(String);

impl<'de> Deserialize<'de> for Talkative {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Err(serde::de::Error::custom(format!("{text} is wrong")))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the job's other keys are accepted and not looked at")]
pub(crate) struct SampleOptions {
    pub(crate) retention_days: u16,
    pub(crate) sample_rate: f64,
    // The job's other keys.
    batch_rows: serde_json::Value,
    sleep_ms: serde_json::Value,
    mode: serde_json::Value,
    archive_retention_months: serde_json::Value,
    max_rows_per_run: serde_json::Value,
    safety_lag: serde_json::Value,
    require_approval: serde_json::Value,
    archive_format: serde_json::Value,
}

impl ServiceSettings for Sample {
    const DEFAULTS: &'static str = "
service:
  name: sample-svc
# What the sample adds.
sample:
  # Rows per batch.
  batch_size: 100
  note: ${SAMPLE_NOTE}
  hosts: []
  api_key: null
  webhook: null
jobs:
  archive-data:
    sample_rate: 0.5
";

    fn validate(&self, suite: &SuiteSettings, problems: &mut Problems) {
        if self.sample.batch_size == 0 {
            problems.add_value(
                "sample.batch_size",
                self.sample.batch_size,
                "is zero",
                "use 1 or more",
            );
        }
        if let Some(options) = problems.job_options::<SampleOptions>(suite, "archive-data")
            && (options.retention_days == 0 || options.sample_rate > 1.0)
        {
            problems.add("jobs.archive-data.retention_days", "is zero", "use 1 or more");
        }
    }
}

/// A file that lives as long as the test.
pub(crate) fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("eidos.yaml");
    std::fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    (folder, path)
}

pub(crate) fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn load_sample(text: &str, env: &[(&str, &str)]) -> Result<Effective<Sample>, SettingsErrors> {
    let (_folder, path) = file(text);
    load(&Input {
        file: Some(&path),
        env: variables(env),
    })
}

pub(crate) fn load_suite(text: &str, env: &[(&str, &str)]) -> Result<Effective<SuiteOnly>, SettingsErrors> {
    let (_folder, path) = file(text);
    load(&Input {
        file: Some(&path),
        env: variables(env),
    })
}

/// A PEM file with one block. What it holds is not looked at when settings are read.
pub(crate) fn pem(kind: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    std::fs::write(file.path(), text).unwrap();
    file
}

/// The problem at a key, which must be the only one there.
pub(crate) fn at<'a>(errors: &'a SettingsErrors, key: &str) -> &'a Problem {
    let found: Vec<&Problem> = errors
        .problems()
        .iter()
        .filter(|problem| problem.key == key)
        .collect();
    assert_eq!(found.len(), 1, "problems at {key} in: {errors}");
    found[0]
}

pub(crate) fn keys(errors: &SettingsErrors) -> Vec<&str> {
    errors
        .problems()
        .iter()
        .map(|problem| problem.key.as_str())
        .collect()
}
