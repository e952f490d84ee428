//! Undo: a unit is taken back, from whatever state it is in, and its rows are where they were, writable.
//!
//! | where the table is | what is done |
//! |---|---|
//! | attached, frozen or not | thawed; the unit is closed and its export discarded |
//! | half detached | the detach is finalized, then as below |
//! | detached, in `eidos_quarantine` or not yet | renamed, moved back, thawed and attached in one transaction; then as above |
//! | gone | refused: what is left is the export, and `archiver restore` |
//!
//! The table decides, found by its oid, and not the unit's row: a crash after any commit leaves something that the same
//! command finishes, and a unit that was closed by hand is put right as well. A hold on the month is placed before
//! anything else, or the next run would take the partition for expired again.

use std::fmt;

use eidos_plan::hold::{self, NewHold};
use eidos_runtime::JobContext;
use eidos_types::ExecutionId;
use serde::Serialize;
use uuid::Uuid;

use super::{PartitionDisposal, checks};
use crate::DisposalError;
use crate::catalogue::Whereabouts;
use crate::unit::{self, Change, Unit, UnitKind, UnitState};

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoRequest {
    /// Why, for the audit and the hold.
    pub reason: String,
    /// Whether the month is held afterwards, so that the next run leaves it alone.
    pub hold: bool,
}

impl UndoRequest {
    /// From a run's parameters: held unless told.
    #[must_use]
    pub fn of(reason: Option<&str>, hold: Option<bool>) -> Self {
        Self {
            reason: reason.unwrap_or("taken back by hand").to_owned(),
            hold: hold.unwrap_or(true),
        }
    }

    /// Checks that a run's parameters are either those of an undo or those of something else.
    ///
    /// # Errors
    /// A sentence for the caller.
    pub fn check(undo: bool, other: bool, reason: Option<&str>, hold: Option<bool>) -> Result<(), String> {
        match (undo, other) {
            (true, true) => {
                Err("undo takes one unit back and does nothing else: leave out plan and tables".to_owned())
            }
            (false, _) if reason.is_some() || hold.is_some() => {
                Err("reason and hold belong to undo: name a unit, undo=<unit>".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// What an undo did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Undone {
    /// The unit.
    pub unit_id: Uuid,
    /// Its partition, or table and month.
    pub object: String,
    /// Its table, `schema.name`.
    pub table: String,
    /// Its state before.
    pub was: UnitState,
    /// What was done, in order.
    pub done: Vec<String>,
    /// The hold that keeps it; `None`: none was asked for.
    pub hold_id: Option<Uuid>,
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} (unit {}) was {}: ",
            self.object, self.table, self.unit_id, self.was
        )?;
        f.write_str(&self.done.join("; "))?;
        match self.hold_id {
            Some(hold) => write!(f, ". It stays until hold {hold} is lifted"),
            None => f.write_str(". Nothing holds it: the next run takes it for expired again"),
        }
    }
}

/// The unit a person means: by its id, or by the name of its partition or month, then the newest of that name.
///
/// # Errors
/// [`DisposalError::Refused`] where there is none, or several tables have one of that name; [`DisposalError::Sql`].
pub async fn unit_to_undo(ctx: &JobContext, named: &str) -> Result<Unit, DisposalError> {
    let refuse = |what: String| Err(DisposalError::refused("unit", what));
    if ctx.dry_run() {
        return refuse("undo has no dry run; GET /v1/units shows where a unit is".to_owned());
    }
    let jobs = ctx.jobs_db().control();
    if let Ok(id) = named.parse::<Uuid>() {
        return match unit::by_id(jobs, id).await? {
            Some(unit) => Ok(unit),
            None => refuse(format!("there is no unit {id}; GET /v1/units lists them")),
        };
    }
    let mut found = unit::newest_named(jobs, named).await?;
    match (found.pop(), found.as_slice()) {
        (Some(unit), []) => Ok(unit),
        (None, _) => refuse(format!(
            "there is no unit of the name {named}; GET /v1/units lists them"
        )),
        (Some(last), others) => {
            let all: Vec<String> = others
                .iter()
                .chain([&last])
                .map(|unit| format!("{} ({} in {})", unit.unit_id, unit.table.plain(), unit.source))
                .collect();
            refuse(format!(
                "several tables have a unit {named}; name one by its id: {}",
                all.join(", ")
            ))
        }
    }
}

impl PartitionDisposal<'_> {
    /// Takes a unit back.
    ///
    /// # Errors
    /// [`DisposalError::Refused`] where rows are gone already, with the way to restore them, or where something is in
    /// the table's place; [`DisposalError::Busy`]; those of any statement. Running it again goes on.
    pub async fn undo(&self, unit: Unit, request: &UndoRequest) -> Result<Undone, DisposalError> {
        if unit.job_name != self.ctx.job().as_str() {
            return Err(of_another_program(&unit));
        }
        if matches!(
            unit.state,
            UnitState::Dropped | UnitState::Deleting | UnitState::Deleted
        ) {
            return Err(gone(&unit));
        }
        let mut undone = Undone {
            unit_id: unit.unit_id,
            object: unit.unit_name.clone(),
            table: unit.table.plain(),
            was: unit.state,
            done: Vec::new(),
            hold_id: None,
        };
        if unit.kind == UnitKind::Rows {
            Box::pin(self.undo_rows(&unit, request, &mut undone)).await?;
        } else {
            Box::pin(self.undo_partition(&unit, request, &mut undone)).await?;
        }
        Ok(undone)
    }

