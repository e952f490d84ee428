//! What earlier runs left, put in order before anything is looked at: interrupted detaches, units whose table had
//! already moved on, leftovers of exports.

use std::collections::BTreeSet;

use eidos_disposal::partition::{DropQuota, PartitionDisposal};
use eidos_disposal::rows::RowDisposal;
use eidos_disposal::{DisposalError, catalogue};
use eidos_runtime::{JobContext, JobError};
use eidos_settings::SourceName;

use super::job::{DataCleanup, Fences};
use super::report::{self, TableReport};
use super::rules::{PartitionRule, PlainRule};
use super::survey_partitions::policy;

/// Looks after the leftovers of every partitioned table. What is in the way of one table is in its report.
///
/// # Errors
/// [`JobError`] once the run must end.
pub(crate) async fn recover(
    job: &DataCleanup,
    ctx: &JobContext,
    fences: &mut Fences,
    only: Option<&BTreeSet<String>>,
) -> Result<(Vec<TableReport>, bool), JobError> {
    let (mut reports, mut retryable) = (Vec::new(), false);
    let quota = DropQuota::new(job.disposal.drops_per_run);
    for rule in &job.rules.partitioned {
        if only.is_some_and(|only| !only.contains(rule.table.as_str())) {
            continue;
        }
        ctx.check_cancelled()?;
        let mut report = TableReport::new(rule.source, rule.table.as_str().to_owned());
        match table(job, ctx, fences, rule, &quota).await {
            Ok(recovered) => report.recovered = recovered,
            Err(error) if error.ends_the_run() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(source = %rule.source, table = rule.table.as_str(), %error, "could not recover a table");
                retryable |= error.is_retryable();
                report.problems.push(error.to_string());
            }
        }
        reports.push(report);
    }
    for rule in &job.rules.plain {
        if only.is_some_and(|only| !only.contains(rule.table.as_str())) {
            continue;
        }
        ctx.check_cancelled()?;
        let mut report = TableReport::new(rule.source, rule.table.as_str().to_owned());
        match rows(job, ctx, fences, rule).await {
            Ok(recovered) => report.recovered = recovered,
            Err(error) if error.ends_the_run() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(source = %rule.source, table = rule.table.as_str(), %error, "could not recover a table");
                retryable |= error.is_retryable();
                report.problems.push(error.to_string());
            }
        }
        reports.push(report);
    }
    Ok((reports, retryable))
}

async fn rows(
    job: &DataCleanup,
    ctx: &JobContext,
    fences: &mut Fences,
    rule: &PlainRule,
) -> Result<Vec<String>, DisposalError> {
    let mut conn = job.connection(rule.source).await?;
    let shape = catalogue::read_table(&mut conn, &rule.table).await?;
    drop(conn);
    // A table that is not there, or is no plain one, is refused where it is looked at.
    let Some(shape) = shape.filter(|shape| shape.partitioning.is_none()) else {
        return Ok(Vec::new());
    };
    let foreign = fences.of(job, ctx, rule.source).await?;
    let disposal = RowDisposal {
        ctx,
        foreign: &foreign,
        store: job.store.as_ref(),
        settings: &job.disposal,
        rule: &rule.rows,
    };
    disposal.recover(&shape.relation).await
}

async fn table(
    job: &DataCleanup,
    ctx: &JobContext,
    fences: &mut Fences,
    rule: &PartitionRule,
    quota: &DropQuota,
) -> Result<Vec<String>, DisposalError> {
    let foreign = fences.of(job, ctx, rule.source).await?;
    let disposal = PartitionDisposal {
        ctx,
        foreign: &foreign,
        store: job.store.as_ref(),
        settings: &job.disposal,
        policy: policy(rule),
        quota,
    };
    let recovered = disposal.recover(&rule.table).await?;
    Ok(recovered.iter().map(report::told).collect())
}

/// Sources of the rules.
pub(super) fn sources_of(job: &DataCleanup) -> BTreeSet<SourceName> {
    job.rules.sources().collect()
}
