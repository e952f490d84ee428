//! Which rows: conditions as SQL text. COPY takes no parameters, so values stand in it as literals of a checked kind.

use serde_json::Value;

use super::RowRule;
use crate::DisposalError;
use crate::catalogue::{ForeignKey, OnDelete, RelationKind, TableShape, quoted};
use crate::unit::Unit;

/// A text as an SQL literal. Backslashes and NUL are refused, so that it means the same whatever
/// `standard_conforming_strings` says.
pub(super) fn text_literal(text: &str) -> Result<String, DisposalError> {
    if text.contains(['\\', '\0']) {
        return Err(DisposalError::refused(
            "literal",
            "a value with a backslash or NUL cannot stand in a condition; archive this table's rows by hand",
        ));
    }
    Ok(format!("'{}'", text.replace('\'', "''")))
}

fn value_literal(value: &Value) -> Result<String, DisposalError> {
    match value {
        Value::String(text) => text_literal(text),
        Value::Number(number) if number.is_i64() => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        other => Err(DisposalError::refused(
            "settings",
            format!("data_retention: {other} is no text, integer or boolean a finished row could have"),
        )),
    }
}

/// The columns that order a table's rows: the time column, then the primary key without it.
pub(super) fn key_columns(shape: &TableShape, rule: &RowRule) -> Vec<String> {
    let rest = shape
        .primary_key
        .iter()
        .filter(|column| **column != rule.time_column);
    std::iter::once(&rule.time_column).chain(rest).cloned().collect()
}

/// `r."a", r."b"`.
pub(super) fn key_list(shape: &TableShape, rule: &RowRule) -> String {
    let columns = key_columns(shape, rule);
    columns
        .iter()
        .map(|column| format!("r.{}", quoted(column)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The key of a row as literals of the columns' types.
pub(super) fn key_literals(
    shape: &TableShape,
    rule: &RowRule,
    values: &[String],
) -> Result<String, DisposalError> {
    let columns = key_columns(shape, rule);
    if columns.len() != values.len() {
        let what = format!(
            "a key of {} has {} values, not {}",
            shape.relation.plain(),
            values.len(),
            columns.len()
        );
        return Err(DisposalError::refused("key", what));
    }
    let mut literals = Vec::with_capacity(values.len());
    for (column, value) in columns.iter().zip(values) {
        let column = shape.column(column).ok_or_else(|| no_column(shape, column))?;
        literals.push(format!("{}::{}", text_literal(value)?, column.declaration));
    }
    Ok(literals.join(", "))
}

/// Rows of the unit's month that may go, as a condition on the alias `r`.
pub(super) fn eligible(
    shape: &TableShape,
    rule: &RowRule,
    (lower_ms, upper_ms): (i64, i64),
) -> Result<String, DisposalError> {
    let time = shape
        .column(&rule.time_column)
        .ok_or_else(|| no_column(shape, &rule.time_column))?;
    if time.declaration != "bigint" {
        return Err(DisposalError::refused(
            "type",
            format!(
                "{}.{} is {}, not bigint: a row's age is told by epoch milliseconds",
                shape.relation.plain(),
                rule.time_column,
                time.declaration
            ),
        ));
    }
    let time = format!("r.{}", quoted(&rule.time_column));
    let mut conditions = vec![format!("{time} >= {lower_ms} AND {time} < {upper_ms}")];
    if let Some(finished) = &rule.finished {
        shape
            .column(&finished.column)
            .ok_or_else(|| no_column(shape, &finished.column))?;
        let values: Vec<String> = finished
            .values
            .iter()
            .map(value_literal)
            .collect::<Result<_, _>>()?;
        if values.is_empty() {
            return Err(DisposalError::refused(
                "settings",
                "data_retention: a finished rule without values",
            ));
        }
        conditions.push(format!(
            "r.{} IN ({})",
            quoted(&finished.column),
            values.join(", ")
        ));
    }
    if let Some(other) = &rule.stays_while {
        conditions.push(format!(
            "NOT EXISTS (SELECT FROM {} o WHERE o.{} = r.{} AND o.{} = {})",
            quoted(&other.table),
            quoted(&other.key),
            quoted(&other.column),
            quoted(&other.status),
            text_literal(&other.open)?
        ));
    }
    conditions.extend(shape.referenced_by.iter().map(unreferenced));
    Ok(conditions.join(" AND "))
}

/// The unit's rows.
pub(super) fn eligible_of(shape: &TableShape, rule: &RowRule, unit: &Unit) -> Result<String, DisposalError> {
    eligible(shape, rule, (unit.lower_ms, unit.upper_ms))
}

fn unreferenced(key: &ForeignKey) -> String {
    let pairs: Vec<String> = key
        .columns
        .iter()
        .zip(&key.referenced)
        .map(|(theirs, ours)| format!("f.{} = r.{}", quoted(theirs), quoted(ours)))
        .collect();
    format!(
        "NOT EXISTS (SELECT FROM {} f WHERE {})",
        key.table,
        pairs.join(" AND ")
    )
}

/// Whether rows can be deleted one by one without anything happening elsewhere.
pub(super) fn fit_for_deletion(shape: &TableShape) -> Result<(), DisposalError> {
    let refuse = |reason, what: String| {
        Err(DisposalError::refused(
            reason,
            format!("{} {what}", shape.relation.plain()),
        ))
    };
    if shape.kind != RelationKind::Table || shape.is_partition {
        return refuse(
            "kind",
            "is no plain table: list it under data_retention.partitioned_tables".to_owned(),
        );
    }
    if shape.primary_key.is_empty() {
        return refuse(
            "key",
            "has no primary key: its rows cannot be told apart. Give it one".to_owned(),
        );
    }
    if shape.row_security {
        return refuse(
            "rights",
            "has row security that may hide rows from this role: give it BYPASSRLS".to_owned(),
        );
    }
    if let Some(key) = shape
        .referenced_by
        .iter()
        .find(|key| key.on_delete != OnDelete::Refuse)
    {
        let what = format!(
            "is referenced by foreign key {} of {}, which would delete or change rows there too; change it to NO ACTION, \
             or give that table a rule of its own first",
            key.name,
            key.table.plain()
        );
        return refuse("cascade", what);
    }
    if let Some(trigger) = shape.triggers.iter().find(|trigger| trigger.on_delete) {
        return refuse(
            "trigger",
            format!(
                "has trigger {} on DELETE: what it does to others is not ours to cause",
                trigger.name
            ),
        );
    }
    Ok(())
}

fn no_column(shape: &TableShape, column: &str) -> DisposalError {
    DisposalError::refused(
        "settings",
        format!(
            "{} has no column {column}; correct its rule under data_retention",
            shape.relation.plain()
        ),
    )
}
