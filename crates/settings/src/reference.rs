//! `docs/configuration.md`, made from the defaults and their comments, so that it cannot disagree with them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::load::SUITE_DEFAULTS;

/// The page of the whole suite: what all services share, then what each of `services` adds (the text of its
/// `settings.default.yaml`). A section that several of them have is described once, by the first.
#[must_use]
pub fn reference_page(services: &[&str]) -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut described = BTreeSet::new();
    for defaults in std::iter::once(SUITE_DEFAULTS).chain(services.iter().copied()) {
        let added: BTreeSet<String> = entries(defaults)
            .into_iter()
            .filter_map(|entry| entry.path.first().map(|section| (*section).to_owned()))
            .filter(|section| !described.contains(section))
            .collect();
        sections(defaults, &added, &mut page);
        described.extend(added);
    }
    page
}

const INTRODUCTION: &str = "# Configuration

<!-- Generated from suite.default.yaml and the services' settings.default.yaml. Do not edit. -->

Later layers win: built-in defaults, the service's defaults, the YAML file (`--config FILE` or `EIDOS_CONFIG`),
environment variables. `check-config` prints every effective value with its source. A wrong configuration is
refused with every mistake at once and exit code 78.

- Durations have a unit: `100ms`, `30s`, `5m`, `1h 30m`. Cron lines have 5 fields (minute first) or 6 (second first), in UTC.
- In the file, `${VAR}` and `${VAR:default}` stand for environment variables; a value that is only an unset `${VAR}` is absent; `$${` is a plain `${`.
- `EIDOS__SECTION__KEY` sets one key: `__` between the steps, case does not matter, `_` for the hyphens of a name
  (`EIDOS__JOBS__CLEANUP_ORDERS__TIMEOUT=45s`). Lists are JSON or words between commas
  (`EIDOS__KAFKA__BROKERS=a:9092,b:9092`); a number is an index (`EIDOS__AUTH__TOKENS__0__TOKEN=…`); tables are JSON objects.
- A basic lock bounds a run: it gets min(timeout, TTL − margin − `scheduler.cancel_grace`), with margin = max(1 s, 2 % of the TTL).
- Outside `service.env: dev` the process refuses to start with placeholder or short secrets, an unnamed version, a database without TLS, and a Redis without TLS or password.
";

/// One key of the defaults.
struct Entry<'a> {
    path: Vec<&'a str>,
    value: &'a str,
    meaning: String,
}

/// The sections of `yaml` that are in `wanted`.
fn sections(yaml: &str, wanted: &BTreeSet<String>, page: &mut String) {
    let is_wanted = |entry: &Entry<'_>| {
        entry
            .path
            .first()
            .is_some_and(|section| wanted.contains(*section))
    };
    for entry in entries(yaml).into_iter().filter(is_wanted) {
        let key = entry.path.join(".");
        let cell = |text: &str| text.replace('|', "\\|");
        match (entry.path.len(), entry.value.is_empty()) {
            // Writing to a String cannot fail.
            (1, _) => {
                let _ = write!(
                    page,
                    "\n## `{key}`\n\n{}\n\n| key | default | meaning |\n|---|---|---|\n",
                    entry.meaning
                );
            }
            (_, true) if entry.meaning.is_empty() => {}
            (_, true) => {
                let _ = writeln!(page, "| **`{key}`** | | {} |", cell(&entry.meaning));
            }
            (_, false) => {
                let _ = writeln!(
                    page,
                    "| `{key}` | `{}` | {} |",
                    cell(entry.value),
                    cell(&entry.meaning)
                );
            }
        }
    }
}

/// The keys in file order. Our default files use block tables, one key per line, comments above or behind.
fn entries(yaml: &str) -> Vec<Entry<'_>> {
    let mut found = Vec::new();
    let mut parents: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in yaml.lines() {
        let text = line.trim();
        if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let Some((key, value)) = text
            .split_once(':')
            .filter(|(_, value)| value.is_empty() || value.starts_with(' '))
        else {
            comment.clear();
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        parents.retain(|(depth, _)| *depth < indent);
        parents.push((indent, key.trim_matches('"')));
        let (value, behind) = value.split_once(" #").unwrap_or((value, ""));
        if !behind.is_empty() {
            comment.push(behind.trim());
        }
        let path = parents.iter().map(|(_, key)| *key).collect();
        found.push(Entry {
            path,
            value: value.trim(),
            meaning: std::mem::take(&mut comment).join(" "),
        });
    }
    found
}
