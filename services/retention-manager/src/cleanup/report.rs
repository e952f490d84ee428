//! What a run found and did, for the history, the API and the terminal.

use chrono::{DateTime, SecondsFormat};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use eidos_disposal::DisposalError;
use eidos_disposal::destination::StoreReport;
use eidos_disposal::partition::{Recovered, Undone};
use eidos_disposal::rows::Staying;
use eidos_disposal::unit::Unit;
use eidos_plan::{Failure, Plan};
use eidos_runtime::Job;
use eidos_settings::SourceName;
use eidos_telemetry::metric;
use eidos_types::Slot;
use serde::{Deserialize, Serialize};

use super::candles::CandleReport;
use super::job::DataCleanup;
use super::without_rule::Forgotten;

/// What was put in order in one table, a sentence each, and whether that changes what is due.
pub(super) type Recovery = Result<(Vec<String>, bool), DisposalError>;

/// What a run found and did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What it worked for.
    pub slot: Slot,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The digest of the plan a person applied; `None`: the schedule's own.
    pub applied: Option<String>,
    /// Whether time or the run's limits ended it before everything was done: to be continued by the next run.
    pub to_be_continued: bool,
    /// Per table, in the order of the rules.
    pub tables: Vec<TableReport>,
    /// Candles, per table and interval.
    pub candles: Vec<CandleReport>,
    /// Tables nobody decided about.
    pub without_rule: Vec<Forgotten>,
    /// What could not be done and belongs to no table.
    pub problems: Vec<String>,
    /// What was to be done.
    pub plan: Plan,
    /// The unit that was taken back, in a run that did nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone: Option<Undone>,
    /// What was asked about the archive store, in a run that did nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreReport>,
    /// Whether trying again may help.
    #[serde(skip)]
    pub(super) retryable: bool,
}

/// One table with a rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TableReport {
    /// Its database.
    pub source: SourceName,
    /// Its name.
    pub table: String,
    /// What has outlived its time lies before this instant, epoch ms.
    pub cutoff_ms: Option<i64>,
    /// What earlier runs had left and was put in order.
    pub recovered: Vec<String>,
    /// Per partition or month: what was done.
    pub units: Vec<UnitReport>,
    /// Pieces that wait for a person to apply the plan.
    pub waiting_for_approval: u64,
    /// Pieces that stay because of a hold.
    pub held: u64,
    /// Expired rows that stay because they are not finished, if they were counted.
    pub unfinished: Option<u64>,
    /// Expired rows that stay, by reason: those that are not finished, referenced, or under a legal hold.
    #[serde(default)]
    pub staying: Vec<Staying>,
    /// What is in the way, each with what to do.
    pub problems: Vec<String>,
}

/// One partition, or the rows of one month.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnitReport {
    /// The partition, or `table@2024-03`.
    pub object: String,
    /// How far it is now.
    pub state: String,
    /// What this run did to it, in order.
    pub acts: Vec<String>,
    /// Its rows.
    pub rows: Option<i64>,
    /// Size of its export.
    pub stored_bytes: Option<i64>,
    /// Where that is.
    pub manifest_key: Option<String>,
    /// From when on it may be dropped, epoch ms.
    pub drop_after_ms: Option<i64>,
}

impl UnitReport {
    /// Of a unit as it is now.
    pub(super) fn of(unit: &Unit, acts: &[&str]) -> Self {
        Self {
            object: unit.unit_name.clone(),
            state: unit.state.to_string(),
            acts: acts.iter().map(|act| (*act).to_owned()).collect(),
            rows: unit.row_count,
            stored_bytes: unit.stored_bytes,
            manifest_key: unit.manifest_key.clone(),
            drop_after_ms: unit.drop_after_ms,
        }
    }
}

