//! Answers as tables for people or as JSON for scripts.

use std::io::{self, IsTerminal as _, Write};

use anstyle::{AnsiColor, Style};
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
    /// An exact decimal number, without the zeros at its end.
    Amount,
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

/// The columns that are left out when the terminal is too narrow, the least useful first. JSON and a single record always
/// have everything.
const DISPENSABLE: [&str; 16] = [
    "URL",
    "VERSION",
    "DIMENSION",
    "DIRECTION",
    "FIRST SEEN",
    "TRIGGER",
    "BOOKS",
    "CHAIN",
    "ASSIGNEE",
    "AGE",
    "ENABLED",
    "LAST SLOT",
    "LAST SEEN",
    "STARTED",
    "PAUSED BY",
    "NEXT SLOT",
];
/// Narrower terminals are treated as this wide.
const NARROWEST: usize = 80;
/// Wider lines are hard to read.
const WIDEST: usize = 200;

/// Returns the width of standard output: `COLUMNS`, else that of the terminal, from 80 to 200 columns. `None`: it has
/// neither.
pub(crate) fn terminal_width() -> Option<usize> {
    let of_environment = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let of_terminal = || {
        let (width, _height) = terminal_size::terminal_size_of(std::io::stdout())?;
        Some(usize::from(width.0))
    };
    of_environment
        .or_else(of_terminal)
        .map(|width| width.clamp(NARROWEST, WIDEST))
}

/// Where tables are printed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    /// In columns. `None`: nothing limits it.
    pub(crate) width: Option<usize>,
    /// Whether states are coloured.
    pub(crate) has_colours: bool,
}

impl Screen {
    /// Returns what standard output is. Colours are for a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    pub(crate) fn of_stdout() -> Self {
        let is_set = |variable: &str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            width: terminal_width(),
            has_colours: is_terminal() && !is_set("NO_COLOR") && !is_dumb,
        }
    }
}

/// Checks whether a person reads along.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// The columns whose words have a colour.
const COLOURED: [&str; 3] = ["STATE", "STATUS", "SEVERITY"];

/// Returns the colour of a state's word.
fn colour_of(word: &str) -> Option<Style> {
    let colour = match word {
        "ready" | "success" => AnsiColor::Green,
        "running" | "pending" => AnsiColor::Cyan,
        "skipped" | "warning" | "suppressed" => AnsiColor::Yellow,
        "not ready" | "unreachable" | "jobs unknown" | "failed" | "critical" => AnsiColor::Red,
        _ => return None,
    };
    Some(colour.on_default())
}

/// Prints a list as a table, with a line when it is empty and one when there is more.
pub(crate) fn list(out: &mut dyn Write, answer: &Value, columns: &[Column], nothing: &str) -> io::Result<()> {
    list_within(out, answer, columns, nothing, Screen::of_stdout())
}

