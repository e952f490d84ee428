//! Statements that are assembled at run time are made of checked parts only (docs/adr/0003-statements-are-prepared-in-tests.md).

use crate::repository::{files, none, root};

/// Where sqlx may be told that a text is safe: the module that checks the parts, and the tools that only ever see databases
/// of tests.
const MAY_ASSERT: [&str; 3] = [
    "crates/pg/src/text.rs",
    "crates/testkit/src/",
    "crates/devnet/src/",
];

#[test]
fn one_module_tells_sqlx_that_a_text_is_safe() {
    let mut findings = Vec::new();
    let mut seen_the_module = false;
    for directory in ["crates", "services"] {
        for path in files(directory, "rs") {
            let path = path.strip_prefix(root()).unwrap_or(&path).to_path_buf();
            let name = path.to_string_lossy().into_owned();
            if !name.contains("/src/") {
                continue;
            }
            let text = crate::repository::read(&path);
            let asserts = text.contains("AssertSqlSafe") || text.contains("Sql::assembled(");
            seen_the_module |= asserts && name == MAY_ASSERT[0];
            if asserts && !MAY_ASSERT.iter().any(|allowed| name.starts_with(allowed)) {
                findings.push(format!("{name}: assemble the statement with eidos_pg::sql!"));
            }
        }
    }
    none(
        &findings,
        "a statement is a constant, or is assembled of checked parts by eidos_pg::sql!",
    );
    assert!(
        seen_the_module,
        "{} was not seen: this guard would pass on nothing",
        MAY_ASSERT[0]
    );
}