    /// Rows of a plain table are not frozen, and nothing was deleted before `deleting` was written down.
    async fn undo_rows(
        &self,
        unit: &Unit,
        request: &UndoRequest,
        undone: &mut Undone,
    ) -> Result<(), DisposalError> {
        self.keep(unit, request, undone).await?;
        self.close(unit, request, undone).await
    }

    async fn undo_partition(
        &self,
        unit: &Unit,
        request: &UndoRequest,
        undone: &mut Undone,
    ) -> Result<(), DisposalError> {
        self.only_one_of_its_table(unit).await?;
        let found = self.still_there(unit).await?;
        if found.parent.is_none() {
            // Said before anything is done.
            self.place_for(&mut *self.reader().await?, unit).await?;
        }
        self.keep(unit, request, undone).await?;
        if let Some(parent) = found.parent.filter(|_parent| found.pending_detach) {
            self.finalize(parent, unit.table_oid).await?;
            undone.done.push("finalized the interrupted detach".to_owned());
        }
        if found.parent.is_some() && !found.pending_detach {
            self.thaw(unit).await?;
            if found.frozen {
                undone.done.push("let writers back".to_owned());
            }
        } else {
            self.attach(unit).await?;
            undone
                .done
                .push(format!("attached it to {} again, writable", unit.table.plain()));
        }
        self.close(unit, request, undone).await
    }

    /// The table of the unit, wherever it is.
    pub(super) async fn still_there(&self, unit: &Unit) -> Result<Whereabouts, DisposalError> {
        match self.whereabouts(unit).await? {
            Some(found) => Ok(found),
            // Our own DROP, perhaps: its commit is all that tells.
            None if unit.state == UnitState::Dropping => Err(gone(unit)),
            None => Err(checks::removed(unit)),
        }
    }

    /// A closed unit is put right only where no other one has taken its partition up again.
    async fn only_one_of_its_table(&self, unit: &Unit) -> Result<(), DisposalError> {
        let jobs = self.ctx.jobs_db().read();
        let open = unit::open_of(jobs, unit.source, &unit.table, &unit.unit_name).await?;
        match open.filter(|open| open.unit_id != unit.unit_id) {
            Some(open) => Err(checks::refused(
                "open",
                unit,
                &format!(
                    "was taken up again by unit {} ({}): undo that one",
                    open.unit_id, open.state
                ),
            )),
            None => Ok(()),
        }
    }

