//! What a run found and did.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

/// The report of `cleanup-orders`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something else about the run; none is a state"
)]
#[derive(Debug, Clone, Default, Serialize)]
pub struct CleanupReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Given-up requests that an operator had asked again.
    pub retried: u64,
    /// Open requests whose orders were read.
    pub checked: u64,
    /// Orders that ended, by how.
    pub ended: BTreeMap<&'static str, u64>,
    /// Answered requests whose orders stayed open: a new epoch began.
    pub asked_again: u64,
    /// Of them and of those given up: the engine said that it does not have the order.
    pub contradictions: u64,
    /// Requests that were given up in this run.
    pub given_up: u64,
    /// Orders that stand in a status that the profile does not name.
    pub unknown_status: u64,
    /// Open orders that the scan looked at.
    pub scanned: u64,
    /// Whether the scan reached the newest expired order.
    pub scanned_all: bool,
    /// Orders whose requests were closed, and whose rows are open and due.
    pub reopened: u64,
    /// Orders sent to the engine, repetitions included.
    pub sent: u64,
    /// Answers, by verdict.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// By market: orders that were asked for, or would be in a dry run.
    pub markets: BTreeMap<String, u64>,
    /// The first of them.
    pub first_orders: Vec<String>,
    /// Streams that failed, each with the reason; the first few.
    pub stream_failures: Vec<String>,
    /// Whether the engine asked for a pause that lasted to the end of the run.
    pub paused_by_engine: bool,
    /// Whether the run's time or its limit of requests ended before the work.
    pub cut_short: bool,
    /// Cancelled orders whose cache keys were unlinked.
    pub cache_orders: u64,
    /// Keys that there were.
    pub cache_keys: u64,
    /// What operators should know: orders that were given up or contradict, by id; the first few.
    pub findings: Vec<String>,
}

/// Failures listed in a report.
const FAILURES: usize = 5;

impl CleanupReport {
    pub(super) fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            ..Self::default()
        }
    }

    pub(super) fn asked_for(&mut self, order_id: &str, market: &str, listed: u32) {
        *self.markets.entry(market.to_owned()).or_default() += 1;
        if self.first_orders.len() < listed as usize {
            self.first_orders.push(order_id.to_owned());
        }
    }

    pub(super) fn stream_failed(&mut self, reason: String) {
        if self.stream_failures.len() < FAILURES {
            self.stream_failures.push(reason);
        }
    }

    pub(super) fn finding(&mut self, text: String, listed: u32) {
        if self.findings.len() < listed as usize {
            self.findings.push(text);
        }
    }

    pub(super) fn render(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        if self.dry_run {
            table.set_header(["market", "would be asked for"]);
        } else {
            table.set_header(["market", "asked for"]);
        }
        for (market, count) in &self.markets {
            table.add_row([market.clone(), count.to_string()]);
        }
        let mut text = if self.dry_run {
            let asked: u64 = self.markets.values().sum();
            format!(
                "{} expired orders were looked at, {asked} would be asked for; nothing was changed.",
                self.scanned
            )
        } else {
            format!(
                "{} requests checked: ended {}; {} asked again, {} given up, {} contradict their rows.\n\
                 {} expired orders looked at, {} sent: answers {}.\n{} cache keys of {} cancelled orders unlinked.",
                self.checked,
                words(&self.ended),
                self.asked_again,
                self.given_up,
                self.contradictions,
                self.scanned,
                self.sent,
                words(&self.verdicts),
                self.cache_keys,
                self.cache_orders,
            )
        };
        if !self.markets.is_empty() {
            let _ = write!(text, "\n{table}\nfirst: {}", self.first_orders.join(", "));
        }
        if self.cut_short {
            text.push_str("\nThe run's time or limit ended before the work; the next run goes on.");
        }
        if self.paused_by_engine {
            text.push_str("\nThe engine asked for a pause; the next run goes on.");
        }
        for line in self.stream_failures.iter().chain(&self.findings) {
            let _ = write!(text, "\n! {line}");
        }
        text
    }
}

fn words(counts: &BTreeMap<&'static str, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(word, count)| format!("{word} {count}"))
        .collect();
    parts.join(", ")
}
