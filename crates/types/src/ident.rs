//! [`SqlIdent`]: the only way a configured name gets into a statement.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// What PostgreSQL keeps of a name.
const MAX_BYTES: usize = 63;

/// A table or column name, checked when it is read from the settings: `name` or `schema.name`. Each part is the name as
/// the database shows it, capitals included: letters, digits, `_` and `$` as they are, anything else in double quotes,
/// with a quote inside doubled, as in `"Trade Log"` or `archive."2024-orders"`. Displayed quoted, ready for a statement.
#[derive(Debug, Clone)]
pub struct SqlIdent {
    /// As it was written.
    text: String,
    schema: Option<String>,
    name: String,
}

/// The text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a table or column name: {problem}; write name or schema.name as the database shows it, each part \
     with anything but letters, digits, _ and $ in double quotes"
)]
pub struct SqlIdentError {
    text: String,
    problem: &'static str,
}

impl SqlIdent {
    /// From parts without quotes, as the catalogue has them.
    ///
    /// # Errors
    /// A part is empty, longer than 63 bytes, or holds NUL.
    pub fn of(schema: Option<&str>, name: &str) -> Result<Self, SqlIdentError> {
        let text: Vec<String> = schema.into_iter().chain([name]).map(plain_part).collect();
        let text = text.join(".");
        for part in schema.into_iter().chain([name]) {
            check(part).map_err(|problem| SqlIdentError::new(&text, problem))?;
        }
        Ok(Self {
            text,
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        })
    }

    /// Takes a name of one part that the catalogue or this program gave. It needs no check: quoted, nothing in it ends
    /// the name, and the server refuses a name that cannot be one.
    #[must_use]
    pub fn quoting(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            text: plain_part(&name),
            schema: None,
            name,
        }
    }

    /// Returns the name of another object in the same schema.
    #[must_use]
    pub fn sibling(&self, name: &str) -> Self {
        let parts = [self.schema.as_deref().map(plain_part), Some(plain_part(name))];
        Self {
            text: parts.into_iter().flatten().collect::<Vec<_>>().join("."),
            schema: self.schema.clone(),
            name: name.to_owned(),
        }
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its schema without quotes, if it names one.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Its last part without quotes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may mean this table: the same schema, or none, and the same name.
    #[must_use]
    pub fn may_mean(&self, schema: &str, name: &str) -> bool {
        self.name == name && self.schema.as_deref().is_none_or(|own| own == schema)
    }
}

/// A part of a name for people and keys: in quotes only where it would otherwise be read as something else.
#[must_use]
pub fn plain_part(part: &str) -> String {
    if is_bare(part) {
        part.to_owned()
    } else {
        quoted(part)
    }
}

fn quoted(part: &str) -> String {
    format!("\"{}\"", part.replace('"', "\"\""))
}

/// Whether a part needs no quotes here. The server would fold capitals; this program quotes every name it sends.
fn is_bare(part: &str) -> bool {
    let mut letters = part.chars();
    letters
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_' || letter == '$')
}

fn check(part: &str) -> Result<(), &'static str> {
    if part.is_empty() {
        Err("a part of it is empty")
    } else if part.len() > MAX_BYTES {
        Err("a part of it is longer than 63 bytes")
    } else if part.contains('\0') {
        Err("it holds NUL")
    } else {
        Ok(())
    }
}

/// The first part of `text` without its quotes, and what follows it.
fn first_part(text: &str) -> Result<(String, &str), &'static str> {
    let Some(inside) = text.strip_prefix('"') else {
        let (part, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        return if is_bare(part) {
            Ok((part.to_owned(), rest))
        } else if part.is_empty() {
            Err("a part of it is empty")
        } else {
            Err("a part of it needs double quotes")
        };
    };
    let mut part = String::new();
    let mut rest = inside;
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err("a double quote is not closed");
        };
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                part.push('"');
                rest = after;
            }
            None => return Ok((part, after)),
        }
    }
}

