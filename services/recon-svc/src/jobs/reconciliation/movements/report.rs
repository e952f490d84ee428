//! What a dimension of movements found, as the run's report shows it.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use eidos_recon::Found;
use eidos_recon::outcome::is_shortfall;
use eidos_recon::severity::Severity;
use eidos_recon::tally::Tally as _;
use eidos_types::{Address, Amount, BreakId};
use serde::Serialize;

use super::super::params::Mode;
use crate::dimensions::movements::key::Movement;
use crate::dimensions::movements::kind::MovementKind;
use crate::dimensions::movements::tally::MovementTally;

/// One dimension of a run.
#[derive(Debug, Clone, Serialize)]
pub struct DimensionReport {
    /// Its name.
    pub dimension: &'static str,
    /// `full` or `incremental`.
    pub mode: &'static str,
    /// Movements compared.
    pub checked: u64,
    /// Movements that agreed.
    pub matched: u64,
    /// Movements that one side has and the other is not late with.
    pub in_flight: u64,
    /// Movements that differed at first and agreed when read again.
    pub lag: u64,
    /// Movements that the next run reads again.
    pub undecided: u64,
    /// How many breaks, warning and critical.
    pub breaks_found: u64,
    /// Critical ones.
    pub critical: u64,
    /// Earlier breaks that both sides agree about now.
    pub resolved: u64,
    /// Breaks, worst first, at most `reconciliation.report_breaks`.
    pub breaks: Vec<MovementBreak>,
    /// Numbers per token; never summed across tokens.
    pub tokens: Vec<TokenCounts>,
    /// What is wrong that is no movement's difference.
    pub findings: Vec<String>,
    /// Movements whose results were durable before this execution began; `None` for a fresh run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<u64>,
}

/// One token's numbers.
#[derive(Debug, Clone, Serialize)]
pub struct TokenCounts {
    /// Symbol, or the contract of an unknown one.
    pub token: String,
    /// Movements compared.
    pub checked: u64,
    /// Movements that agreed.
    pub matched: u64,
    /// Ignored differences.
    pub dust_count: u64,
    /// Their magnitudes.
    pub dust_gross: String,
}

/// One break.
#[derive(Debug, Clone, Serialize)]
pub struct MovementBreak {
    /// Its identity; `None` in a dry run.
    pub break_id: Option<BreakId>,
    /// Its dimension.
    pub dimension: &'static str,
    /// Which movement.
    pub subject: String,
    /// Whose; `None` if neither side says so readably.
    pub wallet: Option<Address>,
    /// Token symbol, or the contract of an unknown one.
    pub token: String,
    /// What kind.
    pub kind: MovementKind,
    /// How bad.
    pub severity: Severity,
    /// What the books have.
    pub expected: Option<Amount>,
    /// What the chain has, with every digit.
    pub onchain: String,
    /// Chain − books.
    pub diff: Option<Amount>,
    /// Magnitude in USDC.
    pub usdc: Option<Amount>,
    /// True if the chain lacks something.
    pub shortfall: bool,
    /// Readings at distinct finalized blocks.
    pub confirmations: u32,
    /// True if this run opened it.
    pub new: bool,
    /// Why its severity is not simply its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Why a side is not an amount; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl MovementBreak {
    /// From what the engine found.
    #[must_use]
    pub fn of(dimension: &'static str, found: &Found<Movement, ()>) -> Self {
        let Found { suspect, stored, .. } = found;
        let (movement, difference) = (&suspect.subject, &suspect.difference);
        Self {
            break_id: stored.map(|stored| stored.id),
            dimension,
            subject: movement.key.text(),
            wallet: movement.wallet,
            token: movement.unit.clone(),
            kind: difference.kind,
            severity: suspect.weight.severity,
            expected: difference.left,
            onchain: difference.right_exact.clone(),
            diff: difference.diff,
            usdc: suspect.weight.value_usdc,
            shortfall: is_shortfall(difference),
            confirmations: found.confirmations(),
            new: stored.is_some_and(|stored| stored.opened),
            because: suspect.weight.because.clone(),
            note: difference.note.clone(),
        }
    }
}

impl DimensionReport {
    /// What the first reading counted and the second one found; the caller adds what only it knows.
    pub(super) fn of(
        dimension: &'static str,
        mode: Mode,
        tally: &MovementTally,
        found: &[Found<Movement, ()>],
        limit: usize,
    ) -> Self {
        use std::cmp::Reverse;
        let mut breaks: Vec<MovementBreak> = found
            .iter()
            .map(|found| MovementBreak::of(dimension, found))
            .collect();
        breaks.sort_by(|one, other| {
            let worst = |of: &MovementBreak| (Reverse(of.severity), of.kind, Reverse(of.usdc));
            worst(one)
                .cmp(&worst(other))
                .then_with(|| one.subject.cmp(&other.subject))
        });
        let critical = breaks
            .iter()
            .filter(|found| found.severity == Severity::Critical)
            .count() as u64;
        let breaks_found = breaks.len() as u64;
        breaks.truncate(limit);
        Self {
            dimension,
            mode: mode.as_str(),
            checked: tally.checked(),
            matched: tally.matched(),
            in_flight: tally.in_flight,
            lag: 0,
            undecided: 0,
            breaks_found,
            critical,
            resolved: 0,
            breaks,
            tokens: tally
                .tokens
                .iter()
                .map(|(token, counts)| TokenCounts {
                    token: token.clone(),
                    checked: counts.checked,
                    matched: counts.matched,
                    dust_count: counts.dust.count,
                    dust_gross: counts.dust.gross.to_string(),
                })
                .collect(),
            findings: Vec::new(),
            resumed_from: None,
        }
    }

    /// A dimension that is switched on and could not be read, and why.
    pub(super) fn unread(dimension: &'static str, mode: Mode, reason: &str) -> Self {
        let mut report = Self::of(dimension, mode, &MovementTally::default(), &[], 0);
        report.findings.push(reason.to_owned());
        report
    }

    /// As a person reads it.
    pub(crate) fn render(&self) -> String {
        use std::fmt::Write;
        let verdict = if self.breaks_found == 0 && self.findings.is_empty() {
            "chain and books agree".to_owned()
        } else {
            format!("{} breaks ({} critical)", self.breaks_found, self.critical)
        };
        let mut text = format!(
            "{}, {}: {verdict}\n{} movements compared, {} equal ({} in flight), {} were late, {} undecided, {} earlier \
             breaks resolved\n",
            self.dimension,
            self.mode,
            self.checked,
            self.matched,
            self.in_flight,
            self.lag,
            self.undecided,
            self.resolved
        );
        if !self.breaks.is_empty() {
            let _ = writeln!(text, "{}", self.table());
            let more = self.breaks_found.saturating_sub(self.breaks.len() as u64);
            if more > 0 {
                let _ = writeln!(text, "… and {more} more: GET /v1/breaks");
            }
        }
        for finding in &self.findings {
            let _ = writeln!(text, "! {finding}");
        }
        text
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "severity", "kind", "movement", "wallet", "token", "books", "chain", "USDC",
        ]);
        let show =
            |amount: Option<Amount>| amount.map_or_else(|| "?".to_owned(), |amount| amount.to_string());
        for found in &self.breaks {
            table.add_row([
                found.severity.to_string(),
                found.kind.to_string(),
                found.subject.clone(),
                found
                    .wallet
                    .map_or_else(|| "?".to_owned(), |wallet| wallet.to_string()),
                found.token.clone(),
                show(found.expected),
                found.onchain.clone(),
                show(found.usdc),
            ]);
        }
        eidos_runtime::terminal::fit(&mut table).to_string()
    }
}
