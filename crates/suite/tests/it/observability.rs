//! Metric, alert, dashboard, runbook, documentation: whatever one of them names, the others know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use eidos_telemetry::{Kind, catalogue};
use serde_json::Value;

use crate::repository::{files, none, read, root};

const CHART: &str = "helm/eidos-backoffice";
/// Series that Prometheus itself makes, with their labels.
const FOREIGN_METRICS: &[(&str, &[&str])] =
    &[("up", &[]), ("ALERTS", &["alertname", "alertstate", "severity"])];
/// Labels that Prometheus itself makes.
const TARGET_LABELS: &[&str] = &["service", "instance", "le"];

/// One expression, and where it stands.
struct Expression {
    place: String,
    promql: String,
}

/// Those of every installation and those of single services; not their tests.
fn rule_files() -> Vec<PathBuf> {
    let all = files(format!("{CHART}/rules"), "yaml").into_iter();
    all.filter(|path| !path.parent().is_some_and(|folder| folder.ends_with("tests")))
        .collect()
}

pub(crate) fn rules() -> Vec<(String, Value)> {
    let mut alerts = Vec::new();
    for path in rule_files() {
        let file: Value = serde_norway::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for group in file["groups"].as_array().expect("groups") {
            for rule in group["rules"].as_array().expect("rules") {
                let name = rule["alert"].as_str().expect("alert").to_owned();
                alerts.push((name, rule.clone()));
            }
        }
    }
    assert!(alerts.len() > 10, "only {} alerts were found", alerts.len());
    alerts
}

fn dashboards() -> Vec<(String, Value)> {
    let boards: Vec<_> = files(format!("{CHART}/dashboards"), "json")
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (
                name,
                serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap(),
            )
        })
        .collect();
    assert!(!boards.is_empty(), "no dashboard was found");
    boards
}

fn panels(board: &Value) -> &[Value] {
    board["panels"].as_array().expect("panels")
}

fn expressions() -> Vec<Expression> {
    let mut all: Vec<Expression> = rules()
        .into_iter()
        .map(|(alert, rule)| Expression {
            promql: rule["expr"].as_str().expect("expr").to_owned(),
            place: alert,
        })
        .collect();
    for (name, board) in dashboards() {
        for panel in panels(&board) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let place = format!("{name}, panel {}", panel["title"]);
                all.push(Expression {
                    place,
                    promql: target["expr"].as_str().expect("expr").to_owned(),
                });
            }
        }
    }
    all
}

/// What a `PromQL` expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) metrics: BTreeSet<String>,
    pub(crate) labels: BTreeSet<String>,
}

impl Names {
    pub(crate) fn of(promql: &str) -> Self {
        const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
        const OPERATORS: &[&str] = &[
            "and", "or", "unless", "bool", "offset", "sum", "min", "max", "avg", "count",
        ];
        let mut names = Self::default();
        let mut rest = promql;
        // The word before the current bracket decides what the words inside it are.
        let (mut before, mut in_labels, mut in_grouping, mut in_range) = (String::new(), false, false, false);
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                rest = rest[1..].split_once('"').map_or("", |(_, after)| after);
            } else if first.is_alphanumeric() || first == '_' {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                rest = after;
                let called = after.trim_start().starts_with('(');
                let is_name = !word.starts_with(|c: char| c.is_ascii_digit()) && !in_range;
                if GROUPING.contains(&word) && called {
                    word.clone_into(&mut before);
                } else if (in_labels || in_grouping) && is_name {
                    names.labels.insert(word.to_owned());
                } else if is_name && !called && !OPERATORS.contains(&word) && !GROUPING.contains(&word) {
                    names.metrics.insert(word.to_owned());
                }
            } else {
                match first {
                    '{' => in_labels = true,
                    '}' => in_labels = false,
                    '[' => in_range = true,
                    ']' => in_range = false,
                    '(' => in_grouping = !std::mem::take(&mut before).is_empty(),
                    ')' => in_grouping = false,
                    _ => {}
                }
                rest = &rest[first.len_utf8()..];
            }
        }
        names
    }
}