    /// Places the hold, unless the month is held already.
    async fn keep(
        &self,
        unit: &Unit,
        request: &UndoRequest,
        undone: &mut Undone,
    ) -> Result<(), DisposalError> {
        if !request.hold {
            return Ok(());
        }
        let control = self.ctx.jobs_db().control();
        let window = (unit.lower_ms, unit.upper_ms);
        let held = hold::active(control, unit.source, &unit.table, window).await?;
        let covers = |hold: &&hold::Hold| {
            hold.from_ms.is_none_or(|from| from <= window.0) && hold.to_ms.is_none_or(|to| to >= window.1)
        };
        if let Some(hold) = held.iter().find(covers) {
            undone.hold_id = Some(hold.hold_id);
            return Ok(());
        }
        let new = NewHold {
            hold_id: ExecutionId::new(self.ctx.clock().as_ref()).as_uuid(),
            source: unit.source,
            table: unit.table.clone(),
            from_ms: Some(window.0),
            to_ms: Some(window.1),
            reason: format!("undo of unit {}: {}", unit.unit_id, request.reason),
            placed_by: self.ctx.requested_by().unwrap_or("unnamed").to_owned(),
            placed_at: self.ctx.clock().now(),
        };
        let placed = hold::place(control, &new).await?;
        undone.done.push(format!(
            "placed hold {} on {} from {} to {} (epoch ms)",
            placed.hold_id,
            unit.table.plain(),
            window.0,
            window.1
        ));
        undone.hold_id = Some(placed.hold_id);
        Ok(())
    }

    /// Closes the unit and discards its export: its rows are in the table, and may change there.
    async fn close(
        &self,
        unit: &Unit,
        request: &UndoRequest,
        undone: &mut Undone,
    ) -> Result<(), DisposalError> {
        if unit.state == UnitState::Abandoned && undone.done.is_empty() {
            undone.done.push("nothing: it was taken back already".to_owned());
            // An undo that died may have left it.
            undone.done.extend(self.lifecycle().discard(unit).await?);
            return Ok(());
        }
        if unit.state != UnitState::Abandoned {
            undone
                .done
                .push("closed the unit and discarded its export".to_owned());
        }
        let mut act = unit.act("undo", request.reason.clone());
        act.approved_by = self.ctx.requested_by().unwrap_or("unnamed").to_owned();
        act.evidence =
            serde_json::json!({ "was": unit.state, "hold_id": undone.hold_id, "done": undone.done });
        if unit.state == UnitState::Abandoned {
            let mut step = self.ctx.step().await?;
            eidos_plan::audit::record(&mut step, self.ctx, &act).await?;
            step.commit().await?;
        } else {
            let change = Change {
                reason: Some(format!("undone: {}", request.reason)),
                ..Change::default()
            };
            self.lifecycle()
                .moved_on(unit, UnitState::Abandoned, &change, &act)
                .await?;
        }
        undone.done.extend(self.lifecycle().discard(unit).await?);
        Ok(())
    }
}

fn gone(unit: &Unit) -> DisposalError {
    let advice = if unit.archived {
        format!(
            "bring its export back with `archiver restore --unit {} --into original`, after placing a hold",
            unit.unit_id
        )
    } else {
        "it went without an archive, as its rule says: what is left is the database's backup".to_owned()
    };
    checks::refused(
        "gone",
        unit,
        &format!(
            "is {}, so rows of it are gone from the database and there is nothing to undo: {advice}",
            unit.state
        ),
    )
}

fn of_another_program(unit: &Unit) -> DisposalError {
    let program = match unit.job_name.as_str() {
        "archive-data" => "archiver",
        _ => "retention-manager",
    };
    checks::refused(
        "open",
        unit,
        &format!(
            "belongs to job {}: `{program} undo {}`",
            unit.job_name, unit.unit_id
        ),
    )
}
