//! What there is: per table its layout, what its default partition holds, and what follows from both.

use std::collections::{BTreeMap, BTreeSet};

use eidos_core::fence::ExternalFence;
use eidos_disposal::catalogue;
use eidos_disposal::partition::{DropQuota, PartitionDisposal, PartitionPolicy};
use eidos_disposal::{DisposalError, source_connection};
use eidos_plan::{Plan, Surveyed};
use eidos_runtime::{JobContext, JobError};
use eidos_settings::SourceName;
use eidos_types::Slot;
use serde::Serialize;
use sqlx::PgPool;

use super::job::{ManagedTable, PartitionManage};
use super::plan;
use crate::domain::layout::{AstrayRows, Rules};
use crate::domain::odd::{Odd, odd};
use crate::domain::tiling::Piece;
use crate::partitions::parent::Parent;
use crate::store::{astray, tables};

/// Every table, and the plan that follows.
pub struct Survey {
    pub(super) plan: Plan,
    pub(super) tables: Vec<TableSurvey>,
}

impl Surveyed for Survey {
    fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// One table, surveyed.
pub(super) struct TableSurvey {
    pub(super) table: ManagedTable,
    pub(super) rules: Rules,
    /// The right to write; `None` before recovery and where the database did not answer.
    pub(super) external: Option<ExternalFence>,
    /// Partitions whose interrupted detach was finished first.
    pub(super) finalized: Vec<String>,
    pub(super) found: Result<Found, DisposalError>,
}

/// What was found in one table.
pub(super) struct Found {
    pub(super) parent: Parent,
    pub(super) astray: AstrayRows,
    /// Why its rows may not be moved, if they may not.
    pub(super) obstacle: Option<String>,
    /// What is to be created, in this order.
    pub(super) pieces: Vec<Piece>,
    pub(super) odd: Vec<Odd>,
}

/// A partitioned table nobody looks after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stranger {
    /// Its database.
    pub source: SourceName,
    /// Its name.
    pub table: String,
}

/// Looks at every table. One that cannot be read is in the answer as well.
pub(super) async fn all(job: &PartitionManage, ctx: &JobContext, slot: Slot) -> Result<Survey, JobError> {
    let mut tables = Vec::new();
    for table in &job.tables {
        ctx.check_cancelled()?;
        let rules = job.rules(slot, table);
        tables.push(TableSurvey {
            table: table.clone(),
            found: read(job, table, &rules).await,
            rules,
            external: None,
            finalized: Vec::new(),
        });
    }
    let plan = plan::make(slot, &tables)?;
    Ok(Survey { plan, tables })
}

/// Finishes interrupted detaches, and looks at those tables again.
pub(super) async fn recover(
    job: &PartitionManage,
    ctx: &JobContext,
    survey: &mut Survey,
) -> Result<(), JobError> {
    let mut fences = BTreeMap::new();
    for survey in &mut survey.tables {
        ctx.check_cancelled()?;
        match finalize(job, ctx, &mut fences, survey).await {
            Ok(()) if survey.finalized.is_empty() => {}
            Ok(()) => survey.found = read(job, &survey.table, &survey.rules).await,
            Err(error) if error.ends_the_run() => return Err(error.into()),
            Err(error) => survey.found = Err(error),
        }
    }
    survey.plan = plan::make(survey.plan.slot, &survey.tables)?;
    Ok(())
}

/// Looks at the tables again after the work, for what is true then.
pub(super) async fn all_again(job: &PartitionManage, before: &Survey) -> Vec<Result<Found, DisposalError>> {
    let mut found = Vec::new();
    for survey in &before.tables {
        found.push(read(job, &survey.table, &survey.rules).await);
    }
    found
}

/// A detach that was interrupted makes its partition invisible and is in the way of the next one: whoever left it,
/// it is finished before anything else.
async fn finalize(
    job: &PartitionManage,
    ctx: &JobContext,
    fences: &mut BTreeMap<SourceName, ExternalFence>,
    survey: &mut TableSurvey,
) -> Result<(), DisposalError> {
    let table = &survey.table;
    let external = match fences.get(&table.source) {
        Some(fence) => fence.clone(),
        None => ctx.raised_in(job.pool(table.source)?).await?,
    };
    fences.insert(table.source, external.clone());
    let mut conn = source_connection(external.pool()).await?;
    let Some(shape) = catalogue::read_table(&mut conn, &table.table).await? else {
        survey.external = Some(external);
        return Ok(());
    };
    drop(conn);
    let disposal = PartitionDisposal {
        ctx,
        external: &external,
        store: None,
        settings: &job.disposal,
        policy: PartitionPolicy {
            source: table.source,
            archive: None,
            quarantine_days: 0,
            held_with: Vec::new(),
        },
        quota: &DropQuota::new(0),
    };
    let finalized = disposal.finalize_pending(&shape).await?;
    survey.finalized = finalized
        .iter()
        .map(|partition| partition.relation.plain())
        .collect();
    survey.external = Some(external);
    Ok(())
}

async fn read(job: &PartitionManage, table: &ManagedTable, rules: &Rules) -> Result<Found, DisposalError> {
    let pool = job.pool(table.source)?;
    let mut conn = source_connection(pool).await?;
    let parent = Parent::read(&mut conn, &table.table).await?;
    let obstacle = match &parent.default {
        Some(default) => astray::obstacle(&mut conn, &parent, default).await?,
        None => None,
    };
    drop(conn);
    let astray = astray::count(pool, &parent, rules, job.disposal.statement_timeout).await?;
    Ok(Found {
        pieces: rules.wanted(&parent.partitions, &astray),
        odd: odd(&parent.partitions),
        astray,
        obstacle,
        parent,
    })
}

/// Partitioned tables of the connected databases that are not configured, each once. A database that does not answer
/// has none: its own tables say so.
pub(super) async fn strangers(job: &PartitionManage) -> Vec<Stranger> {
    let mut seen = BTreeSet::new();
    let mut strangers = Vec::new();
    for (source, pool) in job.sources.iter() {
        let database = job.same_database.get(&source).copied().unwrap_or(source);
        if !seen.insert(database) {
            continue;
        }
        let found = match tables::partitioned(pool).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%source, %error, "could not look for partitioned tables");
                continue;
            }
        };
        for (schema, name) in found {
            let is_managed = job.tables.iter().any(|table| {
                let names = table.table.as_str();
                job.same_database
                    .get(&table.source)
                    .copied()
                    .unwrap_or(table.source)
                    == database
                    && (names == name || names == format!("{schema}.{name}"))
            });
            if !is_managed {
                strangers.push(Stranger {
                    source,
                    table: format!("{schema}.{name}"),
                });
            }
        }
    }
    strangers
}

impl PartitionManage {
    pub(super) fn rules(&self, slot: Slot, table: &ManagedTable) -> Rules {
        Rules {
            slot: slot.instant(),
            months_ahead: self.options.months_ahead,
            retention_months: table.retention_months,
            drain_months_back: self.options.drain_months_back,
        }
    }

    pub(super) fn pool(&self, source: SourceName) -> Result<&PgPool, DisposalError> {
        self.sources.pool(source).ok_or_else(|| {
            DisposalError::refused(
                "layout",
                format!("databases.{source} is not connected; set databases.{source}.url"),
            )
        })
    }
}
