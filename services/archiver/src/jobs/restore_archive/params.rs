//! What a caller asks of one restore.

use eidos_settings::SourceName;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use eidos_types::TimeRange;

/// Where the rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Into {
    /// `<table>_restored`, beside the table: nothing that works with the table sees them.
    #[default]
    Side,
    /// The table they came from.
    Original,
}

/// What becomes of the triggers and rules that an INSERT into the original fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Triggers {
    /// A table that has any is refused.
    #[default]
    Refuse,
    /// They are disabled while the rows go in, under a lock that keeps other writers out.
    Disable,
}

/// Parameters of `restore-archive`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreParams {
    /// The table they came from, with or without its schema.
    pub table: String,
    /// `2024-01..2024-03`, one month, or RFC 3339 instants. Every unit that shares time with it is restored whole,
    /// since the proof is about whole units.
    pub range: String,
    /// Beside the table, or into it.
    pub into: Into,
    /// What becomes of the triggers of the original.
    pub triggers: Triggers,
    /// Only this unit.
    pub unit: Option<Uuid>,
    /// The database, where tables of one name were exported from several.
    pub source: Option<SourceName>,
}

impl RestoreParams {
    /// The range, read; `None` where a unit is named instead.
    ///
    /// # Errors
    /// A sentence for the caller.
    pub fn window(&self) -> Result<Option<TimeRange>, String> {
        if self.unit.is_some() && self.range.is_empty() {
            return Ok(None);
        }
        if self.table.is_empty() {
            return Err("--table is missing: the table the rows came from".to_owned());
        }
        TimeRange::parse(&self.range)
            .map(Some)
            .map_err(|problem| format!("--range: {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_or_a_unit_says_what() {
        let read = |text: &str| serde_json::from_str::<RestoreParams>(text).unwrap().window();
        assert!(
            read(r#"{"table": "t", "range": "2024-01..2024-03"}"#)
                .unwrap()
                .is_some()
        );
        let unit = r#"{"table": "t", "unit": "0192f0c1-2345-7abc-8def-0123456789ab"}"#;
        assert_eq!(read(unit).unwrap(), None);
        assert!(read(r#"{"range": "2024-01"}"#).unwrap_err().contains("--table"));
        assert!(
            read(r#"{"table": "t", "range": "soon"}"#)
                .unwrap_err()
                .contains("--range")
        );
        assert!(serde_json::from_str::<RestoreParams>(r#"{"tabel": "t"}"#).is_err());
    }
}
