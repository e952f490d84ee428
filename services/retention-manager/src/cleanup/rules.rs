//! [`Rules`]: what the settings say about every table, with what this service knows about the tables of the
//! requirement, and everything about them that cannot be.
//!
//! Which setting decides whether data is archived before it goes: the table's own `archive_before_drop` or
//! `archive_before_delete`. A plain table without one follows `jobs.data-cleanup.archive_before_cleanup`; a partitioned
//! one is not archived. The job's setting never overrules a table that demands an archive: that is a problem at start,
//! not a silent loss.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use eidos_archive_store::ArchiveFormat;
use eidos_core::ident::SqlIdent;
use eidos_disposal::catalogue::{Relation, source_of};
use eidos_disposal::rows::{RowRule, StaysWhile};
use eidos_disposal::settings::FinishedRule;
use eidos_market::Interval;
use eidos_settings::{Problems, SourceName};
use serde::Serialize;
use serde_json::{Value, json};

use crate::settings::{DataRetention, PartitionedTable, RegularTable};

mod candles;

/// The rules of all tables, in the order of their names.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Whole partitions.
    pub partitioned: Vec<PartitionRule>,
    /// Rows of plain tables.
    pub plain: Vec<PlainRule>,
    /// Candles, per table finest first.
    pub candles: Vec<CandleRule>,
    /// Kept on purpose; `*` stands for any characters.
    pub keep_forever: Vec<String>,
}

/// How long the partitions of a table are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRule {
    /// Its database.
    pub source: SourceName,
    /// Its name.
    pub table: SqlIdent,
    /// Whole months kept.
    pub retention_months: u32,
    /// The format of the export that is proved first; `None`: dropped without one.
    pub archive: Option<ArchiveFormat>,
    /// Whether a person applies the plan.
    pub require_approval: bool,
    /// Days between detach and drop.
    pub quarantine_days: u32,
}

/// How long the rows of a plain table are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainRule {
    /// Its database.
    pub source: SourceName,
    /// Its name.
    pub table: SqlIdent,
    /// Whole months kept.
    pub retention_months: u32,
    /// Which rows may go, and how.
    pub rows: RowRule,
    /// Whether a person applies the plan.
    pub require_approval: bool,
}

/// How long candles of one interval are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CandleRule {
    /// Its database.
    pub source: SourceName,
    /// Its table.
    #[serde(serialize_with = "plain_name")]
    pub table: SqlIdent,
    /// The interval.
    pub interval: Interval,
    /// Days kept, above 0.
    pub days: u32,
    /// What proves it.
    pub prover: Prover,
    /// Whether a person applies the plan.
    pub require_approval: bool,
    /// Whether the settings name no other interval for this table.
    pub alone_in_table: bool,
}

/// The coarser candles that prove finer ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prover {
    /// Their table; usually the same one.
    #[serde(serialize_with = "plain_name")]
    pub table: SqlIdent,
    /// Their interval.
    pub interval: Interval,
}

/// What the requirement's tables call finished: (table, column, values).
fn known_finished(table: &str) -> Option<FinishedRule> {
    let rule = |column: &str, values: Vec<Value>| {
        Some(FinishedRule {
            column: column.to_owned(),
            values,
        })
    };
    match table {
        // 2 confirmed, 3 failed: 0 and 1 are still to be sent or mined.
        "eidos_chain_withdrawal_txs" | "eidos_chain_settlement_batches" => {
            rule("status", vec![json!(2), json!(3)])
        }
        // An open review is never deleted, however old.
        "eidos_risk_withdrawal_reviews" => rule("status", vec![json!("approved"), json!("rejected")]),
        _ => None,
    }
}

/// Records are evidence as long as their break is open (`break_id` of migration 0004, breaks of 0005).
fn known_stays_while(table: &str) -> Option<StaysWhile> {
    (table == "eidos_jobs_reconciliation_records").then(|| StaysWhile {
        column: "break_id".to_owned(),
        table: "eidos_jobs_breaks".to_owned(),
        key: "break_id".to_owned(),
        status: "status".to_owned(),
        open: "open".to_owned(),
    })
}

