//! The work: one transaction per partition, table by table. What is in the way of one partition or one table is noted,
//! and the next goes on.

use eidos_disposal::DisposalError;
use eidos_plan::{
    Approval,
    audit::{self, Act},
};
use eidos_runtime::{Job, JobContext, JobError};
use eidos_telemetry::metric;
use eidos_types::TimeRange;
use serde_json::json;

use super::job::PartitionManage;
use super::survey::{Found, TableSurvey};
use crate::partitions::create::{Created, Creation, Limits, Outcome};

/// What was done to one table.
#[derive(Default)]
pub(super) struct Done {
    pub(super) created: Vec<Created>,
    /// What waits for the next run, since this one has moved as many rows as it may.
    pub(super) capped: Vec<TimeRange>,
    pub(super) problems: Vec<DisposalError>,
}

/// Works on every table in order.
pub(super) async fn all(
    job: &PartitionManage,
    ctx: &JobContext,
    surveys: &[TableSurvey],
    approval: &Approval,
) -> Result<Vec<Done>, JobError> {
    let mut rows_left = job.options.drain_rows_per_run;
    let mut all = Vec::new();
    let total = u64::try_from(surveys.len()).unwrap_or(u64::MAX);
    for (number, survey) in (1..).zip(surveys) {
        let mut done = Done::default();
        if let Ok(found) = &survey.found {
            let worked = table(job, ctx, survey, found, &mut rows_left, &mut done).await;
            // What is durable is recorded, whatever ended the work.
            record(ctx, survey, found, &done, approval).await?;
            worked?;
        }
        ctx.progress(number, Some(total));
        all.push(done);
    }
    Ok(all)
}

async fn table(
    job: &PartitionManage,
    ctx: &JobContext,
    survey: &TableSurvey,
    found: &Found,
    rows_left: &mut u64,
    done: &mut Done,
) -> Result<(), JobError> {
    let Some(external) = &survey.external else {
        return Ok(());
    };
    let creation = Creation {
        ctx,
        external,
        parent: &found.parent,
        limits: Limits::of(job),
        obstacle: found.obstacle.clone(),
    };
    for piece in &found.pieces {
        match creation.create(*piece, rows_left, &mut done.created).await {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Capped(rest)) => done.capped.push(rest),
            Err(error) if error.ends_the_run() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(table = %found.parent.relation, piece = %piece.span, %error, "no partition was created");
                // Only what is in the way of this piece leaves hope for the next one.
                let goes_on = matches!(error, DisposalError::Refused { .. });
                done.problems.push(error);
                if !goes_on {
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn record(
    ctx: &JobContext,
    survey: &TableSurvey,
    found: &Found,
    done: &Done,
    approval: &Approval,
) -> Result<(), JobError> {
    if done.created.is_empty() {
        return Ok(());
    }
    let mut step = ctx.step().await?;
    for created in &done.created {
        let source = survey.table.source;
        let moved = created.rows_moved;
        if moved > 0 {
            let table = survey.table.table.as_str();
            metric::disposal_rows(PartitionManage::NAME, source.as_str(), table, "drain", moved);
        }
        let act = Act {
            unit_id: None,
            source,
            table: found.parent.relation.clone(),
            object: created.relation.plain(),
            action: if moved > 0 { "drain" } else { "create" },
            rows: i64::try_from(moved).ok(),
            bytes: None,
            plan_digest: Some(approval.plan_digest.clone()),
            // Whoever asked for the run is named, also where no plan was approved.
            approved_by: ctx.requested_by().unwrap_or(&approval.approved_by).to_owned(),
            reason: format!("no partition covered {}", created.span),
            evidence: json!({
                "lower_ms": created.span.lower_ms,
                "upper_ms": created.span.upper_ms,
                "held_ms": u64::try_from(created.held.as_millis()).unwrap_or(u64::MAX),
                "attempts": created.attempts,
            }),
        };
        audit::record(&mut step, ctx, &act).await?;
    }
    step.commit().await?;
    Ok(())
}

impl Limits {
    fn of(job: &PartitionManage) -> Self {
        Self {
            patience: job.disposal.lock_timeout,
            attempts: job.disposal.lock_attempts as usize,
            pause: job.disposal.lock_backoff,
            max_pause: job.disposal.lock_backoff_max,
            drain_max_rows: u64::from(job.options.drain_max_rows),
        }
    }
}
