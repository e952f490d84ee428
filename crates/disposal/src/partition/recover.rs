//! What earlier runs left behind, before a run plans anything new.

use eidos_core::ident::SqlIdent;
use eidos_plan::audit::{self, Act};
use serde::Serialize;
use uuid::Uuid;

use super::freeze::thaw_sql;
use super::locks::{Attempts, Patience};
use super::{PartitionDisposal, UnitOutcome};
use crate::DisposalError;
use crate::catalogue::{self, TableShape};
use crate::unit::{self, Unit, UnitKind, UnitState};

/// Something that was found and put in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Recovered {
    /// An interrupted concurrent detach was finalized.
    Finalized {
        /// The partition, `schema.table`.
        partition: String,
    },
    /// An interrupted export was discarded and its unit given up; the partition begins again.
    Abandoned {
        /// The unit.
        unit_id: Uuid,
        /// Its name.
        unit_name: String,
    },
    /// A unit whose table had already left its parent was moved on.
    MovedOn {
        /// The unit.
        unit_id: Uuid,
        /// Its name.
        unit_name: String,
        /// Where it is now.
        state: UnitState,
    },
    /// Objects of an abandoned unit were removed: a node that had been given up was still uploading.
    Swept {
        /// The unit.
        unit_id: Uuid,
        /// How many.
        objects: u64,
        /// What of them remains in the store; `None`: nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        remains: Option<String>,
    },
    /// A folder in the object store that belongs to no unit of this database. It is left alone.
    UnknownFolder {
        /// The unit it is named after.
        unit_id: Uuid,
        /// Its name.
        unit_name: String,
    },
}

impl Recovered {
    /// Checks whether other work may be due because of it.
    #[must_use]
    pub const fn changes_what_is_due(&self) -> bool {
        !matches!(self, Self::Swept { .. } | Self::UnknownFolder { .. })
    }
}

