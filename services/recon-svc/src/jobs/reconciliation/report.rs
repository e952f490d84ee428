//! What a run found: the same struct for the execution's row, the log, the API and a person at a terminal.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use eidos_chain::{BlockRef, RequestCounts, RungReport};
use eidos_types::{Address, Amount, BreakId};
use serde::Serialize;
use uuid::Uuid;

use super::movements::DimensionReport;
use crate::dimensions::balance::canary::CanaryReport;
use crate::dimensions::balance::classify::Hint;
use crate::dimensions::balance::kind::BreakKind;
use eidos_recon::severity::Severity;

/// The result of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `full` or `incremental`.
    pub mode: &'static str,
    /// Why it is full although it was not asked to be; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode_reason: String,
    /// The logical run; the same after a crash and resume.
    pub run_id: Uuid,
    /// True if nothing was written.
    pub dry_run: bool,
    /// Where both sides were read.
    pub cut: CutReport,
    /// Accounts (wallet, token) compared.
    pub checked: u64,
    /// Accounts that agreed to the last digit.
    pub matched: u64,
    /// Accounts that differed at first and agreed when read again.
    pub lag: u64,
    /// Accounts still moving after the last reading; the next run goes on with them.
    pub undecided: u64,
    /// Accounts with movements in blocks that the node had not reached when they were read first.
    pub node_behind_accounts: u64,
    /// How many breaks, warning and critical.
    pub breaks_found: u64,
    /// Critical ones.
    pub critical: u64,
    /// Earlier breaks that both sides agree about now.
    pub resolved: u64,
    /// Breaks, worst first, at most `reconciliation.report_breaks`.
    pub breaks: Vec<BreakReport>,
    /// Numbers per token; never summed across tokens.
    pub tokens: Vec<TokenReport>,
    /// Ignored differences, at most `reconciliation.report_breaks`; all are in the totals.
    pub ignored: Vec<IgnoredReport>,
    /// What became of the canaries that were compared; they are no breaks.
    pub canaries: Vec<CanaryReport>,
    /// The dimensions beside the balances; the figures above are those of balances and solvency.
    pub dimensions: Vec<DimensionReport>,
    /// What is wrong that is no account's difference.
    pub findings: Vec<Finding>,
    /// Operations paused by this run.
    pub paused: Vec<String>,
    /// What part of the books was looked at.
    pub coverage: Coverage,
    /// Requests to the node during this run.
    pub rpc: RpcReport,
    /// Accounts whose results were durable before this execution began; `None` for a fresh run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<u64>,
    /// How often a new cut was pinned because the chain's state was gone or reorganised.
    pub repins: u32,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// The cut.
#[derive(Debug, Clone, Serialize)]
pub struct CutReport {
    /// The chain's block.
    pub block: u64,
    /// Its hash.
    pub hash: eidos_types::Hash32,
    /// The books' snapshot.
    pub snapshot: String,
    /// When it was taken.
    pub snapshot_time: DateTime<Utc>,
    /// The indexer's last block inside it.
    pub indexer_block: u64,
    /// The node's finalized block.
    pub finalized_block: u64,
    /// The node's newest block.
    pub head_block: u64,
}

/// One break.
#[derive(Debug, Clone, Serialize)]
pub struct BreakReport {
    /// Its identity; `None` in a dry run.
    pub break_id: Option<BreakId>,
    /// `balance` or `solvency`.
    pub dimension: &'static str,
    /// Whose; `None` for the Vault as a whole.
    pub wallet: Option<Address>,
    /// Token symbol.
    pub token: String,
    /// What kind.
    pub kind: BreakKind,
    /// How bad.
    pub severity: Severity,
    /// Books with in-flight lines.
    pub expected: Option<Amount>,
    /// Chain, with every digit.
    pub onchain: String,
    /// Chain − books.
    pub diff: Option<Amount>,
    /// Magnitude in USDC.
    pub usdc: Option<Amount>,
    /// What it looks like.
    pub hint: Hint,
    /// Readings at distinct finalized blocks.
    pub confirmations: u32,
    /// True if this run opened it.
    pub new: bool,
    /// Why its severity is not simply its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// One ignored difference.
#[derive(Debug, Clone, Serialize)]
pub struct IgnoredReport {
    /// Whose.
    pub wallet: Address,
    /// Token symbol.
    pub token: String,
    /// What kind.
    pub kind: BreakKind,
    /// Chain − books.
    pub diff: Option<Amount>,
}

/// One token's numbers.
#[derive(Debug, Clone, Serialize)]
pub struct TokenReport {
    /// Symbol.
    pub token: String,
    /// Accounts compared.
    pub checked: u64,
    /// Accounts that agreed.
    pub matched: u64,
    /// In-flight lines applied.
    pub in_flight_lines: u64,
    /// Their signed sum.
    pub in_flight: String,
    /// Ignored differences.
    pub dust_count: u64,
    /// Their magnitudes.
    pub dust_gross: String,
    /// What the books expect.
    pub expected: String,
    /// What the Vault owes; empty if it is beyond 256 bits.
    pub owed: String,
    /// What the Vault holds; empty in an incremental run.
    pub held: String,
}

/// What is wrong that is no account's difference.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What kind.
    pub kind: BreakKind,
    /// Which token, if one.
    pub token: Option<String>,
    /// A sentence.
    pub detail: String,
}

