//! The rows of one plain table, month by month.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{self, TableShape};
use eidos_disposal::export::LongRead;
use eidos_disposal::rows::{self, Ground, RowIdentity, RowMonth, RowSurvey, Staying};
use eidos_disposal::unit::{self, Unit, UnitKind, UnitState};
use eidos_plan::{Action, PlanItem, hold::Hold};
use eidos_runtime::JobContext;
use eidos_types::Slot;
use serde_json::json;
use sqlx::PgConnection;

use super::holds;
use super::job::DataCleanup;
use super::pieces::{Looked, Piece, Task};
use super::rules::PlainRule;
use crate::domain::retention;

/// Looks at the rows of one table.
pub(super) async fn look(
    job: &DataCleanup,
    ctx: &JobContext,
    slot: Slot,
    rule: &PlainRule,
) -> Result<Looked, DisposalError> {
    let cutoff_ms = retention::cutoff_ms(slot.instant(), rule.retention_months);
    let mut read = LongRead::open(job.pool(rule.source)?, &job.disposal).await?;
    let found = look_in(read.conn(), rule, cutoff_ms).await;
    read.close().await;
    let (shape, survey) = found?;
    let holds = holds::of_table(ctx, rule.source, &shape.relation).await?;
    let mut open: Vec<Unit> = unit::list_open(ctx.jobs_db().control(), rule.source, Some(&shape.relation))
        .await?
        .into_iter()
        .filter(|unit| unit.kind == UnitKind::Rows && unit.job_name == ctx.job().as_str())
        .collect();
    let mut looked = Looked {
        cutoff_ms: Some(cutoff_ms),
        notes: survey.notes,
        ..Looked::default()
    };
    let ground = Ground {
        ctx,
        pool: job.pool(rule.source)?,
        settings: &job.disposal,
        rule: &rule.rows,
        shape: &shape,
    };
    let mut staying = survey.staying;
    let unusable_store = match rule.rows.archive {
        Some(_) if !survey.months.is_empty() => job.store_obstacle(ctx).await?,
        _ => None,
    };
    for month in &survey.months {
        let mut piece = piece(rule, &shape, month, &holds, &mut open)?;
        if let Some(hold) = &piece.item.blocked {
            staying.push(Staying {
                why: format!("are under a {hold}"),
                rows: month.rows,
                unfinished: false,
            });
        }
        if let Some((reason, what)) = unusable_store.as_ref().filter(|_store| needs_export(&piece)) {
            piece.refused = Some(reason);
            piece.item.blocked = Some(what.clone());
        }
        if let (Task::Rows(_, Some(identity)), None) = (&piece.task, &piece.item.blocked) {
            // No obstacle: a person who applies the plan is obeyed.
            looked.notes.extend(ground.failed_before(identity).await?);
        }
        looked.pieces.push(piece);
    }
    looked.staying = Some(staying);
    // All its rows are gone, and the process ended before that was written down.
    looked
        .pieces
        .extend(open.into_iter().map(|unit| rest(rule, unit, &holds)));
    Ok(looked)
}

async fn look_in(
    conn: &mut PgConnection,
    rule: &PlainRule,
    cutoff_ms: i64,
) -> Result<(TableShape, RowSurvey), DisposalError> {
    let name = rule.table.as_str();
    let shape = catalogue::read_table(&mut *conn, &rule.table)
        .await?
        .ok_or_else(|| {
            DisposalError::refused(
                "rule",
                format!(
                    "{name} does not exist; correct data_retention.regular_tables or databases.{}",
                    rule.source
                ),
            )
        })?;
    if shape.partitioning.is_some() {
        return Err(DisposalError::refused(
            "rule",
            format!(
                "{name} is partitioned, but has a rule in data_retention.regular_tables; move it to partitioned_tables"
            ),
        ));
    }
    let survey = rows::survey(&mut *conn, &shape, &rule.rows, cutoff_ms).await?;
    Ok((shape, survey))
}

fn piece(
    rule: &PlainRule,
    shape: &TableShape,
    month: &RowMonth,
    holds: &[Hold],
    open: &mut Vec<Unit>,
) -> Result<Piece, DisposalError> {
    let identity = RowIdentity::of(shape, &rule.rows, month);
    let object = identity.unit_name();
    let window = (month.lower_ms, month.upper_ms);
    let unit = open
        .iter()
        .position(|unit| unit.unit_name == object)
        .map(|index| open.swap_remove(index));
    let item = PlanItem {
        source: rule.source,
        table: shape.relation.plain(),
        object,
        action: action(rule),
        window_ms: Some(window),
        rows_estimate: Some(month.rows),
        bytes: None,
        locks: vec![format!(
            "row locks of at most {} rows of {}",
            rule.rows.batch_rows,
            shape.relation.plain()
        )],
        steps: steps(rule),
        reason: format!(
            "{} months are kept: finished rows of months that are over",
            rule.retention_months
        ),
        blocked: holds::blocking(holds, window),
        identity: identity.to_value()?,
    };
    Ok(Piece {
        item,
        task: Task::Rows(Box::new(rule.clone()), Some(Box::new(identity))),
        approval: rule.require_approval,
        refused: None,
        unit,
    })
}

/// Whether its rows are still to be exported, and no hold keeps them.
fn needs_export(piece: &Piece) -> bool {
    let exported = piece
        .unit
        .as_ref()
        .is_some_and(|unit| unit.state >= UnitState::Verified);
    piece.item.blocked.is_none() && !exported
}

/// A unit that is on its way and of which no row is left.
fn rest(rule: &PlainRule, unit: Unit, holds: &[Hold]) -> Piece {
    let window = (unit.lower_ms, unit.upper_ms);
    let item = PlanItem {
        source: rule.source,
        table: unit.table.plain(),
        object: unit.unit_name.clone(),
        action: action(rule),
        window_ms: Some(window),
        rows_estimate: Some(0),
        bytes: None,
        locks: Vec::new(),
        steps: vec!["finish what an earlier run began; no row is left".to_owned()],
        reason: format!("it is {}", unit.state),
        blocked: holds::blocking(holds, window),
        identity: json!({ "unit_id": unit.unit_id, "table_oid": unit.table_oid }),
    };
    Piece {
        item,
        task: Task::Rows(Box::new(rule.clone()), None),
        approval: rule.require_approval,
        refused: None,
        unit: Some(unit),
    }
}

/// What is done to rows of this rule.
pub(super) const fn action(rule: &PlainRule) -> Action {
    if rule.rows.archive.is_some() {
        Action::ArchiveAndDelete
    } else {
        Action::Delete
    }
}

fn steps(rule: &PlainRule) -> Vec<String> {
    let rows = rule.rows.batch_rows;
    if rule.rows.archive.is_some() {
        vec![
            "export, read the export back, compare it with the rows".to_owned(),
            format!("delete {rows} rows at a time, each time comparing what was deleted with the export"),
        ]
    } else {
        vec![format!("delete {rows} rows at a time")]
    }
}
