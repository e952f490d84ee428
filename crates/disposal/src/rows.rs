//! Rows of plain tables that have served their time, a month at a time.
//!
//! With an archive: `planned` → `exporting` → `verified` → `deleting` → `deleted`. The export is ordered by (time column,
//! primary key) and cut into segments; a segment is deleted by one fenced transaction whose `DELETE … RETURNING` gives
//! the deleted bytes back, and they must hash to what was exported, or the transaction is rolled back. So a row that
//! changed since the export, or came later, is never deleted on the export's word.
//!
//! Without one: `planned` → `deleting` → `deleted`, in batches that count what they pick and what they delete.
//!
//! Unfinished business is never selected, however old, and the condition stands in the DELETE itself. Rows that others
//! still reference stay. An export that cannot succeed is given up and not begun again until something changed. A crash leaves whole segments deleted or not at all; the next run goes on where rows are left.

mod begin;
mod copy;
mod delete;
mod failed;
mod identity;
mod predicate;
mod survey;
mod tally;

use std::time::Duration;

use eidos_archive_store::{ArchiveFormat, ArchiveStore};
use eidos_core::fence::ExternalFence;
use eidos_plan::Approval;
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use serde::{Deserialize, Serialize};

pub use failed::Ground;
pub use identity::RowIdentity;
pub use predicate::may_leave;
pub use survey::{RowMonth, RowSurvey, Staying, survey};

use crate::DisposalError;
use crate::catalogue::{self, TableShape};
use crate::lifecycle::Lifecycle;
use crate::partition::server_is_ready;
use crate::settings::{DisposalSettings, FinishedRule};
use crate::unit::{self, Change, Unit, UnitKind, UnitState};

/// What the settings say about a plain table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowRule {
    /// Its database.
    pub source: SourceName,
    /// A row's age: a column of epoch milliseconds.
    pub time_column: String,
    /// Which rows are finished business; `None`: all.
    pub finished: Option<FinishedRule>,
    /// Rows that stay because of another table.
    pub stays_while: Option<StaysWhile>,
    /// Rows per transaction, and per segment of an export.
    pub batch_rows: u32,
    /// Pause between two transactions.
    pub sleep: Duration,
    /// The format of the export; `None`: deleted without one.
    pub archive: Option<ArchiveFormat>,
}

/// A row stays while another table of the same database refers to unfinished business of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaysWhile {
    /// The column of the rows in question.
    pub column: String,
    /// The other table.
    pub table: String,
    /// The column there that has the same value.
    pub key: String,
    /// The column there that says how things stand.
    pub status: String,
    /// Its value in unfinished business.
    pub open: String,
}

/// The means to dispose of a plain table's rows in one run.
#[derive(Debug)]
pub struct RowDisposal<'a> {
    /// The run.
    pub ctx: &'a JobContext,
    /// Its right to write to the table's database.
    pub external: &'a ExternalFence,
    /// Where exports go; `None`: tables that are archived are refused.
    pub store: Option<&'a ArchiveStore>,
    /// Section `disposal`.
    pub settings: &'a DisposalSettings,
    /// The table's rules.
    pub rule: &'a RowRule,
}

/// How far a month came.
#[derive(Debug, Clone)]
pub struct RowOutcome {
    /// Its row as it is now.
    pub unit: Unit,
    /// Rows deleted in this call.
    pub deleted: u64,
    /// Why some rows stay, if any do.
    pub left: Option<String>,
}

