//! What earlier runs left, put in order before anything is looked at: interrupted detaches, units whose table had
//! already moved on, leftovers of exports.

use std::collections::BTreeSet;

use eidos_core::ident::SqlIdent;
use eidos_disposal::catalogue;
use eidos_disposal::partition::{DropQuota, PartitionDisposal, Recovered};
use eidos_disposal::rows::RowDisposal;
use eidos_runtime::{JobContext, JobError};
use eidos_settings::SourceName;
use eidos_types::Slot;

use super::job::{DataCleanup, Fences};
use super::report::{self, Recovery};
use super::rules::{PartitionRule, PlainRule};
use super::survey::{Survey, survey};
use super::survey_partitions::policy;

/// Looks after the leftovers of every table, and surveys again if that changed what is due. What is in the way of one table
/// is in its report.
///
/// # Errors
/// [`JobError`] once the run must end.
pub(crate) async fn recover(
    job: &DataCleanup,
    ctx: &JobContext,
    slot: Slot,
    only: Option<&BTreeSet<String>>,
    before: Survey,
) -> Result<Survey, JobError> {
    let is_wanted = |table: &SqlIdent| only.is_none_or(|only| only.contains(table.as_str()));
    let mut fences = Fences::default();
    let quota = DropQuota::new(job.disposal.drops_per_run);
    let mut tables = Vec::new();
    for rule in job.rules.partitioned.iter().filter(|rule| is_wanted(&rule.table)) {
        ctx.check_cancelled()?;
        let recovery = partitions(job, ctx, &mut fences, rule, &quota).await;
        tables.push((rule.source, &rule.table, unless_over(recovery)?));
    }
    for rule in job.rules.plain.iter().filter(|rule| is_wanted(&rule.table)) {
        ctx.check_cancelled()?;
        let recovery = rows(job, ctx, &mut fences, rule).await;
        tables.push((rule.source, &rule.table, unless_over(recovery)?));
    }
    let changed = |recovery: &Recovery| recovery.as_ref().map_or(true, |(_sentences, changed)| *changed);
    let mut now = if tables.iter().any(|(.., recovery)| changed(recovery)) {
        survey(job, ctx, slot, only).await?
    } else {
        before
    };
    for (source, table, recovery) in tables {
        now.report.recovered(source, table.as_str(), recovery);
    }
    now.fences = fences;
    Ok(now)
}

fn unless_over(recovery: Recovery) -> Result<Recovery, JobError> {
    match recovery {
        Err(error) if error.ends_the_run() => Err(error.into()),
        recovery => Ok(recovery),
    }
}

async fn rows(job: &DataCleanup, ctx: &JobContext, fences: &mut Fences, rule: &PlainRule) -> Recovery {
    let mut conn = job.connection(rule.source).await?;
    let shape = catalogue::read_table(&mut conn, &rule.table).await?;
    drop(conn);
    // A table that is not there, or is no plain one, is refused where it is surveyed.
    let Some(shape) = shape.filter(|shape| shape.partitioning.is_none()) else {
        return Ok((Vec::new(), false));
    };
    let external = fences.of(job, ctx, rule.source).await?;
    let disposal = RowDisposal {
        ctx,
        external: &external,
        store: job.store.as_ref(),
        settings: &job.disposal,
        rule: &rule.rows,
    };
    let recovered = disposal.recover(&shape.relation).await?;
    let changed = !recovered.is_empty();
    Ok((recovered, changed))
}

async fn partitions(
    job: &DataCleanup,
    ctx: &JobContext,
    fences: &mut Fences,
    rule: &PartitionRule,
    quota: &DropQuota,
) -> Recovery {
    let external = fences.of(job, ctx, rule.source).await?;
    let disposal = PartitionDisposal {
        ctx,
        external: &external,
        store: job.store.as_ref(),
        settings: &job.disposal,
        policy: policy(rule),
        quota,
    };
    let recovered = disposal.recover(&rule.table).await?;
    let changed = recovered.iter().any(Recovered::changes_what_is_due);
    Ok((
        recovered.iter().map(report::recovered_sentence).collect(),
        changed,
    ))
}

/// Sources of the rules.
pub(super) fn sources_of(job: &DataCleanup) -> BTreeSet<SourceName> {
    job.rules.sources().collect()
}
