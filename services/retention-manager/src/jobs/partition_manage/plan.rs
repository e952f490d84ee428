//! What a run would create, in the words of every other plan, and whether an approved plan still fits.

use std::collections::BTreeSet;

use eidos_disposal::DisposalError;
use eidos_disposal::plan::{self, Action, Note, Plan, PlanItem};
use eidos_runtime::{Job, JobContext, JobError};
use eidos_types::Slot;
use eidos_types::TimeRange;
use serde_json::{Value, json};

use super::job::PartitionManage;
use super::survey::{Found, Survey};
use crate::domain::naming;
use crate::domain::tiling::{Piece, missing};
use crate::partitions::parent::Parent;

/// The newest dry run that made this plan.
pub(super) async fn find(job: &PartitionManage, ctx: &JobContext, digest: &str) -> Result<Plan, JobError> {
    let found = plan::find_planned(
        ctx.jobs_db().read(),
        PartitionManage::NAME,
        digest,
        job.disposal.plan_max_age,
        ctx.clock().now(),
    );
    Ok(found.await?)
}

/// The plan of these tables; those that cannot be read are only noted.
pub(super) fn make(slot: Slot, surveys: &[Survey<'_>]) -> Result<Plan, JobError> {
    let (mut items, mut notes) = (Vec::new(), Vec::new());
    for survey in surveys {
        match &survey.found {
            Ok(found) => items.extend(found.pieces.iter().map(|piece| item(survey, found, piece))),
            Err(error) => notes.push(Note::new(format!(
                "{} {}: {error}",
                survey.table.source,
                survey.table.table.as_str()
            ))),
        }
    }
    Ok(Plan::new(PartitionManage::NAME, slot, items, notes)?)
}

/// Leaves of the surveys what the approved plan says, or refuses all of it if the world is not the one it was made for.
pub(super) async fn keep_to(
    ctx: &JobContext,
    approved: &Plan,
    now: &Plan,
    surveys: &mut [Survey<'_>],
) -> Result<(), JobError> {
    let done = done_by(ctx, &approved.digest).await?;
    let is_done = |item: &PlanItem| {
        let window = item
            .window_ms
            .and_then(|(lower, upper)| TimeRange::new(lower, upper));
        let created: Vec<TimeRange> = done
            .iter()
            .filter(|(source, table, _)| source == item.source.as_str() && *table == item.table)
            .map(|(.., span)| *span)
            .collect();
        window.is_some_and(|window| missing(window, &created).is_empty())
    };
    plan::verify_remaining(approved, now, is_done).map_err(|changed| {
        JobError::fail(format!(
            "{changed}. Nothing was done; make a new plan and read it: retention-manager plan --job {}",
            PartitionManage::NAME
        ))
    })?;
    let approved: BTreeSet<String> = approved
        .items
        .iter()
        .map(|item| item.identity.to_string())
        .collect();
    for survey in surveys {
        if let Ok(found) = &mut survey.found {
            let kept = |piece: &Piece| approved.contains(&identity(&found.parent, piece).to_string());
            found.pieces.retain(kept);
        }
    }
    Ok(())
}

const DONE_BY: &str = "\
    SELECT source::text, table_name::text, (evidence ->> 'lower_ms')::bigint, (evidence ->> 'upper_ms')::bigint \
    FROM eidos_jobs_disposals WHERE plan_digest = $1 AND job_name = $2 AND evidence ? 'lower_ms'";

/// The stretches of time that got their partitions on this very plan's word: source, table, and which.
async fn done_by(ctx: &JobContext, digest: &str) -> Result<Vec<(String, String, TimeRange)>, DisposalError> {
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(DONE_BY)
        .bind(digest)
        .bind(PartitionManage::NAME)
        .fetch_all(ctx.jobs_db().read())
        .await
        .map_err(DisposalError::sql("look what a plan has done"))?;
    Ok(rows
        .into_iter()
        .filter_map(|(source, table, lower, upper)| Some((source, table, TimeRange::new(lower, upper)?)))
        .collect())
}

fn item(survey: &Survey<'_>, found: &Found, piece: &Piece) -> PlanItem {
    let parent = &found.parent;
    // Counted by month: of a part of a month it says how many there are at most.
    let rows = found.astray.months.get(&piece.month).copied().unwrap_or(0);
    let taken = |name: &String| parent.partitions.iter().any(|sibling| sibling.name == *name);
    let names = naming::names(&parent.relation.name, piece);
    let name = names.into_iter().find(|name| !taken(name));
    let table = parent.relation.plain();
    let mut steps = vec![format!("create a table like {table}, with its owner and rights")];
    let mut locks = Vec::new();
    match &parent.default {
        Some(default) => {
            let default = default.relation.plain();
            locks.push(format!(
                "ACCESS EXCLUSIVE on {table} and {default}, within disposal.lock_timeout"
            ));
            if rows > 0 {
                steps.push(format!("move its rows out of {default}"));
            }
        }
        None => locks.push(format!(
            "SHARE UPDATE EXCLUSIVE on {table}: no reader or writer feels it"
        )),
    }
    steps.push(format!(
        "attach it to {table} and look at it in the catalogue; all in one transaction"
    ));
    PlanItem {
        source: survey.table.source,
        object: format!("{}.{}", parent.relation.schema, name.unwrap_or_default()),
        action: if rows > 0 { Action::Drain } else { Action::Create },
        window_ms: Some((piece.span.lower_ms, piece.span.upper_ms)),
        rows_estimate: Some(rows),
        bytes: None,
        locks,
        steps,
        reason: "no partition covers this time".to_owned(),
        blocked: found.obstacle.clone().filter(|_| rows > 0),
        identity: identity(parent, piece),
        table,
    }
}

/// What makes it this work: the table, its columns, its default partition, and the stretch of time.
fn identity(parent: &Parent, piece: &Piece) -> Value {
    json!({
        "table_oid": parent.oid,
        "columns": parent.fingerprint,
        "default_oid": parent.default.as_ref().map(|default| default.oid),
        "lower_ms": piece.span.lower_ms,
        "upper_ms": piece.span.upper_ms,
    })
}
