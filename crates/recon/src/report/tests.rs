//! Reports without a database: hostile texts, sums and shares.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::coverage::{Share, of_runs};
use super::{AgeLine, Report, Subject, TokenLine, csv, page};
use crate::store::reports::{RecordRow, RunRow};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_770_000_000, 0).unwrap()
}

fn run(dimension: &str, mode: &str, hours_ago: i64, checked: i64, undecided: i64, breaks: i64) -> RunRow {
    RunRow {
        id: hours_ago,
        run_id: Uuid::from_u128(u128::try_from(hours_ago).unwrap()),
        dimension: dimension.into(),
        mode: mode.into(),
        at_ms: (now() - TimeDelta::hours(hours_ago)).timestamp_millis(),
        block: Some(7),
        checked,
        matched: checked - breaks,
        undecided,
        breaks,
    }
}

fn report(text: &str) -> Report {
    let line = TokenLine {
        dimension: text.into(),
        token: text.into(),
        checked: 1_234_567,
        matched: 1,
        breaks: 2,
        shortfall: String::new(),
        surplus: "123456789012345678901234567890.000000000000000001".into(),
        dust_entries: 3,
        dust: "0.001".into(),
    };
    let age = AgeLine {
        dimension: text.into(),
        severity: text.into(),
        counts: [1, 0, 0, 2],
        oldest: now(),
    };
    let runs = vec![RunRow {
        dimension: text.into(),
        mode: text.into(),
        ..run("", "", 1, 10, 0, 2)
    }];
    Report {
        subject: Subject::Period {
            from: now(),
            until: now(),
        },
        dimension: Some(text.into()),
        made_at: now(),
        coverage: of_runs(&runs, now()),
        trend: runs.clone(),
        runs,
        has_more_runs: true,
        tokens: vec![line],
        ages: vec![age],
        changes: Vec::new(),
    }
}

#[test]
fn the_page_is_self_contained_and_escapes_everything() {
    let hostile = "<script src='//evil.example/x.js'>alert(1)</script>\" onload=\"x";
    let page = page::render(&report(hostile));
    assert!(page.contains("&lt;script src="), "{page}");
    for forbidden in [
        "<script",
        "http:",
        "https:",
        "<link",
        "<img",
        "@import",
        "url(",
        " onload=\"x\"",
    ] {
        assert!(!page.contains(forbidden), "{forbidden} in {page}");
    }
    assert!(
        page.contains("123456789012345678901234567890.000000000000000001"),
        "money is exact"
    );
    assert!(page.contains("beyond amounts"), "an unknown sum is not zero");
    assert!(page.contains("1\u{2009}234\u{2009}567"));
}

#[test]
fn nothing_compared_is_not_told_as_no_break() {
    let empty = Report {
        tokens: Vec::new(),
        ages: Vec::new(),
        runs: Vec::new(),
        ..report("x")
    };
    assert!(page::render(&empty).contains("not the same as no break"));
}

#[test]
fn no_cell_of_a_spreadsheet_runs() {
    let formula = "=HYPERLINK(\"http://evil.example\")";
    let text = csv::report(&report(formula)).unwrap();
    assert!(
        text.contains("\"'=HYPERLINK(\"\"http://evil.example\"\")\""),
        "{text}"
    );
    for cell in [
        "=1", "+1", "-x", "-1-1", "@SUM(A1)", "\tx", "\rx", "-", "-.5", "1e5=", "-1e5",
    ] {
        let safe = csv::safe(cell);
        let runs = safe.starts_with(['=', '+', '-', '@', '\t', '\r']);
        assert!(!runs, "{cell:?} became {safe:?}");
    }
    for number in [
        "-1",
        "0",
        "-0.000000000000000001",
        "123456789012345678901234567890.5",
    ] {
        assert_eq!(csv::safe(number), number, "a number stays one");
    }
}

#[test]
fn records_are_read_back_as_they_were() {
    let record = RecordRow {
        id: 5,
        run_id: Uuid::nil(),
        dimension: "balance".into(),
        mode: "full".into(),
        status: "mismatched".into(),
        subject: "a,\"b\"\nc".into(),
        wallet: String::new(),
        token: "USDC".into(),
        kind: "shortfall".into(),
        books: "10".into(),
        chain: "7.5".into(),
        diff: "-2.5".into(),
        break_id: None,
        block: None,
        at_ms: 0,
    };
    let text = csv::records(&[record]).unwrap();
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let row = reader.records().next().unwrap().unwrap();
    assert_eq!((&row[5], &row[11], &row[12]), ("a,\"b\"\nc", "-2.5", ""));
}

#[test]
fn coverage_is_what_one_run_decided_of_what_the_newest_full_run_compared() {
    let runs = [
        run("balance", "incremental", 1, 40, 0, 0),
        run("deposit", "full", 2, 0, 0, 0),
        run("balance", "incremental", 3, 90, 60, 0),
        run("balance", "full", 30, 100, 1, 1),
        run("balance", "full", 200, 500, 0, 0),
    ];
    let found = of_runs(&runs, now());
    let balance = &found[0];
    assert_eq!(
        (balance.day, balance.week),
        (Share { part: 40, whole: 100 }, Share { part: 99, whole: 100 })
    );
    assert_eq!(balance.last_clean.unwrap(), now() - TimeDelta::hours(1));
    assert_eq!(balance.last_full.unwrap(), now() - TimeDelta::hours(30));
    assert_eq!(found[1].day.percent(), "-", "of nothing there is no share");
    let undecided = of_runs(&runs[2..3], now());
    assert_eq!((undecided[0].last_clean, undecided[0].last_full), (None, None));
    assert_eq!(
        Share {
            part: 99_999_999,
            whole: 100_000_000
        }
        .percent(),
        "99.99 %",
        "only all of it is 100 %"
    );
}

proptest! {
    #[test]
    fn no_text_breaks_the_page_or_the_table(text in "\\PC{0,40}") {
        let page = page::render(&report(&text));
        prop_assert_eq!(page.matches("<table").count(), page.matches("</table>").count());
        let table = csv::report(&report(&text)).unwrap();
        let mut reader = ::csv::ReaderBuilder::new().flexible(true).from_reader(table.as_bytes());
        for row in reader.records() {
            for cell in &row.unwrap() {
                prop_assert!(csv::safe(cell) == cell, "{cell}");
            }
        }
    }
}
