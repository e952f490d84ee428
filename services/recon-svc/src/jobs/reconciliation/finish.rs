//! The end of a run: totals, dust, what is closed, what is paused, and the checkpoint the next run starts from.

use chrono::{DateTime, Utc};
use eidos_core::outbox;
use eidos_recon::life::{Age, State};
use eidos_recon::run::{Closing, Decided, Done};
use eidos_recon::severity::Severity;
use eidos_recon::store::{listing, pauses, records};
use eidos_recon::sum::SignedSum;
use eidos_recon::tally::Tally as _;
use eidos_telemetry::metric;
use eidos_types::{Address, Amount, BreakId, Total};
use serde_json::{Value, json};

use super::events;
use super::job::Reconciliation;
use super::left_behind::{CURSOR_KEY, SampleCursor};
use super::movements::MovementBreak;
use super::params::Mode;
use super::report::{BreakReport, Finding, TokenReport};
use super::run::{Balance, DIMENSION, Fault, Run, View};
use super::solvency::{SOLVENCY, Solvency};
use crate::dimensions::balance::account::AccountKey;
use crate::dimensions::balance::kind::BreakKind;
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::tally::{Tally, TokenTally};
use crate::store::breaks;

/// A break that may pause operations.
#[derive(Debug)]
pub(super) struct PauseCause {
    break_id: Option<BreakId>,
    severity: Severity,
    confirmations: u32,
    /// True for a shortfall.
    below: bool,
    token: String,
    what: String,
}

impl From<&BreakReport> for PauseCause {
    fn from(report: &BreakReport) -> Self {
        let size = report
            .diff
            .map_or_else(|| report.onchain.clone(), |diff| diff.to_string());
        Self {
            break_id: report.break_id,
            severity: report.severity,
            confirmations: report.confirmations,
            below: report.kind == BreakKind::Insolvent || report.diff.is_some_and(Amount::is_negative),
            token: report.token.clone(),
            what: format!("{} of {size} {}", report.kind, report.token),
        }
    }
}

impl From<&MovementBreak> for PauseCause {
    fn from(report: &MovementBreak) -> Self {
        Self {
            break_id: report.break_id,
            severity: report.severity,
            confirmations: report.confirmations,
            below: report.shortfall,
            token: report.token.clone(),
            what: format!(
                "{} of {} {} ({} {})",
                report.kind, report.onchain, report.token, report.dimension, report.subject
            ),
        }
    }
}

