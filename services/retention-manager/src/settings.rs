//! What retention-manager owns in the settings file.

mod data_retention;

use eidos_archive_store::ArchiveStoreSettings;
use eidos_core::ident::SqlIdent;
use eidos_disposal::catalogue::{Relation, source_of};
use eidos_disposal::settings::DisposalSettings;
use eidos_runtime::Job;
use eidos_settings::{CronLine, Problems, ServiceSettings, SourceName, SuiteSettings, ranges};
use serde::{Deserialize, Serialize};

use crate::cleanup::rules;
use crate::jobs::partition_manage::PartitionManage;

pub use data_retention::{CandleRetention, DataRetention, PartitionedTable, RegularTable};

/// The sections of retention-manager.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Where exports go.
    pub archive_store: ArchiveStoreSettings,
    /// How units leave a database.
    pub disposal: DisposalSettings,
    /// How long data is kept.
    pub data_retention: DataRetention,
}

/// The own keys of retention-manager's jobs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RetentionOptions {
    /// Those of `partition-manage`.
    pub partition_manage: PartitionManageOptions,
    /// Those of `data-cleanup`.
    pub data_cleanup: DataCleanupOptions,
}

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
    /// Rows of a default partition that are older than so many months are reported and not moved, 0 to 480.
    pub drain_months_back: u32,
}

/// The keys of `jobs.data-cleanup` besides those of every job.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataCleanupOptions {
    /// Whether plain tables without a word of their own are exported before rows are deleted.
    pub archive_before_cleanup: bool,
    /// Where exports go while `archive_store.url` is empty.
    pub archive_storage: String,
}

impl ServiceSettings for RetentionSettings {
    const DEFAULTS: &'static str = include_str!("../settings.default.yaml");
    type Options = RetentionOptions;

    fn validate(&self, options: &RetentionOptions, suite: &SuiteSettings, problems: &mut Problems) {
        self.disposal.problems(problems);
        self.data_retention.problems(problems);
        for problem in self.archive_store.problems() {
            let key = format!("archive_store.{}", problem.key);
            problems.add_value(key, problem.value, problem.reason, problem.fix);
        }
        options.partition_manage.problems(&self.data_retention, problems);
        let tables = options.partition_manage.tables.iter();
        for source in tables.filter_map(|table| home(&self.data_retention, table)) {
            problems.needs_source(suite, source, "tables of jobs.partition-manage.tables are there");
        }
        let cleanup = &options.data_cleanup;
        rules::problems(&self.data_retention, cleanup.archive_before_cleanup, problems);
        self.validate_places(suite, cleanup, problems);
    }
}

impl RetentionSettings {
    /// Where tables with a rule are, and where they are exported to.
    fn validate_places(&self, suite: &SuiteSettings, options: &DataCleanupOptions, problems: &mut Problems) {
        let days = self.disposal.quarantine_days;
        let rules = rules::Rules::of(&self.data_retention, options.archive_before_cleanup, days);
        for source in rules.sources() {
            problems.needs_source(suite, source, "tables of data_retention are there");
        }
        let store = self.archive_store.clone().or_at(&options.archive_storage);
        if problems.is_strict(suite) && rules.archives() && store.url.is_empty() {
            problems.add(
                "archive_store.url",
                "is not set, nor is jobs.data-cleanup.archive_storage: tables are exported there before they are \
                 cleaned up",
                "name a store such as s3://bucket/prefix or file:///folder",
            );
        }
    }
}

impl PartitionManageOptions {
    fn problems(&self, retention: &DataRetention, problems: &mut Problems) {
        let key = |key: &str| format!("jobs.{}.{key}", PartitionManage::NAME);
        ranges!(problems, "jobs.partition-manage", self;
            number months_ahead: 1..=60;
            number drain_max_rows: 1..=1_000_000;
            number drain_months_back: 0..=480;
        );
        for (index, table) in self.tables.iter().enumerate() {
            let named = |text: &String| text.parse::<SqlIdent>().ok().map(|ident| Relation::named(&ident));
            let relation = named(table);
            if relation.is_some()
                && self
                    .tables
                    .iter()
                    .take(index)
                    .any(|other| named(other) == relation)
            {
                problems.add_value(key("tables"), table, "is named twice", "name it once");
            }
            if let Err(error) = table.parse::<SqlIdent>() {
                problems.add(key("tables"), error.to_string(), "correct the name");
            } else if home(retention, table).is_none() {
                problems.add_value(
                    key("tables"),
                    table,
                    "is in no database that its name tells",
                    format!("set data_retention.partitioned_tables.{table}.source"),
                );
            }
        }
    }
}

/// Which database a partitioned table lives in: what its retention rule says, or else its name.
#[must_use]
pub fn home(retention: &DataRetention, table: &str) -> Option<SourceName> {
    let rule = managed_rule(retention, table);
    rule.and_then(|rule| rule.source).or_else(|| source_of(table))
}

/// The retention rule of a partitioned table, however its name is written there.
pub(crate) fn managed_rule<'r>(retention: &'r DataRetention, table: &str) -> Option<&'r PartitionedTable> {
    rules::rule_of(&retention.partitioned_tables, &table.parse().ok()?)
}
