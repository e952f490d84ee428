//! What a run would create, in the words of every other plan.

use std::collections::BTreeSet;

use eidos_plan::{Action, Note, Plan, PlanItem};
use eidos_runtime::{Job, JobError};
use eidos_types::Slot;
use eidos_types::TimeRange;
use serde_json::{Value, json};

use super::job::PartitionManage;
use super::survey::{Found, Survey, TableSurvey};
use crate::domain::naming;
use crate::domain::tiling::{Piece, missing};
use crate::partitions::parent::Parent;
use crate::store::plans::Created;

/// The plan of these tables; those that cannot be read are only noted.
pub(super) fn make(slot: Slot, surveys: &[TableSurvey]) -> Result<Plan, JobError> {
    let (mut items, mut notes) = (Vec::new(), Vec::new());
    for survey in surveys {
        match &survey.found {
            Ok(found) => items.extend(found.pieces.iter().map(|piece| item(survey, found, piece))),
            Err(error) => notes.push(Note::new(format!(
                "{} {}: {error}",
                survey.table.source,
                survey.table.table.as_str()
            ))),
        }
    }
    Ok(Plan::new(PartitionManage::NAME, slot, items, notes)?)
}

/// Returns the items whose whole time is covered by what was created.
pub(super) fn covered<'p>(planned: &'p Plan, created: &[Created]) -> Vec<&'p PlanItem> {
    let is_covered = |item: &&PlanItem| {
        let window = item
            .window_ms
            .and_then(|(lower, upper)| TimeRange::new(lower, upper));
        let of_table: Vec<TimeRange> = created
            .iter()
            .filter(|(source, table, _)| source == item.source.as_str() && *table == item.table)
            .map(|(.., span)| *span)
            .collect();
        window.is_some_and(|window| missing(window, &of_table).is_empty())
    };
    planned.items.iter().filter(is_covered).collect()
}

/// Leaves of the survey what the approved plan has.
pub(super) fn keep_to(approved: &Plan, survey: &mut Survey) {
    let approved: BTreeSet<String> = approved
        .items
        .iter()
        .map(|item| item.identity.to_string())
        .collect();
    for table in &mut survey.tables {
        if let Ok(found) = &mut table.found {
            let kept = |piece: &Piece| approved.contains(&identity(&found.parent, piece).to_string());
            found.pieces.retain(kept);
        }
    }
}

fn item(survey: &TableSurvey, found: &Found, piece: &Piece) -> PlanItem {
    let parent = &found.parent;
    // Counted by month: of a part of a month it says how many there are at most.
    let rows = found.astray.months.get(&piece.month).copied().unwrap_or(0);
    let taken = |name: &String| parent.partitions.iter().any(|sibling| sibling.name == *name);
    let names = naming::names(&parent.relation.name, piece);
    let name = names.into_iter().find(|name| !taken(name));
    let table = parent.relation.plain();
    let mut steps = vec![format!("create a table like {table}, with its owner and rights")];
    let mut locks = Vec::new();
    match &parent.default {
        Some(default) => {
            let default = default.relation.plain();
            locks.push(format!(
                "ACCESS EXCLUSIVE on {table} and {default}, within disposal.lock_timeout"
            ));
            if rows > 0 {
                steps.push(format!("move its rows out of {default}"));
            }
        }
        None => locks.push(format!(
            "SHARE UPDATE EXCLUSIVE on {table}: no reader or writer feels it"
        )),
    }
    steps.push(format!(
        "attach it to {table} and look at it in the catalogue; all in one transaction"
    ));
    PlanItem {
        source: survey.table.source,
        object: format!("{}.{}", parent.relation.schema, name.unwrap_or_default()),
        action: if rows > 0 { Action::Drain } else { Action::Create },
        window_ms: Some((piece.span.lower_ms, piece.span.upper_ms)),
        rows_estimate: Some(rows),
        bytes: None,
        locks,
        steps,
        reason: "no partition covers this time".to_owned(),
        blocked: found.obstacle.clone().filter(|_| rows > 0),
        identity: identity(parent, piece),
        table,
    }
}

/// What makes it this work: the table, its columns, its default partition, and the stretch of time.
fn identity(parent: &Parent, piece: &Piece) -> Value {
    json!({
        "table_oid": parent.oid,
        "columns": parent.fingerprint,
        "default_oid": parent.default.as_ref().map(|default| default.oid),
        "lower_ms": piece.span.lower_ms,
        "upper_ms": piece.span.upper_ms,
    })
}
