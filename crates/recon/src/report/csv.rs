//! Reports as CSV (RFC 4180) that is safe to open in a spreadsheet.
//!
//! A cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return may be run as a formula. Cells that are plain numbers
//! are written as they are; any other such cell gets an apostrophe in front.

use std::borrow::Cow;

use csv::Writer;

pub use csv::Error;

use super::{Report, at, shown};
use crate::life::Age;
use crate::store::reports::RecordRow;

/// A cell as it is safe.
#[must_use]
pub fn safe(cell: &str) -> Cow<'_, str> {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number(cell);
    if is_formula {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

/// True for digits with at most one point, after at most one minus.
fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let mut parts = digits.splitn(2, '.');
    parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A writer of rows with any number of cells.
struct Rows(Writer<Vec<u8>>);

impl Rows {
    fn new() -> Self {
        Self(
            csv::WriterBuilder::new()
                .flexible(true)
                .terminator(csv::Terminator::CRLF)
                .from_writer(Vec::new()),
        )
    }

    fn row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let cells: Vec<Cow<'_, str>> = cells.into_iter().map(safe).collect();
        self.0.write_record(cells.iter().map(|cell| cell.as_bytes()))
    }

    /// A row of names with a space between them.
    fn head(&mut self, names: &str) -> Result<(), Error> {
        self.row(names.split(' '))
    }

    fn text(self) -> Result<String, Error> {
        let bytes = self.0.into_inner().map_err(csv::IntoInnerError::into_error)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The tables of a report, one below the other; the first cell of a row names its table.
///
/// # Errors
/// None that memory does not give.
pub fn report(report: &Report) -> Result<String, Error> {
    let mut rows = Rows::new();
    tokens(&mut rows, report)?;
    breaks(&mut rows, report)?;
    coverage(&mut rows, report)?;
    runs(&mut rows, report)?;
    rows.text()
}

fn tokens(rows: &mut Rows, report: &Report) -> Result<(), Error> {
    rows.head("table dimension token checked matched breaks shortfall surplus dust_entries dust")?;
    for line in &report.tokens {
        let counts = [line.checked, line.matched, line.breaks].map(|count| count.to_string());
        let dust_entries = line.dust_entries.to_string();
        let head = ["token", &line.dimension, &line.token];
        let sums = [&line.shortfall, &line.surplus, &dust_entries, &line.dust];
        let figures = counts.iter().chain(sums).map(String::as_str);
        rows.row(head.into_iter().chain(figures))?;
    }
    Ok(())
}

fn breaks(rows: &mut Rows, report: &Report) -> Result<(), Error> {
    let buckets = Age::ALL.map(Age::as_str).join(" ");
    rows.head(&format!("table dimension severity {buckets} oldest"))?;
    for line in &report.ages {
        let counts = line.counts.map(|count| count.to_string());
        let oldest = shown(line.oldest);
        let head = ["age", &line.dimension, &line.severity];
        let counts = counts.iter().map(String::as_str);
        rows.row(head.into_iter().chain(counts).chain([oldest.as_str()]))?;
    }
    rows.head("table dimension severity opened ended")?;
    for line in &report.changes {
        let (opened, ended) = (line.opened.to_string(), line.ended.to_string());
        rows.row(["change", &line.dimension, &line.severity, &opened, &ended])?;
    }
    Ok(())
}

fn coverage(rows: &mut Rows, report: &Report) -> Result<(), Error> {
    rows.head("table dimension proved_24h proved_7d accounts last_full last_clean")?;
    for line in &report.coverage {
        let shares = [line.day.part, line.week.part, line.day.whole].map(|count| count.to_string());
        let ends = [line.last_full, line.last_clean].map(|at| at.map(shown).unwrap_or_default());
        let cells = shares.iter().chain(&ends).map(String::as_str);
        rows.row(["coverage", &line.dimension].into_iter().chain(cells))?;
    }
    Ok(())
}

fn runs(rows: &mut Rows, report: &Report) -> Result<(), Error> {
    rows.head("table run dimension mode ended block checked matched undecided breaks")?;
    for run in &report.runs {
        let counts = [run.checked, run.matched, run.undecided, run.breaks].map(|count| count.to_string());
        let block = run.block.map(|block| block.to_string()).unwrap_or_default();
        let (id, at) = (run.run_id.to_string(), at(run.at_ms));
        let head = ["run", &id, &run.dimension, &run.mode, &at, &block];
        rows.row(head.into_iter().chain(counts.iter().map(String::as_str)))?;
    }
    Ok(())
}

/// Records, one a row.
///
/// # Errors
/// None that memory does not give.
pub fn records(records: &[RecordRow]) -> Result<String, Error> {
    let mut rows = Rows::new();
    rows.row([
        "id",
        "run",
        "dimension",
        "mode",
        "status",
        "subject",
        "wallet",
        "token",
        "kind",
        "books",
        "chain",
        "difference",
        "break",
        "block",
        "at",
    ])?;
    for record in records {
        let (id, run, at) = (record.id.to_string(), record.run_id.to_string(), at(record.at_ms));
        let found = record.break_id.map(|id| id.to_string()).unwrap_or_default();
        let block = record.block.map(|block| block.to_string()).unwrap_or_default();
        rows.row([
            id.as_str(),
            &run,
            &record.dimension,
            &record.mode,
            &record.status,
            &record.subject,
            &record.wallet,
            &record.token,
            &record.kind,
            &record.books,
            &record.chain,
            &record.diff,
            &found,
            &block,
            &at,
        ])?;
    }
    rows.text()
}
