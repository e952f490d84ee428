//! What retention-manager adds to the suite's settings.

use eidos_settings::{CronLine, Problems, ServiceSettings, SuiteSettings};
use serde::{Deserialize, Serialize};

/// The sections of retention-manager.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {}

/// The keys of `jobs.partition-manage` besides those of every job.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionManageOptions {
    /// Also due then (ruling 3).
    #[serde(default)]
    pub daily_cron: Option<CronLine>,
    /// The partitioned tables, `table` or `schema.table`.
    pub tables: Vec<String>,
    /// Whole months kept ready after the current one, 1 to 60.
    pub months_ahead: u32,
    /// Most rows moved out of a default partition in one transaction, 1 to 1000000.
    pub drain_max_rows: u32,
    /// Most rows moved out of default partitions in one run.
    pub drain_rows_per_run: u64,
    /// Rows of a default partition that are older than so many months are reported and not moved, 0 to 1200.
    pub drain_months_back: u32,
}

impl ServiceSettings for RetentionSettings {
    const DEFAULTS: &'static str = include_str!("../settings.default.yaml");

    fn validate(&self, suite: &SuiteSettings, problems: &mut Problems) {
        let _ = (suite, problems);
    }
}
