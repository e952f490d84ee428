//! The second reading, and the confirmations of what is critical (ruling 24).

use std::collections::{BTreeMap, BTreeSet};

use eidos_chain::BlockRef;
use eidos_core::outbox;
use eidos_types::{Address, BreakId};
use serde_json::json;
use tokio::time::Instant;

use super::compare::{PageOutcome, Suspect, direction};
use super::events;
use super::pages::load_suspects;
use super::report::BreakReport;
use super::run::{DIMENSION, Fault, Run, View};
use crate::domain::account::AccountKey;
use crate::domain::classify::{Hint, Movements, Opposites, classify};
use crate::domain::confirm::{Confirmations, Decision, decide};
use crate::domain::severity::Severity;
use crate::sources::evidence;
use crate::store::breaks::{self, Sighting, Stored};
use crate::store::records;

/// Breaks whose movements are looked up for a hint; the others get one from their numbers only.
const HINTS: usize = 500;

/// What the second reading decided.
#[derive(Debug, Default)]
pub struct Decided {
    /// Real ones, with the block of their first reading.
    pub breaks: Vec<(Suspect, BlockRef)>,
    /// How many were late.
    pub lag: u64,
    /// Still moving: debts of the next run.
    pub undecided: Vec<Suspect>,
}

impl Run<'_> {
    /// Reads every suspect again at new cuts until it agrees, stands still, or the attempts are used up.
    pub(super) async fn second_reading(&self) -> Result<(Decided, Option<View>), Fault> {
        let mut pending = if self.ctx.dry_run() {
            self.held_suspects()
        } else {
            load_suspects(self.ctx, &self.suspects_prefix()).await?
        };
        let mut decided = Decided::default();
        let mut last_view = None;
        for _attempt in 0..self.job.rules().recheck_attempts {
            if pending.is_empty() {
                break;
            }
            let rest = tokio::time::sleep(self.job.rules().recheck_delay);
            self.ctx.unless_cancelled(rest).await?;
            let mut view = self.job.view(None).await?;
            pending = self.decide_all(&mut view, pending, &mut decided).await?;
            last_view = Some(view);
        }
        decided.undecided = pending;
        Ok((decided, last_view))
    }

    /// One reading of all pending suspects; returns those that moved.
    async fn decide_all(
        &self,
        view: &mut View,
        pending: Vec<Suspect>,
        decided: &mut Decided,
    ) -> Result<Vec<Suspect>, Fault> {
        let again = self.read_again(view, &pending).await?;
        let mut hot = Vec::new();
        for first in pending {
            let Some(second) = again.get(&first.key()) else {
                // Both sides agree, or what is left of the difference is dust.
                decided.lag += 1;
                continue;
            };
            match decide(&first.difference, &second.verdict()) {
                Decision::Lag => decided.lag += 1,
                Decision::Break => decided.breaks.push((second.clone(), first.block)),
                Decision::Hot => hot.push(second.clone()),
            }
        }
        Ok(hot)
    }

    /// The accounts that still differ, as they differ now.
    async fn read_again(
        &self,
        view: &mut View,
        suspects: &[Suspect],
    ) -> Result<BTreeMap<AccountKey, Suspect>, Fault> {
        let wanted: BTreeSet<AccountKey> = suspects.iter().map(Suspect::key).collect();
        let wallets: Vec<Address> = wanted
            .iter()
            .map(|key| key.wallet)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let recipient = self.job.chain.fee_recipient();
        let mut found = BTreeMap::new();
        let mut keep = |outcome: PageOutcome| {
            let wanted = outcome
                .suspects
                .into_iter()
                .filter(|suspect| wanted.contains(&suspect.key()));
            found.extend(wanted.map(|suspect| (suspect.key(), suspect)));
        };
        for chunk in wallets.chunks(self.job.rules().page_accounts.max(1)) {
            self.ctx.check_cancelled()?;
            let (reading, mut session) = (view.reading(), view.cut.snapshot.ticket().join().await?);
            let mut accounts = self.accounts_of(&reading, &mut session, chunk).await?;
            accounts.retain(|account| Some(account.key.wallet) != recipient);
            keep(self.job.compare(reading.against, accounts).await?);
        }
        if recipient.is_some_and(|recipient| wallets.contains(&recipient)) {
            let (reading, mut session) = (view.reading(), view.cut.snapshot.ticket().join().await?);
            keep(self.read_fees(&reading, &mut session).await?);
        }
        Ok(found)
    }

    /// Stores the breaks with their evidence, in one step. The suspects stay until the run is closed: killed before
    /// that, the next execution reads them again, finds the same breaks and still pauses.
    pub(super) async fn record(&self, view: &mut View, decided: &Decided) -> Result<Vec<BreakReport>, Fault> {
        let hints = self.hints(view, &decided.breaks).await?;
        let mut reports = Vec::with_capacity(decided.breaks.len());
        if self.ctx.dry_run() {
            for ((suspect, _), hint) in decided.breaks.iter().zip(hints) {
                reports.push(self.report_of(suspect, hint, None));
            }
            return Ok(reports);
        }
        let mut step = self.ctx.step().await?;
        for ((suspect, first_block), hint) in decided.breaks.iter().zip(hints) {
            let stored = self.store(&mut step, view, suspect, *first_block, &hint).await?;
            if let Some(token) = self.job.tokens.get(suspect.token) {
                let id = Some(stored.id.as_uuid());
                let (of, found) = (self.record_of(), &suspect.difference);
                records::difference(
                    step.conn(),
                    of,
                    Some(suspect.wallet),
                    token,
                    found,
                    suspect.block,
                    id,
                )
                .await
                .map_err(Fault::own)?;
            }
            let report = self.report_of(suspect, hint, Some(stored));
            if stored.opened {
                let event = events::break_opened(&report, self.ctx.clock().now(), stored.id);
                outbox::record(step.conn(), &event).await?;
            }
            reports.push(report);
        }
        step.commit().await?;
        Ok(reports)
    }

    async fn store(
        &self,
        step: &mut eidos_core::fence::Step<'_>,
        view: &View,
        suspect: &Suspect,
        first_block: BlockRef,
        hint: &Hint,
    ) -> Result<Stored, Fault> {
        let difference = &suspect.difference;
        let symbol = self.job.tokens.symbol(suspect.token);
        let sighting = Sighting {
            dimension: DIMENSION,
            wallet: Some(suspect.wallet),
            token: symbol,
            token_address: self
                .job
                .tokens
                .get(suspect.token)
                .map_or(Address::ZERO, |token| token.address),
            kind: difference.kind,
            severity: suspect.weight.severity.as_str(),
            direction: direction(difference),
            expected: difference.expected,
            onchain: difference.onchain,
            onchain_exact: difference
                .onchain
                .is_none()
                .then_some(difference.onchain_exact.as_str()),
            diff: difference.diff,
            usdc: suspect.weight.value_usdc,
            evidence: json!({
                "block": suspect.block, "first_block": first_block, "snapshot": view.cut.snapshot.id,
                "snapshot_time": view.cut.taken_at(), "in_flight": difference.lines, "note": difference.note,
                "onchain_exact": difference.onchain_exact, "hint": hint, "price": view.prices.of(symbol),
                "because": suspect.weight.because, "settings_digest": self.digest,
            }),
            block: suspect.block,
            at: self.ctx.clock().now(),
            run: self.run_id,
            execution: self.ctx.execution_id(),
        };
        let fresh = BreakId::new(&**self.ctx.clock());
        breaks::see(step.conn(), &sighting, fresh, first_block)
            .await
            .map_err(Fault::own)
    }

    async fn hints(&self, view: &mut View, found: &[(Suspect, BlockRef)]) -> Result<Vec<Hint>, Fault> {
        let mut opposites = Opposites::default();
        for (suspect, _) in found {
            if let Some(diff) = suspect.difference.diff {
                opposites.add(suspect.token, suspect.wallet, diff);
            }
        }
        let mut hints = Vec::with_capacity(found.len());
        for (i, (suspect, _)) in found.iter().enumerate() {
            let symbol = self.job.tokens.symbol(suspect.token);
            let movements = if i < HINTS {
                evidence::movements(&mut view.cut.snapshot, &self.job.schema, suspect.wallet, symbol).await?
            } else {
                Movements::default()
            };
            let opposite = suspect
                .difference
                .diff
                .and_then(|diff| opposites.of(suspect.token, diff));
            hints.push(classify(&suspect.difference, &movements, opposite));
        }
        Ok(hints)
    }

    fn report_of(&self, suspect: &Suspect, hint: Hint, stored: Option<Stored>) -> BreakReport {
        BreakReport {
            break_id: stored.map(|stored| stored.id),
            dimension: DIMENSION,
            wallet: Some(suspect.wallet),
            token: self.job.tokens.symbol(suspect.token).to_owned(),
            kind: suspect.difference.kind,
            severity: suspect.weight.severity,
            expected: suspect.difference.expected,
            onchain: suspect.difference.onchain_exact.clone(),
            diff: suspect.difference.diff,
            usdc: suspect.weight.value_usdc,
            hint,
            confirmations: stored.map_or(1, |stored| stored.confirmations.count),
            new: stored.is_some_and(|stored| stored.opened),
            because: suspect.weight.because.clone(),
        }
    }

    /// Waits for further finalized blocks and reads the critical breaks there, until each has its confirmations or
    /// the time is up; the next run goes on counting.
    pub(super) async fn confirm_critical(
        &self,
        decided: &Decided,
        reports: &mut [BreakReport],
    ) -> Result<(), Fault> {
        let rules = self.job.rules();
        let needed = rules.critical_confirmations;
        let deadline = Instant::now() + rules.confirm_wait.min(self.ctx.budget_left() / 2);
        let mut last_block = decided
            .breaks
            .iter()
            .map(|(suspect, _)| suspect.block.number)
            .max()
            .unwrap_or(0);
        let mut waiting: Vec<usize> = (0..decided.breaks.len().min(reports.len()))
            .filter(|i| reports[*i].severity == Severity::Critical && reports[*i].confirmations < needed)
            .collect();
        while !self.ctx.dry_run() && !waiting.is_empty() && Instant::now() < deadline {
            self.ctx
                .unless_cancelled(tokio::time::sleep(rules.confirm_poll))
                .await?;
            if self.job.chain.finalized().await?.number <= last_block {
                continue;
            }
            let mut view = self.job.view(None).await?;
            if view.cut.block.number <= last_block {
                continue;
            }
            last_block = view.cut.block.number;
            let suspects: Vec<Suspect> = waiting.iter().map(|i| decided.breaks[*i].0.clone()).collect();
            let again = self.read_again(&mut view, &suspects).await?;
            let mut step = self.ctx.step().await?;
            let mut still = Vec::new();
            for i in waiting {
                let (first, _) = &decided.breaks[i];
                let Some(second) = again.get(&first.key()) else {
                    continue;
                };
                if decide(&first.difference, &second.verdict()) != Decision::Break {
                    continue;
                }
                let hint = reports[i].hint.clone();
                let stored = self.store(&mut step, &view, second, second.block, &hint).await?;
                let Confirmations { count, .. } = stored.confirmations;
                reports[i].confirmations = count;
                if count < needed {
                    still.push(i);
                }
            }
            step.commit().await?;
            waiting = still;
        }
        Ok(())
    }
}
