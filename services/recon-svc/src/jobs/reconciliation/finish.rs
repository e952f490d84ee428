//! The end of a run: totals, dust, what is closed, what is paused, and the checkpoint the next run starts from.

use eidos_chain::BlockRef;
use eidos_core::outbox;
use eidos_telemetry::metric;
use eidos_types::{Address, Amount, Total};

use super::confirm::Decided;
use super::events;
use super::job::Reconciliation;
use super::left_behind::{CURSOR_KEY, Done, SampleCursor};
use super::params::Mode;
use super::report::{BreakReport, Finding, TokenReport};
use super::run::{DIMENSION, Fault, HEAD_KEY, Run, View};
use super::solvency::Solvency;
use crate::domain::severity::Severity;
use crate::domain::tally::Tally;
use crate::domain::verdict::BreakKind;
use crate::store::{breaks, pauses, records, shards as shard_store};

/// Wallets the next run has to look at: a skip is a debt.
pub const DEBTS_KEY: &str = "debts";

impl Run<'_> {
    /// Pauses operations for critical breaks with enough confirmations. Returns what is new.
    pub(super) async fn pause(&self, reports: &[BreakReport]) -> Result<Vec<String>, Fault> {
        let rules = self.job.rules();
        let mut paused = Vec::new();
        for report in reports {
            let ready =
                report.severity == Severity::Critical && report.confirmations >= rules.critical_confirmations;
            let (true, Some(break_id)) = (ready, report.break_id) else {
                continue;
            };
            let below = report.kind == BreakKind::Insolvent || report.diff.is_some_and(Amount::is_negative);
            let operations = if below {
                &rules.pause_on_shortfall
            } else {
                &rules.pause_on_surplus
            };
            let reason = format!(
                "{} of {} {}, break {break_id}",
                report.kind,
                report
                    .diff
                    .map_or_else(|| report.onchain.clone(), |diff| diff.to_string()),
                report.token
            );
            for operation in operations {
                let mut step = self.ctx.step().await?;
                let at = self.ctx.clock().now();
                let set = pauses::set(
                    step.conn(),
                    operation.as_str(),
                    &report.token,
                    break_id,
                    &reason,
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
        decided: &Decided,
        wallets: Option<&[Address]>,
        cursor: Option<SampleCursor>,
    ) -> Result<u64, Fault> {
        if self.ctx.dry_run() {
            return Ok(0);
        }
        let block = view.cut.block;
        let mut step = self.ctx.step().await?;
        for (index, token) in self.job.tokens.iter() {
            let counted = tally.token(index);
            let usdc = counted.dust.gross.to_amount().ok().and_then(|gross| {
                gross
                    .valued_at(view.prices.of(&token.symbol)?.usdc)
                    .ok()
                    .map(|value| value.to_string())
            });
            let of = self.record_of();
            records::totals(step.conn(), of, token, &counted, block)
                .await
                .map_err(Fault::own)?;
            records::dust(step.conn(), of, token, &counted.dust, usdc, block)
                .await
                .map_err(Fault::own)?;
        }
        let undecided: Vec<String> = decided
            .undecided
            .iter()
            .map(|suspect| suspect.wallet.to_string())
            .collect();
        let compared: Option<Vec<String>> =
            wallets.map(|wallets| wallets.iter().map(Address::to_string).collect());
        let clean = self.clean(DIMENSION, block, compared.as_deref(), &undecided);
        let resolved = breaks::resolve(step.conn(), clean).await.map_err(Fault::own)?;
        step.save_checkpoint(DEBTS_KEY, &undecided).await?;
        if let Some(cursor) = cursor {
            step.save_checkpoint(CURSOR_KEY, &cursor).await?;
        }
        let done = Done {
            at: view.cut.taken_at(),
            block,
            run_id: self.run_id,
        };
        step.save_checkpoint(&done_key(self.mode), &done).await?;
        let epoch = step.epoch();
        shard_store::finish(step.conn(), DIMENSION, self.mode.as_str(), epoch)
            .await
            .map_err(Fault::own)?;
        step.delete_checkpoint(HEAD_KEY).await?;
        step.delete_checkpoints(&self.suspects_prefix()).await?;
        step.commit().await?;
        Ok(resolved)
    }

    /// Dust beyond its limit, and tokens of the books that nobody knows.
    pub(super) fn token_findings(&self, view: &View, tally: &Tally) -> Vec<Finding> {
        let mut findings = Vec::new();
        let limit = self.job.rules().dust_limit_usdc;
        for (index, token) in self.job.tokens.iter() {
            let dust = tally.token(index).dust;
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
                    checked: counted.checked,
                    matched: counted.matched,
                    in_flight_lines: counted.in_flight_lines,
                    in_flight: counted.in_flight.to_string(),
                    dust_count: counted.dust.count,
                    dust_gross: counted.dust.gross.to_string(),
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
            for dimension in [DIMENSION, super::solvency::SOLVENCY] {
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
            let total = |sum: crate::domain::sum::SignedSum| {
                sum.to_amount()
                    .map_or(Total::ZERO, |amount| Total::from(amount.abs()))
            };
            metric::reconciliation_in_flight_amount(DIMENSION, &token.symbol, total(counted.in_flight));
            metric::reconciliation_dust_amount(DIMENSION, &token.symbol, total(counted.dust.gross));
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

/// Where the last finished run of a mode is remembered.
#[must_use]
pub fn done_key(mode: Mode) -> String {
    format!("done/{}", mode.as_str())
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
    let BlockRef { number, .. } = done.block;
    number + 1
}
