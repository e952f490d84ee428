//! The chart's rules and panels, made ready for a devnet of minutes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use eidos_sandbox::workspace_root;
use serde_json::Value;

/// How large the thresholds are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// As the chart has them.
    Real,
    /// Lowered where a small devnet cannot reach them.
    Small,
}

/// Thresholds and windows that a devnet of minutes cannot reach, and what replaces them there.
const SMALLER: [(&str, &str); 7] = [
    // 500 GB in quarantine.
    ("500e9", "1"),
    // More than 100 dollars of ignored differences.
    (
        "token=~\"USDC|USDT|DAI\"}) > 100",
        "token=~\"USDC|USDT|DAI\"}) > 0",
    ),
    // Two periods without any success.
    (
        "> 2 * max by (job) (job_schedule_period_seconds)\n    unless",
        "> 0 * max by (job) (job_schedule_period_seconds)\n    unless",
    ),
    // Requests to the node of the last minutes.
    (
        "chain_rpc_requests_total{outcome!=\"ok\"}[10m]",
        "chain_rpc_requests_total{outcome!=\"ok\"}[20s]",
    ),
    ("chain_rpc_requests_total[10m]", "chain_rpc_requests_total[20s]"),
    // Half a minute without an answer of a broker.
    (
        "bus_consumer_answer_age_seconds[2m])) > 30",
        "bus_consumer_answer_age_seconds[2m])) > 15",
    ),
    // Half an hour from a request to the order's end.
    (
        "expiry_oldest_open_seconds) > 1800",
        "expiry_oldest_open_seconds) > 2",
    ),
];

fn chart() -> anyhow::Result<PathBuf> {
    let root = workspace_root().context("the workspace with helm/eidos-backoffice is not here")?;
    Ok(root.join("helm/eidos-backoffice"))
}

/// The rule files: those of `rules/` and of its folders, not their tests.
fn files() -> anyhow::Result<Vec<PathBuf>> {
    let rules = chart()?.join("rules");
    let mut found = yaml_files(&rules)?;
    for entry in std::fs::read_dir(&rules)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("tests") {
            found.extend(yaml_files(&path)?);
        }
    }
    found.sort();
    Ok(found)
}

fn yaml_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    Ok(found)
}

/// One alert of the chart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    /// Its name.
    pub(super) alert: String,
    /// Its label `severity`.
    pub(super) severity: String,
}

/// All alerts of the chart, by name; one that is in the rules of several services is one.
pub(super) fn all() -> anyhow::Result<Vec<Rule>> {
    let mut found = BTreeSet::new();
    for file in files()? {
        let text = std::fs::read_to_string(&file)?;
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            let Some(alert) = line.strip_prefix("- alert: ") else {
                continue;
            };
            let severity = lines
                .by_ref()
                .find_map(|line| line.strip_prefix("labels: { severity: ")?.strip_suffix(" }"));
            found.insert(Rule {
                alert: alert.to_owned(),
                severity: severity
                    .with_context(|| format!("{alert} has no severity"))?
                    .to_owned(),
            });
        }
    }
    Ok(found.into_iter().collect())
}

/// The names of all alerts of the chart.
pub(super) fn names() -> anyhow::Result<BTreeSet<String>> {
    Ok(all()?.into_iter().map(|rule| rule.alert).collect())
}

/// Writes the rules into `dir` without `for`, in `scale`, and returns the files.
pub(super) fn write(dir: &Path, scale: Scale) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir)?;
    let mut written = Vec::new();
    let mut unused: BTreeSet<&str> = SMALLER.iter().map(|(from, _)| *from).collect();
    for (index, file) in files()?.iter().enumerate() {
        let text = std::fs::read_to_string(file)?;
        let mut text = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("for: "))
            .collect::<Vec<_>>()
            .join("\n");
        if scale == Scale::Small {
            for (from, to) in SMALLER {
                // Expressions are indented by the file's own depth; the table has that of the first line.
                let (from_deep, to_deep) = (deepened(from), deepened(to));
                if text.contains(&from_deep) {
                    unused.remove(from);
                    text = text.replace(&from_deep, &to_deep);
                }
            }
        }
        let path = dir.join(format!("{index}.yaml"));
        std::fs::write(&path, text)?;
        written.push(std::path::absolute(path)?);
    }
    if scale == Scale::Small {
        anyhow::ensure!(
            unused.is_empty(),
            "no rule has the thresholds {unused:?} any more: correct SMALLER"
        );
    }
    Ok(written)
}

fn deepened(text: &str) -> String {
    text.replace("\n    ", "\n            ")
}

/// One expression of a panel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Panel {
    /// The dashboard's title.
    pub(super) dashboard: String,
    /// The dashboard's file, without its ending.
    pub(super) file: String,
    /// Orders the panels of a dashboard as they are in it.
    pub(super) place: usize,
    /// The title of its row.
    pub(super) row: String,
    /// The panel's title.
    pub(super) title: String,
    /// How its series are named.
    pub(super) legend: String,
    /// The panel's description.
    pub(super) description: String,
    /// The panel's unit, as Grafana names it.
    pub(super) unit: String,
    /// What is asked of Prometheus; variables match everything.
    pub(super) expression: String,
}

#[cfg(test)]
impl Panel {
    /// For tests of what is made of panels.
    pub(super) fn example() -> Self {
        Self {
            dashboard: "Eidos: jobs".to_owned(),
            file: "jobs".to_owned(),
            place: 0,
            row: "Guards".to_owned(),
            title: "Runs".to_owned(),
            legend: "{{job}}".to_owned(),
            description: "By kind. 0: no run failed. Alert X.".to_owned(),
            unit: "s".to_owned(),
            expression: "x".to_owned(),
        }
    }
}

/// Every expression of every panel.
pub(super) fn panels() -> anyhow::Result<Vec<Panel>> {
    let mut found = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for entry in std::fs::read_dir(chart()?.join("dashboards"))? {
        let path = entry?.path();
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        let file = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut row = String::new();
        for panel in board["panels"].as_array().into_iter().flatten() {
            if panel["type"] == "row" {
                row = text(&panel["title"]);
            }
            for target in panel["targets"].as_array().into_iter().flatten() {
                found.push(Panel {
                    dashboard: text(&board["title"]),
                    file: file.clone(),
                    place: found.len(),
                    row: row.clone(),
                    title: text(&panel["title"]),
                    legend: text(&target["legendFormat"]),
                    description: text(&panel["description"]),
                    unit: text(&panel["fieldConfig"]["defaults"]["unit"]),
                    expression: with_variables(&text(&target["expr"]), &board),
                });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The expression as Grafana asks it: a constant is its value, any other variable matches everything.
fn with_variables(expression: &str, board: &Value) -> String {
    let variables = board["templating"]["list"].as_array().into_iter().flatten();
    variables.fold(expression.to_owned(), |expression, variable| {
        let name = variable["name"].as_str().unwrap_or_default();
        let value = match variable["type"].as_str() {
            Some("constant") => variable["query"].as_str().unwrap_or_default(),
            _ => ".*",
        };
        expression.replace(&format!("${name}"), value)
    })
}
