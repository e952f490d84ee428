//! A statement that makes a table like one that was disposed of.

use super::{Relation, TableShape};
use eidos_types::ident::SqlIdent;

impl TableShape {
    /// `CREATE TABLE` under another name: columns, types, NOT NULL, primary key, and defaults that need nothing else.
    ///
    /// Identities and generated columns become plain ones, because a restore writes the values they had; defaults that
    /// draw from a sequence are left out, because the sequence may be gone. Indexes, checks and foreign keys are the
    /// parent's business: a restored table that is attached again gets them from there.
    #[must_use]
    pub fn create_table_sql(&self, name: &Relation) -> String {
        let mut lines: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let default = column
                    .default
                    .as_deref()
                    .filter(|expression| !column.generated && !column.identity && stands_alone(expression))
                    .map_or_else(String::new, |expression| format!(" DEFAULT {expression}"));
                let not_null = if column.nullable { "" } else { " NOT NULL" };
                format!(
                    "    {} {}{default}{not_null}",
                    SqlIdent::quoting(&column.name),
                    column.declaration
                )
            })
            .collect();
        if !self.primary_key.is_empty() {
            let key: Vec<String> = self
                .primary_key
                .iter()
                .map(|column| SqlIdent::quoting(column).to_string())
                .collect();
            lines.push(format!("    PRIMARY KEY ({})", key.join(", ")));
        }
        format!("CREATE TABLE {name} (\n{}\n)", lines.join(",\n"))
    }
}

/// Whether a default needs no other object: a literal with its type, or one of the functions every server has.
fn stands_alone(expression: &str) -> bool {
    matches!(expression, "now()" | "CURRENT_TIMESTAMP" | "gen_random_uuid()")
        || !without_type_sizes(expression).contains('(')
}

/// `0::numeric(36,18)` without its `(36,18)`.
fn without_type_sizes(expression: &str) -> String {
    let mut kept = String::new();
    let mut rest = expression;
    while let Some((before, after)) = rest.split_once('(') {
        kept.push_str(before);
        match after.split_once(')') {
            Some((size, after))
                if size.bytes().all(|byte| byte.is_ascii_digit() || byte == b',') && !size.is_empty() =>
            {
                rest = after;
            }
            _ => {
                kept.push('(');
                rest = after;
            }
        }
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_that_needs_a_sequence_or_a_function_of_somebody_is_left_out() {
        for alone in [
            "0",
            "''::character varying",
            "now()",
            "'{}'::jsonb",
            "0::numeric(36,18)",
        ] {
            assert!(stands_alone(alone), "{alone}");
        }
        for needy in [
            "nextval('orders_id_seq'::regclass)",
            "my_schema.next_key()",
            "f()::numeric(36,18)",
        ] {
            assert!(!stands_alone(needy), "{needy}");
        }
    }
}