#[test]
fn the_reader_of_expressions_reads_them() {
    let names = Names::of(
        "sum by (job, reason) (increase(lease_lost_total{job=~\"$job\", x!=\"a_b\"}[15m])\n or \
         (up unless up offset 1h)) / on (instance) group_left () rate(b_bucket[5m]) > 2 * time()",
    );
    let set = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(names.metrics, set(&["lease_lost_total", "up", "b_bucket"]));
    assert_eq!(names.labels, set(&["job", "reason", "x", "instance"]));
}

/// Every series that the catalogue makes, with its labels.
pub(crate) fn series() -> BTreeMap<String, &'static [&'static str]> {
    let mut series: BTreeMap<String, &'static [&'static str]> = BTreeMap::new();
    for metric in catalogue() {
        let endings: &[&str] = if metric.kind == Kind::Histogram {
            &["_bucket", "_sum", "_count"]
        } else {
            &[""]
        };
        series.extend(
            endings
                .iter()
                .map(|end| (format!("{}{end}", metric.name), metric.labels)),
        );
    }
    series
}

#[test]
fn every_metric_that_is_looked_at_exists() {
    let series = series();
    let mut findings = Vec::new();
    for expression in expressions() {
        let names = Names::of(&expression.promql);
        let mut labels: BTreeSet<&str> = TARGET_LABELS.iter().copied().collect();
        for metric in &names.metrics {
            let foreign = FOREIGN_METRICS.iter().find(|(name, _)| name == metric);
            match series.get(metric).or(foreign.map(|(_, labels)| labels)) {
                Some(known) => labels.extend(known.iter()),
                None => findings.push(format!("{}: there is no series {metric}", expression.place)),
            }
        }
        for label in names
            .labels
            .iter()
            .filter(|label| !labels.contains(label.as_str()))
        {
            findings.push(format!(
                "{}: none of its metrics has a label {label}",
                expression.place
            ));
        }
    }
    none(
        &findings,
        "alerts and dashboards name what eidos_telemetry::catalogue lists",
    );
}

#[test]
fn every_alert_has_a_runbook_that_can_be_followed() {
    let mut findings = Vec::new();
    let index = read("docs/runbooks/README.md");
    for (alert, rule) in rules() {
        let url = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
        let Some(file) = url.strip_prefix("https://runbooks.example/") else {
            findings.push(format!(
                "{alert}: runbook_url must be https://runbooks.example/<file>.md, is '{url}'"
            ));
            continue;
        };
        let path = root().join("docs/runbooks").join(file);
        let Ok(book) = std::fs::read_to_string(&path) else {
            findings.push(format!("{alert}: docs/runbooks/{file} does not exist"));
            continue;
        };
        for part in [
            "What it means",
            "First look",
            "What to do",
            "How to verify",
            "Escalate",
        ] {
            if !book.contains(&format!("\n## {part}\n")) {
                findings.push(format!("{alert}: docs/runbooks/{file} has no section '{part}'"));
            }
        }
        if !index.contains(&format!("| {alert} | [{file}]({file}) |")) {
            findings.push(format!("{alert}: no row in docs/runbooks/README.md"));
        }
        for key in ["summary", "description"] {
            if rule["annotations"][key].as_str().unwrap_or_default().is_empty() {
                findings.push(format!("{alert}: has no {key}"));
            }
        }
        if !matches!(rule["labels"]["severity"].as_str(), Some("warning" | "critical")) {
            findings.push(format!("{alert}: severity must be warning or critical"));
        }
    }
    none(&findings, "every alert says what to do");
}

#[test]
fn every_alert_fires_in_a_rule_test() {
    let tests: String = files(format!("{CHART}/rules/tests"), "yaml")
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let untested: Vec<String> = rules()
        .into_iter()
        .map(|(alert, _)| alert)
        .filter(|alert| !tests.contains(&format!("- alertname: {alert}\n")))
        .collect();
    none(&untested, "every alert has a case in rules/tests where it fires");
}

