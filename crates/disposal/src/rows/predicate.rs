//! Which rows: conditions as SQL text. COPY takes no parameters, so values stand in it as literals; other statements take
//! them as parameters.

use eidos_pg::{Sql, sql};
use eidos_types::ident::SqlIdent;
use serde_json::Value;

use super::RowRule;
use crate::DisposalError;
use crate::catalogue::{ForeignKey, OnDelete, RelationKind, TableShape};
use crate::unit::Unit;

fn text_literal(text: &str) -> Result<Sql, DisposalError> {
    Sql::literal(text).ok_or_else(|| {
        DisposalError::refused(
            "literal",
            "a text with NUL is none that a row could have; correct data_retention",
        )
    })
}

fn value_literal(value: &Value) -> Result<Sql, DisposalError> {
    match value {
        Value::String(text) => text_literal(text),
        Value::Bool(truth) => Ok(sql!("{}", *truth)),
        Value::Number(number) if number.is_i64() => Ok(sql!("{}", number.as_i64().unwrap_or_default())),
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
pub(super) fn key_list(shape: &TableShape, rule: &RowRule) -> Sql {
    let columns = key_columns(shape, rule).into_iter().map(SqlIdent::quoting);
    Sql::join(columns.map(|column| sql!("r.{column}"; column)), ", ")
}

/// A key as parameters of a statement, the first one `$1`: texts, each cast to its column's type.
pub(super) fn key_parameters(shape: &TableShape, rule: &RowRule) -> Result<Sql, DisposalError> {
    let mut parameters = Vec::new();
    for (place, column) in (1_i32..).zip(key_columns(shape, rule)) {
        let column = shape.column(&column).ok_or_else(|| no_column(shape, &column))?;
        parameters.push(sql!("${place}::text::{}", column.declared_type(); place));
    }
    Ok(Sql::join(parameters, ", "))
}

/// The key of a row as literals of the columns' types.
pub(super) fn key_literals(
    shape: &TableShape,
    rule: &RowRule,
    values: &[String],
) -> Result<Sql, DisposalError> {
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
        literals.push(sql!("{}::{}", text_literal(value)?, column.declared_type()));
    }
    Ok(Sql::join(literals, ", "))
}

/// Rows of the unit's month that may go, as a condition on the alias `r`.
pub(super) fn eligible(
    shape: &TableShape,
    rule: &RowRule,
    (lower_ms, upper_ms): (i64, i64),
) -> Result<Sql, DisposalError> {
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
    let time = SqlIdent::quoting(&rule.time_column);
    let mut conditions = vec![sql!(
        "r.{time} >= {lower_ms} AND r.{time} < {upper_ms}";
        time, lower_ms, upper_ms
    )];
    conditions.extend(demands(shape, rule)?.into_iter().map(|demand| demand.condition));
    Ok(Sql::join(conditions, " AND "))
}

/// What a row must be, besides old, to go.
pub(super) struct Demand {
    /// On the alias `r`.
    pub(super) condition: Sql,
    /// Why a row that is not so stays, after "they".
    pub(super) otherwise: String,
    /// Whether it tells finished business from unfinished.
    pub(super) finished: bool,
}

/// In the order in which the reasons are told.
pub(super) fn demands(shape: &TableShape, rule: &RowRule) -> Result<Vec<Demand>, DisposalError> {
    let mut demands = Vec::new();
    if let Some(finished) = &rule.finished {
        shape
            .column(&finished.column)
            .ok_or_else(|| no_column(shape, &finished.column))?;
        let values: Vec<Sql> = finished
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
        let values = Sql::join(values, ", ");
        demands.push(Demand {
            condition: sql!("r.{} IN ({values})", SqlIdent::quoting(&finished.column); values),
            otherwise: format!("are not finished ({} is none of {values})", finished.column),
            finished: true,
        });
    }
    if let Some(other) = &rule.stays_while {
        demands.push(Demand {
            condition: sql!(
                "NOT EXISTS (SELECT FROM {} o WHERE o.{} = r.{} AND o.{} = {})",
                SqlIdent::quoting(&other.table),
                SqlIdent::quoting(&other.key),
                SqlIdent::quoting(&other.column),
                SqlIdent::quoting(&other.status),
                text_literal(&other.open)?
            ),
            otherwise: format!("belong to rows of {} that are {}", other.table, other.open),
            finished: false,
        });
    }
    demands.extend(shape.referenced_by.iter().map(|key| Demand {
        condition: unreferenced(key),
        otherwise: format!(
            "are referenced by foreign key {} of {}",
            key.name,
            key.table.plain()
        ),
        finished: false,
    }));
    Ok(demands)
}

/// The unit's rows.
pub(super) fn eligible_of(shape: &TableShape, rule: &RowRule, unit: &Unit) -> Result<Sql, DisposalError> {
    eligible(shape, rule, (unit.lower_ms, unit.upper_ms))
}

fn unreferenced(key: &ForeignKey) -> Sql {
    let pairs = key.columns.iter().zip(&key.referenced).map(|(theirs, ours)| {
        let (theirs, ours) = (SqlIdent::quoting(theirs), SqlIdent::quoting(ours));
        sql!("f.{theirs} = r.{ours}"; theirs, ours)
    });
    sql!(
        "NOT EXISTS (SELECT FROM {} f WHERE {})",
        key.table,
        Sql::join(pairs, " AND ")
    )
}

/// Whether the rows of a table can leave as its rule says: plan and apply ask this.
///
/// # Errors
/// [`DisposalError::Refused`] says what is in the way and what to do.
pub fn may_leave(shape: &TableShape, rule: &RowRule) -> Result<(), DisposalError> {
    fit_for_deletion(shape)?;
    if rule.archive.is_some() {
        shape.archive_columns()?;
    }
    // Whatever is wrong with the rule's columns and values.
    eligible(shape, rule, (0, 0)).map(|_condition| ())
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
