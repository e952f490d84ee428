//! What archiver owns in the settings file.

use std::time::Duration;

use eidos_archive_store::{ArchiveFormat, ArchiveStoreSettings};
use eidos_disposal::settings::DisposalSettings;
use eidos_settings::{Problems, ServiceSettings, SuiteSettings, duration_text, ranges};
use serde::{Deserialize, Serialize};

use crate::profile::ArchiveProfile;

/// The sections of archiver.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiverSettings {
    /// Where exports go.
    pub archive_store: ArchiveStoreSettings,
    /// How carefully things are destroyed.
    pub disposal: DisposalSettings,
    /// The orders and trades.
    pub archive_profile: ArchiveProfile,
}

/// Whether batches keep their size and pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Always.
    Fixed,
    /// They follow what the database shows (`disposal.pace`).
    Adaptive,
}

/// The own keys of archiver's jobs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ArchiverOptions {
    /// Those of `archive-data`.
    pub archive_data: ArchiveDataOptions,
}

/// Keys of `jobs.archive-data`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveDataOptions {
    /// Days a finished row stays in its table, 1–36500.
    pub retention_days: u32,
    /// Rows per transaction, 1–100000.
    pub batch_rows: u32,
    /// Pause between two transactions, milliseconds, 0–60000.
    pub sleep_ms: u32,
    /// Fixed or adaptive.
    pub mode: Mode,
    /// Whole months rows stay in the archive tables, 1–1200.
    pub archive_retention_months: u32,
    /// Most rows of one run; unset: no such limit.
    #[serde(default)]
    pub max_rows_per_run: Option<u64>,
    /// Rows that finished less than this before the database's clock stay.
    #[serde(with = "duration_text")]
    pub safety_lag: Duration,
    /// Whether expired months wait for a person.
    pub require_approval: bool,
    /// Format of their export.
    pub archive_format: ArchiveFormat,
}

/// Where the requirement's file says that exports go; retention-manager's.
const ARCHIVE_STORAGE: &str = "jobs.data-cleanup.archive_storage";

impl ServiceSettings for ArchiverSettings {
    const DEFAULTS: &'static str = include_str!("../settings.default.yaml");
    const READS: &'static [&'static str] = &[ARCHIVE_STORAGE];
    type Options = ArchiverOptions;

    fn validate(&self, options: &ArchiverOptions, suite: &SuiteSettings, problems: &mut Problems) {
        for problem in self.archive_store.problems() {
            problems.add_value(
                format!("archive_store.{}", problem.key),
                problem.value,
                problem.reason,
                problem.fix,
            );
        }
        self.disposal.problems(problems);
        self.archive_profile.validate(problems);
        let source = self.archive_profile.source;
        problems.needs_source(suite, source, "archive_profile.source names it");
        if problems.is_strict(suite) && self.place(suite).url.is_empty() {
            problems.add(
                "archive_store.url",
                "is not set, nor is jobs.data-cleanup.archive_storage: expired months are exported there",
                "name a store such as s3://bucket/prefix or file:///folder",
            );
        }
        options.archive_data.validate(problems);
    }
}

impl ArchiverSettings {
    /// Returns where exports go: `archive_store.url`, and by default where data-cleanup's go.
    pub(crate) fn place(&self, suite: &SuiteSettings) -> ArchiveStoreSettings {
        let default = suite.borrowed(ARCHIVE_STORAGE).unwrap_or_default();
        self.archive_store.clone().or_at(default)
    }
}

impl ArchiveDataOptions {
    fn validate(&self, problems: &mut Problems) {
        ranges!(problems, "jobs.archive-data", self;
            number retention_days: 1..=36_500;
            number batch_rows: 1..=100_000;
            number sleep_ms: 0..=60_000;
            number archive_retention_months: 1..=1_200;
        );
        if self.max_rows_per_run == Some(0) {
            problems.add_value(
                "jobs.archive-data.max_rows_per_run",
                0,
                "is zero: no run would move anything",
                "use 1 or more, or null for no limit",
            );
        }
    }
}
