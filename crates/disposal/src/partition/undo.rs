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

use eidos_runtime::JobContext;
use eidos_types::ExecutionId;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::detach::BOUNDS_CHECK;
use super::freeze::thaw_sql;
use super::locks::{Attempts, Patience};
use super::{PartitionDisposal, begin, checks};
use crate::DisposalError;
use crate::catalogue::{self, Relation, TableShape, Whereabouts, quoted};
use crate::hold::{self, NewHold};
use crate::unit::{self, Change, Unit, UnitKind, UnitState};

const BY_NAME: &str = "\
    SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relname = $2";

const SCHEMA_BEFORE: &str = "\
    SELECT evidence ->> 'schema' FROM eidos_jobs_disposals WHERE unit_id = $1 AND action = 'quarantine' \
    ORDER BY id DESC LIMIT 1";

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
            self.attach(unit, undone).await?;
        }
        self.close(unit, request, undone).await
    }

    /// The table of the unit, wherever it is.
    async fn still_there(&self, unit: &Unit) -> Result<Whereabouts, DisposalError> {
        match self.whereabouts(unit).await? {
            Some(found) => Ok(found),
            // Our own DROP, perhaps: its commit is all that tells.
            None if unit.state == UnitState::Dropping => Err(gone(unit)),
            None => Err(begin::removed(unit)),
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
        let hold = hold::place(control, &new).await?;
        undone.done.push(format!(
            "placed hold {} on {} from {} to {} (epoch ms)",
            hold.hold_id,
            unit.table.plain(),
            window.0,
            window.1
        ));
        undone.hold_id = Some(hold.hold_id);
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
            return self.discard(unit).await;
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
            crate::audit::record(&mut step, self.ctx, &act).await?;
            step.commit().await?;
        } else {
            let change = Change {
                reason: Some(format!("undone: {}", request.reason)),
                ..Change::default()
            };
            self.moved_on(unit, UnitState::Abandoned, &change, &act).await?;
        }
        self.discard(unit).await
    }

    async fn attach(&self, unit: &Unit, undone: &mut Undone) -> Result<(), DisposalError> {
        let found = self.still_there(unit).await?;
        // Reads the table where nobody waits for it, so that ATTACH need not.
        self.validate_bounds(&found.relation).await?;
        let mut attempts = Attempts::new(
            self.ctx,
            self.settings,
            format!("attach {} again", unit.unit_name),
        );
        while let Err(failure) = self.try_attach(unit).await {
            attempts.again_after(failure).await?;
        }
        undone
            .done
            .push(format!("attached it to {} again, writable", unit.table.plain()));
        Ok(())
    }

    async fn try_attach(&self, unit: &Unit) -> Result<(), DisposalError> {
        let mut step = self.foreign.step().await?;
        let conn = step.conn();
        checks::server_is_ready(conn, self.ctx, self.settings).await?;
        let found = catalogue::find(conn, unit.table_oid).await?;
        let found = found.ok_or_else(|| begin::removed(unit))?;
        if found.parent.is_some() {
            return Ok(());
        }
        let (parent, target) = self.place_for(conn, unit).await?;
        let default = parent
            .partitioning
            .as_ref()
            .and_then(|layout| layout.default.as_ref());
        let patience = Patience::begin(self.settings);
        if let Some(default) = default {
            // Parent first, as every query does: see partition-manage.
            for table in [&parent.relation, &default.relation] {
                let lock = format!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE");
                patience.run(conn, "lock a partitioned table", &lock).await?;
            }
        }
        patience
            .run(
                conn,
                "attach a partition again",
                &attach_sql(unit, &found.relation, &parent, &target),
            )
            .await
            .map_err(|error| not_attached(unit, error))?;
        step.commit().await?;
        Ok(())
    }

    /// The parent, and the name the table had; refused, by name, where something else is in its place.
    async fn place_for(
        &self,
        conn: &mut PgConnection,
        unit: &Unit,
    ) -> Result<(TableShape, Relation), DisposalError> {
        let parent = match by_name(conn, &unit.table).await? {
            Some(oid) => catalogue::read_by_oid(conn, oid).await?,
            None => None,
        };
        let parent = parent.filter(|parent| parent.partitioning.is_some());
        let parent = parent.ok_or_else(|| {
            checks::refused(
                "changed",
                unit,
                "cannot be attached: its table is gone, or is not partitioned any more",
            )
        })?;
        let mut layout = parent.partitioning.iter().flat_map(|layout| &layout.partitions);
        let in_place = layout.find(|partition| {
            partition.bounds.lower.is_none_or(|lower| lower < unit.upper_ms)
                && partition.bounds.upper.is_none_or(|upper| upper > unit.lower_ms)
        });
        if let Some(other) = in_place {
            return Err(checks::refused(
                "open",
                unit,
                &format!(
                    "cannot be attached: {} covers {} now. Detach that one, move its rows, or drop it if it is empty; then \
                     undo again",
                    other.relation.plain(),
                    other.bounds
                ),
            ));
        }
        let own = catalogue::read_by_oid(conn, unit.table_oid).await?;
        let own = own.ok_or_else(|| begin::removed(unit))?;
        same_columns(unit, &parent, &own)?;
        let schema: Option<Option<String>> = sqlx::query_scalar(SCHEMA_BEFORE)
            .bind(unit.unit_id)
            .fetch_optional(self.ctx.jobs_db().read())
            .await
            .map_err(DisposalError::sql("read where a partition was"))?;
        let schema = schema.flatten().unwrap_or_else(|| unit.table.schema.clone());
        let target = Relation::new(schema, unit.unit_name.clone());
        match by_name(conn, &target).await? {
            Some(oid) if oid != unit.table_oid => Err(checks::refused(
                "open",
                unit,
                &format!(
                    "cannot be attached: there is another {} now; rename that one, then undo again",
                    target.plain()
                ),
            )),
            _ => Ok((parent, target)),
        }
    }
}

