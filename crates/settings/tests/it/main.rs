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
mod others;
mod pages;
mod secrets;

use std::io::Write as _;
use std::path::PathBuf;

use eidos_settings::{
    CronLine, Declared, Effective, Input, Problem, Problems, ServiceSettings, SettingsErrors, SuiteSettings,
    check_file, load,
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

/// The own keys of the jobs of both services.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    reconciliation: ReconciliationOptions,
    partition_manage: PartitionManageOptions,
    archive_data: ArchiveDataOptions,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReconciliationOptions {
    full_cron: CronLine,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartitionManageOptions {
    tables: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveDataOptions {
    retention_days: u16,
    /// `JobsOnly` has none.
    #[serde(default)]
    sample_rate: f64,
}

/// The blocks of the jobs that both services of these tests own.
macro_rules! jobs {
    ($($more:literal)?) => {
        concat!(
            r#"
jobs:
  reconciliation: { cron: "0 0 * * * *", full_cron: "0 0 2 * * *", timeout: 10m, lock: { kind: watchdog, ttl: 30s } }
  cleanup-orders: { cron: "*/2 * * * *", timeout: 1m, lock: { kind: basic, ttl: 1m } }
  stats-agg: { cron: "0 5 * * * *", timeout: 5m, pool: short, lock: { kind: basic, ttl: 5m } }
  kline-agg: { cron: "0 1 * * * *", timeout: 5m, pool: short, lock: { kind: basic, ttl: 5m } }
  partition-manage: { cron: "0 0 1 * *", timeout: 10m, tables: [eidos_x], lock: { kind: basic, ttl: 10m } }
  archive-data:
    cron: "0 0 3 * * *"
    timeout: 30m
    retention_days: 30
    lock: { kind: watchdog, ttl: 30s }
"#,
            $($more)?
        )
    };
}

/// A service that owns jobs and no section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobsOnly {}

impl ServiceSettings for JobsOnly {
    const DEFAULTS: &'static str = jobs!();
    type Options = Options;
}

impl ServiceSettings for Sample {
    const DEFAULTS: &'static str = jobs!(
        "    sample_rate: 0.5
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
"
    );
    const READS: &'static [&'static str] = &["jobs.data-cleanup.archive_storage"];
    type Options = Options;

    fn validate(&self, options: &Options, _suite: &SuiteSettings, problems: &mut Problems) {
        if self.sample.batch_size == 0 {
            problems.add_value(
                "sample.batch_size",
                self.sample.batch_size,
                "is zero",
                "use 1 or more",
            );
        }
        let archive = &options.archive_data;
        if archive.retention_days == 0 || archive.sample_rate > 1.0 {
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

/// The settings of `S`, in a file that has nothing of another service.
fn load_whole<S: ServiceSettings>(text: &str, env: &[(&str, &str)]) -> Result<Effective<S>, SettingsErrors> {
    let (_folder, path) = file(text);
    let input = Input {
        file: Some(&path),
        env: variables(env),
    };
    check_file(&[Declared::of::<S>("sample")], &input)?;
    load(&input)
}

pub(crate) fn load_sample(text: &str, env: &[(&str, &str)]) -> Result<Effective<Sample>, SettingsErrors> {
    load_whole(text, env)
}

pub(crate) fn load_suite(text: &str, env: &[(&str, &str)]) -> Result<Effective<JobsOnly>, SettingsErrors> {
    load_whole(text, env)
}

/// The settings of `S`, in a file that may have sections and jobs of other services.
pub(crate) fn load_shared<S: ServiceSettings>(
    text: &str,
    env: &[(&str, &str)],
) -> Result<Effective<S>, SettingsErrors> {
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
