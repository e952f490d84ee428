//! Section `data_retention`: how long each table's data is kept.

use std::collections::BTreeMap;

use eidos_archive_store::ArchiveFormat;
use eidos_core::ident::SqlIdent;
use eidos_disposal::settings::FinishedRule;
use eidos_settings::{Problems, SourceName};
use serde::{Deserialize, Serialize};

/// Section `data_retention`. Keys of the maps are table names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRetention {
    /// Monthly partitions, dropped whole.
    pub partitioned_tables: BTreeMap<String, PartitionedTable>,
    /// Plain tables, deleted in batches.
    pub regular_tables: BTreeMap<String, RegularTable>,
    /// Candles, kept per interval.
    pub timescaledb: BTreeMap<String, CandleRetention>,
    /// Tables that are kept for ever on purpose, so that they are not reported as forgotten. `*` stands for any
    /// characters.
    #[serde(default)]
    pub keep_forever: Vec<String>,
}

/// How long the partitions of a table are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionedTable {
    /// Whole months kept, 1–1200.
    pub retention_months: u32,
    /// Whether a partition is exported and verified before it is dropped.
    #[serde(default)]
    pub archive_before_drop: bool,
    /// Format of that export.
    #[serde(default)]
    pub archive_format: ArchiveFormat,
    /// Which database holds the table; unset: told from its name (`eidos_risk_…` is in `risk`).
    #[serde(default)]
    pub source: Option<SourceName>,
    /// Whether scheduled runs wait for a person to apply the plan.
    #[serde(default)]
    pub require_approval: bool,
    /// Days a detached partition rests before it is dropped, 0–3650; unset: `disposal.quarantine_days`.
    #[serde(default)]
    pub quarantine_days: Option<u32>,
}

/// How long the rows of a plain table are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegularTable {
    /// Whole months kept, 1–1200.
    pub retention_months: u32,
    /// Rows deleted per transaction, 1–100000.
    #[serde(default = "default_batch_size")]
    pub batch_size: u32,
    /// Pause between two batches, in milliseconds, 0–60000.
    #[serde(default = "default_sleep_ms")]
    pub sleep_ms: u32,
    /// Which database holds the table; unset: told from its name.
    #[serde(default)]
    pub source: Option<SourceName>,
    /// The column a row's age is told by: epoch milliseconds.
    #[serde(default = "default_time_column")]
    pub time_column: String,
    /// Which rows are finished business. Others are never deleted, however old. Unset: what the service knows about
    /// the tables of the requirement; without a rule every row counts as finished.
    #[serde(default)]
    pub finished: Option<FinishedRule>,
    /// Whether rows are exported and verified before they are deleted; unset:
    /// `jobs.data-cleanup.archive_before_cleanup`.
    #[serde(default)]
    pub archive_before_delete: Option<bool>,
    /// Format of that export.
    #[serde(default)]
    pub archive_format: ArchiveFormat,
    /// Whether scheduled runs wait for a person to apply the plan.
    #[serde(default)]
    pub require_approval: bool,
}

const fn default_batch_size() -> u32 {
    1000
}
const fn default_sleep_ms() -> u32 {
    100
}
fn default_time_column() -> String {
    "created_at".to_owned()
}

/// How long candles are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandleRetention {
    /// Days kept per interval (`1m` … `1w`), 0 = for ever.
    pub retention_by_interval: BTreeMap<String, u32>,
    /// Which coarser interval proves a finer one before it is deleted; unset: 1h for the minutes, 4h for 1h, 1d for 4h.
    #[serde(default)]
    pub proved_by: BTreeMap<String, String>,
    /// Which database holds the table; unset: told from its name.
    #[serde(default)]
    pub source: Option<SourceName>,
    /// Whether scheduled runs wait for a person to apply the plan.
    #[serde(default)]
    pub require_approval: bool,
}

/// The intervals candles are kept in.
const INTERVALS: [&str; 8] = ["1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"];

impl DataRetention {
    /// Reports every value outside its range and every name that is not one.
    pub(crate) fn problems(&self, problems: &mut Problems) {
        for (table, rule) in &self.partitioned_tables {
            let key = format!("data_retention.partitioned_tables.{table}");
            table_name(&key, table, problems);
            problems.number(
                &format!("{key}.retention_months"),
                rule.retention_months,
                1..=1200,
            );
            if let Some(days) = rule.quarantine_days {
                problems.number(&format!("{key}.quarantine_days"), days, 0..=3650);
            }
        }
        for (table, rule) in &self.regular_tables {
            let key = format!("data_retention.regular_tables.{table}");
            table_name(&key, table, problems);
            problems.number(
                &format!("{key}.retention_months"),
                rule.retention_months,
                1..=1200,
            );
            problems.number(&format!("{key}.batch_size"), rule.batch_size, 1..=100_000);
            problems.number(&format!("{key}.sleep_ms"), rule.sleep_ms, 0..=60_000);
        }
        for (table, rule) in &self.timescaledb {
            let key = format!("data_retention.timescaledb.{table}");
            table_name(&key, table, problems);
            for (interval, days) in &rule.retention_by_interval {
                let key = format!("{key}.retention_by_interval.{interval}");
                if !INTERVALS.contains(&interval.as_str()) {
                    problems.add(
                        key.as_str(),
                        "is not a candle interval",
                        format!("use {}", INTERVALS.join(", ")),
                    );
                }
                problems.number(&key, *days, 0..=36_500);
            }
        }
    }
}

fn table_name(key: &str, table: &str, problems: &mut Problems) {
    if let Err(error) = table.parse::<SqlIdent>() {
        problems.add(key, error.to_string(), "correct the name");
    }
}

#[cfg(test)]
mod tests {
    use crate::RetentionSettings;

    /// The problems of a file with this section, as key and fix.
    fn problems(text: &str) -> Vec<(String, Option<String>)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let input = eidos_settings::Input {
            file: Some(file.path()),
            env: Vec::new(),
        };
        let errors = eidos_settings::load::<RetentionSettings>(&input).expect_err(text);
        let problems = errors.problems().iter();
        problems
            .map(|problem| (problem.key.clone(), problem.fix.clone()))
            .collect()
    }

    #[test]
    fn one_mistake_is_one_problem() {
        for (text, key) in [
            (
                "{ partitioned_tables: { 'a;b': { retention_months: 1 } } }",
                "partitioned_tables.a;b",
            ),
            (
                "{ regular_tables: { eidos_risk_t: { batch_size: 5 } } }",
                "regular_tables.eidos_risk_t.retention_months",
            ),
        ] {
            let found = problems(&format!("data_retention: {text}"));
            let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(keys, [format!("data_retention.{key}")], "{text}");
        }
    }

    #[test]
    fn an_unknown_key_of_a_rule_is_refused_with_the_nearest() {
        let text = "data_retention: { regular_tables: { eidos_risk_x: { retention_month: 3, retention_months: 3 } } }";
        let key = "data_retention.regular_tables.eidos_risk_x.retention_month";
        assert_eq!(
            problems(text),
            [(key.to_owned(), Some("did you mean retention_months?".to_owned()))]
        );
    }
}