impl Run<'_> {
    /// Pauses operations for critical breaks with enough confirmations. Returns what is new.
    pub(super) async fn pause(&self, causes: &[PauseCause]) -> Result<Vec<String>, Fault> {
        let rules = self.job.rules();
        let mut paused = Vec::new();
        for report in causes {
            let ready =
                report.severity == Severity::Critical && report.confirmations >= rules.critical_confirmations;
            let (true, Some(break_id)) = (ready, report.break_id) else {
                continue;
            };
            let operations = if report.below {
                &rules.pause_on_shortfall
            } else {
                &rules.pause_on_surplus
            };
            let reason = format!("{}, break {break_id}", report.what);
            for operation in operations {
                let mut step = self.ctx.step().await?;
                let at = self.ctx.clock().now();
                let set = pauses::set(
                    step.conn(),
                    operation.as_str(),
                    &report.token,
                    Some(break_id),
                    &reason,
                    self.ctx.job().as_str(),
                    at,
                )
                .await
                .map_err(Fault::own)?;
                let Some(row) = set else { continue };
                let event = events::pause(&row, false, &**self.ctx.clock());
                outbox::record(step.conn(), &event).await?;
                step.commit().await?;
                tracing::error!(operation = operation.as_str(), token = report.token, %reason, "an operation is paused");
                paused.push(format!("{} of {}: {reason}", operation.as_str(), report.token));
            }
        }
        Ok(paused)
    }

    /// The last step: nothing of the run is unfinished after it.
    pub(super) async fn close(
        &self,
        view: &View,
        tally: &Tally,
        decided: &Decided<AccountKey>,
        wallets: Option<&[Address]>,
        cursor: Option<SampleCursor>,
    ) -> Result<u64, Fault> {
        if self.ctx.dry_run() {
            return Ok(0);
        }
        let point = point_of(&view.cut.block);
        let mut step = self.ctx.step().await?;
        for (index, token) in self.job.tokens.iter() {
            let counted = tally.token(index);
            let dust = &counted.counts.dust;
            let usdc = dust.gross.to_amount().ok().and_then(|gross| {
                let price = view.prices.of(&token.symbol)?;
                gross.valued_at(price.usdc).ok()
            });
            let (of, unit) = (self.engine.record_of(), self.job.tokens.token_identity(index));
            let undecided = decided.undecided.iter();
            let undecided = undecided.filter(|suspect| suspect.subject.token == index).count();
            records::totals(step.conn(), of, &unit, totals_of(&counted, undecided), &point)
                .await
                .map_err(Fault::own)?;
            records::dust(step.conn(), of, &unit, dust, usdc, &point)
                .await
                .map_err(Fault::own)?;
        }
        if let Some(cursor) = cursor {
            step.save_checkpoint(CURSOR_KEY, &cursor).await?;
        }
        let closing = Closing {
            point,
            read_at: view.cut.taken_at(),
            groups: wallets.map(|wallets| wallets.iter().map(Address::to_string).collect()),
            undecided: &decided.undecided,
        };
        self.engine.close(&self.balance, step, closing).await
    }

    /// Dust beyond its limit, and tokens of the books that nobody knows.
    pub(super) fn token_findings(&self, view: &View, tally: &Tally) -> Vec<Finding> {
        let mut findings = Vec::new();
        let limit = self.job.rules().dust_limit_usdc;
        for (index, token) in self.job.tokens.iter() {
            let dust = tally.token(index).counts.dust;
            if let Some(value) = dust.beyond(view.prices.of(&token.symbol), limit) {
                findings.push(Finding {
                    kind: BreakKind::DustLimit,
                    token: Some(token.symbol.clone()),
                    detail: format!(
                        "{} ignored differences of {} add up to {value} USDC, more than {limit}; net {}",
                        dust.count, token.symbol, dust.net
                    ),
                });
            }
        }
        for (symbol, rows) in self.job.books.unknown_tokens() {
            findings.push(Finding {
                kind: BreakKind::UnknownToken,
                detail: format!(
                    "{rows} rows of the books are in '{symbol}', which is no token of this chain's settings; they \
                     were not compared"
                ),
                token: Some(symbol),
            });
        }
        findings
    }

    /// Numbers per token.
    pub(super) fn token_reports(&self, tally: &Tally, solvency: &Solvency) -> Vec<TokenReport> {
        self.job
            .tokens
            .iter()
            .map(|(index, token)| {
                let counted = tally.token(index);
                let held = solvency.held.get(usize::from(index.0));
                TokenReport {
                    token: token.symbol.clone(),
                    checked: counted.counts.checked,
                    matched: counted.counts.matched,
                    in_flight_lines: counted.in_flight_lines,
                    in_flight: counted.in_flight.to_string(),
                    dust_count: counted.counts.dust.count,
                    dust_gross: counted.counts.dust.gross.to_string(),
                    expected: counted.expected.to_string(),
                    owed: counted
                        .owed
                        .exact()
                        .map_or_else(String::new, |owed| owed.exact(token.decimals)),
                    held: held.map_or_else(String::new, |held| held.exact(token.decimals)),
                }
            })
            .collect()
    }
}

impl Reconciliation {
    /// Sets the gauges of breaks from what is open now, whichever replica found or closed it. Missing data is not zero: a
    /// token without breaks is set to zero explicitly.
    pub(super) async fn gauges_of_breaks(&self, db: &eidos_core::db::JobsDb) -> Result<(), sqlx::Error> {
        let open = breaks::open_totals(db.control()).await?;
        for (_, token) in self.tokens.iter() {
            for dimension in [DIMENSION, SOLVENCY]
                .into_iter()
                .chain(self.movement_dimensions())
            {
                let of = |severity: &str| {
                    open.iter()
                        .filter(|row| row.0 == dimension && row.1 == token.symbol && row.2 == severity)
                        .map(|row| u64::try_from(row.3).unwrap_or_default())
                        .sum()
                };
                metric::reconciliation_diff_count(dimension, &token.symbol, "warning", of("warning"));
                metric::reconciliation_diff_count(dimension, &token.symbol, "critical", of("critical"));
                let amount: Total = open
                    .iter()
                    .filter(|row| row.0 == dimension && row.1 == token.symbol)
                    .filter_map(|row| row.4.parse::<Amount>().ok())
                    .sum();
                metric::reconciliation_diff_amount(dimension, &token.symbol, amount);
            }
        }
        Ok(())
    }