impl RowDisposal<'_> {
    /// Takes the month of a plan's item as far as it may go now.
    ///
    /// # Errors
    /// [`DisposalError::Refused`] says what is not as it must be, [`DisposalError::Busy`] that rows were locked. What was
    /// deleted before that was proved and stays deleted; the next run goes on.
    pub async fn advance(
        &self,
        identity: &RowIdentity,
        approval: &Approval,
    ) -> Result<RowOutcome, DisposalError> {
        // Boxed: what awaits it stays small.
        let outcome = Box::pin(async {
            let shape = self.shape(identity.table_oid, &identity.table.plain()).await?;
            identity.still_fits(&shape, self.rule)?;
            let unit = if let Some(open) = self.open_unit(identity).await? {
                open
            } else {
                self.not_failed_before(&shape, identity, &approval.approved_by)
                    .await?;
                self.begin(identity, approval).await?
            };
            self.drive(unit, &shape).await
        });
        self.lifecycle().counted(&identity.table.plain(), outcome.await)
    }

    /// Takes a month that is on its way as far as it may go now.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub async fn resume(&self, unit: Unit) -> Result<RowOutcome, DisposalError> {
        let table = unit.table.plain();
        let outcome = Box::pin(async {
            let shape = self.shape(unit.table_oid, &unit.table.plain()).await?;
            if let Some(reason) = self.outlived(&unit, &shape.columns_fingerprint()) {
                return self.closed(unit, reason).await;
            }
            self.drive(unit, &shape).await
        });
        self.lifecycle().counted(&table, outcome.await)
    }

    /// Gives up exports that were interrupted, and sweeps folders of units that were given up. Run before anything else.
    /// Returns a sentence for each.
    ///
    /// # Errors
    /// Those of any statement or request.
    pub async fn recover(&self, table: &catalogue::Relation) -> Result<Vec<String>, DisposalError> {
        let mut done = Vec::new();
        let read = self.ctx.jobs_db().control();
        for open in unit::list_open(read, self.rule.source, Some(table)).await? {
            let interrupted = open.kind == UnitKind::Rows
                && open.state == UnitState::Exporting
                && open.job_name == self.ctx.job().as_str();
            if interrupted && !self.still_there(&open).await? {
                done.push(format!(
                    "kept the interrupted export of {}: its table is gone, and this may be the only copy of some rows",
                    open.unit_name
                ));
            } else if interrupted {
                self.lifecycle()
                    .give_up(&open, "abandon", "its export was interrupted", None)
                    .await?;
                done.push(format!("gave up the interrupted export of {}", open.unit_name));
            }
        }
        let swept = self.lifecycle().sweep(self.rule.source, table).await?;
        done.extend(swept.removed.into_iter().map(|(unit_id, objects, remains)| {
            let remains = remains.map_or_else(String::new, |remains| format!("; {remains}"));
            format!("removed {objects} objects of the abandoned unit {unit_id}{remains}")
        }));
        Ok(done)
    }

    async fn drive(&self, mut unit: Unit, shape: &TableShape) -> Result<RowOutcome, DisposalError> {
        let mut outcome = RowOutcome {
            unit: unit.clone(),
            deleted: 0,
            left: None,
        };
        loop {
            self.ctx.check_cancelled()?;
            self.not_held(&unit).await?;
            unchanged(&unit, shape)?;
            unit = match unit.state {
                UnitState::Planned if unit.archived => self.lifecycle().mark_exporting(&unit).await?,
                UnitState::Exporting => match self.export(&unit, shape).await {
                    Ok(verified) => verified,
                    Err(failure) => return Err(self.after_failure(&unit, shape, failure).await),
                },
                UnitState::Planned | UnitState::Verified => self.mark_deleting(&unit).await?,
                UnitState::Deleting => {
                    // Again for one that an earlier run began: clocks and roles of servers change.
                    self.server_is_ready().await?;
                    return self.delete(&unit, shape).await;
                }
                _ => {
                    outcome.unit = unit;
                    return Ok(outcome);
                }
            };
        }
    }

    async fn mark_deleting(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        self.server_is_ready().await?;
        let mut act = unit.act("delete", "begun");
        // None yet: what is deleted is added up from these rows.
        act.rows = Some(0);
        self.lifecycle()
            .moved_on(unit, UnitState::Deleting, &Change::default(), &act)
            .await
    }

    async fn server_is_ready(&self) -> Result<(), DisposalError> {
        let mut conn = self.lifecycle().reader().await?;
        server_is_ready(&mut conn, self.ctx, self.settings).await
    }

    const fn lifecycle(&self) -> Lifecycle<'_> {
        Lifecycle {
            ctx: self.ctx,
            external: self.external,
            store: self.store,
        }
    }

    /// Refuses a unit under a legal hold.
    async fn not_held(&self, unit: &Unit) -> Result<(), DisposalError> {
        match self.lifecycle().held(unit, &[&unit.table]).await? {
            Some(hold) => Err(DisposalError::refused(
                "hold",
                format!("{} stays: {}", unit.unit_name, hold.sentence()),
            )),
            None => Ok(()),
        }
    }

    async fn shape(&self, oid: u32, name: &str) -> Result<TableShape, DisposalError> {
        let mut conn = self.lifecycle().reader().await?;
        let shape = catalogue::read_by_oid(&mut conn, oid).await?;
        let shape = shape.ok_or_else(|| {
            DisposalError::refused("removed", format!("{name} (oid {oid}) is gone: make a new plan"))
        })?;
        may_leave(&shape, self.rule)?;
        Ok(shape)
    }
}

/// What was planned and exported is what there is.
fn unchanged(unit: &Unit, shape: &TableShape) -> Result<(), DisposalError> {
    if shape.columns_fingerprint() == unit.columns_fingerprint {
        return Ok(());
    }
    Err(DisposalError::refused(
        "columns",
        format!(
            "{} has other columns than when {} was planned and exported; nothing more is deleted of it. Take the change \
             back, or make a new plan",
            unit.table.plain(),
            unit.unit_name
        ),
    ))
}
