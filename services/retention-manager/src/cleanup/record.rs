//! What a run writes down about itself: audit rows of candles, and the progress people look at.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::Relation;
use eidos_plan::{
    Approval,
    audit::{self, Act},
};
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use eidos_telemetry::metric;
use serde_json::json;

use super::candle_sql::Pair;

/// Records under one approval.
pub(super) struct Recorder<'a> {
    pub(super) ctx: &'a JobContext,
    pub(super) approval: Approval,
}

impl Recorder<'_> {
    /// That candles of one interval are about to be deleted: if the process dies, this row remains.
    pub(super) async fn announce_candles(
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
        progress(
            &mut step,
            &format!("{}@{}", name_of(&pair.table), pair.interval),
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

/// A table's name in the progress: with its schema where that is not `public`.
pub(super) fn name_of(table: &Relation) -> String {
    if table.schema == "public" {
        table.name.clone()
    } else {
        table.plain()
    }
}

/// Notes how far a table is, for people: `last_id` is the end of the last piece, epoch ms. It decides nothing
/// (ruling 31).
pub(super) async fn progress(
    step: &mut eidos_core::fence::Step<'_>,
    name: &str,
    upto_ms: i64,
) -> Result<(), DisposalError> {
    // The column is as long as a table's name with its schema; the interval of candles may not fit any more.
    let name: String = name.chars().take(260).collect();
    sqlx::query(
        "INSERT INTO eidos_jobs_archive_progress (table_name, last_id, started_at) VALUES ($1, $2, now()) \
         ON CONFLICT (table_name) DO UPDATE SET last_id = EXCLUDED.last_id, updated_at = now(), \
             started_at = coalesce(eidos_jobs_archive_progress.started_at, EXCLUDED.started_at)",
    )
    .bind(name)
    .bind(upto_ms)
    .execute(step.conn())
    .await
    .map_err(DisposalError::sql("note the progress of a table"))?;
    Ok(())
}
