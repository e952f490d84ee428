//! The second reading, the breaks it proves, and the confirmations of those that are critical (ruling 24).

use eidos_core::fence::Step;
use eidos_core::outbox;
use eidos_runtime::JobError;
use eidos_types::BreakId;
use tokio::time::Instant;

use super::{Run, own};
use crate::compare::CutPoint;
use crate::outcome::{Found, Suspect, is_shortfall};
use crate::second_reading::{Decision, decide};
use crate::severity::Severity;
use crate::source::Source;
use crate::store::breaks::{self, Sighting, Stored};
use crate::store::records;
use crate::subject::{Kind, Subject};

/// What the second reading decided.
#[derive(Debug)]
pub struct Decided<S: Subject> {
    /// Real ones, with the cut of their first reading.
    pub breaks: Vec<(Suspect<S>, CutPoint)>,
    /// How many were late.
    pub lag: u64,
    /// Still changing, or still not proven: carried over to the next run.
    pub undecided: Vec<Suspect<S>>,
}

impl<S: Subject> Default for Decided<S> {
    fn default() -> Self {
        Self {
            breaks: Vec::new(),
            lag: 0,
            undecided: Vec::new(),
        }
    }
}

/// A break of this source.
type FoundBy<S> = Found<<S as Source>::Subject, <S as Source>::Hint>;