fn list_within(
    out: &mut dyn Write,
    answer: &Value,
    columns: &[Column],
    nothing: &str,
    screen: Screen,
) -> io::Result<()> {
    let width = screen.width;
    let rows = items(answer);
    if rows.is_empty() {
        return writeln!(out, "{nothing}");
    }
    let (columns, left_out) = fitting(rows, columns, width);
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns.iter().map(|(title, ..)| *title));
    if let Some(width) = width.and_then(|width| u16::try_from(width).ok()) {
        // What is still too wide is broken inside its cells.
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    let is_narrow = width.is_some_and(|width| width_of(rows, &columns) > width);
    for row in rows {
        table.add_row(columns.iter().map(|(_, field, show)| {
            let text = field_text(row, field, *show);
            if is_narrow { ends_of_address(text) } else { text }
        }));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let spans = if screen.has_colours {
        coloured_spans(&lines, &columns)
    } else {
        Vec::new()
    };
    for line in &lines {
        writeln!(out, "{}", painted(line, &spans))?;
    }
    if !left_out.is_empty() {
        let titles = left_out.join(", ").to_lowercase();
        let note = format!("... not shown for want of width: {titles} (--format json has everything)");
        for line in wrapped(&note, width.unwrap_or(usize::MAX)) {
            writeln!(out, "{line}")?;
        }
    }
    if answer.pointer("/pagination/has_next") == Some(&Value::Bool(true)) {
        writeln!(out, "... there are more; raise --limit")?;
    }
    Ok(())
}

/// Returns where the cells of the coloured columns are in each line, in characters: from the first of their title to the
/// first of the next one.
fn coloured_spans(lines: &[String], columns: &[Column]) -> Vec<(usize, usize)> {
    let header = lines.first().map(String::as_str).unwrap_or_default();
    let mut starts = Vec::new();
    let mut from = 0;
    for (title, ..) in columns {
        let found = header.get(from..).and_then(|rest| rest.find(title));
        let Some(start) = found.map(|offset| from + offset) else {
            // A title that is broken over two lines: what follows it cannot be told apart.
            return Vec::new();
        };
        starts.push((*title, start));
        from = start + title.len();
    }
    let ends = starts.iter().skip(1).map(|(_, start)| *start).chain([usize::MAX]);
    let coloured = starts
        .iter()
        .zip(ends)
        .filter(|((title, _), _)| COLOURED.contains(title));
    coloured.map(|((_, start), end)| (*start, end)).collect()
}

/// Returns the line with the words of the spans in their colours.
fn painted(line: &str, spans: &[(usize, usize)]) -> String {
    let characters: Vec<char> = line.chars().collect();
    let mut painted = String::with_capacity(line.len());
    let mut done = 0;
    for (start, end) in spans {
        let cell = characters
            .get(*start..(*end).min(characters.len()))
            .unwrap_or_default();
        let text: String = cell.iter().collect();
        let Some(style) = colour_of(text.trim()) else {
            continue;
        };
        painted.extend(&characters[done..*start]);
        painted.extend([
            style.render().to_string(),
            text.trim_end().to_owned(),
            style.render_reset().to_string(),
        ]);
        done = start + text.trim_end().chars().count();
    }
    painted.extend(characters.get(done..).unwrap_or_default());
    painted
}

/// Returns the width of a table that breaks no cell: one space on either side of each.
fn width_of(rows: &[Value], columns: &[Column]) -> usize {
    let of_column = |(title, field, show): &Column| {
        let cells = rows
            .iter()
            .map(|row| field_text(row, field, *show).chars().count());
        cells.max().unwrap_or_default().max(title.len()) + 2
    };
    columns.iter().map(of_column).sum()
}

/// `0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed` as `0x5aaeb6…1beaed`; other text as it is.
fn ends_of_address(text: String) -> String {
    let is_address = text.len() == 42
        && text
            .strip_prefix("0x")
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_address {
        format!("{}…{}", &text[..8], &text[36..])
    } else {
        text
    }
}

/// Returns the columns that fit into `width`, and the titles of those that were left out.
fn fitting(rows: &[Value], columns: &[Column], width: Option<usize>) -> (Vec<Column>, Vec<&'static str>) {
    let (mut kept, mut left_out) = (columns.to_vec(), Vec::new());
    let Some(width) = width else {
        return (kept, left_out);
    };
    for title in DISPENSABLE {
        if width_of(rows, &kept) <= width {
            break;
        }
        let before = kept.len();
        kept.retain(|(known, ..)| *known != title);
        if kept.len() < before {
            left_out.push(title);
        }
    }
    (kept, left_out)
}

/// Prints one object as lines `name: value`; fields without a value are left out.
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

/// Prints a value of any shape, indented under a heading. `None`: nothing.
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

/// Returns the rows of a list answer: the answer itself, or the one list inside it (beside its pagination).
pub(crate) fn items(answer: &Value) -> &[Value] {
    let inside = || answer.as_object()?.values().find_map(Value::as_array);
    answer
        .as_array()
        .or_else(inside)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Returns a field as text; `-` when it is absent or null.
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
        (Show::Amount, value) => without_zeros(&plain(value)).to_owned(),
        (Show::Text, value) => plain(value),
    }
}