impl PartitionDisposal<'_> {
    /// Puts in order what earlier runs of this job left of a table, in the order in which one thing is in the way of the
    /// next: pending detaches, units whose table is no longer attached, interrupted exports, folders.
    ///
    /// # Errors
    /// [`DisposalError::Refused`], after everything else was done, when a table in quarantine was removed by somebody
    /// else; those of any statement.
    pub async fn recover(&self, table: &SqlIdent) -> Result<Vec<Recovered>, DisposalError> {
        let mut conn = self.reader().await?;
        let shape = catalogue::read_table(&mut conn, table).await?;
        drop(conn);
        let Some(shape) = shape else {
            return Ok(Vec::new());
        };
        let mut recovered = Vec::new();
        for partition in self.finalize_pending(&shape).await? {
            let partition = partition.relation.plain();
            self.record_finalized(&shape, &partition).await?;
            recovered.push(Recovered::Finalized { partition });
        }
        let mut refused = None;
        for unit in self.open_units(&shape).await? {
            match Box::pin(self.settle(unit)).await {
                Ok(found) => recovered.extend(found),
                // One unit that needs a person does not keep the others waiting.
                Err(error) if error.refusal().is_some() => {
                    self.lifecycle().count_refusal(&shape.relation.plain(), &error);
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        recovered.extend(self.sweep(&shape).await?);
        refused.map_or(Ok(recovered), Err)
    }

    async fn record_finalized(&self, shape: &TableShape, partition: &str) -> Result<(), DisposalError> {
        let mut step = self.ctx.step().await?;
        let act = Act {
            unit_id: None,
            source: self.policy.source,
            table: shape.relation.clone(),
            object: partition.to_owned(),
            action: "finalize",
            rows: None,
            bytes: None,
            plan_digest: None,
            approved_by: "policy".to_owned(),
            reason: "an interrupted DETACH CONCURRENTLY was in the way of every other".to_owned(),
            evidence: serde_json::json!({}),
        };
        audit::record(&mut step, self.ctx, &act).await?;
        step.commit().await?;
        Ok(())
    }

    async fn open_units(&self, shape: &TableShape) -> Result<Vec<Unit>, DisposalError> {
        let pool = self.ctx.jobs_db().read();
        let open = unit::list_open(pool, self.policy.source, Some(&shape.relation)).await?;
        Ok(open
            .into_iter()
            .filter(|unit| unit.kind == UnitKind::Partition && unit.job_name == self.ctx.job().as_str())
            .collect())
    }

    /// One unit that is on its way. One whose partition is still attached waits for the plan.
    async fn settle(&self, unit: Unit) -> Result<Option<Recovered>, DisposalError> {
        if unit.state == UnitState::Exporting {
            let unit = self.abandon(&unit, "its export was interrupted").await?;
            return Ok(Some(Recovered::Abandoned {
                unit_id: unit.unit_id,
                unit_name: unit.unit_name,
            }));
        }
        let found = self.whereabouts(&unit).await?;
        if found.is_none() && unit.state <= UnitState::Frozen {
            return Err(self.lost(&unit).await?);
        }
        let left = found.as_ref().is_none_or(|found| found.parent.is_none());
        let outcome: UnitOutcome = match unit.state {
            // Detached, and the process ended before it was written down; or dropped, likewise.
            UnitState::Verified if left => self.resume_to_rest(unit.clone()).await?,
            UnitState::Frozen if left && !unit.archived => self.resume_to_rest(unit.clone()).await?,
            UnitState::Dropping if found.is_none() => self.resume(unit.clone()).await?,
            UnitState::Quarantined if found.is_none() => return Err(super::checks::removed(&unit)),
            _ => return Ok(None),
        };
        Ok(Some(Recovered::MovedOn {
            unit_id: outcome.unit.unit_id,
            unit_name: outcome.unit.unit_name,
            state: outcome.unit.state,
        }))
    }

    /// Closes a unit whose table somebody else removed before anything was exported: there is nothing left to do or to
    /// keep. The refusal tells it once.
    async fn lost(&self, unit: &Unit) -> Result<DisposalError, DisposalError> {
        let reason = "its table was removed by somebody else before it was exported";
        self.abandon(unit, reason).await?;
        Ok(DisposalError::refused(
            "removed",
            format!(
                "{} of {} (oid {}) is gone, and it was not this program that removed it. Nothing of it was exported; unit {} \
                 is closed. Find out who removed it, and whether its rows are needed",
                unit.unit_name,
                unit.table.plain(),
                unit.table_oid,
                unit.unit_id
            ),
        ))
    }

    /// Into quarantine and no further: what is due there is the plan's to say.
    async fn resume_to_rest(&self, unit: Unit) -> Result<UnitOutcome, DisposalError> {
        let unit = self.quarantine(&unit).await?;
        Ok(UnitOutcome {
            unit,
            acts: vec!["quarantine"],
            waiting: None,
        })
    }

    async fn sweep(&self, shape: &TableShape) -> Result<Vec<Recovered>, DisposalError> {
        let swept = self
            .lifecycle()
            .sweep(self.policy.source, &shape.relation)
            .await?;
        let removed = swept.removed.into_iter();
        let mut recovered: Vec<Recovered> = removed
            .map(|(unit_id, objects, remains)| Recovered::Swept {
                unit_id,
                objects,
                remains,
            })
            .collect();
        for folder in swept.others {
            let unit_id = folder.unit_id();
            if unit::by_id(self.ctx.jobs_db().read(), unit_id).await?.is_none() {
                recovered.push(Recovered::UnknownFolder {
                    unit_id,
                    unit_name: folder.unit_name().to_owned(),
                });
            }
        }
        Ok(recovered)
    }

    /// Gives a unit up that is no longer wanted, and lets its partition be written to again. Only before it was detached.
    ///
    /// # Errors
    /// [`DisposalError::Refused`] once it was detached; [`DisposalError::Busy`]; those of any statement.
    pub async fn release(&self, unit: &Unit, reason: &str) -> Result<Unit, DisposalError> {
        if unit.state > UnitState::Verified {
            return Err(out_already(unit));
        }
        self.thaw(unit).await?;
        self.released(unit, reason, None).await
    }

    /// Lets an attached partition be written to again.
    pub(super) async fn thaw(&self, unit: &Unit) -> Result<(), DisposalError> {
        let mut attempts = Attempts::new(self.ctx, self.settings, format!("thaw {}", unit.unit_name));
        while let Err(failure) = self.try_thaw(unit).await {
            attempts.again_after(failure).await?;
        }
        Ok(())
    }

    async fn try_thaw(&self, unit: &Unit) -> Result<(), DisposalError> {
        let mut step = self.external.step().await?;
        let found = catalogue::find(step.conn(), unit.table_oid).await?;
        let found = found.ok_or_else(|| super::checks::removed(unit))?;
        if found.parent.is_none() || found.pending_detach {
            return Err(out_already(unit));
        }
        Patience::begin(self.settings)
            .run(step.conn(), "thaw a partition", &thaw_sql(&found.relation))
            .await?;
        step.commit().await?;
        Ok(())
    }

    /// Closes a unit whose partition was thawed, and discards its export.
    pub(super) async fn released(
        &self,
        unit: &Unit,
        reason: &str,
        failed_as: Option<String>,
    ) -> Result<Unit, DisposalError> {
        self.lifecycle().give_up(unit, "release", reason, failed_as).await
    }
}

fn out_already(unit: &Unit) -> DisposalError {
    super::checks::refused(
        "changed",
        unit,
        &format!(
            "is detached already, or half way out; `undo {}` attaches it again",
            unit.unit_id
        ),
    )
}
