//! A report as one page for people and printers: nothing is loaded, nothing runs, everything is escaped.

use maud::{DOCTYPE, Markup, html};

use super::coverage::LOOK_BACK_DAYS;
use super::{Coverage, Report, Share, Subject, TokenLine, at, shown};
use crate::life::Age;
use crate::store::reports::RunRow;

const STYLE: &str = include_str!("page.css");
/// The widest bar, in percent of its cell.
const FULL_BAR: u64 = 100;

/// The page.
#[must_use]
pub fn render(report: &Report) -> String {
    let title = title(report);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.meta { (scope(report)) " · made " (shown(report.made_at)) }
                }
                (verdict(report))
                (tokens(report))
                (ages(report))
                (changes(report))
                (coverage(&report.coverage))
                (trend(&report.trend))
                (runs(report))
                footer { p { "Amounts are exact and in whole tokens; tokens are never added together. The chain's value minus the books' value is a shortfall below zero and a surplus above it." } }
            }
        }
    }
    .into_string()
}

fn title(report: &Report) -> String {
    match &report.subject {
        Subject::Run { .. } => "Reconciliation run".to_owned(),
        Subject::Period { from, until } => format!(
            "Reconciliation {} to {}",
            from.format("%Y-%m-%d %H:%M"),
            until.format("%Y-%m-%d %H:%M UTC")
        ),
    }
}

fn scope(report: &Report) -> String {
    let what = match &report.subject {
        Subject::Run { run_id } => format!("run {run_id}"),
        Subject::Period { .. } => format!(
            "{}{} runs",
            report.runs.len(),
            if report.has_more_runs { "+" } else { "" }
        ),
    };
    match &report.dimension {
        Some(dimension) => format!("{what} · {dimension}"),
        None => format!("{what} · all dimensions"),
    }
}

fn verdict(report: &Report) -> Markup {
    let seen: i64 = report.tokens.iter().map(|line| line.breaks).sum();
    let open: u64 = report.ages.iter().flat_map(|line| line.counts).sum();
    let compared: i64 = report.tokens.iter().map(|line| line.checked).sum();
    let class = if seen == 0 && open == 0 { "good" } else { "bad" };
    html! {
        section.figures {
            div.figure { span.number { (grouped(compared)) } span { "comparisons" } }
            div class={ "figure " (class) } { span.number { (grouped(seen)) } span { "breaks seen" } }
            div class={ "figure " (class) } { span.number { (open) } span { "unresolved now" } }
        }
    }
}

/// `1234567` as `1 234 567`.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len() - place;
        if place > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

/// Lines that say something: a token that nothing was compared of is left out.
fn is_told(line: &TokenLine) -> bool {
    line.checked > 0 || line.breaks > 0 || line.dust_entries > 0
}

fn tokens(report: &Report) -> Markup {
    let silent = report.tokens.iter().filter(|line| !is_told(line)).count();
    html! {
        section {
            h2 { "By token" }
            @if report.tokens.is_empty() { p.none { "No run ended in this period: nothing was compared, which is not the same as no break." } }
            @else {
                table {
                    thead { tr {
                        th { "Dimension" } th { "Token" } th.n { "Compared" } th.n { "Equal" } th.n { "Breaks" }
                        th.n { "Chain lacks" } th.n { "Chain has more" } th.n { "Ignored dust" }
                    } }
                    tbody { @for line in report.tokens.iter().filter(|line| is_told(line)) {
                        tr.bad[line.breaks > 0] {
                            td { (line.dimension) } td { (line.token) }
                            td.n { (grouped(line.checked)) } td.n { (grouped(line.matched)) } td.n { (line.breaks) }
                            td.n { (sized(&line.shortfall)) } td.n { (sized(&line.surplus)) }
                            td.n { (line.dust) @if line.dust_entries > 0 { " (" (line.dust_entries) ")" } }
                        }
                    } }
                }
                @if silent > 0 { p.none { (silent) " tokens of dimensions had nothing to compare; they are in the JSON and CSV." } }
            }
        }
    }
}

/// A sum; empty: one of the differences is not an amount.
fn sized(sum: &str) -> &str {
    if sum.is_empty() { "beyond amounts" } else { sum }
}