impl TableReport {
    /// Of a table nothing was done to yet.
    pub(super) const fn new(source: SourceName, table: String) -> Self {
        Self {
            source,
            table,
            cutoff_ms: None,
            recovered: Vec::new(),
            units: Vec::new(),
            waiting_for_approval: 0,
            held: 0,
            unfinished: None,
            staying: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Sets its gauges. `kept`: candles of it whose coarser ones are not proved.
    pub(super) fn publish(&self, job: &str, kept: u64) {
        metric::retention_approvals_waiting(&self.table, self.waiting_for_approval);
        metric::disposal_refusals(job, &self.table, self.problems.len() as u64 + kept);
    }
}

impl Report {
    /// Of a run that took a unit back.
    pub(super) fn undone(slot: Slot, undone: Undone) -> Result<Self, DisposalError> {
        Ok(Self {
            undone: Some(undone),
            ..Self::of_nothing(slot)?
        })
    }

    /// Of a run that was about the archive store.
    pub(crate) fn of_store(slot: Slot, told: StoreReport) -> Result<Self, DisposalError> {
        Ok(Self {
            store: Some(told),
            ..Self::of_nothing(slot)?
        })
    }

    fn of_nothing(slot: Slot) -> Result<Self, DisposalError> {
        Ok(Self {
            slot,
            dry_run: false,
            applied: None,
            to_be_continued: false,
            tables: Vec::new(),
            candles: Vec::new(),
            without_rule: Vec::new(),
            problems: Vec::new(),
            plan: Plan::new(DataCleanup::NAME, slot, Vec::new(), Vec::new())?,
            undone: None,
            store: None,
            retryable: false,
        })
    }

    /// The report of a table; made if there is none yet.
    pub(super) fn table(&mut self, source: SourceName, table: &str) -> &mut TableReport {
        let known = self
            .tables
            .iter()
            .position(|report| report.source == source && report.table == table);
        let index = known.unwrap_or_else(|| {
            self.tables.push(TableReport::new(source, table.to_owned()));
            self.tables.len() - 1
        });
        &mut self.tables[index]
    }

    /// A table that could not be looked after.
    pub(super) fn failed(&mut self, source: SourceName, table: &str, error: &DisposalError) {
        tracing::warn!(%source, table, %error, "a table could not be looked after");
        self.retryable |= error.is_retryable();
        self.table(source, table).problems.push(error.to_string());
    }

    /// What was put in order in a table before the work, or was in the way of that.
    pub(super) fn recovered(&mut self, source: SourceName, table: &str, recovery: Recovery) {
        match recovery {
            Ok((sentences, _changed)) => self.table(source, table).recovered = sentences,
            Err(error) => {
                tracing::warn!(%source, table, %error, "could not recover a table");
                self.retryable |= error.is_retryable();
                self.table(source, table).problems.insert(0, error.to_string());
            }
        }
    }

    /// Returns what is in doubt; the other tables were looked after all the same.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let of_tables = self
            .tables
            .iter()
            .filter(|table| !table.problems.is_empty())
            .map(|table| format!("{} {}: {}", table.source, table.table, table.problems.join("; ")));
        let problems: Vec<String> = of_tables.chain(self.problems.iter().cloned()).collect();
        if problems.is_empty() {
            return None;
        }
        let units = self.tables.iter().flat_map(|table| &table.units);
        let acts: usize = units.map(|unit| unit.acts.len()).sum();
        let candles: u64 = self.candles.iter().map(|candles| candles.deleted).sum();
        Some(Failure {
            what: format!(
                "{} of {} tables have problems ({acts} acts on units, {candles} candles deleted): {}",
                problems.len(),
                self.tables.len(),
                problems.join(" | ")
            ),
            retryable: self.retryable,
        })
    }

    /// For a terminal.
    #[must_use]
    pub fn render(&self) -> String {
        if let Some(undone) = &self.undone {
            return undone.to_string();
        }
        if let Some(store) = &self.store {
            return store.to_string();
        }
        let mut text = String::new();
        if self.dry_run {
            text.push_str(&self.plan.render());
            text.push('\n');
        }
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "source", "table", "object", "state", "done now", "rows", "stored", "next",
        ]);
        let mut is_empty = true;
        for row in &self.tables {
            for unit in &row.units {
                is_empty = false;
                table.add_row([
                    row.source.to_string(),
                    row.table.clone(),
                    unit.object.clone(),
                    unit.state.clone(),
                    unit.acts.join(", "),
                    unit.rows.map_or_else(String::new, |rows| rows.to_string()),
                    unit.stored_bytes
                        .map_or_else(String::new, |bytes| format!("{bytes} B")),
                    unit.next(),
                ]);
            }
        }
        for candles in &self.candles {
            is_empty = false;
            let kept: u64 = candles.kept.iter().map(|kept| kept.candles).sum();
            table.add_row([
                candles.source.to_string(),
                candles.table.clone(),
                format!("{} proved by {}", candles.interval, candles.proved_by),
                format!("before {}", instant(candles.cutoff_ms)),
                if self.dry_run { "would delete" } else { "delete" }.to_owned(),
                candles.deleted.to_string(),
                String::new(),
                if kept > 0 {
                    format!("{kept} kept")
                } else {
                    String::new()
                },
            ]);
        }
        if is_empty {
            text.push_str(if self.dry_run { "" } else { "nothing to do" });
        } else if !(self.dry_run && self.candles.is_empty()) {
            text.push_str(&eidos_runtime::terminal::fit(&mut table).to_string());
        }
        for line in self.lines() {
            text.push('\n');
            text.push_str(&line);
        }
        text
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for table in &self.tables {
            let name = format!("{} {}", table.source, table.table);
            lines.extend(
                table
                    .recovered
                    .iter()
                    .map(|recovered| format!("{name}: {recovered}")),
            );
            for unit in &table.units {
                if let Some(key) = &unit.manifest_key {
                    lines.push(format!("{name}: {} is archived at {key}", unit.object));
                }
            }
            if table.waiting_for_approval > 0 {
                lines.push(format!(
                    "{name}: {} pieces wait for a person: retention-manager plan, then apply --plan <digest>",
                    table.waiting_for_approval
                ));
            }
            if table.held > 0 {
                lines.push(format!(
                    "{name}: {} pieces stay because of a legal hold",
                    table.held
                ));
            }
            lines.extend(
                table.staying.iter().map(|staying| {
                    format!("{name}: {} expired rows stay: they {}", staying.rows, staying.why)
                }),
            );
            lines.extend(table.problems.iter().map(|problem| format!("{name}: {problem}")));
        }
        for candles in &self.candles {
            for kept in &candles.kept {
                lines.push(format!(
                    "{} {} {} {}: {} candles kept in {} windows from {}: {}",
                    candles.source,
                    candles.table,
                    kept.market,
                    candles.interval,
                    kept.candles,
                    kept.windows,
                    instant(kept.first_window_ms),
                    kept.why
                ));
            }
            if candles.chunks_dropped > 0 {
                lines.push(format!(
                    "{}: {} empty chunks dropped",
                    candles.table, candles.chunks_dropped
                ));
            }
        }
        for table in &self.without_rule {
            lines.push(format!(
                "{} {}: no retention rule ({} bytes)",
                table.source, table.table, table.bytes
            ));
        }
        lines.extend(self.problems.iter().cloned());
        if self.to_be_continued {
            lines.push("to be continued: the next run goes on".to_owned());
        }
        lines
    }
}