impl Rules {
    /// Reads the rules. What cannot be is left out: [`problems`] has refused it at start.
    #[must_use]
    pub fn of(retention: &DataRetention, archive_before_cleanup: bool, quarantine_days: u32) -> Self {
        let mut ignored = Problems::default();
        let partitioned = retention
            .partitioned_tables
            .iter()
            .filter_map(|(table, rule)| PartitionRule::of(table, rule, quarantine_days, &mut ignored))
            .collect();
        let plain = retention
            .regular_tables
            .iter()
            .filter_map(|(table, rule)| PlainRule::of(table, rule, archive_before_cleanup, &mut ignored))
            .collect();
        let candles = retention
            .timescaledb
            .iter()
            .flat_map(|(table, rule)| candles::of(table, rule, &retention.timescaledb, &mut ignored))
            .collect();
        Self {
            partitioned,
            plain,
            candles,
            keep_forever: retention.keep_forever.clone(),
        }
    }

    /// The databases these tables live in.
    pub fn sources(&self) -> impl Iterator<Item = SourceName> {
        self.tables().map(|(source, _)| source)
    }

    /// Every table that has a rule, and its database; a table of several candle intervals is named for each.
    pub fn tables(&self) -> impl Iterator<Item = (SourceName, &SqlIdent)> {
        let partitioned = self.partitioned.iter().map(|rule| (rule.source, &rule.table));
        let plain = self.plain.iter().map(|rule| (rule.source, &rule.table));
        let candles = self.candles.iter().map(|rule| (rule.source, &rule.table));
        partitioned.chain(plain).chain(candles)
    }

    /// Whether any table must be archived before its data goes, so that an object store is needed.
    #[must_use]
    pub fn archives(&self) -> bool {
        self.partitioned.iter().any(|rule| rule.archive.is_some())
            || self.plain.iter().any(|rule| rule.rows.archive.is_some())
    }

    /// Whether somebody decided how long this table's rows are kept. `name` and `schema` as in the catalogue;
    /// `by_bare_name`: whether a rule that names no schema may mean it.
    #[must_use]
    pub fn decides_about(&self, schema: &str, name: &str, by_bare_name: bool) -> bool {
        let full = format!("{schema}.{name}");
        let tables = self.partitioned.iter().map(|rule| &rule.table);
        let tables = tables.chain(self.plain.iter().map(|rule| &rule.table));
        let mut tables = tables.chain(self.candles.iter().map(|rule| &rule.table));
        let mut kept = self.keep_forever.iter().map(String::as_str).chain(OUR_BOOKS);
        tables.any(|table| table.may_mean(schema, name) && (by_bare_name || table.schema().is_some()))
            || kept.any(|pattern| matches_pattern(pattern, name) || matches_pattern(pattern, &full))
    }
}

/// Our own books: bounded in size, or the very record of what was done. They need no rule and never get one.
const OUR_BOOKS: [&str; 17] = [
    "_sqlx_migrations",
    "eidos_jobs_fence",
    "eidos_jobs_state",
    "eidos_jobs_chain_blocks",
    "eidos_jobs_chain_limits",
    "eidos_jobs_checkpoints",
    "eidos_jobs_archive_progress",
    "eidos_jobs_reconciliation_checkpoints",
    "eidos_jobs_disposal_units",
    "eidos_jobs_disposals",
    "eidos_jobs_legal_holds",
    "eidos_jobs_breaks",
    "eidos_jobs_break_history",
    "eidos_jobs_break_chain",
    "eidos_jobs_operation_pauses",
    "eidos_jobs_outbox",
    "eidos_jobs_outbox_deliveries",
];

/// Whether `name` matches `pattern`, in which `*` stands for any characters.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(previous) = last.replace(part) {
            match rest.split_once(previous) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

