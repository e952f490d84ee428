//! The record of every act on somebody's data (`eidos_jobs_disposals`). Only ever added to: no role of a service may
//! change or delete a row of it.

use eidos_core::fence::Step;
use eidos_pg::Relation;
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use serde_json::Value;
use uuid::Uuid;

use crate::PlanError;

const RECORD: &str = "\
    INSERT INTO eidos_jobs_disposals \
        (job_name, execution_id, epoch, unit_id, source, table_name, object_name, action, row_count, byte_count, \
         plan_digest, approved_by, reason, evidence) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// What was done.
#[derive(Debug, Clone)]
pub struct Act {
    /// The unit it belongs to, if any.
    pub unit_id: Option<Uuid>,
    /// In which database.
    pub source: SourceName,
    /// The table.
    pub table: Relation,
    /// The partition, or the table again; `schema.name`.
    pub object: String,
    /// `create`, `freeze`, `export`, `verify`, `quarantine`, `drop`, `delete`, `move`, `drain`, `restore`, `abandon`,
    /// `finalize`, `release`, ...; at most 30 characters.
    pub action: &'static str,
    /// Rows it concerned.
    pub rows: Option<i64>,
    /// Bytes it concerned.
    pub bytes: Option<i64>,
    /// The plan it carries out.
    pub plan_digest: Option<String>,
    /// `policy`, or who applied the plan.
    pub approved_by: String,
    /// Why, as a sentence.
    pub reason: String,
    /// What proves it: digests, keys, counts. `{}` if nothing does.
    pub evidence: Value,
}

/// Writes the row as part of a step, so that it exists exactly if the step's effects do.
///
/// # Errors
/// [`PlanError::Sql`].
pub async fn record(step: &mut Step<'_>, ctx: &JobContext, act: &Act) -> Result<(), PlanError> {
    let epoch = step.epoch().get();
    sqlx::query(RECORD)
        .bind(ctx.job().as_str())
        .bind(ctx.execution_id().as_uuid())
        .bind(epoch)
        .bind(act.unit_id)
        .bind(act.source.as_str())
        .bind(act.table.plain())
        .bind(&act.object)
        .bind(act.action)
        .bind(act.rows)
        .bind(act.bytes)
        .bind(&act.plan_digest)
        .bind(&act.approved_by)
        .bind(&act.reason)
        .bind(&act.evidence)
        .execute(step.conn())
        .await
        .map_err(PlanError::sql("write an audit row"))?;
    Ok(())
}
