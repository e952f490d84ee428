//! [`RowIdentity`]: what a plan says about a month of rows, so that anything else is noticed.

use eidos_types::Month;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{RowMonth, RowRule};
use crate::DisposalError;
use crate::catalogue::{Relation, TableShape};

/// Identifies the work on one month of rows. It is the `identity` of a plan's item and part of the plan's digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowIdentity {
    /// The table.
    pub table: Relation,
    /// Its oid.
    pub table_oid: u32,
    /// The first instant, epoch ms.
    pub lower_ms: i64,
    /// The first instant after, epoch ms.
    pub upper_ms: i64,
    /// [`TableShape::columns_fingerprint`].
    pub columns_fingerprint: String,
    /// The primary key.
    pub primary_key: Vec<String>,
    /// Time column, finished rows, archive: which rows, and whether they are proved first.
    pub rule: Value,
}

impl RowIdentity {
    /// Of a month as the catalogue and the settings have it now.
    #[must_use]
    pub fn of(shape: &TableShape, rule: &RowRule, month: &RowMonth) -> Self {
        Self {
            table: shape.relation.clone(),
            table_oid: shape.oid,
            lower_ms: month.lower_ms,
            upper_ms: month.upper_ms,
            columns_fingerprint: shape.columns_fingerprint(),
            primary_key: shape.primary_key.clone(),
            rule: which_rows(rule),
        }
    }

    /// The unit's name, such as `eidos_admin_audit_logs@2024-03`.
    #[must_use]
    pub fn unit_name(&self) -> String {
        let month =
            Month::of_ms(self.lower_ms).map_or_else(|| self.lower_ms.to_string(), |month| month.to_string());
        format!("{}@{month}", self.table.name)
    }

    /// For a plan's item.
    ///
    /// # Errors
    /// Never in practice; serialization has no other way to say so.
    pub fn to_value(&self) -> Result<Value, DisposalError> {
        serde_json::to_value(self).map_err(|error| unreadable(&error))
    }

    /// From a plan's item.
    ///
    /// # Errors
    /// [`DisposalError::Refused`] when the item is of another kind or version.
    pub fn from_value(value: &Value) -> Result<Self, DisposalError> {
        serde_json::from_value(value.clone()).map_err(|error| unreadable(&error))
    }

    /// Whether catalogue and settings still say what the plan says.
    pub(super) fn still_fits(&self, shape: &TableShape, rule: &RowRule) -> Result<(), DisposalError> {
        let month = RowMonth {
            lower_ms: self.lower_ms,
            upper_ms: self.upper_ms,
            rows: 0,
        };
        if *self == Self::of(shape, rule, &month) {
            return Ok(());
        }
        Err(DisposalError::refused(
            "changed",
            format!(
                "{} has another name, other columns, another primary key or other rules than when it was planned; make a \
                 new plan",
                self.table.plain()
            ),
        ))
    }
}

/// The part of a rule that decides about rows; the size of a batch does not.
fn which_rows(rule: &RowRule) -> Value {
    json!({
        "time_column": rule.time_column,
        "finished": rule.finished,
        "stays_while": rule.stays_while,
        "archive": rule.archive,
    })
}

fn unreadable(error: &serde_json::Error) -> DisposalError {
    DisposalError::refused(
        "plan",
        format!("an item of the plan does not identify a month of rows ({error}); make a new plan"),
    )
}
