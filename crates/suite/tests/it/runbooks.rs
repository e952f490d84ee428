//! What a runbook names exists: metrics, alerts, settings. At 3 a.m. nobody should look for a series that is not there.

use std::collections::BTreeSet;

use eidos_suite::reference_page;
use eidos_telemetry::catalogue;

use crate::observability::{Names, rules, series};
use crate::repository::{files, none, root};

/// A series of another program, a function of PostgreSQL and kinds of breaks that runbooks name.
const FOREIGN_NAMES: &[&str] = &[
    "container_cpu_cfs_throttled_periods_total",
    "to_timestamp",
    // Kinds of breaks.
    "unreadable_row",
    "wrong_amount",
];
/// Words of Kubernetes that are written like an alert.
const FOREIGN_WORDS: &[&str] = &[
    "ServiceMonitor",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "CrashLoopBackOff",
];

/// Each runbook: its path and its text.
fn runbooks() -> Vec<(String, String)> {
    let found: Vec<(String, String)> = files("docs/runbooks", "md")
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().display().to_string(), text)
        })
        .collect();
    assert!(found.len() > 20, "only {} runbooks were found", found.len());
    found
}

/// The words of a text that consist of these characters.
fn words(text: &str, belongs: impl Fn(char) -> bool) -> impl Iterator<Item = &str> {
    text.split(move |c| !belongs(c)).filter(|word| !word.is_empty())
}

/// The texts between backticks, those of code blocks line by line.
fn code(text: &str) -> Vec<&str> {
    let mut spans = Vec::new();
    for (index, block) in text.split("```").enumerate() {
        if index % 2 == 1 {
            spans.extend(block.lines());
        } else {
            spans.extend(block.split('`').skip(1).step_by(2));
        }
    }
    spans
}

/// The keys of the reference page; `<name>` is a name that the operator chooses.
fn settings(page: &str) -> BTreeSet<String> {
    let cells = page.split('`').skip(1).step_by(2);
    let keys = cells.filter(|cell| cell.chars().all(|c| c.is_alphanumeric() || "._-<>".contains(c)));
    keys.map(str::to_owned).collect()
}

#[test]
fn every_metric_of_a_runbook_exists() {
    let series = series();
    let page = reference_page();
    let elsewhere: BTreeSet<&str> = words(&page, |c| c.is_alphanumeric() || c == '_').collect();
    let columns: String = files("migrations", "sql")
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let columns: BTreeSet<&str> = words(&columns, |c| c.is_alphanumeric() || c == '_').collect();
    // A word that ends like one of our metrics, such as …_total or …_lag_blocks, is taken for one.
    let endings: BTreeSet<&str> = catalogue()
        .iter()
        .filter_map(|metric| metric.name.rsplit('_').next())
        .collect();
    let mut findings = Vec::new();
    let mut known = 0;
    for (path, text) in runbooks() {
        for word in words(&text, |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
        }) {
            if series.contains_key(word) || catalogue().iter().any(|metric| metric.name == word) {
                known += 1;
            } else if word.contains('_')
                && endings.contains(word.rsplit('_').next().unwrap())
                && !elsewhere.contains(word)
                && !columns.contains(word)
                && !FOREIGN_NAMES.contains(&word)
            {
                findings.push(format!("{path}: there is no series {word}"));
            }
        }
        for span in code(&text) {
            let names = Names::of(span);
            let labels: BTreeSet<&str> = names
                .metrics
                .iter()
                .filter_map(|metric| series.get(metric))
                .flat_map(|labels| labels.iter().copied())
                .collect();
            if !labels.is_empty() {
                let unknown = names
                    .labels
                    .iter()
                    .filter(|label| !labels.contains(label.as_str()));
                findings.extend(unknown.map(|label| format!("{path}: {span} has no label {label}")));
            }
        }
    }
    assert!(known > 20, "only {known} metrics were seen");
    none(
        &findings,
        "a runbook names a metric of eidos_telemetry::catalogue",
    );
}

#[test]
fn every_alert_of_a_runbook_exists() {
    let alerts: BTreeSet<String> = rules().into_iter().map(|(alert, _)| alert).collect();
    let mut findings = Vec::new();
    let mut known = 0;
    for (path, text) in runbooks() {
        for word in words(&text, char::is_alphanumeric) {
            let capitals = word.chars().filter(char::is_ascii_uppercase).count();
            let is_name = word.starts_with(|c: char| c.is_ascii_uppercase())
                && word.ends_with(|c: char| c.is_ascii_lowercase())
                && capitals >= 2
                && word.chars().all(|c| c.is_ascii_alphabetic())
                && !word
                    .as_bytes()
                    .windows(2)
                    .any(|pair| pair.iter().all(u8::is_ascii_uppercase));
            if alerts.contains(word) {
                known += 1;
            } else if is_name && !FOREIGN_WORDS.contains(&word) {
                findings.push(format!("{path}: there is no alert {word}"));
            }
        }
    }
    assert!(known > 30, "only {known} alerts were seen");
    none(
        &findings,
        "a runbook names an alert of helm/eidos-backoffice/rules",
    );
}

#[test]
fn every_setting_of_a_runbook_exists() {
    let keys = settings(&reference_page());
    let dotted = keys.iter().filter_map(|key| key.split_once('.'));
    let sections: BTreeSet<&str> = dotted.map(|(section, _)| section).collect();
    let mut findings = Vec::new();
    let mut known = 0;
    for (path, text) in runbooks() {
        for span in code(&text) {
            let dotted = span.split([':', '=', ' ']).next().unwrap_or_default();
            let variables = span
                .split(|c: char| c.is_whitespace() || c == '=')
                .filter_map(|word| word.strip_prefix("EIDOS__"))
                .map(|name| name.replace("__", ".").to_lowercase());
            let named = std::iter::once(dotted.to_owned()).filter(|key| {
                key.split_once('.')
                    .is_some_and(|(section, rest)| sections.contains(section) && !rest.is_empty())
            });
            for key in named.chain(variables) {
                if keys.iter().any(|known| fits(&key, known)) {
                    known += 1;
                } else {
                    findings.push(format!("{path}: there is no setting {key}"));
                }
            }
        }
    }
    assert!(known > 20, "only {known} settings were seen");
    none(&findings, "a runbook names a setting of docs/configuration.md");
}

/// Whether a key is the known one or a table above it; `<name>` in either of them is any name, and `_` is also `-`.
fn fits(key: &str, known: &str) -> bool {
    let known: Vec<&str> = known.split('.').collect();
    let key: Vec<&str> = key.split('.').collect();
    let same = |one: &str, other: &str| {
        one.starts_with('<') || other.starts_with('<') || one.replace('-', "_") == other.replace('-', "_")
    };
    key.len() <= known.len() && key.iter().zip(&known).all(|(one, other)| same(one, other))
}

#[test]
fn keys_fit_whatever_stands_for_a_name() {
    assert!(fits("jobs.<job>.timeout", "jobs.archive-data.timeout"));
    assert!(fits("jobs.archive_data.timeout", "jobs.archive-data.timeout"));
    assert!(fits("databases.risk", "databases.<source>.replica_url"));
    assert!(!fits("jobs.archive-data.timeouts", "jobs.archive-data.timeout"));
    assert!(!fits("disposal.lock_timeout.x", "disposal.lock_timeout"));
    assert_eq!(code("a `b` c\n```\nd\ne\n```\n`f`"), ["b", "", "d", "e", "f"]);
}
