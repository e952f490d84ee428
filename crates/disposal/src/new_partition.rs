//! A partition made in a fenced transaction of its own, as patiently as `disposal.lock_attempts` says. What it is made of
//! says [`NewPartition`].

use eidos_core::fence::ExternalFence;
pub use eidos_pg::NewPartition;
use eidos_pg::sql;
use eidos_runtime::JobContext;

use crate::DisposalError;
use crate::catalogue::{Relation, TableShape};
use crate::partition::locks::{Attempts, Patience};
use crate::settings::DisposalSettings;

/// Makes an empty partition of `parent` in a transaction of its own, as often tried as `disposal.lock_attempts` says.
///
/// # Errors
/// [`DisposalError::Refused`] where rows of its time sit in the default partition, the name is taken, or another partition
/// covers a part of it; [`DisposalError::Busy`]; [`DisposalError::Sql`].
pub async fn create(
    ctx: &JobContext,
    fence: &ExternalFence,
    settings: &DisposalSettings,
    parent: &TableShape,
    relation: &Relation,
    bounds_ms: (i64, i64),
) -> Result<(), DisposalError> {
    let Some(layout) = &parent.partitioning else {
        return Err(DisposalError::refused(
            "partitioning",
            format!(
                "{} is not partitioned, so it has no partitions",
                parent.relation.plain()
            ),
        ));
    };
    let new = NewPartition {
        parent: &parent.relation,
        parent_oid: parent.oid,
        key: &layout.key_column,
        relation,
        bounds_ms,
    };
    let default = layout.default.as_ref().map(|default| &default.relation);
    let mut attempts = Attempts::new(ctx, settings, format!("create {}", relation.plain()));
    while let Err(failure) = try_create(&new, fence, settings, default).await {
        attempts.again_after(in_the_place(&new, failure)).await?;
    }
    Ok(())
}

async fn try_create(
    new: &NewPartition<'_>,
    fence: &ExternalFence,
    settings: &DisposalSettings,
    default: Option<&Relation>,
) -> Result<(), DisposalError> {
    let mut step = fence.step().await?;
    let conn = step.conn();
    new.create_table(conn).await?;
    new.prepare(conn).await?;
    let patience = Patience::begin(settings);
    if let Some(default) = default {
        for table in [new.parent, default] {
            let lock = sql!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE"; table);
            patience.run(conn, "lock a partitioned table", &lock).await?;
        }
    }
    for (doing, statement) in new.attach_sql() {
        patience.run(conn, doing, &statement).await?;
    }
    new.finish(conn).await?;
    step.commit().await?;
    Ok(())
}

fn in_the_place(new: &NewPartition<'_>, error: DisposalError) -> DisposalError {
    let (relation, parent) = (new.relation.plain(), new.parent.plain());
    let what = match error.sqlstate().as_deref() {
        Some("42P07") => {
            format!("{relation} exists and is no partition of {parent}: rename or attach it, then run again")
        }
        Some("42P17") => format!(
            "{parent} has a partition that covers a part of [{}, {}) ({error}): {relation} cannot be made",
            new.bounds_ms.0, new.bounds_ms.1
        ),
        Some("23514") => format!(
            "rows of [{}, {}) sit in the default partition of {parent} ({error}): let partition-manage move them, then run \
             again",
            new.bounds_ms.0, new.bounds_ms.1
        ),
        Some("42501") => format!(
            "this login may not make {relation} ({error}): it has to own {parent}, and to have CREATE on the schema"
        ),
        _ => return error,
    };
    DisposalError::refused("partition", what)
}
