//! `docs/configuration.md`, made from the defaults and their comments, so that it cannot disagree with them.

use std::fmt::Write as _;

use eidos_settings::SHARED_DEFAULTS;

use crate::services;

/// Returns the page of all settings: the sections that every service has, then what each service owns. A key that
/// several services have is described once, by the first.
#[must_use]
pub fn reference_page() -> String {
    let services = services();
    let owned = services.iter();
    let all =
        std::iter::once(("", SHARED_DEFAULTS)).chain(owned.map(|service| (service.name, service.defaults)));
    page_of(&all.collect::<Vec<_>>())
}

const INTRODUCTION: &str = "# Configuration

<!-- Generated from the default files of crates/settings and the services. Do not edit. -->

Later layers win: built-in defaults, the service's defaults, the YAML file (`--config FILE` or `EIDOS_CONFIG`),
environment variables. `check-config` prints every effective value with its source. A wrong configuration is
refused with every mistake at once and exit code 78.

One file can serve all services. A service checks the sections that every service has, its own sections and the blocks of
its own jobs; it leaves the rest unread and warns where a key looks like a misspelt one of its own. So a section of a
service that is newer does not stop the others. `eidosctl check-config` checks the whole file for all services and refuses
every unknown key.

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
    /// Whether it has a row of its own even without a default: written with `#:`.
    described: bool,
}

/// One section of the page.
#[derive(Default)]
struct Section {
    name: String,
    meaning: String,
    owners: Vec<String>,
    /// Key and row, in the order of the files.
    rows: Vec<(String, String)>,
}

fn page_of(files: &[(&str, &str)]) -> String {
    let mut sections: Vec<Section> = Vec::new();
    for (owner, yaml) in files {
        for entry in entries(yaml) {
            add(&mut sections, owner, &entry);
        }
    }
    let mut page = INTRODUCTION.to_owned();
    for section in &sections {
        let owners = if section.owners.is_empty() || section.name == "jobs" {
            String::new()
        } else {
            format!(" Owned by {}.", section.owners.join(" and "))
        };
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "\n## `{}`\n\n{}{owners}\n\n| key | default | meaning |\n|---|---|---|\n",
            section.name, section.meaning
        );
        for (_, row) in &section.rows {
            page.push_str(row);
        }
    }
    page
}

fn add(sections: &mut Vec<Section>, owner: &str, entry: &Entry<'_>) {
    let Some(name) = entry.path.first() else { return };
    let position = sections.iter().position(|section| section.name == *name);
    let position = position.unwrap_or_else(|| {
        sections.push(Section {
            name: (*name).to_owned(),
            ..Section::default()
        });
        sections.len() - 1
    });
    let section = &mut sections[position];
    if entry.path.len() == 1 {
        if section.meaning.is_empty() {
            section.meaning.clone_from(&entry.meaning);
        }
        if !owner.is_empty() {
            section.owners.push(owner.to_owned());
        }
        return;
    }
    let key = entry.path.join(".");
    if section.rows.iter().all(|(known, _)| *known != key) {
        let of = if *name == "jobs" && entry.path.len() == 2 && !entry.described {
            format!(" ({owner})")
        } else {
            String::new()
        };
        section.rows.push((key.clone(), row(&key, entry, &of)));
    }
}

/// The row of a key; nothing for a table without a description.
fn row(key: &str, entry: &Entry<'_>, of: &str) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let meaning = cell(&entry.meaning);
    match (entry.value.is_empty(), entry.described) {
        (true, true) => format!("| `{key}` | | {meaning} |\n"),
        (true, false) if meaning.is_empty() => String::new(),
        (true, false) => format!("| **`{key}`** | | {meaning}{of} |\n"),
        (false, _) => format!("| `{key}` | `{}` | {meaning} |\n", cell(entry.value)),
    }
}

/// The keys in file order. Our default files use block tables, one key per line, comments above or behind. A line that
/// begins with `#:` describes a key that the defaults cannot have, such as one below a name that the operator chooses.
fn entries(yaml: &str) -> Vec<Entry<'_>> {
    let mut found = Vec::new();
    let mut parents: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in yaml.lines() {
        let text = line.trim();
        let described = text.strip_prefix("#:").map(str::trim);
        if let (None, Some(words)) = (described, text.strip_prefix('#')) {
            comment.push(words.trim());
            continue;
        }
        let Some((key, value)) = described
            .unwrap_or(text)
            .split_once(':')
            .filter(|(_, value)| value.is_empty() || value.starts_with(' '))
        else {
            comment.clear();
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        parents.retain(|(depth, _)| *depth < indent);
        let (value, behind) = value.split_once(" #").unwrap_or((value, ""));
        let mut path: Vec<&str> = parents.iter().map(|(_, key)| *key).collect();
        path.push(key.trim_matches('"'));
        let meaning = if described.is_some() {
            behind.trim().to_owned()
        } else {
            parents.push((indent, key.trim_matches('"')));
            if !behind.is_empty() {
                comment.push(behind.trim());
            }
            std::mem::take(&mut comment).join(" ")
        };
        found.push(Entry {
            path,
            value: value.trim(),
            meaning,
            described: described.is_some(),
        });
    }
    found
}