impl SqlIdentError {
    fn new(text: &str, problem: &'static str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
            problem,
        }
    }
}

impl FromStr for SqlIdent {
    type Err = SqlIdentError;

    fn from_str(text: &str) -> Result<Self, SqlIdentError> {
        let refuse = |problem| SqlIdentError::new(text, problem);
        let (mut name, mut rest) = first_part(text).map_err(refuse)?;
        let mut schema = None;
        if let Some(after) = rest.strip_prefix('.') {
            let (second, left) = first_part(after).map_err(refuse)?;
            schema = Some(std::mem::replace(&mut name, second));
            rest = left;
        }
        if !rest.is_empty() {
            return Err(refuse("it has more than two parts, or something after a quote"));
        }
        for part in schema.iter().chain([&name]) {
            check(part).map_err(refuse)?;
        }
        Ok(Self {
            text: text.to_owned(),
            schema,
            name,
        })
    }
}

impl PartialEq for SqlIdent {
    fn eq(&self, other: &Self) -> bool {
        (&self.schema, &self.name) == (&other.schema, &other.name)
    }
}

impl Eq for SqlIdent {}

impl Hash for SqlIdent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.schema, &self.name).hash(state);
    }
}

impl fmt::Display for SqlIdent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quoted(schema))?;
        }
        f.write_str(&quoted(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_legal_name_can_be_written_and_nothing_else_gets_out_of_its_quotes() {
        let shown = |text: &str| text.parse::<SqlIdent>().unwrap().to_string();
        for (text, statement) in [
            ("trading.balances", r#""trading"."balances""#),
            ("_b1", r#""_b1""#),
            ("Orders", r#""Orders""#),
            ("pg$log", r#""pg$log""#),
            ("заказы", r#""заказы""#),
            (r#""Trade Log""#, r#""Trade Log""#),
            (r#"archive."2024-orders""#, r#""archive"."2024-orders""#),
            (r#""a.b"."c""d""#, r#""a.b"."c""d""#),
            (r#""a; DROP TABLE x""#, r#""a; DROP TABLE x""#),
        ] {
            assert_eq!(shown(text), statement, "{text}");
        }
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a.b.c",
            "1a",
            "$a",
            "a b",
            "a;drop table x",
            "a\"b",
            "a'b",
            "\"a",
            "\"a\"b",
            "\"a\"\"",
            "\"\"",
            "\"a\0\"",
            &"x".repeat(64),
            &"й".repeat(32),
        ] {
            let error = text.parse::<SqlIdent>().unwrap_err().to_string();
            assert!(error.contains("is not a table or column name"), "{text}: {error}");
        }
    }

    #[test]
    fn quotes_that_are_not_needed_change_nothing() {
        let parse = |text: &str| text.parse::<SqlIdent>().unwrap();
        assert_eq!(parse(r#""orders""#), parse("orders"));
        assert_ne!(parse("Orders"), parse("orders"));
        assert!(parse("orders").may_mean("trading", "orders"));
        assert!(!parse("public.orders").may_mean("trading", "orders"));
    }

    proptest! {
        #[test]
        fn what_the_catalogue_has_is_read_back(schema in "[^\0]{1,20}", name in "[^\0]{1,20}") {
            prop_assume!(schema.len() <= MAX_BYTES && name.len() <= MAX_BYTES);
            let ident = SqlIdent::of(Some(&schema), &name).unwrap();
            let read: SqlIdent = ident.as_str().parse().unwrap();
            prop_assert_eq!((read.schema(), read.name()), (Some(schema.as_str()), name.as_str()));
            let again: SqlIdent = read.to_string().parse().unwrap();
            prop_assert_eq!(again, read);
        }

        #[test]
        fn any_text_never_panics(text in ".{0,40}") {
            let _ = text.parse::<SqlIdent>();
        }
    }
}