/// The title of a panel, for a finding.
fn title(panel: &Value) -> &str {
    panel["title"].as_str().unwrap_or_default()
}

/// A panel is red for a person who has never seen it before.
#[test]
fn every_panel_explains_itself_and_has_a_place_of_its_own() {
    let mut findings = Vec::new();
    for (name, board) in dashboards() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in panels(&board) {
            let place = format!("{name}, panel {:?}", title(panel));
            if !ids.insert(panel["id"].as_i64()) {
                findings.push(format!("{place}: another panel has the id {}", panel["id"]));
            }
            let has_text = |key: &str| panel[key].as_str().is_some_and(|text| !text.is_empty());
            if panel["type"] != "row" && !has_text("description") {
                findings.push(format!("{place}: has no description"));
            }
            let side = |key: &str| panel["gridPos"][key].as_u64().expect(key);
            if side("x") + side("w") > 24 {
                findings.push(format!("{place}: ends beyond the 24 columns"));
            }
            for cell in (side("x")..side("x") + side("w"))
                .flat_map(|x| (side("y")..side("y") + side("h")).map(move |y| (x, y)))
            {
                if !taken.insert(cell) {
                    findings.push(format!("{place}: lies over another panel at {cell:?}"));
                    break;
                }
            }
        }
    }
    none(&findings, "docs/adding-a-job.md, Dashboards");
}

/// From the overview an operator reaches every dashboard, and from each of them the others.
#[test]
fn the_overview_leads_to_every_dashboard() {
    let boards = dashboards();
    let uids: BTreeSet<String> = boards
        .iter()
        .map(|(name, board)| {
            let uid = board["uid"].as_str().unwrap_or_default();
            assert_eq!(uid, format!("eidos-{}", name.trim_end_matches(".json")), "{name}");
            uid.to_owned()
        })
        .collect();
    let mut findings = Vec::new();
    let mut linked = BTreeSet::from(["eidos-overview".to_owned()]);
    for (name, board) in &boards {
        let has_tag = board["tags"]
            .as_array()
            .is_some_and(|tags| tags.contains(&"eidos".into()));
        let links = board["links"].as_array().cloned().unwrap_or_default();
        let is_to_all = |link: &Value| link["type"] == "dashboards" && link["tags"] == board["tags"];
        if !has_tag || !links.iter().any(is_to_all) {
            findings.push(format!(
                "{name}: has no link to the dashboards with the tag eidos"
            ));
        }
        for link in panels(board)
            .iter()
            .flat_map(|panel| panel["links"].as_array().into_iter().flatten())
        {
            let url = link["url"].as_str().unwrap_or_default();
            let uid = url
                .trim_start_matches("/d/")
                .split('?')
                .next()
                .unwrap_or_default();
            if !uids.contains(uid) {
                findings.push(format!("{name}: there is no dashboard for the link {url}"));
            } else if name == "overview.json" {
                linked.insert(uid.to_owned());
            }
        }
    }
    let missing = uids.difference(&linked);
    findings.extend(missing.map(|uid| format!("overview.json: no panel has a link to {uid}")));
    none(&findings, "links of dashboards");
}

/// Alerts of other suites in the same Prometheus do not count.
#[test]
fn the_overview_counts_the_alerts_of_this_suite() {
    let names: BTreeSet<String> = rules().into_iter().map(|(alert, _)| alert).collect();
    let wanted = names.into_iter().collect::<Vec<_>>().join("|");
    let (_, overview) = dashboards()
        .into_iter()
        .find(|(name, _)| name == "overview.json")
        .expect("overview.json");
    let variables = overview["templating"]["list"].as_array().expect("variables");
    let alerts = variables.iter().find(|variable| variable["name"] == "alerts");
    assert_eq!(
        alerts.and_then(|variable| variable["query"].as_str()),
        Some(wanted.as_str()),
        "the variable `alerts` of overview.json is not the list of the chart's alerts"
    );
}