impl PartitionRule {
    fn of(
        table: &str,
        rule: &PartitionedTable,
        quarantine_days: u32,
        problems: &mut Problems,
    ) -> Option<Self> {
        let key = format!("data_retention.partitioned_tables.{table}");
        Some(Self {
            source: source(&key, table, rule.source, problems)?,
            // A name that is none was told with the other settings.
            table: table.parse().ok()?,
            retention_months: rule.retention_months,
            archive: rule.archive_before_drop.then_some(rule.archive_format),
            require_approval: rule.require_approval,
            quarantine_days: rule.quarantine_days.unwrap_or(quarantine_days),
        })
    }
}

impl PlainRule {
    fn of(
        table: &str,
        rule: &RegularTable,
        archive_before_cleanup: bool,
        problems: &mut Problems,
    ) -> Option<Self> {
        let key = format!("data_retention.regular_tables.{table}");
        let source = source(&key, table, rule.source, problems);
        let ident_of_table: Option<SqlIdent> = table.parse().ok();
        let time_column = column(&format!("{key}.time_column"), &rule.time_column, problems);
        let known = ident_of_table
            .as_ref()
            .and_then(|table| known_finished(table.name()));
        let mut finished = rule.finished.clone().or(known);
        if let Some(finished) = &mut finished {
            check_finished(&key, finished, problems);
        }
        let known_stays = ident_of_table
            .as_ref()
            .and_then(|table| known_stays_while(table.name()));
        Some(Self {
            source: source?,
            table: ident_of_table?,
            retention_months: rule.retention_months,
            rows: RowRule {
                source: source?,
                time_column: time_column?.name().to_owned(),
                finished,
                stays_while: known_stays,
                batch_rows: rule.batch_size,
                sleep: Duration::from_millis(rule.sleep_ms.into()),
                archive: rule
                    .archive_before_delete
                    .unwrap_or(archive_before_cleanup)
                    .then_some(rule.archive_format),
            },
            require_approval: rule.require_approval,
        })
    }
}

/// Reports everything about the rules that cannot be, with the key and what to do.
pub fn problems(retention: &DataRetention, archive_before_cleanup: bool, problems: &mut Problems) {
    named_twice(retention, problems);
    for (table, rule) in &retention.partitioned_tables {
        let _ = PartitionRule::of(table, rule, 0, problems);
        if rule.archive_before_drop && !archive_before_cleanup {
            contradiction(
                &format!("data_retention.partitioned_tables.{table}.archive_before_drop"),
                problems,
            );
        }
    }
    for (table, rule) in &retention.regular_tables {
        let _ = PlainRule::of(table, rule, archive_before_cleanup, problems);
        if rule.archive_before_delete == Some(true) && !archive_before_cleanup {
            contradiction(
                &format!("data_retention.regular_tables.{table}.archive_before_delete"),
                problems,
            );
        }
        if retention.partitioned_tables.contains_key(table) {
            twice(
                &format!("data_retention.regular_tables.{table}"),
                "partitioned_tables",
                problems,
            );
        }
    }
    for (table, rule) in &retention.timescaledb {
        let _ = candles::of(table, rule, &retention.timescaledb, problems);
        for (section, taken) in [
            (
                "partitioned_tables",
                retention.partitioned_tables.contains_key(table),
            ),
            ("regular_tables", retention.regular_tables.contains_key(table)),
        ] {
            if taken {
                twice(&format!("data_retention.timescaledb.{table}"), section, problems);
            }
        }
    }
}

/// The rule of a table, however its name is written there.
pub(crate) fn rule_of<'r, T>(rules: &'r BTreeMap<String, T>, table: &SqlIdent) -> Option<&'r T> {
    let named = |text: &str| text.parse::<SqlIdent>().ok();
    rules
        .iter()
        .find_map(|(text, rule)| (named(text).as_ref() == Some(table)).then_some(rule))
        .or_else(|| {
            // Without a schema it is in `public` for a rule that says so, and the other way round.
            let table = Relation::named(table);
            rules
                .iter()
                .find_map(|(text, rule)| (Relation::named(&named(text)?) == table).then_some(rule))
        })
}