/// What part of the books was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Coverage {
    /// True if every account of both sides was compared.
    pub complete: bool,
    /// Why accounts were chosen, and how many wallets each reason gave.
    pub chosen: Vec<(&'static str, u64)>,
    /// When the last complete run was: no account is verified longer ago than this.
    pub oldest_verified: Option<DateTime<Utc>>,
}

/// What was asked of the node.
#[derive(Debug, Clone, Serialize)]
pub struct RpcReport {
    /// During this run.
    pub http_requests: u64,
    /// JSON-RPC calls inside them.
    pub calls: u64,
    /// The ladder, since the process started.
    pub rungs: Vec<RungReport>,
}

impl RpcReport {
    /// The difference of two counts.
    #[must_use]
    pub fn between(before: RequestCounts, after: RequestCounts, rungs: Vec<RungReport>) -> Self {
        Self {
            http_requests: after.http_requests.saturating_sub(before.http_requests),
            calls: after.calls.saturating_sub(before.calls),
            rungs,
        }
    }
}

impl CutReport {
    /// From the cut.
    #[must_use]
    pub fn of(block: BlockRef, cut: &super::cut::Cut) -> Self {
        Self {
            block: block.number,
            hash: block.hash,
            snapshot: cut.snapshot.id.clone(),
            snapshot_time: cut.taken_at(),
            indexer_block: cut.snapshot.indexer.number,
            finalized_block: cut.finalized.number,
            head_block: cut.head.number,
        }
    }
}

/// The report as a person reads it.
#[must_use]
pub fn render(report: &Report) -> String {
    let verdict = if report.breaks_found == 0 && report.findings.is_empty() {
        "chain and books agree".to_owned()
    } else {
        format!("{} breaks ({} critical)", report.breaks_found, report.critical)
    };
    let mut text = format!(
        "Reconciliation, balance, {}{}: {verdict}\n\
         block {} {}  ·  books {}  ·  indexer {}  ·  finalized {}\n\
         {} accounts compared, {} equal, {} were late, {} undecided, {} earlier breaks resolved  ·  {:.1} s  ·  {} requests\n",
        report.mode,
        if report.dry_run { " (dry run)" } else { "" },
        report.cut.block,
        report.cut.hash,
        report.cut.snapshot_time.format("%Y-%m-%d %H:%M:%S UTC"),
        report.cut.indexer_block,
        report.cut.finalized_block,
        report.checked,
        report.matched,
        report.lag,
        report.undecided,
        report.resolved,
        std::time::Duration::from_millis(report.duration_ms).as_secs_f64(),
        report.rpc.http_requests,
    );
    if let Some(before) = report.resumed_from {
        let _ = writeln!(text, "resumed: {before} accounts were already durable");
    }
    if !report.mode_reason.is_empty() {
        let _ = writeln!(text, "full because {}", report.mode_reason);
    }
    text.push('\n');
    text.push_str(&tokens_table(report));
    if !report.breaks.is_empty() {
        let _ = write!(text, "\n\n{}", breaks_table(report));
        let more = report.breaks_found.saturating_sub(report.breaks.len() as u64);
        if more > 0 {
            let _ = write!(text, "\n… and {more} more: GET /v1/breaks");
        }
    }
    if !report.canaries.is_empty() {
        let found = report.canaries.iter().filter(|canary| canary.found).count();
        let _ = write!(text, "\ncanaries: {found} of {} found", report.canaries.len());
    }
    for finding in &report.findings {
        let _ = write!(text, "\n! {}: {}", finding.kind, finding.detail);
    }
    for dimension in &report.dimensions {
        let _ = write!(text, "\n\n{}", dimension.render());
    }
    for paused in &report.paused {
        let _ = write!(text, "\n! paused: {paused}");
    }
    text.push('\n');
    text
}

fn tokens_table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "token",
        "accounts",
        "equal",
        "in flight",
        "dust",
        "books",
        "vault owes",
        "vault holds",
    ]);
    for token in &report.tokens {
        table.add_row([
            token.token.clone(),
            token.checked.to_string(),
            token.matched.to_string(),
            format!("{} ({})", token.in_flight, token.in_flight_lines),
            format!("{} ({})", token.dust_gross, token.dust_count),
            token.expected.clone(),
            shortened(&token.owed),
            shortened(&token.held),
        ]);
    }
    eidos_runtime::terminal::fit(&mut table).to_string()
}

fn breaks_table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "severity",
        "kind",
        "wallet",
        "token",
        "books",
        "chain",
        "difference",
        "USDC",
        "looks like",
    ]);
    let show = |amount: Option<Amount>| amount.map_or_else(|| "?".to_owned(), |amount| amount.to_string());
    for found in &report.breaks {
        table.add_row([
            found.severity.to_string(),
            found.kind.to_string(),
            found
                .wallet
                .map_or_else(|| "(the vault)".to_owned(), |wallet| wallet.to_string()),
            found.token.clone(),
            show(found.expected),
            shortened(&found.onchain),
            show(found.diff),
            show(found.usdc),
            found.hint.cause.as_str().to_owned(),
        ]);
    }
    eidos_runtime::terminal::fit(&mut table).to_string()
}

/// A uint256 has up to 78 digits; the table shows the ends, the JSON all.
fn shortened(digits: &str) -> String {
    if digits.len() <= 40 {
        return digits.to_owned();
    }
    let head: String = digits.chars().take(20).collect();
    let tail: String = digits.chars().skip(digits.chars().count() - 10).collect();
    format!("{head}…{tail}")
}
