//! What `check-config` prints: every key with its effective value and where it was written, secrets masked.

use std::fmt::Write as _;

use serde_json::Value;

use crate::load::origin_of;
use crate::{Effective, ServiceSettings, secret};

/// One line per key: path, value, source. Secrets are masked by their type, and once more by their name.
pub fn render<T: ServiceSettings>(effective: &Effective<T>) -> String {
    let mut leaves = Vec::new();
    for part in [
        serde_json::to_value(&effective.suite),
        serde_json::to_value(&effective.service),
    ] {
        match part {
            Ok(value) => flatten(String::new(), &value, &mut leaves),
            Err(error) => leaves.push(("(a section)".to_owned(), format!("cannot be shown: {error}"))),
        }
    }
    let borrowed = effective.suite.borrowed.iter();
    leaves.extend(borrowed.map(|(key, text)| ((*key).to_owned(), secret::shown(key, text))));
    let rows: Vec<(String, String, String)> = leaves
        .into_iter()
        .map(|(key, value)| {
            let key = written_key(key);
            let origin = origin_of(&effective.origins, &key).to_string();
            (key, value, origin)
        })
        .collect();
    let widest = |column: fn(&(String, String, String)) -> &String| {
        rows.iter()
            .map(|row| column(row).chars().count())
            .max()
            .unwrap_or_default()
    };
    // A long value pushes its own source aside, not everybody's.
    let (keys, values) = (widest(|row| &row.0), widest(|row| &row.1).min(40));
    let mut page = String::new();
    for (key, value, origin) in &rows {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{key:keys$}  {value:values$}  {origin}");
    }
    page
}

/// A job's own keys are written beside its common ones.
fn written_key(key: String) -> String {
    let steps: Vec<&str> = key.split('.').collect();
    match steps.as_slice() {
        ["jobs", job, "options", rest @ ..] if !rest.is_empty() => format!("jobs.{job}.{}", rest.join(".")),
        _ => key,
    }
}

fn flatten(key: String, value: &Value, leaves: &mut Vec<(String, String)>) {
    let below = |step: &str| {
        if key.is_empty() {
            step.to_owned()
        } else {
            format!("{key}.{step}")
        }
    };
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (step, entry) in entries {
                flatten(below(step), entry, leaves);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, item) in items.iter().enumerate() {
                flatten(below(&index.to_string()), item, leaves);
            }
        }
        Value::Object(_) => {
            // No keys of its own and no section: nothing to show.
            if !key.is_empty() && !key.ends_with(".options") {
                leaves.push((key, "{}".to_owned()));
            }
        }
        Value::Array(items) => {
            let shown: Vec<String> = items.iter().map(|item| shown(&key, item)).collect();
            leaves.push((key, format!("[{}]", shown.join(", "))));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let text = shown(&key, value);
            leaves.push((key, text));
        }
    }
}

fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::Null => "(unset)".to_owned(),
        Value::String(text) => secret::shown(key, text),
        // A number below a secret's name is a secret, too; true and false are not.
        Value::Number(number) => secret::shown(key, &number.to_string()),
        other => other.to_string(),
    }
}
