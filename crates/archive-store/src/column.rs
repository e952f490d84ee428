//! [`Column`] and [`KeyColumns`]: what the codec knows of a table.

use serde::{Deserialize, Serialize};

use crate::codec_error::CodecError;
use crate::pg_type::PgType;

/// One column, in the order of the COPY statement's column list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// As in the catalogue, without quotes.
    pub name: String,
    /// Its type, as `format_type` prints it.
    pub pg_type: PgType,
    /// Whether it may hold NULL. A NULL in a column that may not is refused.
    pub nullable: bool,
}

impl Column {
    /// A column of the catalogue; `declaration` is `format_type(atttypid, atttypmod)`.
    ///
    /// # Errors
    /// [`CodecError::Column`] when the type cannot be archived exactly.
    pub fn new(name: impl Into<String>, declaration: &str, nullable: bool) -> Result<Self, CodecError> {
        let name = name.into();
        match PgType::from_declaration(declaration) {
            Ok(pg_type) => Ok(Self {
                name,
                pg_type,
                nullable,
            }),
            Err(source) => Err(CodecError::Column { column: name, source }),
        }
    }
}

/// The columns that order and name the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumns {
    /// The column whose month decides.
    pub time_column: String,
    /// The primary key, in its order; it may contain the time column.
    pub primary_key: Vec<String>,
}

impl KeyColumns {
    /// The names whose values make a row's key, in order: the time column, then the primary key without it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let time = self.time_column.as_str();
        let rest = self.primary_key.iter().map(String::as_str);
        std::iter::once(time).chain(rest.filter(move |name| *name != time))
    }

    /// Where these columns are.
    ///
    /// # Errors
    /// [`CodecError::Setup`] naming the column that is not among `columns`.
    pub(crate) fn positions(&self, columns: &[Column]) -> Result<Vec<usize>, CodecError> {
        self.names()
            .map(|name| {
                columns
                    .iter()
                    .position(|column| column.name == name)
                    .ok_or_else(|| CodecError::Setup(format!("the key column {name} is not exported")))
            })
            .collect()
    }
}