fn ages(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Unresolved breaks by age" }
            @if report.ages.is_empty() { p.none { "None." } }
            @else {
                table {
                    thead { tr {
                        th { "Dimension" } th { "Severity" }
                        @for age in Age::ALL { th.n { (bucket(age)) } }
                        th { "Oldest since" }
                    } }
                    tbody { @for line in &report.ages {
                        tr {
                            td { (line.dimension) } td { span class={ "tag " (line.severity) } { (line.severity) } }
                            @for count in line.counts { td.n { (count) } }
                            td { (shown(line.oldest)) }
                        }
                    } }
                }
            }
        }
    }
}

const fn bucket(age: Age) -> &'static str {
    match age {
        Age::Hour => "< 1 h",
        Age::Day => "< 24 h",
        Age::Week => "< 7 d",
        Age::Older => "≥ 7 d",
    }
}

fn changes(report: &Report) -> Markup {
    html! {
        @if matches!(report.subject, Subject::Period { .. }) {
            section {
                h2 { "Opened and ended in the period" }
                @if report.changes.is_empty() { p.none { "None." } }
                @else {
                    table {
                        thead { tr { th { "Dimension" } th { "Severity" } th.n { "Opened" } th.n { "Ended" } } }
                        tbody { @for line in &report.changes {
                            tr {
                                td { (line.dimension) } td { span class={ "tag " (line.severity) } { (line.severity) } }
                                td.n { (line.opened) } td.n { (line.ended) }
                            }
                        } }
                    }
                }
            }
        }
    }
}

fn coverage(lines: &[Coverage]) -> Markup {
    let instant = |at: Option<chrono::DateTime<chrono::Utc>>| {
        at.map_or_else(|| format!("not in {LOOK_BACK_DAYS} days"), shown)
    };
    html! {
        section {
            h2 { "Coverage: accounts proved lately" }
            @if lines.is_empty() { p.none { "No run has ended in the last " (LOOK_BACK_DAYS) " days." } }
            @else {
                table {
                    thead { tr { th { "Dimension" } th { "Last 24 h" } th { "Last 7 d" } th { "Last full run" } th { "Last clean run" } } }
                    tbody { @for line in lines {
                        tr {
                            td { (line.dimension) } td { (share(line.day)) } td { (share(line.week)) }
                            td { (instant(line.last_full)) } td { (instant(line.last_clean)) }
                        }
                    } }
                }
            }
        }
    }
}

fn share(share: Share) -> Markup {
    let width = share.basis_points().unwrap_or_default() / 100;
    html! {
        div.bar { span style={ "width:" (width) "%" } {} }
        (share.percent()) span.of { " (" (share.part) " of " (share.whole) ")" }
    }
}

fn trend(runs: &[RunRow]) -> Markup {
    let most = runs.iter().map(|run| run.breaks).max().unwrap_or_default().max(1);
    let width = |breaks: i64| breaks.unsigned_abs() * FULL_BAR / most.unsigned_abs();
    html! {
        section {
            h2 { "Trend: the newest runs" }
            @if runs.is_empty() { p.none { "No run has ended yet." } }
            @else {
                table.trend {
                    thead { tr { th { "Ended" } th { "Dimension" } th { "Mode" } th.n { "Compared" } th.n { "Breaks" } th.wide { "" } } }
                    tbody { @for run in runs {
                        tr {
                            td { (at(run.at_ms)) } td { (run.dimension) } td { (run.mode) }
                            td.n { (grouped(run.checked)) } td.n { (run.breaks) }
                            td { div.bar.breaks { span style={ "width:" (width(run.breaks)) "%" } {} } }
                        }
                    } }
                }
            }
        }
    }
}

fn runs(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Runs of this report" }
            table {
                thead { tr {
                    th { "Run" } th { "Dimension" } th { "Mode" } th { "Ended" } th.n { "Block" } th.n { "Compared" } th.n { "Undecided" } th.n { "Breaks" }
                } }
                tbody { @for run in &report.runs {
                    tr {
                        td.id { (run.run_id) } td { (run.dimension) } td { (run.mode) } td { (at(run.at_ms)) }
                        td.n { (run.block.map(|block| block.to_string()).unwrap_or_default()) }
                        td.n { (grouped(run.checked)) } td.n { (run.undecided) } td.n { (run.breaks) }
                    }
                } }
            }
            @if report.has_more_runs { p.none { "Only the newest " (report.runs.len()) " runs are listed; the sums above are of all." } }
        }
    }
}