impl UnitReport {
    fn next(&self) -> String {
        match (self.state.as_str(), self.drop_after_ms) {
            ("quarantined", Some(due)) => format!("drop from {}", instant(due)),
            _ => String::new(),
        }
    }
}

/// A sentence for people.
pub(super) fn recovered_sentence(recovered: &Recovered) -> String {
    match recovered {
        Recovered::Finalized { partition } => format!("finished the interrupted detach of {partition}"),
        Recovered::Abandoned { unit_name, unit_id } => {
            format!("discarded the interrupted export of {unit_name} ({unit_id})")
        }
        Recovered::MovedOn { unit_name, state, .. } => format!("{unit_name} had got further: {state}"),
        Recovered::Swept {
            unit_id,
            objects,
            remains,
        } => {
            let remains = remains
                .as_ref()
                .map_or_else(String::new, |remains| format!("; {remains}"));
            format!("removed {objects} objects of abandoned unit {unit_id}{remains}")
        }
        Recovered::UnknownFolder { unit_id, unit_name } => {
            format!(
                "the archive has a folder of {unit_name} ({unit_id}) that no unit knows; it is left alone"
            )
        }
    }
}

/// An epoch millisecond as people write it.
pub(super) fn instant(epoch_ms: i64) -> String {
    DateTime::from_timestamp_millis(epoch_ms).map_or_else(
        || format!("{epoch_ms} ms"),
        |instant| instant.to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}
