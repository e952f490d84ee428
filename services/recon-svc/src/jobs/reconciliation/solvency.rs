//! The vault's solvency (ruling 27): what the token contract holds for the vault against what the vault owes. An
//! emergency withdrawal moves tokens without touching balances; only this sees it.

use eidos_core::fence::Step;
use eidos_core::outbox;
use eidos_recon::Kind;
use eidos_recon::severity::Weight;
use eidos_recon::store::breaks::{self, Clean, Sighting, Stored};
use eidos_recon::store::records::{self, RecordOf};
use eidos_types::{Address, BaseUnits, BreakId};
use serde_json::json;

use super::events;
use super::report::{BreakReport, Finding};
use super::run::{Fault, Run, View};
use crate::dimensions::balance::account::{Token, TokenIndex};
use crate::dimensions::balance::classify::{Movements, classify};
use crate::dimensions::balance::kind::BreakKind;
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::tally::Tally;
use crate::dimensions::balance::verdict::Difference;

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
        let (block, point) = (view.cut.block, point_of(&view.cut.block));
        if self
            .engine
            .states()
            .iter()
            .any(|state| state.mixed_cuts || state.point != point)
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
                expected: difference.left,
                onchain: difference.right_exact.clone(),
                diff: difference.diff,
                usdc: weight.value_usdc,
                hint,
                // One confirmed re-read is enough for a conservation law.
                confirmations: self.job.rules().critical_confirmations,
                new: false,
                because: weight.because.clone(),
            };
            if let Some(step) = &mut step {
                let stored = self.see_shortage(step, view, *index, difference, weight).await?;
                let (of, token) = (self.record_of_solvency(), self.job.tokens.token_identity(*index));
                let (point, id) = (point_of(&view.cut.block), Some(stored.id.as_uuid()));
                records::difference(step.conn(), of, &token, difference, &point, id)
                    .await
                    .map_err(Fault::own)?;
                (report.break_id, report.new) = (Some(stored.id), stored.opened);
                if stored.accepted {
                    // A person has ended it: nothing is paused for it.
                    report.confirmations = 0;
                }
                if stored.opened {
                    let event = events::break_opened(&report, self.ctx.clock().now(), stored.id);
                    outbox::record(step.conn(), &event).await?;
                }
            }
            reports.push(report);
        }
        if let Some(mut step) = step {
            if found.decided {
                self.record_totals(&mut step, view, found).await?;
                let clean = Clean {
                    dimension: SOLVENCY,
                    groups: None,
                    undecided: &[],
                    point: &point_of(&view.cut.block),
                    actor: self.engine.actor(),
                };
                breaks::resolve(step.conn(), clean).await.map_err(Fault::own)?;
            }
            step.commit().await?;
        }
        Ok(reports)
    }

    fn record_of_solvency(&self) -> RecordOf<'static> {
        RecordOf {
            dimension: SOLVENCY,
            ..self.engine.record_of()
        }
    }

    /// One comparison for each token.
    async fn record_totals(&self, step: &mut Step<'_>, view: &View, found: &Solvency) -> Result<(), Fault> {
        let (of, point) = (self.record_of_solvency(), point_of(&view.cut.block));
        for (index, _) in self.job.tokens.iter() {
            let is_short = found.breaks.iter().any(|(short, ..)| *short == index);
            let totals = json!({ "checked": 1, "matched": u8::from(!is_short), "undecided": 0 });
            let token = self.job.tokens.token_identity(index);
            records::totals(step.conn(), of, &token, totals, &point)
                .await
                .map_err(Fault::own)?;
        }
        Ok(())
    }

    async fn see_shortage(
        &self,
        step: &mut Step<'_>,
        view: &View,
        index: TokenIndex,
        difference: &Difference,
        weight: &Weight,
    ) -> Result<Stored, Fault> {
        let exact = difference.right_exact.as_str();
        let sighting = Sighting {
            dimension: SOLVENCY,
            subject: &self.job.tokens.token_identity(index),
            kind: BreakKind::Insolvent.as_str(),
            severity: weight.severity.as_str(),
            shortfall: true,
            left: difference.left,
            right: difference.right,
            right_exact: difference.right.is_none().then_some(exact),
            diff: difference.diff,
            usdc: weight.value_usdc,
            evidence: json!({
                "block": view.cut.block, "held": exact, "owed": difference.note,
                "because": weight.because, "settings_digest": self.job.digest,
            }),
            point: &point_of(&view.cut.block),
            actor: self.engine.actor(),
        };
        let fresh = BreakId::new(&**self.ctx.clock());
        breaks::see(step.conn(), &sighting, fresh, view.cut.block.number)
            .await
            .map_err(Fault::own)
    }
}

fn shortage(token: &Token, owed: Option<BaseUnits>, held: BaseUnits, short: BaseUnits) -> Difference {
    let decimals = token.decimals;
    Difference {
        kind: BreakKind::Insolvent,
        left: owed.and_then(|owed| owed.to_amount(decimals).ok()),
        right: held.to_amount(decimals).ok(),
        right_exact: held.exact(decimals),
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
