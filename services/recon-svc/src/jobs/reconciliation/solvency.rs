//! The vault's solvency (ruling 27): what the token contract holds for the vault against what the vault owes. An
//! emergency withdrawal moves tokens without touching balances; only this sees it.

use eidos_chain::BlockRef;
use eidos_core::outbox;
use eidos_types::{Address, BaseUnits, BreakId};
use serde_json::json;

use super::events;
use super::report::{BreakReport, Finding};
use super::run::{Fault, Run, View};
use crate::domain::account::{Token, TokenIndex};
use crate::domain::classify::{Movements, classify};
use crate::domain::severity::Weight;
use crate::domain::tally::Tally;
use crate::domain::verdict::{BreakKind, Difference};
use crate::store::breaks::{self, Clean, Sighting};

/// The dimension of its breaks.
pub const SOLVENCY: &str = "solvency";

/// What the vault holds, by token index, and which tokens are short.
#[derive(Debug, Default)]
pub struct Solvency {
    /// Base units per token; empty if it was not decided.
    pub held: Vec<BaseUnits>,
    /// Short tokens.
    pub breaks: Vec<(TokenIndex, Difference, Weight)>,
    /// Why it was not decided.
    pub findings: Vec<String>,
    /// True if every token was compared.
    pub decided: bool,
}

impl Run<'_> {
    /// Compares at the cut's block, where the sums were made. A shortage is read a second time before it counts;
    /// that is enough for this invariant (reference 4.4).
    pub(super) async fn solvency(&self, view: &View, tally: &Tally) -> Result<Solvency, Fault> {
        let block = view.cut.block;
        if self
            .states()
            .iter()
            .any(|state| state.mixed_blocks || state.block != block)
        {
            let finding = "solvency was not decided: the run's pages were read at different blocks";
            return Ok(Solvency {
                findings: vec![finding.to_owned()],
                ..Solvency::default()
            });
        }
        let addresses: Vec<Address> = self.job.tokens.iter().map(|(_, token)| token.address).collect();
        let held = self.job.chain.token_held(&block, &addresses).await?;
        let mut result = Solvency {
            held,
            decided: true,
            ..Solvency::default()
        };
        let suspects: Vec<TokenIndex> = self
            .job
            .tokens
            .iter()
            .zip(&result.held)
            .filter(|((index, _), held)| tally.token(*index).owed.shortage(**held).is_some())
            .map(|((index, _), _)| index)
            .collect();
        if suspects.is_empty() {
            return Ok(result);
        }
        let again = self.job.chain.token_held(&block, &addresses).await?;
        for index in suspects {
            let Some(token) = self.job.tokens.get(index) else {
                continue;
            };
            let Some(held) = again.get(usize::from(index.0)) else {
                continue;
            };
            let owed = tally.token(index).owed;
            let Some(short) = owed.shortage(*held) else {
                continue;
            };
            let difference = shortage(token, owed.exact(), *held, short);
            let weight = self.job.weigh(index, &difference, view.reading().against);
            result.breaks.push((index, difference, weight));
        }
        Ok(result)
    }

    /// Stores the breaks of the vault as a whole and closes those that are gone.
    pub(super) async fn record_solvency(
        &self,
        view: &View,
        found: &Solvency,
    ) -> Result<Vec<BreakReport>, Fault> {
        let mut reports: Vec<BreakReport> = Vec::new();
        let mut step = if self.ctx.dry_run() {
            None
        } else {
            Some(self.ctx.step().await?)
        };
        for (index, difference, weight) in &found.breaks {
            let symbol = self.job.tokens.symbol(*index);
            let hint = classify(difference, &Movements::default(), None);
            let mut report = BreakReport {
                break_id: None,
                dimension: SOLVENCY,
                wallet: None,
                token: symbol.to_owned(),
                kind: BreakKind::Insolvent,
                severity: weight.severity,
                expected: difference.expected,
                onchain: difference.onchain_exact.clone(),
                diff: difference.diff,
                usdc: weight.value_usdc,
                hint,
                // One confirmed re-read is enough for a conservation law.
                confirmations: self.job.rules().critical_confirmations,
                new: false,
                because: weight.because.clone(),
            };
            if let Some(step) = &mut step {
                let sighting = self.solvency_sighting(view, *index, difference, weight);
                let fresh = BreakId::new(&**self.ctx.clock());
                let stored = breaks::see(step.conn(), &sighting, fresh, view.cut.block)
                    .await
                    .map_err(Fault::own)?;
                (report.break_id, report.new) = (Some(stored.id), stored.opened);
                if stored.opened {
                    let event = events::break_opened(&report, self.ctx.clock().now(), stored.id);
                    outbox::record(step.conn(), &event).await?;
                }
            }
            reports.push(report);
        }
        if let Some(mut step) = step {
            if found.decided {
                let clean = self.clean(SOLVENCY, view.cut.block, None, &[]);
                breaks::resolve(step.conn(), clean).await.map_err(Fault::own)?;
            }
            step.commit().await?;
        }
        Ok(reports)
    }

    fn solvency_sighting<'s>(
        &'s self,
        view: &View,
        index: TokenIndex,
        difference: &'s Difference,
        weight: &Weight,
    ) -> Sighting<'s> {
        Sighting {
            dimension: SOLVENCY,
            wallet: None,
            token: self.job.tokens.symbol(index),
            token_address: self
                .job
                .tokens
                .get(index)
                .map_or(Address::ZERO, |token| token.address),
            kind: BreakKind::Insolvent,
            severity: weight.severity.as_str(),
            direction: "shortfall",
            expected: difference.expected,
            onchain: difference.onchain,
            onchain_exact: difference
                .onchain
                .is_none()
                .then_some(difference.onchain_exact.as_str()),
            diff: difference.diff,
            usdc: weight.value_usdc,
            evidence: json!({
                "block": view.cut.block, "held": difference.onchain_exact, "owed": difference.note,
                "because": weight.because, "settings_digest": self.digest,
            }),
            block: view.cut.block,
            at: self.ctx.clock().now(),
            run: self.run_id,
            execution: self.ctx.execution_id(),
        }
    }

    pub(super) fn clean<'s>(
        &self,
        dimension: &'s str,
        block: BlockRef,
        wallets: Option<&'s [String]>,
        undecided: &'s [String],
    ) -> Clean<'s> {
        Clean {
            dimension,
            wallets,
            undecided,
            run: self.run_id,
            execution: self.ctx.execution_id(),
            block,
            at: self.ctx.clock().now(),
        }
    }
}

fn shortage(token: &Token, owed: Option<BaseUnits>, held: BaseUnits, short: BaseUnits) -> Difference {
    let decimals = token.decimals;
    Difference {
        kind: BreakKind::Insolvent,
        expected: owed.and_then(|owed| owed.to_amount(decimals).ok()),
        onchain: held.to_amount(decimals).ok(),
        onchain_exact: held.exact(decimals),
        diff: short.to_amount(decimals).ok().map(eidos_types::Amount::negated),
        lines: Vec::new(),
        note: owed.map_or_else(
            || "more than 2^256 base units".to_owned(),
            |owed| owed.exact(decimals),
        ),
    }
}

/// Findings from sentences.
#[must_use]
pub fn as_findings(sentences: &[String]) -> Vec<Finding> {
    sentences
        .iter()
        .map(|detail| Finding {
            kind: BreakKind::Insolvent,
            token: None,
            detail: detail.clone(),
        })
        .collect()
}
