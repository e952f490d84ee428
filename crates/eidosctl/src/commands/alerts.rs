//! `alerts`: what is alerting now.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use crate::Failure;
use crate::cli::{self, Format};
use crate::client::Client;
use crate::environment::Environment;
use crate::output::{self, Column, Show};

const COLUMNS: &[Column] = &[
    ("ALERT", "labels/alertname", Show::Text),
    ("SEVERITY", "labels/severity", Show::Text),
    ("STATE", "status/state", Show::Text),
    ("SINCE", "startsAt", Show::Instant),
    ("OF", "of", Show::Text),
    ("SUMMARY", "summary", Show::Brief),
];

/// Labels that are columns of their own or say where Prometheus found the series.
const NOT_OF: [&str; 7] = [
    "alertname",
    "severity",
    "namespace",
    "pod",
    "container",
    "endpoint",
    "prometheus",
];

pub(super) async fn run(
    environment: &Environment,
    options: &cli::Alerts,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    let base = environment.alertmanager.clone().ok_or_else(|| {
        Failure::Settings(format!(
            "{} names no Alertmanager; add alertmanager: URL to the profile, or give --alertmanager",
            environment.name()
        ))
    })?;
    // Alertmanager gets no token of ours.
    let client = Client::new(base, None)?;
    let mut request = client
        .get_outside(&["api", "v2", "alerts"])
        .query("silenced", Some(options.all))
        .query("inhibited", Some(options.all));
    for matcher in &options.matchers {
        request = request.query("filter", Some(matcher));
    }
    let answer = request.send().await?;
    let rows = rows(&answer);
    Ok(output::print(out, format, &answer, |out, _| {
        output::list(out, &rows.into(), COLUMNS, "nothing is alerting")
    })?)
}

/// The worst first, and of the same severity the oldest.
fn rows(answer: &Value) -> Vec<Value> {
    let mut rows: Vec<Value> = output::items(answer).iter().map(row).collect();
    let rank = |row: &Value| match row.pointer("/labels/severity").and_then(Value::as_str) {
        Some("critical") => 0,
        Some("warning") => 1,
        _ => 2,
    };
    rows.sort_by_key(|row| (rank(row), row["startsAt"].as_str().map(ToOwned::to_owned)));
    rows
}

fn row(alert: &Value) -> Value {
    let labels = alert["labels"].as_object();
    let of = labels
        .into_iter()
        .flatten()
        .filter(|(name, _)| !NOT_OF.contains(&name.as_str()));
    let of: Vec<String> = of
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let annotation = |name: &str| alert.pointer(&format!("/annotations/{name}")).cloned();
    let mut row = alert.clone();
    row["of"] = if of.is_empty() {
        Value::Null
    } else {
        json!(of.join(" "))
    };
    row["summary"] = annotation("summary")
        .or_else(|| annotation("description"))
        .unwrap_or_default();
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_and_oldest_come_first_with_what_tells_them_apart() {
        let alert = |name: &str, severity: &str, at: &str| {
            json!({ "labels": { "alertname": name, "severity": severity, "job": "reconciliation", "pod": "x-1" },
                "annotations": { "summary": "s" }, "startsAt": at, "status": { "state": "active" } })
        };
        let rows = rows(&json!([
            alert("Young", "critical", "2026-01-02T00:00:00Z"),
            alert("Mild", "warning", "2026-01-01T00:00:00Z"),
            alert("Old", "critical", "2026-01-01T00:00:00Z"),
            { "labels": { "alertname": "Bare" }, "startsAt": "2026-01-01T00:00:00Z" },
        ]));
        let names: Vec<_> = rows
            .iter()
            .map(|row| row["labels"]["alertname"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["Old", "Young", "Mild", "Bare"]);
        assert_eq!(rows[0]["of"], "job=reconciliation");
        assert_eq!(rows[3]["of"], Value::Null);
    }
}
