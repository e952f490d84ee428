//! What there is: per table its layout, what its default partition holds, and what follows from both.

use std::collections::{BTreeMap, BTreeSet};

use eidos_core::fence::ForeignFence;
use eidos_disposal::catalogue;
use eidos_disposal::partition::{DropQuota, PartitionDisposal, PartitionPolicy};
use eidos_disposal::{DisposalError, source_connection};
use eidos_runtime::{JobContext, JobError};
use eidos_settings::SourceName;
use eidos_types::Slot;
use serde::Serialize;
use sqlx::PgPool;

use super::job::{ManagedTable, PartitionManage};
use crate::domain::layout::{AstrayRows, Rules};
use crate::domain::odd::{Odd, odd};
use crate::domain::tiling::Piece;
use crate::partitions::astray;
use crate::partitions::parent::Parent;

/// One table, looked at.
pub(super) struct Survey<'a> {
    pub(super) table: &'a ManagedTable,
    pub(super) rules: Rules,
    /// The right to write; `None` in a dry run and where the database did not answer.
    pub(super) foreign: Option<ForeignFence>,
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

/// Looks at every table; in a real run interrupted detaches are finished first. A table that cannot be read is in the
/// answer as well.
pub(super) async fn all<'a>(
    job: &'a PartitionManage,
    ctx: &JobContext,
    slot: Slot,
) -> Result<Vec<Survey<'a>>, JobError> {
    let mut fences: BTreeMap<SourceName, ForeignFence> = BTreeMap::new();
    let mut surveys = Vec::new();
    for table in &job.tables {
        ctx.check_cancelled()?;
        let mut survey = Survey {
            table,
            rules: job.rules(slot, table),
            foreign: fences.get(&table.source).cloned(),
            finalized: Vec::new(),
            found: Err(DisposalError::refused("layout", "not looked at".to_owned())),
        };
        survey.found = look(job, ctx, &mut survey).await;
        if let Some(fence) = &survey.foreign {
            fences.entry(table.source).or_insert_with(|| fence.clone());
        }
        match survey.found {
            Err(error) if error.ends_the_run() => return Err(error.into()),
            _ => surveys.push(survey),
        }
    }
    Ok(surveys)
}

/// Looks at the tables again after the work, for what is true then.
pub(super) async fn all_again<'a>(
    job: &'a PartitionManage,
    slot: Slot,
    before: &[Survey<'a>],
) -> Vec<Result<Found, DisposalError>> {
    let mut found = Vec::new();
    for survey in before {
        let table = survey.table;
        found.push(match job.sources.pool(table.source) {
            Some(pool) => read(job, pool, table, &job.rules(slot, table)).await,
            None => Err(DisposalError::refused("layout", "not connected".to_owned())),
        });
    }
    found
}

async fn look(
    job: &PartitionManage,
    ctx: &JobContext,
    survey: &mut Survey<'_>,
) -> Result<Found, DisposalError> {
    let table = survey.table;
    let pool = job.pool(table.source)?;
    if !ctx.dry_run() {
        let fence = match survey.foreign.take() {
            Some(fence) => fence,
            None => ctx.raised_in(pool).await?,
        };
        survey.finalized = finalize(job, ctx, &fence, table).await?;
        survey.foreign = Some(fence);
    }
    read(job, pool, table, &survey.rules).await
}

/// A detach that was interrupted makes its partition invisible and stands in the way of the next one: whoever left it,
/// it is finished before anything else.
async fn finalize(
    job: &PartitionManage,
    ctx: &JobContext,
    foreign: &ForeignFence,
    table: &ManagedTable,
) -> Result<Vec<String>, DisposalError> {
    let mut conn = source_connection(foreign.pool()).await?;
    let Some(shape) = catalogue::read_table(&mut conn, &table.table).await? else {
        return Ok(Vec::new());
    };
    drop(conn);
    let disposal = PartitionDisposal {
        ctx,
        foreign,
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
    Ok(finalized
        .iter()
        .map(|partition| partition.relation.plain())
        .collect())
}

async fn read(
    job: &PartitionManage,
    pool: &PgPool,
    table: &ManagedTable,
    rules: &Rules,
) -> Result<Found, DisposalError> {
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
        let found: Vec<(String, String)> = match sqlx::query_as(PARTITIONED).fetch_all(pool).await {
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

/// The roots of partition trees, of our kind or not; those of extensions left out.
const PARTITIONED: &str = "\
    SELECT n.nspname::text, c.relname::text \
    FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2";

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
