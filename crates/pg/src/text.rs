//! [`Sql`]: the text of a statement that was assembled at run time. The only place of the workspace where sqlx is told
//! that such a text is safe.

use std::borrow::Cow;
use std::fmt::{self, Display};

use eidos_types::ident::SqlIdent;
use serde::Serialize;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// The text of a statement, or of a part of one, made of constants, quoted names, numbers and quoted literals. Made by
/// [`sql!`](crate::sql!); taken by `sqlx::query` and its like.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Sql(Cow<'static, str>);

/// What may be part of a statement: constants of the program, checked names, numbers, and texts made of them.
pub trait SqlPart {
    /// Writes it as the text of a statement has it.
    ///
    /// # Errors
    /// Those of the formatter.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Assembles a [`Sql`] like `format!`, with parts that are [`SqlPart`]s only. Positional parts come first, named ones
/// after a semicolon; a name alone stands for the variable:
///
/// ```
/// # use eidos_pg::sql;
/// let (table, most) = ("orders", 5_i64);
/// let statement = sql!("SELECT {} FROM {table} LIMIT {most}", "id"; table, most);
/// assert_eq!(statement.as_str(), "SELECT id FROM orders LIMIT 5");
/// ```
#[macro_export]
macro_rules! sql {
    ($template:literal $(, $part:expr)* $(,)? $(; $($name:ident $(= $value:expr)?),* $(,)?)?) => {
        // A template that comes out of a macro captures no variables: what is not listed does not get in.
        $crate::Sql::assembled(::std::format!(
            ::std::concat!($template)
            $(, $crate::text::shown(&$part))*
            $($(, $name = $crate::text::shown($crate::sql_part!($name $(= $value)?)))*)?
        ))
    };
}

/// The value of a named part of [`sql!`](crate::sql!).
#[doc(hidden)]
#[macro_export]
macro_rules! sql_part {
    ($name:ident) => {
        &$name
    };
    ($name:ident = $value:expr) => {
        &$value
    };
}

impl Sql {
    /// Takes a constant of the program.
    #[must_use]
    pub const fn constant(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// For [`sql!`](crate::sql!) only, which has checked the parts.
    #[doc(hidden)]
    #[must_use]
    pub const fn assembled(text: String) -> Self {
        Self(Cow::Owned(text))
    }

    /// Takes a text that the server itself wrote for use in a statement: a name by `quote_ident`, an expression by
    /// `pg_get_expr`, a type by `format_type`, a privilege's keyword.
    #[must_use]
    pub fn from_server(text: impl Into<String>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    /// Quotes a text so that it means the same whatever `standard_conforming_strings` says: one with backslashes becomes
    /// `E'…'`, in which they are always doubled. `None`: it holds NUL, which no text in the database does.
    #[must_use]
    pub fn literal(text: &str) -> Option<Self> {
        if text.contains('\0') {
            return None;
        }
        let quoted = text.replace('\'', "''");
        Some(Self(Cow::Owned(if quoted.contains('\\') {
            format!("E'{}'", quoted.replace('\\', "\\\\"))
        } else {
            format!("'{quoted}'")
        })))
    }

    /// Joins parts with a constant between them.
    #[must_use]
    pub fn join<P: SqlPart>(parts: impl IntoIterator<Item = P>, between: &'static str) -> Self {
        let parts: Vec<String> = parts.into_iter().map(|part| shown(&part).to_string()).collect();
        Self(Cow::Owned(parts.join(between)))
    }

    /// Replaces each `{word}` of a template by the identifier that `names` has for it. A word without one stays as it is.
    #[must_use]
    pub fn filled<'n>(template: impl SqlPart, names: impl Fn(&str) -> Option<&'n SqlIdent>) -> Self {
        let template = shown(&template).to_string();
        let mut text = String::with_capacity(template.len() * 2);
        let mut rest = template.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let filled = after
                .split_once('}')
                .and_then(|(word, after)| Some((names(word)?.to_string(), after)));
            let (put, after) = filled.unwrap_or_else(|| ("{".to_owned(), after));
            text.push_str(&put);
            rest = after;
        }
        text.push_str(rest);
        Self(Cow::Owned(text))
    }

    /// Returns the text, for calls of sqlx that take any text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SqlSafeStr for Sql {
    fn into_sql_str(self) -> SqlStr {
        AssertSqlSafe(self.0).into_sql_str()
    }
}

impl SqlSafeStr for &Sql {
    fn into_sql_str(self) -> SqlStr {
        self.clone().into_sql_str()
    }
}

/// Shows a part as the text of a statement has it.
#[doc(hidden)]
#[must_use]
pub const fn shown<P: SqlPart>(part: &P) -> Shown<'_, P> {
    Shown(part)
}

/// See [`shown`].
#[doc(hidden)]
#[derive(Debug)]
pub struct Shown<'a, P>(&'a P);

impl<P: SqlPart> Display for Shown<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f)
    }
}

impl<P: SqlPart> SqlPart for &P {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self).write(f)
    }
}

macro_rules! parts {
    ($($type:ty),*) => {
        $(impl SqlPart for $type {
            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        })*
    };
}

parts!(
    &'static str,
    Sql,
    SqlIdent,
    i16,
    i32,
    i64,
    u32,
    u64,
    u128,
    usize,
    bool
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_stand_where_the_template_says() {
        let table: SqlIdent = "odd.\"a\"\"; DROP TABLE x\"".parse().unwrap();
        let lower = 5_i64;
        let condition = sql!("id >= {lower}"; lower);
        let statement = sql!(
            "SELECT {} FROM {table} WHERE {condition} LIMIT {most}",
            "id";
            table, condition, most = 7_u32
        );
        assert_eq!(
            statement.as_str(),
            "SELECT id FROM \"odd\".\"a\"\"; DROP TABLE x\" WHERE id >= 5 LIMIT 7"
        );
        assert_eq!(Sql::join(["a", "b"], ", ").as_str(), "a, b");
    }

    #[test]
    fn templates_are_filled_with_names_only() {
        let name = SqlIdent::quoting("odd {table} \"x");
        let names = |word: &str| (word == "table").then_some(&name);
        assert_eq!(
            Sql::filled("SELECT '{x}', '{' FROM {table}", names).as_str(),
            "SELECT '{x}', '{' FROM \"odd {table} \"\"x\""
        );
    }

    #[test]
    fn literals_end_where_they_should() {
        let literal = |text: &str| Sql::literal(text).map(|literal| literal.to_string());
        assert_eq!(literal("it's"), Some("'it''s'".to_owned()));
        assert_eq!(literal(r"a\'b"), Some(r"E'a\\''b'".to_owned()));
        assert_eq!(literal("a\0b"), None);
    }

    proptest! {
        /// Quotes are doubled, and so are backslashes: nothing inside ends a literal.
        #[test]
        fn nothing_gets_out_of_a_literal(text in "[^\0]{0,40}") {
            let literal = Sql::literal(&text).unwrap().to_string();
            let inside = literal.trim_start_matches('E');
            let inside = &inside[1..inside.len() - 1];
            let unescaped = if literal.starts_with('E') { inside.replace("\\\\", "\\") } else { inside.to_owned() };
            prop_assert_eq!(unescaped.replace("''", "'"), text);
            prop_assert_eq!(inside.matches('\'').count() % 2, 0);
        }
    }
}
