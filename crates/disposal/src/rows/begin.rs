//! A month is taken up: with the unit that is open for it, if that still fits, or with a new one.

use eidos_plan::Approval;

use super::tally::Tally;
use super::{RowDisposal, RowIdentity, RowOutcome};
use crate::DisposalError;
use crate::catalogue;
use crate::unit::{self, NewUnit, Unit, UnitKind, UnitState};

impl RowDisposal<'_> {
    pub(super) async fn open_unit(&self, identity: &RowIdentity) -> Result<Option<Unit>, DisposalError> {
        let read = self.ctx.jobs_db().control();
        let open = unit::open_of(read, self.rule.source, &identity.table, &identity.unit_name()).await?;
        match open {
            Some(unit) if unit.job_name != self.ctx.job().as_str() => {
                Err(crate::partition::of_another_job(&unit))
            }
            Some(unit) if unit.table_oid != identity.table_oid => self.of_another_table(&unit).await,
            // What is in its folder was never proved.
            Some(unit) if unit.state == UnitState::Exporting => {
                self.abandon(&unit, "its export was interrupted").await?;
                Ok(None)
            }
            Some(unit) => match self.outlived(&unit, &identity.columns_fingerprint) {
                Some(reason) => {
                    self.closed(unit, reason).await?;
                    Ok(None)
                }
                None => Ok(Some(unit)),
            },
            None => Ok(None),
        }
    }

    /// Why a unit cannot be finished as it was begun, if it cannot: what is left of the month begins again.
    pub(super) fn outlived(&self, unit: &Unit, columns: &str) -> Option<&'static str> {
        if unit.columns_fingerprint != columns {
            Some("the table's columns changed since it was planned and exported")
        } else if !unit.archived && self.rule.archive.is_some() {
            Some("the rule demands an export by now")
        } else {
            None
        }
    }

    /// Ends a unit before its time. What was deleted stays in its export; what was not is due as before.
    pub(super) async fn closed(&self, unit: Unit, reason: &str) -> Result<RowOutcome, DisposalError> {
        let left = format!("{reason}; what is left is due as it is now");
        let unit = if unit.state < UnitState::Deleting {
            self.abandon(&unit, &left).await?;
            unit
        } else {
            self.settled(&unit, Tally::default(), Some(left.clone())).await?
        };
        Ok(RowOutcome {
            unit,
            deleted: 0,
            left: Some(left),
        })
    }

    /// The table was rebuilt under its name. Only a unit that has no copy of anything yields to the new one: the rows of
    /// the old table may exist in this export and nowhere else.
    async fn of_another_table(&self, unit: &Unit) -> Result<Option<Unit>, DisposalError> {
        if unit.state == UnitState::Planned {
            self.abandon(unit, "another table has its name now").await?;
            return Ok(None);
        }
        Err(DisposalError::refused(
            "removed",
            format!(
                "{} was exported from another table (oid {}) than the one that is called {} now; the export may be the only \
                 copy of its rows and is kept. Compare it with the table (archiver restore), then close unit {} by hand, see \
                 the runbook disposal-refused",
                unit.unit_name,
                unit.table_oid,
                unit.table.plain(),
                unit.unit_id
            ),
        ))
    }

    /// Whether the unit's own table exists, by its identity.
    pub(super) async fn still_there(&self, unit: &Unit) -> Result<bool, DisposalError> {
        let mut conn = self.lifecycle().reader().await?;
        Ok(catalogue::find(&mut conn, unit.table_oid).await?.is_some())
    }

    pub(super) async fn begin(
        &self,
        identity: &RowIdentity,
        approval: &Approval,
    ) -> Result<Unit, DisposalError> {
        let lifecycle = self.lifecycle();
        let new = NewUnit {
            unit_id: lifecycle.new_id(),
            source: self.rule.source,
            table: identity.table.clone(),
            unit_name: identity.unit_name(),
            kind: UnitKind::Rows,
            table_oid: identity.table_oid,
            lower_ms: identity.lower_ms,
            upper_ms: identity.upper_ms,
            archive: self.rule.archive,
            columns_fingerprint: identity.columns_fingerprint.clone(),
            approval: approval.clone(),
        };
        lifecycle.begin(&new).await
    }

    async fn abandon(&self, unit: &Unit, reason: &str) -> Result<(), DisposalError> {
        self.lifecycle()
            .give_up(unit, "abandon", reason, None)
            .await
            .map(drop)
    }
}