fn instant(value: &Value) -> String {
    let parsed = match value.as_i64() {
        Some(ms) => DateTime::<Utc>::from_timestamp_millis(ms),
        None => value.as_str().and_then(|text| text.parse().ok()),
    };
    parsed.map_or_else(|| plain(value), instant_text)
}

/// `2026-01-01T00:00:00Z`
pub(crate) fn instant_text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// `12.500000` as `12.5`, `3.000` as `3`. What is not a decimal number stays as it is.
fn without_zeros(text: &str) -> &str {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_decimal = digits.split_once('.').is_some_and(|(whole, fraction)| {
        [whole, fraction]
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    });
    if is_decimal {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
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

/// Lines of whole words of at most `width` characters; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
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
    fn a_table_fits_80_to_200_columns_and_says_what_it_leaves_out() {
        let row = |token: &str| {
            json!({
                "id": "0199f5a0-0000-7000-8000-000000000001", "severity": "critical", "direction": "shortfall",
                "wallet": "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "token": token, "diff": "-100.500000000000000000",
                "first": "2026-01-01T00:00:00Z", "books": "123456789.000000000000000000", "cause": "no price",
            })
        };
        let columns: &[Column] = &[
            ("BREAK", "id", Show::Text),
            ("SEVERITY", "severity", Show::Text),
            ("DIRECTION", "direction", Show::Text),
            ("WALLET", "wallet", Show::Text),
            ("TOKEN", "token", Show::Text),
            ("BOOKS", "books", Show::Amount),
            ("DIFFERENCE", "diff", Show::Amount),
            ("FIRST SEEN", "first", Show::Instant),
            ("CAUSE", "cause", Show::Text),
        ];
        let answer = json!([row("USDC"), row("WBTC")]);
        for width in [80, 100, 120, 160, 200] {
            let mut out = Vec::new();
            let screen = Screen {
                width: Some(width),
                has_colours: false,
            };
            list_within(&mut out, &answer, columns, "none", screen).unwrap();
            let text = String::from_utf8(out).unwrap();
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}\n{text}");
            }
            assert!(text.contains("-100.5") && !text.contains("-100.50"), "{text}");
            assert_eq!(text.contains("not shown"), width < 200, "{width}: {text}");
        }
    }

    #[test]
    fn colours_change_states_and_nothing_else() {
        let answer = json!([
            { "service": "recon-svc", "state": "not ready", "why": "failing: postgres" },
            { "service": "failed", "state": "ready", "why": "-" },
        ]);
        let columns: &[Column] = &[
            ("SERVICE", "service", Show::Text),
            ("STATE", "state", Show::Text),
            ("WHY", "why", Show::Text),
        ];
        let printed = |has_colours| {
            let mut out = Vec::new();
            list_within(
                &mut out,
                &answer,
                columns,
                "none",
                Screen {
                    width: None,
                    has_colours,
                },
            )
            .unwrap();
            String::from_utf8(out).unwrap()
        };
        let (plain, coloured) = (printed(false), printed(true));
        assert!(!plain.contains('\x1b'), "{plain}");
        assert!(coloured.contains("\x1b[31mnot ready\x1b[0m"), "{coloured:?}");
        assert!(coloured.contains("\x1b[32mready\x1b[0m"), "{coloured:?}");
        assert!(coloured.contains(" failed "), "{coloured:?}");
        let without = coloured
            .replace("\x1b[31m", "")
            .replace("\x1b[32m", "")
            .replace("\x1b[0m", "");
        assert_eq!(without, plain);
    }

    #[test]
    fn amounts_have_no_zeros_at_their_end() {
        for (text, shown) in [
            ("12.500000000000000000", "12.5"),
            ("-3.000", "-3"),
            ("0.000000000000000000", "0"),
            ("100", "100"),
            ("1e10", "1e10"),
            ("1.2.0", "1.2.0"),
            ("-", "-"),
        ] {
            assert_eq!(without_zeros(text), shown);
        }
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
