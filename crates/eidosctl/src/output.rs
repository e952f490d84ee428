//! Answers as tables for people or as JSON for scripts.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::cli::Format;

/// How a field's value is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Show {
    /// As it is.
    Text,
    /// Epoch milliseconds, or RFC 3339 text, as a UTC instant.
    Instant,
    /// Milliseconds as `1m 2s`.
    DurationMs,
    /// Text that may be long: its first line, cut.
    Brief,
}

/// One column of a table (or line of a record): its title, the field (a JSON pointer without the first slash) and
/// how to show it.
pub(crate) type Column = (&'static str, &'static str, Show);

/// Prints the service's answer unchanged, or lets `human` show it.
pub(crate) fn print(
    out: &mut dyn Write,
    format: Format,
    answer: &Value,
    human: impl FnOnce(&mut dyn Write, &Value) -> io::Result<()>,
) -> io::Result<()> {
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, answer)?;
            writeln!(out)
        }
        Format::Table => human(out, answer),
    }
}

/// A list as a table, with a line when it is empty and one when there is more.
pub(crate) fn list(out: &mut dyn Write, answer: &Value, columns: &[Column], nothing: &str) -> io::Result<()> {
    let rows = items(answer);
    if rows.is_empty() {
        return writeln!(out, "{nothing}");
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns.iter().map(|(title, ..)| *title));
    for row in rows {
        table.add_row(
            columns
                .iter()
                .map(|(_, field, show)| field_text(row, field, *show)),
        );
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    if answer.pointer("/pagination/has_next") == Some(&Value::Bool(true)) {
        writeln!(out, "... there are more; raise --limit")?;
    }
    Ok(())
}

/// One object as lines `name: value`; fields without a value are left out.
pub(crate) fn record(out: &mut dyn Write, answer: &Value, fields: &[Column]) -> io::Result<()> {
    let width = fields
        .iter()
        .map(|(title, ..)| title.len())
        .max()
        .unwrap_or_default();
    for (title, field, show) in fields {
        let text = field_text(answer, field, *show);
        if text != "-" {
            writeln!(out, "{title:<width$}  {text}")?;
        }
    }
    Ok(())
}

/// A value of any shape, indented under a heading.
pub(crate) fn block(out: &mut dyn Write, heading: &str, value: Option<&Value>) -> io::Result<()> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(());
    };
    writeln!(out, "\n{heading}")?;
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None => serde_json::to_string_pretty(value)?,
    };
    for line in text.lines() {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// The rows of a list answer: the answer itself, or the one list inside it (beside its pagination).
pub(crate) fn items(answer: &Value) -> &[Value] {
    let inside = || answer.as_object()?.values().find_map(Value::as_array);
    answer
        .as_array()
        .or_else(inside)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// A field as text; `-` when it is absent or null.
pub(crate) fn field_text(row: &Value, field: &str, show: Show) -> String {
    let value = row.pointer(&format!("/{field}")).unwrap_or(&Value::Null);
    match (show, value) {
        (_, Value::Null) => "-".to_owned(),
        (_, Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        (Show::Instant, value) => instant(value),
        (Show::DurationMs, value) => value.as_u64().map_or_else(
            || plain(value),
            |ms| humantime::format_duration(std::time::Duration::from_millis(ms)).to_string(),
        ),
        (Show::Brief, value) => brief(&plain(value)),
        (Show::Text, value) => plain(value),
    }
}

fn instant(value: &Value) -> String {
    let parsed = match value.as_i64() {
        Some(ms) => DateTime::<Utc>::from_timestamp_millis(ms),
        None => value.as_str().and_then(|text| text.parse().ok()),
    };
    parsed.map_or_else(
        || plain(value),
        |at| at.to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn brief(text: &str) -> String {
    const LONGEST: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > LONGEST || text.lines().nth(1).is_some() {
        line.chars().take(LONGEST - 1).chain(['…']).collect()
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_aligned_and_says_when_there_is_more() {
        let answer = json!({ "executions": [
            { "job": "reconciliation", "at": 1_767_225_600_000_i64, "took": 61_000, "error": null, "paused": true },
            { "job": "x", "at": "2026-01-01T00:00:01Z", "took": null, "error": "first\nsecond", "paused": false },
        ], "pagination": { "has_next": true } });
        let columns: &[Column] = &[
            ("JOB", "job", Show::Text),
            ("AT", "at", Show::Instant),
            ("TOOK", "took", Show::DurationMs),
            ("PAUSED", "paused", Show::Text),
            ("ERROR", "error", Show::Brief),
        ];
        let mut out = Vec::new();
        list(&mut out, &answer, columns, "none").unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1],
            ["reconciliation", "2026-01-01T00:00:00Z", "1m", "1s", "yes", "-"]
        );
        assert_eq!(lines[2], ["x", "2026-01-01T00:00:01Z", "-", "no", "first…"]);
        assert!(text.ends_with("raise --limit\n"), "{text}");
    }

    #[test]
    fn an_empty_list_says_so() {
        let mut out = Vec::new();
        list(
            &mut out,
            &json!([]),
            &[("JOB", "job", Show::Text)],
            "no executions",
        )
        .unwrap();
        assert_eq!(out, b"no executions\n");
    }
}
