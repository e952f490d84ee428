//! Which unit an item of the plan is: one on its way, or a new one.

use eidos_plan::Approval;

use super::checks::removed;
use super::fitness::{dependencies_of, may_leave, room};
use super::{PartitionDisposal, PartitionIdentity};
use crate::DisposalError;
use crate::catalogue;
use crate::unit::{self, NewUnit, Unit, UnitKind, UnitState};

impl PartitionDisposal<'_> {
    /// The unit of this partition that is on its way, or a new one; never one whose export was interrupted.
    pub(super) async fn unit_for(
        &self,
        identity: &PartitionIdentity,
        approval: &Approval,
    ) -> Result<Unit, DisposalError> {
        let pool = self.ctx.jobs_db().read();
        let name = &identity.partition.name;
        let open = unit::open_of(pool, self.policy.source, &identity.table, name).await?;
        match open {
            None => self.begin(identity, approval).await,
            Some(unit) if unit.job_name != self.ctx.job().as_str() => Err(of_another_job(&unit)),
            Some(unit) if unit.table_oid != identity.partition_oid => {
                // Only what has nothing to lose yields to a namesake.
                self.abandon(&unit, "another table has its name now").await?;
                self.begin(identity, approval).await
            }
            Some(unit) if !unit.archived && identity.archive.is_some() && unit.state <= UnitState::Frozen => {
                self.abandon(&unit, "the table is archived before it is dropped by now")
                    .await?;
                self.begin(identity, approval).await
            }
            Some(unit) if self.may_begin_anew(&unit).await? => {
                let reason = "its columns changed since; it begins again with those it has now";
                if unit.state == UnitState::Verified {
                    // Its rows are all still attached: its export no longer proves anything.
                    self.lifecycle().give_up(&unit, "abandon", reason, None).await?;
                } else {
                    self.abandon(&unit, reason).await?;
                }
                self.begin(identity, approval).await
            }
            Some(unit) => self.restarted(unit).await,
        }
    }

    /// Whether the unit's table has other columns than when the unit began, and all its rows are still attached: whoever
    /// planned it anew has seen the new columns ([`Self::begin`] compares them with the plan).
    async fn may_begin_anew(&self, unit: &Unit) -> Result<bool, DisposalError> {
        if unit.state > UnitState::Verified || unit.state == UnitState::Exporting {
            return Ok(false);
        }
        let mut conn = self.reader().await?;
        let attached = catalogue::find(&mut conn, unit.table_oid)
            .await?
            .is_some_and(|found| found.parent.is_some() && !found.pending_detach);
        let columns = catalogue::columns_fingerprint(&mut conn, unit.table_oid).await?;
        Ok(attached && columns != unit.columns_fingerprint)
    }

    /// A unit that was exporting when its run ended begins again: what is in its folder was never proved, and a node
    /// that is still uploading to it must not meet us there.
    pub(super) async fn restarted(&self, unit: Unit) -> Result<Unit, DisposalError> {
        if unit.state != UnitState::Exporting {
            return Ok(unit);
        }
        let fresh = self.successor_of(&unit).await?;
        self.abandon(&unit, "its export was interrupted").await?;
        self.lifecycle().create(&fresh).await
    }

    /// What a unit would be if it began now.
    async fn successor_of(&self, unit: &Unit) -> Result<NewUnit, DisposalError> {
        let mut conn = self.reader().await?;
        let shape = catalogue::read_by_oid(&mut conn, unit.table_oid).await?;
        let shape = shape.ok_or_else(|| removed(unit))?;
        Ok(NewUnit {
            unit_id: self.lifecycle().new_id(),
            source: unit.source,
            table: unit.table.clone(),
            unit_name: unit.unit_name.clone(),
            kind: UnitKind::Partition,
            table_oid: unit.table_oid,
            lower_ms: unit.lower_ms,
            upper_ms: unit.upper_ms,
            archive: self.policy.archive.or(unit.format),
            columns_fingerprint: shape.columns_fingerprint(),
            approval: unit.approval(),
        })
    }

    async fn begin(&self, identity: &PartitionIdentity, approval: &Approval) -> Result<Unit, DisposalError> {
        let mut conn = self.reader().await?;
        let parent = catalogue::read_by_oid(&mut conn, identity.table_oid).await?;
        let own = catalogue::read_by_oid(&mut conn, identity.partition_oid).await?;
        let (parent, own) = match (parent, own) {
            (Some(parent), Some(own)) => (parent, own),
            (None, _) => return Err(changed(identity, &identity.table.plain(), "is gone")),
            (_, None) => return Err(changed(identity, &identity.partition.plain(), "is gone")),
        };
        let partition = self.as_planned(identity, &parent)?;
        // Said before anything is frozen.
        let found = dependencies_of(&mut conn, identity.partition_oid).await?;
        may_leave(&parent, partition, &found, identity.archive.is_some())?;
        room(&mut conn, &parent).await?;
        self.not_failed_before(&mut conn, identity, &approval.approved_by)
            .await?;
        drop(conn);
        let new = NewUnit {
            unit_id: self.lifecycle().new_id(),
            source: self.policy.source,
            table: identity.table.clone(),
            unit_name: identity.partition.name.clone(),
            kind: UnitKind::Partition,
            table_oid: identity.partition_oid,
            lower_ms: identity.lower_ms,
            upper_ms: identity.upper_ms,
            archive: identity.archive,
            columns_fingerprint: own.columns_fingerprint(),
            approval: approval.clone(),
        };
        self.lifecycle().begin(&new).await
    }

    /// Whether the catalogue and the settings still say what the plan says.
    fn as_planned<'p>(
        &self,
        identity: &PartitionIdentity,
        parent: &'p catalogue::TableShape,
    ) -> Result<&'p catalogue::Partition, DisposalError> {
        let partition = parent
            .partitioning
            .iter()
            .flat_map(|layout| &layout.partitions)
            .find(|partition| partition.oid == identity.partition_oid);
        let Some(partition) = partition else {
            return Err(changed(
                identity,
                &identity.partition.plain(),
                "is no partition of it any more",
            ));
        };
        let now = PartitionIdentity::of(parent, partition, &self.policy)?;
        let table = parent.relation.plain();
        if now.columns_fingerprint != identity.columns_fingerprint {
            return Err(changed(identity, &table, "has other columns now"));
        }
        if (now.lower_ms, now.upper_ms) != (identity.lower_ms, identity.upper_ms) {
            return Err(changed(identity, &now.partition.plain(), "has other bounds now"));
        }
        if &now != identity {
            return Err(changed(identity, &table, "has other names or rules now"));
        }
        Ok(partition)
    }

    /// Gives a unit up and discards what it left in the object store. Refused once something was proved or taken away:
    /// then its export may be the only copy there is.
    pub(super) async fn abandon(&self, unit: &Unit, reason: &str) -> Result<Unit, DisposalError> {
        if unit.state > UnitState::Exporting {
            return Err(DisposalError::refused(
                "changed",
                format!(
                    "unit {} of {} is {} and cannot be given up because {reason}: its export may be the only copy; look \
                     into eidos_jobs_disposals and decide by hand",
                    unit.unit_id, unit.unit_name, unit.state
                ),
            ));
        }
        if unit.state == UnitState::Exporting {
            // Its rows must still be where they came from.
            self.whereabouts(unit).await?.ok_or_else(|| removed(unit))?;
        }
        self.lifecycle().give_up(unit, "abandon", reason, None).await
    }
}

/// Another job disposes of the same table.
pub(crate) fn of_another_job(unit: &Unit) -> DisposalError {
    DisposalError::refused(
        "open",
        format!(
            "{} of {} is on its way out by job {} already (unit {}, {}): one table is disposed of by one job. Remove it \
             from the settings of one of them",
            unit.unit_name,
            unit.table.plain(),
            unit.job_name,
            unit.unit_id,
            unit.state
        ),
    )
}

fn changed(identity: &PartitionIdentity, what: &str, how: &str) -> DisposalError {
    DisposalError::refused(
        "changed",
        format!(
            "{what} {how}: {} is not disposed of by this plan; make a new one with `retention-manager plan`",
            identity.partition.plain()
        ),
    )
}
