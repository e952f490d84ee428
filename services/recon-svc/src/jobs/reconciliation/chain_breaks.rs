//! Breaks of the chain itself, which are no account's and no token's: a final block that changed, two providers that
//! disagree. They pause nothing; a person decides.

use eidos_core::fence::Step;
use eidos_core::outbox;
use eidos_recon::severity::Severity;
use eidos_recon::store::breaks::{self, Actor, Clean, Sighting};
use eidos_recon::{CutPoint, Identity, Kind, SubjectKey};
use eidos_runtime::JobContext;
use eidos_types::BreakId;
use serde_json::Value;

use super::events;
use super::fault::Fault;
use super::report::BreakReport;
use crate::dimensions::balance::classify::{Cause, Hint};
use crate::dimensions::balance::kind::BreakKind;

/// The dimension of final blocks that changed. No later reading ends such a break: a person does.
pub(super) const FINALITY: &str = "finality";

/// A break of the chain.
#[derive(Debug, Clone)]
pub(super) struct ChainBreak {
    pub(super) dimension: &'static str,
    pub(super) kind: BreakKind,
    /// What it is about, within its dimension.
    pub(super) subject: String,
    /// What a person needs to look it up.
    pub(super) evidence: Value,
    /// A sentence.
    pub(super) because: String,
}

/// Who acts for the job as a whole, outside the run of a dimension.
fn actor(ctx: &JobContext) -> Actor<'_> {
    Actor {
        by: ctx.job().as_str(),
        run: ctx.execution_id().as_uuid(),
        execution: ctx.execution_id(),
        at: ctx.clock().now(),
    }
}

impl ChainBreak {
    /// The break as the report shows it.
    pub(super) fn report(&self) -> BreakReport {
        BreakReport {
            break_id: None,
            dimension: self.dimension,
            wallet: None,
            token: String::new(),
            kind: self.kind,
            severity: Severity::Critical,
            expected: None,
            onchain: String::new(),
            diff: None,
            usdc: None,
            hint: Hint {
                cause: Cause::Unexplained,
                evidence: self.subject.clone(),
            },
            // Nothing of a token is wrong, so nothing is paused for it.
            confirmations: 0,
            new: false,
            because: Some(self.because.clone()),
        }
    }

    /// Stores it, and notifies of a new one.
    pub(super) async fn record(
        &self,
        ctx: &JobContext,
        step: &mut Step<'_>,
        point: &CutPoint,
    ) -> Result<BreakReport, Fault> {
        let identity = Identity {
            key: SubjectKey::lossy(&self.subject),
            unit: String::new(),
            detail: self.evidence.clone(),
        };
        let sighting = Sighting {
            dimension: self.dimension,
            subject: &identity,
            kind: self.kind.as_str(),
            severity: Severity::Critical.as_str(),
            shortfall: false,
            left: None,
            right: None,
            right_exact: None,
            diff: None,
            usdc: None,
            evidence: self.evidence.clone(),
            point,
            actor: actor(ctx),
        };
        let fresh = BreakId::new(&**ctx.clock());
        let stored = breaks::see(step.conn(), &sighting, fresh, point.number)
            .await
            .map_err(Fault::own)?;
        let mut report = self.report();
        (report.break_id, report.new) = (Some(stored.id), stored.opened);
        if stored.opened {
            let event = events::break_opened(&report, ctx.clock().now(), stored.id);
            outbox::record(step.conn(), &event).await?;
        }
        Ok(report)
    }
}

/// Closes the breaks of a dimension that this execution has read again at `point` and not seen.
pub(super) async fn resolve(
    ctx: &JobContext,
    step: &mut Step<'_>,
    dimension: &str,
    point: &CutPoint,
) -> Result<u64, Fault> {
    let clean = Clean {
        dimension,
        groups: None,
        undecided: &[],
        point,
        actor: actor(ctx),
    };
    breaks::resolve(step.conn(), clean).await.map_err(Fault::own)
}
