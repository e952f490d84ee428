//! What a run writes down about itself: audit rows of candles, and the progress people look at.

use eidos_disposal::DisposalError;
use eidos_plan::{
    Approval,
    audit::{self, Act},
};
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use eidos_telemetry::metric;
use serde_json::json;

use crate::store::candles::Pair;
use crate::store::progress;

/// Records under one approval.
pub(super) struct Recorder<'a> {
    pub(super) ctx: &'a JobContext,
    pub(super) approval: Approval,
}

impl Recorder<'_> {
    /// That candles of one interval are about to be deleted: if the process dies, this row remains.
    pub(super) async fn mark_candles(
        &self,
        source: SourceName,
        pair: &Pair,
        candles: u64,
        cutoff_ms: i64,
    ) -> Result<(), DisposalError> {
        let reason = format!(
            "begun: those proved by {} and before {cutoff_ms} (epoch ms)",
            pair.prover
        );
        let mut step = self.ctx.step().await?;
        let act = self.act(source, pair, "delete_begun", candles, reason, json!({}));
        audit::record(&mut step, self.ctx, &act).await?;
        step.commit().await?;
        Ok(())
    }

    /// Candles of one market that are gone, in one step with the progress.
    pub(super) async fn candles(
        &self,
        source: SourceName,
        pair: &Pair,
        market: &str,
        deleted: u64,
        cutoff_ms: i64,
    ) -> Result<(), DisposalError> {
        if deleted == 0 {
            return Ok(());
        }
        let reason = format!("proved by {} and before {cutoff_ms} (epoch ms)", pair.prover);
        let mut step = self.ctx.step().await?;
        let act = self.act(
            source,
            pair,
            "delete",
            deleted,
            reason,
            json!({ "market": market }),
        );
        audit::record(&mut step, self.ctx, &act).await?;
        progress::note(
            &mut step,
            &format!("{}@{}", progress::name_of(&pair.table), pair.interval),
            cutoff_ms,
        )
        .await?;
        step.commit().await?;
        let table = pair.table.plain();
        metric::disposal_rows(
            self.ctx.job().as_str(),
            source.as_str(),
            &table,
            "delete",
            deleted,
        );
        Ok(())
    }

    fn act(
        &self,
        source: SourceName,
        pair: &Pair,
        action: &'static str,
        candles: u64,
        reason: String,
        evidence: serde_json::Value,
    ) -> Act {
        Act {
            unit_id: None,
            source,
            table: pair.table.clone(),
            object: format!("{}@{}", pair.table.name, pair.interval),
            action,
            rows: i64::try_from(candles).ok(),
            bytes: None,
            plan_digest: Some(self.approval.plan_digest.clone()),
            approved_by: self.approval.approved_by.clone(),
            reason,
            evidence,
        }
    }
}