async fn by_name(conn: &mut PgConnection, table: &Relation) -> Result<Option<u32>, DisposalError> {
    let oid: Option<i64> = sqlx::query_scalar(BY_NAME)
        .bind(&table.schema)
        .bind(&table.name)
        .fetch_optional(conn)
        .await
        .map_err(DisposalError::sql("look for a table"))?;
    Ok(oid.and_then(|oid| u32::try_from(oid).ok()))
}

/// The name and schema it had, the triggers away, attached, and the check that the bound replaces away: all or nothing.
fn attach_sql(unit: &Unit, now: &Relation, parent: &TableShape, target: &Relation) -> String {
    let mut statements = Vec::new();
    if now.schema != target.schema {
        statements.push(format!("ALTER TABLE {now} SET SCHEMA {}", quoted(&target.schema)));
    }
    if now.name != target.name {
        let moved = Relation::new(&target.schema, &now.name);
        statements.push(format!("ALTER TABLE {moved} RENAME TO {}", quoted(&target.name)));
    }
    statements.push(thaw_sql(target));
    statements.push(format!(
        "ALTER TABLE {} ATTACH PARTITION {target} FOR VALUES FROM ({}) TO ({})",
        parent.relation, unit.lower_ms, unit.upper_ms
    ));
    statements.push(format!(
        "ALTER TABLE {target} DROP CONSTRAINT IF EXISTS {BOUNDS_CHECK}"
    ));
    statements.join("; ")
}

fn same_columns(unit: &Unit, parent: &TableShape, own: &TableShape) -> Result<(), DisposalError> {
    let mut fixes = Vec::new();
    for column in &parent.columns {
        match own.column(&column.name) {
            None => fixes.push(format!(
                "ALTER TABLE {} ADD COLUMN {} {}",
                own.relation,
                quoted(&column.name),
                column.declaration
            )),
            Some(here) if here.declaration != column.declaration => fixes.push(format!(
                "ALTER TABLE {} ALTER COLUMN {} TYPE {}",
                own.relation,
                quoted(&column.name),
                column.declaration
            )),
            Some(_same) => {}
        }
    }
    let extra = own
        .columns
        .iter()
        .filter(|column| parent.column(&column.name).is_none());
    fixes.extend(extra.map(|column| {
        format!(
            "{} has column {}, which its table has no more",
            own.relation,
            quoted(&column.name)
        )
    }));
    if fixes.is_empty() {
        return Ok(());
    }
    Err(checks::refused(
        "columns",
        unit,
        &format!(
            "cannot be attached, its columns are not those of its table: {}; then undo again",
            fixes.join("; ")
        ),
    ))
}

fn not_attached(unit: &Unit, error: DisposalError) -> DisposalError {
    if !error.cannot_heal() {
        return error;
    }
    let hint = match error.sqlstate().as_deref() {
        Some("23514") => "; rows of that month came to the default partition meanwhile: move them away first",
        _ => "",
    };
    checks::refused(
        "changed",
        unit,
        &format!("cannot be attached: {error}{hint}. Nothing was changed"),
    )
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
