//! [`AcceptedStore`]: the locations that may be exported to (`eidos_jobs_archive_stores`). Only ever added to.

use chrono::{DateTime, Utc};
use eidos_archive_store::ArchiveStore;
use eidos_core::fence::Step;
use eidos_plan::audit::{self, Act};
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use serde::Serialize;
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use crate::DisposalError;
use crate::catalogue::Relation;

const TABLE: &str = "eidos_jobs_archive_stores";
/// The longest name of an audited object.
const MAX_OBJECT: usize = 200;

const FIND: &str = "SELECT * FROM eidos_jobs_archive_stores WHERE location = $1";

const LIST: &str = "SELECT * FROM eidos_jobs_archive_stores ORDER BY accepted_at, location LIMIT 1000";

/// Until a person has accepted a location, each job may find the one that has its earlier exports.
const MAY_ADOPT: &str = "\
    SELECT NOT EXISTS (SELECT FROM eidos_jobs_archive_stores WHERE adopted_for IS NULL OR adopted_for = $1)";

const ADD: &str = "\
    INSERT INTO eidos_jobs_archive_stores \
        (location, accepted_by, accepted_at, reason, adopted_for, execution_id, epoch) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";

/// A location that exports may go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AcceptedStore {
    /// URL, endpoint and account; no credential.
    pub location: String,
    /// Who accepted it; `upgrade`: it had verified exports when locations began to be recorded.
    pub accepted_by: String,
    /// When.
    pub accepted_at: DateTime<Utc>,
    /// Why.
    pub reason: String,
}

/// The record of a location, if it was accepted.
pub(super) async fn find(control: &PgPool, location: &str) -> Result<Option<AcceptedStore>, DisposalError> {
    let row = sqlx::query(FIND)
        .bind(location)
        .fetch_optional(control)
        .await
        .map_err(DisposalError::sql("look for an accepted archive store"))?;
    row.as_ref().map(accepted).transpose()
}

/// All of them, the oldest first.
pub(super) async fn list(control: &PgPool) -> Result<Vec<AcceptedStore>, DisposalError> {
    let rows = sqlx::query(LIST)
        .fetch_all(control)
        .await
        .map_err(DisposalError::sql("list the accepted archive stores"))?;
    rows.iter().map(accepted).collect()
}

/// Whether a job may still adopt the location that has the earlier exports.
pub(super) async fn may_adopt(control: &PgPool, job: &str) -> Result<bool, DisposalError> {
    sqlx::query_scalar(MAY_ADOPT)
        .bind(job)
        .fetch_one(control)
        .await
        .map_err(DisposalError::sql("ask whether an archive store was accepted"))
}

/// Records a location that was in use before locations were recorded.
pub(super) async fn adopt(
    ctx: &JobContext,
    store: &ArchiveStore,
    manifest: &str,
) -> Result<(), DisposalError> {
    let reason = format!("it has verified exports from before stores were accepted, as {manifest}");
    add(
        ctx,
        &store.location(),
        "upgrade",
        &reason,
        Some(ctx.job().as_str()),
    )
    .await
}

/// Records a location with its audit row. One that is recorded already stays as it is.
pub(super) async fn add(
    ctx: &JobContext,
    location: &str,
    by: &str,
    reason: &str,
    adopted_for: Option<&str>,
) -> Result<(), DisposalError> {
    let mut step: Step<'_> = ctx.step().await?;
    let epoch = step.epoch().get();
    let added = sqlx::query(ADD)
        .bind(location)
        .bind(by)
        .bind(ctx.clock().now())
        .bind(reason)
        .bind(adopted_for)
        .bind(ctx.execution_id().as_uuid())
        .bind(epoch)
        .execute(step.conn())
        .await
        .map_err(DisposalError::sql("record an accepted archive store"))?;
    if added.rows_affected() > 0 {
        let act = Act {
            unit_id: None,
            source: SourceName::Jobs,
            table: Relation::new("public", TABLE),
            object: location.chars().take(MAX_OBJECT).collect(),
            action: "accept-store",
            rows: None,
            bytes: None,
            plan_digest: None,
            approved_by: by.to_owned(),
            reason: reason.to_owned(),
            evidence: json!({ "location": location }),
        };
        audit::record(&mut step, ctx, &act).await?;
        tracing::info!(location, by, reason, "the archive store was accepted");
    }
    step.commit().await?;
    Ok(())
}

fn accepted(row: &PgRow) -> Result<AcceptedStore, DisposalError> {
    let read = || -> Result<AcceptedStore, sqlx::Error> {
        Ok(AcceptedStore {
            location: row.try_get("location")?,
            accepted_by: row.try_get("accepted_by")?,
            accepted_at: row.try_get("accepted_at")?,
            reason: row.try_get("reason")?,
        })
    };
    read().map_err(DisposalError::sql("read an accepted archive store"))
}