impl<S: Source> Run<'_, S> {
    /// Reads every suspect again at new cuts until it agrees, does not change, or the attempts are used up. Returns the last of
    /// these cuts, if there was one.
    pub async fn second_reading(
        &self,
        source: &S,
    ) -> Result<(Decided<S::Subject>, Option<S::Cut>), S::Fault> {
        let mut pending = self.suspects().await?;
        let mut decided = Decided::default();
        let mut last_cut = None;
        for _attempt in 0..self.rules.recheck_attempts {
            if pending.is_empty() {
                break;
            }
            let pause = tokio::time::sleep(self.rules.recheck_delay);
            self.ctx.unless_cancelled(pause).await?;
            let mut cut = source.open().await?;
            let again = source.read_again(&mut cut, &pending).await?;
            let mut hot = Vec::new();
            for first in pending {
                let Some(second) = again.get(&first.subject) else {
                    // Both sides agree, or what is left of the difference is dust.
                    decided.lag += 1;
                    continue;
                };
                match decide(&first.difference, &second.verdict()) {
                    Decision::Lag => decided.lag += 1,
                    Decision::Break => decided.breaks.push((second.clone(), first.point)),
                    Decision::Hot => hot.push(second.clone()),
                }
            }
            pending = hot;
            last_cut = Some(cut);
        }
        decided.undecided = pending;
        Ok((decided, last_cut))
    }

    /// All suspects of the first reading.
    async fn suspects(&self) -> Result<Vec<Suspect<S::Subject>>, S::Fault> {
        if self.ctx.dry_run() {
            return Ok(self.shared().suspects.clone());
        }
        let (db, prefix) = (self.ctx.jobs_db().control(), self.suspects_prefix());
        let mut suspects = Vec::new();
        for entry in eidos_core::checkpoint::list(db, self.ctx.job(), &prefix).await? {
            let page: Vec<Suspect<S::Subject>> =
                serde_json::from_value(entry.value).map_err(JobError::fail)?;
            suspects.extend(page);
        }
        Ok(suspects)
    }

    /// Stores the breaks with their evidence, in one step. The suspects stay until the run is closed: killed before
    /// that, the next execution reads them again and finds the same breaks.
    pub async fn record(
        &self,
        source: &S,
        cut: &mut S::Cut,
        decided: &Decided<S::Subject>,
    ) -> Result<Vec<FoundBy<S>>, S::Fault> {
        let hints = source.hints(cut, &decided.breaks).await?;
        let found = decided.breaks.iter().zip(hints);
        let mut found: Vec<FoundBy<S>> = found
            .map(|((suspect, first), hint)| Found {
                suspect: suspect.clone(),
                first: first.clone(),
                hint,
                stored: None,
            })
            .collect();
        if self.ctx.dry_run() {
            return Ok(found);
        }
        let mut step = self.ctx.step().await?;
        for found in &mut found {
            let stored = self
                .see(&mut step, source, cut, &found.suspect, &found.first, &found.hint)
                .await?;
            let (identity, of) = (source.identity(&found.suspect.subject), self.record_of());
            let (difference, point) = (&found.suspect.difference, &found.suspect.point);
            let id = Some(stored.id.as_uuid());
            records::difference(step.conn(), of, &identity, difference, point, id)
                .await
                .map_err(own)?;
            found.stored = Some(stored);
            if stored.opened
                && let Some(event) = source.opened(found)
            {
                outbox::record(step.conn(), &event).await?;
            }
        }
        step.commit().await?;
        Ok(found)
    }

    /// Stores one reading of a break.
    async fn see(
        &self,
        step: &mut Step<'_>,
        source: &S,
        cut: &S::Cut,
        seen: &Suspect<S::Subject>,
        first: &CutPoint,
        hint: &S::Hint,
    ) -> Result<Stored, S::Fault> {
        let difference = &seen.difference;
        let identity = source.identity(&seen.subject);
        let exact = difference.right_exact.as_str();
        let sighting = Sighting {
            dimension: S::NAME,
            subject: &identity,
            kind: difference.kind.as_str(),
            severity: seen.weight.severity.as_str(),
            shortfall: is_shortfall(difference),
            left: difference.left,
            right: difference.right,
            right_exact: difference.right.is_none().then_some(exact),
            diff: difference.diff,
            usdc: seen.weight.value_usdc,
            evidence: source.evidence(cut, seen, first, hint),
            point: &seen.point,
            actor: self.actor(),
        };
        let fresh = BreakId::new(&**self.ctx.clock());
        let stored = breaks::see(step.conn(), &sighting, fresh, first.number).await;
        Ok(stored.map_err(own)?)
    }

    /// Waits for later cuts and reads the critical breaks there, until each has its confirmations or the time is up; the
    /// next run continues to count.
    pub async fn confirm_critical(&self, source: &S, found: &mut [FoundBy<S>]) -> Result<(), S::Fault> {
        let needed = self.rules.critical_confirmations;
        let deadline = Instant::now() + self.rules.confirm_wait.min(self.ctx.budget_left() / 2);
        let newest = found.iter().map(|found| found.suspect.point.number).max();
        let mut last_point = newest.unwrap_or(0);
        let is_waiting = |found: &FoundBy<S>| {
            found.suspect.weight.severity == Severity::Critical
                && !found.is_accepted()
                && found.confirmations() < needed
        };
        let mut waiting: Vec<usize> = (0..found.len()).filter(|i| is_waiting(&found[*i])).collect();
        while !self.ctx.dry_run() && !waiting.is_empty() && Instant::now() < deadline {
            self.ctx
                .unless_cancelled(tokio::time::sleep(self.rules.confirm_poll))
                .await?;
            if source.newest().await? <= last_point {
                continue;
            }
            let mut cut = source.open().await?;
            if S::point(&cut).number <= last_point {
                continue;
            }
            last_point = S::point(&cut).number;
            let suspects: Vec<_> = waiting.iter().map(|i| found[*i].suspect.clone()).collect();
            let again = source.read_again(&mut cut, &suspects).await?;
            let mut step = self.ctx.step().await?;
            let mut still = Vec::new();
            for i in waiting {
                let Some(second) = again.get(&found[i].suspect.subject) else {
                    continue;
                };
                if decide(&found[i].suspect.difference, &second.verdict()) != Decision::Break {
                    continue;
                }
                let stored = self
                    .see(&mut step, source, &cut, second, &second.point, &found[i].hint)
                    .await?;
                found[i].stored = found[i].stored.map(|first| Stored {
                    confirmations: stored.confirmations,
                    accepted: stored.accepted,
                    ..first
                });
                if stored.confirmations.count < needed {
                    still.push(i);
                }
            }
            step.commit().await?;
            waiting = still;
        }
        Ok(())
    }
}
