//! Candles of one interval as a piece of work.

use eidos_disposal::DisposalError;
use eidos_plan::{Action, PlanItem};
use eidos_runtime::JobContext;
use eidos_types::Slot;
use serde_json::json;

use super::candles::CandleWork;
use super::holds;
use super::job::DataCleanup;
use super::pieces::{Looked, Piece, Task};
use super::report::instant;
use super::rules::CandleRule;
use crate::domain::hypertable::Method;

/// Looks at the candles of one interval.
pub(super) async fn look(
    job: &DataCleanup,
    ctx: &JobContext,
    slot: Slot,
    rule: &CandleRule,
) -> Result<Looked, DisposalError> {
    let pool = job.pool(rule.source)?;
    let mut looked = Looked::default();
    let Some(work) = CandleWork::look(pool, &job.disposal, rule, slot).await? else {
        return Ok(looked);
    };
    let holds = holds::of_table(ctx, rule.source, &work.shape.relation).await?;
    let held = holds::ranges(&holds);
    if !held.is_empty() {
        looked
            .notes
            .push(format!("{} holds: candles in their ranges stay", held.len()));
    }
    let refused = match &work.method {
        Method::Refused(why) => Some(why.clone()),
        _ => None,
    };
    let item = PlanItem {
        source: rule.source,
        table: work.shape.relation.plain(),
        object: format!("{}@{}", work.shape.relation.name, rule.interval),
        action: Action::Delete,
        window_ms: Some((work.oldest_ms(), work.cutoff_ms)),
        rows_estimate: Some(work.candles()),
        bytes: None,
        locks: vec![format!(
            "row locks of at most a few thousand candles and of the {} that prove them",
            rule.prover.interval
        )],
        steps: vec![
            format!(
                "compare with the {} candle that covers them",
                rule.prover.interval
            ),
            "delete what it proves; keep and report the rest".to_owned(),
        ],
        reason: format!(
            "{} days are kept: what ends by {}",
            rule.days,
            instant(work.cutoff_ms)
        ),
        blocked: refused.clone(),
        identity: json!({
            "table_oid": work.shape.oid,
            "columns": work.shape.columns_fingerprint(),
            "prover_columns": work.prover_fingerprint,
            "rule": rule,
            "cutoff_ms": work.cutoff_ms,
            "holds": held,
        }),
    };
    looked.cutoff_ms = Some(work.cutoff_ms);
    looked.pieces.push(Piece {
        item,
        task: Task::Candles(Box::new(work)),
        approval: rule.require_approval,
        refused: refused.map(|_why| "timescaledb"),
        unit: None,
    });
    Ok(looked)
}
