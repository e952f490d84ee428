//! Statements that are assembled at run time are made of checked parts only (docs/adr/0003-statements-are-prepared-in-tests.md).

use syn::visit::{self, Visit};

use crate::repository::{files, none, read, root};

/// Where the statements of a service or engine are written, and nowhere else. A dimension of recon-svc reads the tables of
/// other services by a schema profile, so its sources assemble their statements (ADR 3).
const STATEMENTS: [(&str, &[&str]); 7] = [
    ("services/aggregator/src", &["store"]),
    ("services/archiver/src", &["store"]),
    ("services/health-probe/src", &["store"]),
    ("services/order-expirer/src", &["store"]),
    ("services/retention-manager/src", &["store"]),
    (
        "services/recon-svc/src",
        &[
            "store",
            "dimensions/balance/sources",
            "dimensions/balance/schema",
            "dimensions/deposits/sources.rs",
            "dimensions/fees/sources.rs",
            "dimensions/settlement/sources.rs",
            "dimensions/withdrawals/sources.rs",
        ],
    ),
    ("crates/recon/src", &["store"]),
];

/// What a statement begins with, in a constant.
const BEGINNINGS: [&str; 15] = [
    "SELECT ",
    "INSERT INTO ",
    "UPDATE ",
    "DELETE FROM ",
    "WITH ",
    "LOCK TABLE ",
    "ALTER TABLE ",
    "CREATE TABLE ",
    "CREATE INDEX ",
    "CREATE TEMPORARY ",
    "DROP TABLE ",
    "COPY ",
    "SET LOCAL ",
    "EXPLAIN ",
    "ANALYZE ",
];

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
            let text = read(&path);
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

/// Statements in a file, each by what shows it.
#[derive(Default)]
struct Statements(Vec<String>);

impl Statements {
    fn of(text: &str) -> Vec<String> {
        let mut found = Self::default();
        found.visit_file(&syn::parse_file(text).unwrap());
        found.0
    }

    fn text(&mut self, text: &str) {
        let text = text.trim_start();
        if BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) {
            self.0.push(text.chars().take(40).collect());
        }
    }
}

impl<'ast> Visit<'ast> for Statements {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if let [first, function] = names.as_slice()
            && first == "sqlx"
            && (function.starts_with("query") || function == "raw_sql")
        {
            self.0.push(names.join("::"));
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if ["copy_in_raw", "copy_out_raw"]
            .iter()
            .any(|copy| call.method == copy)
        {
            self.0.push(call.method.to_string());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        if called
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == "sql")
        {
            self.0.push("sql!".to_owned());
        }
        let tokens = called.tokens.to_string();
        if let Some((_, text)) = tokens.split_once('"') {
            self.text(text);
        }
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        self.text(&literal.value());
    }
}

#[test]
fn statements_of_a_service_are_in_its_store() {
    let mut findings = Vec::new();
    for (source, places) in STATEMENTS {
        let mut in_place = 0;
        for path in files(source, "rs") {
            let path = path.strip_prefix(root()).unwrap_or(&path).to_path_buf();
            let found = Statements::of(&read(&path));
            let below = |place: &&str| path.starts_with(format!("{source}/{place}"));
            if places.iter().any(below) {
                in_place += found.len();
            } else {
                let of_file = found
                    .iter()
                    .map(|statement| format!("{}: {statement}", path.display()));
                findings.extend(of_file);
            }
        }
        assert!(
            in_place > 0,
            "{source} has no statement in {places:?}: this guard would pass on nothing"
        );
    }
    none(&findings, "statements are below src/store/, by subject");
}

#[test]
fn a_statement_is_seen_in_every_form() {
    for text in [
        "const A: &str = \"\\\n    SELECT 1\";",
        "fn f() { sqlx::query_as(x).bind(1); }",
        "fn f() { let s = sql!(\"LOCK TABLE {t}\"); }",
        "fn f() { let s = format!(\"UPDATE {t} SET x\"); }",
        "fn f() { conn.copy_in_raw(s); }",
    ] {
        assert!(!Statements::of(text).is_empty(), "{text}");
    }
    let none =
        "//! SELECT\nconst A: &str = \"the SELECT failed\"; mod tests { const B: &str = \"SELECT 1\"; }";
    assert!(Statements::of(none).is_empty());
}
