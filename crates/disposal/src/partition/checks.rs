//! What must be true before anything that cannot be undone.

use eidos_runtime::JobContext;
use sqlx::PgConnection;

use super::PartitionDisposal;
use super::fitness::{dependencies_of, may_leave};
use crate::DisposalError;
use crate::catalogue::{self, ForeignKey, Partition, TableShape};
use crate::settings::DisposalSettings;
use crate::unit::Unit;

const SERVER: &str = "SELECT pg_is_in_recovery(), (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Refuses a server in recovery, which shows the past, and a clock or a slot that is ahead, which makes young rows old.
///
/// # Errors
/// [`DisposalError::Refused`], [`DisposalError::Sql`].
pub async fn server_is_ready(
    conn: &mut PgConnection,
    ctx: &JobContext,
    settings: &DisposalSettings,
) -> Result<(), DisposalError> {
    let (in_recovery, server_ms): (bool, i64) = sqlx::query_as(SERVER)
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql("read a server's clock"))?;
    if in_recovery {
        return Err(DisposalError::refused(
            "recovery",
            "the database server is in recovery: it is a replica, or was made one; set databases.<source>.url to the \
             primary",
        ));
    }
    let limit_ms = i64::try_from(settings.clock_skew_limit.as_millis()).unwrap_or(i64::MAX);
    if ctx.slot().ms() > server_ms.saturating_add(limit_ms) {
        return Err(DisposalError::refused(
            "slot",
            format!(
                "the slot {} lies in the future: rows that are young now would be old in it. Run for a slot that has come; \
                 a plan may be made for any",
                ctx.slot()
            ),
        ));
    }
    let skew_ms = ctx.clock().now_ms().abs_diff(server_ms);
    if u128::from(skew_ms) > settings.clock_skew_limit.as_millis() {
        return Err(DisposalError::refused(
            "clock",
            format!(
                "the clocks of this process and of the database are {skew_ms} ms apart, more than \
                 disposal.clock_skew_limit: nothing is removed until they agree; look at NTP on both machines"
            ),
        ));
    }
    Ok(())
}

impl PartitionDisposal<'_> {
    /// Refuses a unit under a legal hold, on its table or on the one its rows came from.
    pub(super) async fn not_held(&self, unit: &Unit) -> Result<(), DisposalError> {
        let mut tables = vec![&unit.table];
        tables.extend(&self.policy.held_with);
        match self.lifecycle().held(unit, &tables).await? {
            Some(hold) => Err(refused("hold", unit, &format!("stays: {}", hold.sentence()))),
            None => Ok(()),
        }
    }

    /// The partition as it hangs on its parent, if it may be taken from there.
    ///
    /// Asked before a lock is taken, so that a refusal disturbs nobody, and again under the locks, where the answer
    /// cannot change any more.
    pub(super) async fn detachable(
        &self,
        conn: &mut PgConnection,
        unit: &Unit,
        parent_oid: u32,
    ) -> Result<(TableShape, Partition), DisposalError> {
        let parent = catalogue::read_by_oid(conn, parent_oid).await?;
        let parent = parent.ok_or_else(|| removed(unit))?;
        self.unchanged(conn, unit).await?;
        let mut layout = parent.partitioning.iter().flat_map(|layout| &layout.partitions);
        let partition = layout.find(|partition| partition.oid == unit.table_oid);
        let partition = partition.ok_or_else(|| removed(unit))?.clone();
        if partition.bounds.finite() != Some((unit.lower_ms, unit.upper_ms)) {
            return Err(refused(
                "changed",
                unit,
                &format!("covers {} now", partition.bounds),
            ));
        }
        if unit.upper_ms > self.ctx.slot().ms() {
            return Err(refused("young", unit, "is not over yet"));
        }
        let found = dependencies_of(conn, unit.table_oid).await?;
        may_leave(&parent, &partition, &found, unit.archived)?;
        Ok((parent, partition))
    }

    /// The unit's own table, if its columns are those it had when the unit began.
    pub(super) async fn unchanged(
        &self,
        conn: &mut PgConnection,
        unit: &Unit,
    ) -> Result<TableShape, DisposalError> {
        let own = catalogue::read_by_oid(conn, unit.table_oid).await?;
        let own = own.ok_or_else(|| removed(unit))?;
        if own.columns_fingerprint() == unit.columns_fingerprint {
            return Ok(own);
        }
        Err(refused(
            "columns",
            unit,
            "has other columns than when it was planned and exported: what was added would be lost. Take the change \
             back, or put the table back, and make a new plan",
        ))
    }
}

/// A foreign key points at the unit's rows.
pub(super) fn referenced(unit: &Unit, key: &ForeignKey) -> DisposalError {
    refused(
        "referenced",
        unit,
        &format!(
            "is referenced by foreign key {} of {}; drop that constraint first",
            key.name,
            key.table.plain()
        ),
    )
}

/// A refusal about a unit: "`name` of `table` `what`".
pub(super) fn refused(reason: &'static str, unit: &Unit, what: &str) -> DisposalError {
    DisposalError::refused(
        reason,
        format!("{} of {} {what}", unit.unit_name, unit.table.plain()),
    )
}

/// The copy that must exist is not proved.
pub(super) fn no_evidence(unit: &Unit) -> DisposalError {
    refused(
        "evidence",
        unit,
        &format!(
            "has no proved copy ({}); it stays until verify-archive finds its export sound or the unit is begun again",
            unit.rot
                .as_deref()
                .unwrap_or("nothing recorded, or another manifest")
        ),
    )
}

/// A unit that is none of ours to move.
pub(super) fn wrong_kind(unit: &Unit) -> DisposalError {
    DisposalError::refused(
        "kind",
        format!(
            "unit {} is {} and no partition that can be moved on",
            unit.unit_id, unit.state
        ),
    )
}

/// The table of a unit was removed by somebody else.
pub(super) fn removed(unit: &Unit) -> DisposalError {
    DisposalError::refused(
        "removed",
        format!(
            "{} of {} (oid {}) is gone, and it was not this program that removed it: unit {} is {}; find out who did, \
             and keep its export",
            unit.unit_name,
            unit.table.plain(),
            unit.table_oid,
            unit.unit_id,
            unit.state
        ),
    )
}