/// Two names of one table have two rules, of which one would be kept to by chance.
fn named_twice(retention: &DataRetention, problems: &mut Problems) {
    let partitioned = retention
        .partitioned_tables
        .keys()
        .map(|table| ("partitioned_tables", table));
    let plain = retention
        .regular_tables
        .keys()
        .map(|table| ("regular_tables", table));
    let candles = retention.timescaledb.keys().map(|table| ("timescaledb", table));
    let mut seen: BTreeMap<Relation, (&str, &String)> = BTreeMap::new();
    for (section, table) in partitioned.chain(plain).chain(candles) {
        let Ok(ident) = table.parse::<SqlIdent>() else {
            continue;
        };
        match seen.entry(Relation::named(&ident)) {
            Entry::Vacant(place) => {
                place.insert((section, table));
            }
            // The same text in two sections is told there.
            Entry::Occupied(other) if other.get().1 == table => {}
            Entry::Occupied(other) => {
                let (other_section, other) = other.get();
                problems.add(
                    format!("data_retention.{section}.{table}"),
                    format!("is another name of the table of data_retention.{other_section}.{other}"),
                    "keep one of the two rules",
                );
            }
        }
    }
}

fn contradiction(key: &str, problems: &mut Problems) {
    problems.add_value(
        key,
        true,
        "demands an archive while jobs.data-cleanup.archive_before_cleanup is false",
        "set archive_before_cleanup to true; a table that needs none says so itself (archive_before_drop or \
         archive_before_delete: false)",
    );
}

fn twice(key: &str, section: &str, problems: &mut Problems) {
    problems.add(
        key,
        format!("has another rule in data_retention.{section}"),
        "keep the one that fits: partitioned_tables if \\d+ of the table says \"Partition key\"",
    );
}

fn source(key: &str, table: &str, named: Option<SourceName>, problems: &mut Problems) -> Option<SourceName> {
    let source = named.or_else(|| source_of(table));
    // Of a name that is not one, the name is the mistake.
    if source.is_none() && table.parse::<SqlIdent>().is_ok() {
        problems.add(
            format!("{key}.source"),
            "is missing, and the table's name does not tell its database",
            "set it to jobs, trading, market, chain, risk or admin",
        );
    }
    source
}

fn ident(key: &str, name: &str, problems: &mut Problems) -> Option<SqlIdent> {
    match name.parse() {
        Ok(ident) => Some(ident),
        Err(error) => {
            problems.add(key, error.to_string(), "correct it");
            None
        }
    }
}

/// A column's name, which has no schema before it.
fn column(key: &str, name: &str, problems: &mut Problems) -> Option<SqlIdent> {
    let column = ident(key, name, problems)?;
    if column.schema().is_some() {
        problems.add_value(
            key,
            name,
            "has two parts, and a column's name has one",
            "put a name with a dot into double quotes",
        );
        return None;
    }
    Some(column)
}

/// Checks it, and takes the quotes off the column's name.
fn check_finished(key: &str, finished: &mut FinishedRule, problems: &mut Problems) {
    if let Some(column) = column(&format!("{key}.finished.column"), &finished.column, problems) {
        column.name().clone_into(&mut finished.column);
    }
    let is_plain = |value: &Value| value.is_string() || value.as_i64().is_some();
    if finished.values.is_empty() || !finished.values.iter().all(is_plain) {
        problems.add(
            format!("{key}.finished.values"),
            "is empty or holds something else than texts and integers",
            "list the values of rows that may go; without the rule every row counts as finished",
        );
    }
}

fn plain_name<S: serde::Serializer>(ident: &SqlIdent, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(ident.as_str())
}

#[cfg(test)]
mod tests;