/// The requirement's own four.
#[test]
fn the_required_alerts_have_the_required_severity() {
    let severities: BTreeMap<String, String> = rules()
        .into_iter()
        .map(|(alert, rule)| {
            (
                alert,
                rule["labels"]["severity"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    for (alert, severity) in [
        ("JobExecutionFailed", "warning"),
        ("JobExecutionTimeout", "warning"),
        ("ReconciliationMismatch", "critical"),
        ("JobNotExecuted", "critical"),
    ] {
        assert_eq!(
            severities.get(alert).map(String::as_str),
            Some(severity),
            "{alert}"
        );
    }
}

/// The names in `impl Job for … { const NAME: &'static str = "…"; }` of all services.
fn registered_jobs() -> Vec<String> {
    let mut jobs = Vec::new();
    for path in files("services", "rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        for block in text.split("impl Job for ").skip(1) {
            let name = block
                .split_once("const NAME: &'static str = \"")
                .and_then(|(_, rest)| rest.split_once('"'));
            let (name, _) =
                name.unwrap_or_else(|| panic!("{}: a job without a literal NAME", path.display()));
            jobs.push(name.to_owned());
        }
    }
    assert!(
        !jobs.is_empty(),
        "no job was found: this guard would pass on nothing"
    );
    jobs
}

/// The default file of a service as a value.
fn defaults(service: &eidos_settings::Declared) -> Value {
    serde_norway::from_str(service.defaults).unwrap()
}

/// The jobs that a service runs and the blocks in its defaults are the same: a job without a block is refused when the
/// service starts, and a block without a job is never run.
#[test]
fn every_job_has_a_block_in_the_defaults_of_its_service() {
    let mut blocks = BTreeSet::new();
    for service in eidos_suite::services() {
        let defaults = defaults(&service);
        blocks.extend(
            defaults["jobs"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(job, _)| job.clone()),
        );
    }
    assert_eq!(registered_jobs().into_iter().collect::<BTreeSet<_>>(), blocks);
}

/// Jobs without a schedule of their own (`enabled: false` by default) are not missed when they do not run.
fn by_hand_only(job: &str) -> bool {
    let mut services = eidos_suite::services().into_iter();
    services.any(|service| defaults(&service)["jobs"][job]["enabled"] == false)
}

#[test]
fn every_job_has_an_alert_a_dashboard_row_a_runbook_and_a_line_in_the_docs() {
    let rules = rules();
    let boards = dashboards();
    let index = read("docs/runbooks/README.md");
    let mut findings = Vec::new();
    for job in registered_jobs() {
        if !root().join(format!("docs/runbooks/{job}.md")).exists() {
            findings.push(format!("{job}: docs/runbooks/{job}.md is missing"));
        }
        if !index.contains(&format!("| `{job}` | [{job}.md]({job}.md) |")) {
            findings.push(format!(
                "{job}: the table of jobs in docs/runbooks/README.md has no row"
            ));
        }
        let absent = format!("absent(job_running{{job=\"{job}\"}})");
        if !by_hand_only(&job)
            && !rules.iter().any(|(alert, rule)| {
                alert == "JobSeriesAbsent" && rule["expr"].as_str().is_some_and(|expr| expr.contains(&absent))
            })
        {
            findings.push(format!(
                "{job}: no rules/<service>/presence.yaml has a JobSeriesAbsent with {absent}"
            ));
        }
        let is_row = |panel: &Value| panel["type"] == "row" && panel["title"] == job.as_str();
        if !boards.iter().any(|(_, board)| panels(board).iter().any(is_row)) {
            findings.push(format!("{job}: no dashboard has a row of this title"));
        }
    }
    none(
        &findings,
        "adding a job is three edits, and this list is what makes it operable (docs/adding-a-job.md)",
    );
}

#[test]
fn runbooks_name_only_runbooks_that_exist() {
    let mut findings = Vec::new();
    for path in files("docs/runbooks", "md") {
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(link, _)| link)
        {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !path.with_file_name(file).exists() {
                findings.push(format!(
                    "{}: {link}",
                    path.strip_prefix(root()).unwrap().display()
                ));
            }
        }
    }
    none(&findings, "a link in a runbook leads nowhere");
}
