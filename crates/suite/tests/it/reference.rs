//! `docs/configuration.md` has every key that the types accept.

use std::collections::BTreeSet;

use eidos_settings::Input;
use eidos_suite::{reference_page, services};

use crate::repository::{none, root};

/// No key has a name like it.
const UNKNOWN: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";

/// The keys that have a row or a heading.
fn documented(page: &str) -> BTreeSet<&str> {
    let keys = page.lines().filter_map(|line| {
        let cell = line.strip_prefix("| ").or_else(|| line.strip_prefix("## "))?;
        let cell = cell.trim_start_matches("**").strip_prefix('`')?;
        cell.split_once('`').map(|(key, _)| key)
    });
    keys.collect()
}

/// Whether a key has a row, is above one, or is below a name that the operator chooses (`<name>`).
fn is_documented(key: &str, page: &BTreeSet<&str>) -> bool {
    let steps: Vec<&str> = key.split('.').collect();
    page.iter().any(|row| {
        let row: Vec<&str> = row.split('.').collect();
        row.len() >= steps.len()
            && steps
                .iter()
                .zip(&row)
                .all(|(step, row)| step == row || row.starts_with('<'))
    })
}

/// The defaults have a key that they do not need to have; the types decide what is accepted. So every table is given a
/// key that does not exist, and what the refusal lists as known must be on the page.
#[test]
fn every_key_that_is_accepted_is_on_the_page() {
    let page = reference_page();
    let documented = documented(&page);
    let mut findings = BTreeSet::new();
    let mut seen = 0;
    for service in services() {
        let shown = service.render(&Input::default()).unwrap();
        let leaves: BTreeSet<&str> = shown
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let mut tables: BTreeSet<&str> = BTreeSet::new();
        for leaf in &leaves {
            if !is_documented(leaf, &documented) && !is_value_of_a_documented_table(leaf, &page) {
                findings.insert((*leaf).to_owned());
            }
            tables.extend(leaf.match_indices('.').map(|(at, _)| &leaf[..at]));
        }
        let probes = tables.iter().map(|table| {
            let name = table.replace('.', "__").to_uppercase().replace('-', "_");
            (
                format!("EIDOS__{name}__{}", UNKNOWN.to_uppercase()),
                "1".to_owned(),
            )
        });
        let input = Input {
            file: None,
            env: probes.collect(),
        };
        let errors = service.render(&input).unwrap_err();
        for problem in errors.problems() {
            let Some(table) = problem
                .key
                .strip_suffix(UNKNOWN)
                .and_then(|table| table.strip_suffix('.'))
            else {
                continue;
            };
            let Some(known) = problem
                .fix
                .as_deref()
                .and_then(|fix| fix.strip_prefix("known here: "))
            else {
                continue;
            };
            seen += 1;
            for name in known.split(", ") {
                let key = format!("{table}.{name}");
                if !is_documented(&key, &documented) && !is_value_of_a_documented_table(&key, &page) {
                    findings.insert(key);
                }
            }
        }
    }
    assert!(seen > 40, "only {seen} tables were probed");
    none(
        &findings.into_iter().collect::<Vec<_>>(),
        "docs/configuration.md does not describe these keys: describe them in the default file, after #: if they \
         have no default there",
    );
}

/// A table that is written on one line has one row.
fn is_value_of_a_documented_table(key: &str, page: &str) -> bool {
    key.match_indices('.')
        .any(|(at, _)| page.contains(&format!("| `{}` | `{{ ", &key[..at])))
}

#[test]
fn every_row_has_a_meaning() {
    let page = reference_page();
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `") && !line.contains("data_retention"));
    let without: Vec<String> = rows
        .filter(|line| {
            line.trim_end_matches('|')
                .rsplit('|')
                .next()
                .unwrap()
                .trim()
                .is_empty()
        })
        .map(str::to_owned)
        .collect();
    none(&without, "a key of the page has no meaning");
    assert!(
        page.contains("| `jobs.cleanup-orders.cron` | `\"*/2 * * * *\"` | Every two minutes. |"),
        "{page}"
    );
    assert_eq!(
        page.matches("\n| `archive_store.url` |").count(),
        1,
        "two services have it"
    );
    assert!(
        page.contains("\n## `archive_store`\n\nWhere exports go. Owned by retention-manager and archiver.")
    );
}

/// `UPDATE=1 cargo test --workspace --test it the_page_in_docs` writes it anew.
#[test]
fn the_page_in_docs_is_the_one_the_defaults_make() {
    let page = reference_page();
    let file = root().join("docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap_or_default() == page,
        "docs/configuration.md is out of date: run UPDATE=1 cargo test --workspace --test it the_page_in_docs"
    );
}
