//! [`Relation`]: the full name of a table.

use std::fmt;

use eidos_types::ident::{SqlIdent, plain_part};
use serde::{Deserialize, Serialize};

use crate::SqlPart;

/// A table's name as the catalogue has it. Displayed quoted, ready for a statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Relation {
    /// Its schema, unquoted.
    pub schema: String,
    /// Its name, unquoted.
    pub name: String,
}

impl Relation {
    /// From unquoted parts.
    #[must_use]
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// As it is written in settings and requests: without a schema it is in `public`.
    #[must_use]
    pub fn named(table: &SqlIdent) -> Self {
        Self::new(table.schema().unwrap_or("public"), table.name())
    }

    /// `schema.table`, with quotes only around a part that would be read as something else without: for people, keys and
    /// audit rows. [`SqlIdent`] reads it back.
    #[must_use]
    pub fn plain(&self) -> String {
        format!("{}.{}", plain_part(&self.schema), plain_part(&self.name))
    }

    /// Whether `written` is [`Self::plain`] of this table, or what older versions made of it, which had no quotes.
    #[must_use]
    pub fn is_written(&self, written: &str) -> bool {
        self.plain() == written || format!("{}.{}", self.schema, self.name) == written
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}",
            SqlIdent::quoting(&self.schema),
            SqlIdent::quoting(&self.name)
        )
    }
}

impl SqlPart for Relation {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_they_contain() {
        let relation = Relation::new("odd schema", "a\"; DROP TABLE x; --");
        assert_eq!(relation.to_string(), "\"odd schema\".\"a\"\"; DROP TABLE x; --\"");
        assert_eq!(relation.plain(), "\"odd schema\".\"a\"\"; DROP TABLE x; --\"");
        let read: SqlIdent = relation.plain().parse().unwrap();
        assert_eq!(Relation::named(&read), relation);
        assert_eq!(Relation::new("public", "Orders").plain(), "public.Orders");
        assert!(relation.is_written("odd schema.a\"; DROP TABLE x; --"));
    }
}
