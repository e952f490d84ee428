//! [`SqlIdent`]: the only way a configured name gets into a statement.

use std::fmt;
use std::str::FromStr;

/// A table or column name, checked when it is read from the settings: one or two dot-separated parts of letters,
/// digits and underscores, at most 63 characters each, not starting with a digit. Displayed in double quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SqlIdent(String);

/// The text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a table or column name: use letters, digits and underscores, at most 63, optionally \
     schema.table"
)]
pub struct SqlIdentError(String);

impl SqlIdent {
    /// The name as it was written, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SqlIdent {
    type Err = SqlIdentError;

    fn from_str(text: &str) -> Result<Self, SqlIdentError> {
        let part = |part: &str| {
            (1..=63).contains(&part.len())
                && !part.starts_with(|first: char| first.is_ascii_digit())
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let parts: Vec<&str> = text.split('.').collect();
        if parts.len() <= 2 && parts.iter().all(|text| part(text)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SqlIdentError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for SqlIdent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.split('.').enumerate() {
            write!(f, "{}\"{part}\"", if i == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        let shown = |text: &str| text.parse::<SqlIdent>().unwrap().to_string();
        assert_eq!(shown("trading.balances"), "\"trading\".\"balances\"");
        assert_eq!(shown("_b1"), "\"_b1\"");
        for text in [
            "",
            ".",
            "a.b.c",
            "1a",
            "a b",
            "a;drop table x",
            "a\"b",
            "a'b",
            "ä",
            &"x".repeat(64),
        ] {
            assert!(text.parse::<SqlIdent>().is_err(), "{text}");
        }
    }
}