    /// Sets the gauges of the breaks that are unresolved at `now`, by age. What has none is set to zero explicitly.
    pub(super) async fn gauges_of_ages(
        &self,
        db: &eidos_core::db::JobsDb,
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        let unresolved = listing::unresolved(db.control(), now).await?;
        let mut dimensions = listing::dimensions(db.control()).await?;
        dimensions.extend([DIMENSION, super::solvency::SOLVENCY].map(ToOwned::to_owned));
        dimensions.sort();
        dimensions.dedup();
        for dimension in &dimensions {
            for state in State::UNRESOLVED.map(State::as_str) {
                for severity in [Severity::Warning, Severity::Critical].map(Severity::as_str) {
                    let of_these = || {
                        unresolved.iter().filter(|row| {
                            row.dimension == *dimension && row.state == state && row.severity == severity
                        })
                    };
                    for age in Age::ALL {
                        let count = of_these().filter(|row| row.age == age).map(|row| row.count).sum();
                        metric::reconciliation_unresolved_breaks(
                            dimension,
                            state,
                            severity,
                            age.as_str(),
                            count,
                        );
                    }
                    let oldest = of_these().map(|row| row.oldest).min();
                    let oldest = oldest.and_then(|oldest| now.signed_duration_since(oldest).to_std().ok());
                    metric::reconciliation_oldest_break(
                        dimension,
                        state,
                        severity,
                        oldest.unwrap_or_default(),
                    );
                }
            }
        }
        Ok(())
    }

    /// Sets the gauges after a run; one that failed sets nothing.
    pub(super) async fn gauges(
        &self,
        db: &eidos_core::db::JobsDb,
        mode: Mode,
        view: &View,
        tally: &Tally,
    ) -> Result<(), sqlx::Error> {
        self.gauges_of_breaks(db).await?;
        for (index, token) in self.tokens.iter() {
            let counted = tally.token(index);
            let total = |sum: SignedSum| {
                sum.to_amount()
                    .map_or(Total::ZERO, |amount| Total::from(amount.abs()))
            };
            metric::reconciliation_in_flight_amount(DIMENSION, &token.symbol, total(counted.in_flight));
            metric::reconciliation_dust_amount(DIMENSION, &token.symbol, total(counted.counts.dust.gross));
        }
        metric::reconciliation_checked(DIMENSION, tally.checked());
        let at = view.cut.taken_at();
        metric::reconciliation_verified(DIMENSION, mode.as_str(), at);
        if mode == Mode::Full {
            metric::reconciliation_oldest_verified(DIMENSION, at);
        }
        metric::reconciliation_indexer_lag(view.cut.indexer_lag());
        metric::reconciliation_node_lag(view.cut.node_lag());
        metric::reconciliation_node_behind_accounts(view.node_behind_accounts() as u64);
        Ok(())
    }
}

/// The figures of a token that are stored with a run.
fn totals_of(counted: &TokenTally, undecided: usize) -> Value {
    json!({
        "undecided": undecided,
        "checked": counted.counts.checked, "matched": counted.counts.matched,
        "in_flight_lines": counted.in_flight_lines, "in_flight": counted.in_flight.to_string(),
        "expected": counted.expected.to_string(), "owed": counted.owed,
    })
}

/// The checkpoint of the last finished run of a mode.
#[must_use]
pub fn done_key(mode: Mode) -> String {
    eidos_recon::Run::<Balance<'_>>::done_key(mode.as_str())
}

/// The newest of the finished runs, whichever mode.
#[must_use]
pub fn newest(full: Option<Done>, incremental: Option<Done>) -> Option<Done> {
    match (full, incremental) {
        (Some(full), Some(incremental)) if incremental.at > full.at => Some(incremental),
        (full, incremental) => full.or(incremental),
    }
}

/// The block after which an incremental run looks for events.
#[must_use]
pub const fn next_block(done: &Done) -> u64 {
    done.block.number + 1
}
