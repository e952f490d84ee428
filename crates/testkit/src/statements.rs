//! Statements against the real schema (docs/adr/0003-statements-are-prepared-in-tests.md).

use std::fmt::Display;

use sqlx::{Executor, PgPool, SqlSafeStr};

/// Prepares each statement, given as its name and its text, and panics with the names of those that PostgreSQL refuses and
/// its messages. A statement that does not fit the schema then fails a test, and not in front of a caller.
///
/// # Panics
/// If a statement is refused, or there is none: a list that was emptied by mistake must not pass.
pub async fn assert_prepares<N: Display, S: SqlSafeStr>(
    pool: &PgPool,
    statements: impl IntoIterator<Item = (N, S)>,
) {
    let (mut seen, mut refused) = (0, Vec::new());
    for (name, text) in statements {
        seen += 1;
        if let Err(error) = pool.prepare(text.into_sql_str()).await {
            refused.push(format!("{name}: {error}"));
        }
    }
    assert!(seen > 0, "there is no statement to prepare");
    assert!(
        refused.is_empty(),
        "{} of {seen} statements do not fit the schema:\n{}",
        refused.len(),
        refused.join("\n")
    );
}
