//! What a run did, in the words of its report or of the audit.

use std::collections::BTreeMap;

use serde_json::Value;

/// The line of a report. `None`: the report does not say it; the audit does.
pub(super) fn what_it_did(job: &str, is_dry: bool, report: &Value) -> Option<String> {
    if is_dry {
        let digest = report["plan"]["digest"].as_str().unwrap_or_default();
        return Some(format!(
            "{} pieces of work, digest {}",
            report["plan"]["items"].as_array().map_or(0, Vec::len),
            digest.get(..12).unwrap_or(digest),
        ));
    }
    match job {
        "kline-agg" => Some(candles(report)),
        "stats-agg" => Some(format!(
            "{} hours and {} days: {} figures written",
            report["hours"], report["days"], report["written"]
        )),
        "cleanup-orders" => Some(format!(
            "{} orders sent ({}); ended {}; cache of {} orders",
            report["sent"],
            counted(&report["verdicts"]),
            counted(&report["ended"]),
            report["cache_orders"]
        )),
        "expiry-sweep" => Some(format!(
            "{} overdue, {} in cancelling for too long, {} without quantity",
            report["overdue"], report["cancelling_stuck"], report["zero_quantity"]
        )),
        _ if report.get("sound").is_some() => Some(format!(
            "{} exports read in full and sound, {} rows, {} rotten",
            report["sound"],
            report["rows"],
            report["rotten"].as_array().map_or(0, Vec::len)
        )),
        _ => None,
    }
}

fn candles(report: &Value) -> String {
    let levels = report["levels"].as_array().into_iter().flatten();
    let written: Vec<String> = levels
        .clone()
        .map(|level| {
            format!(
                "{} {}",
                level["interval"].as_str().unwrap_or_default(),
                level["written"]
            )
        })
        .collect();
    let not_whole: u64 = levels
        .flat_map(|level| ["missing", "partial", "unusable"].map(|verdict| &level["windows"][verdict]))
        .filter_map(Value::as_u64)
        .sum();
    format!(
        "candles written: {}; {not_whole} windows not whole, {} noted for late trades",
        written.join(", "),
        report["late_trades"]["noted"]
    )
}

fn counted(counts: &Value) -> String {
    let counts: BTreeMap<String, u64> = serde_json::from_value(counts.clone()).unwrap_or_default();
    if counts.is_empty() {
        return "none".to_owned();
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(word, count)| format!("{word} {count}"))
        .collect();
    parts.join(", ")
}

/// The acts of an audit: what, how often, and of how many rows.
pub(super) fn list_of(acts: &[(String, i64, Option<i64>)]) -> String {
    if acts.is_empty() {
        return "nothing to do".to_owned();
    }
    let parts: Vec<String> = acts
        .iter()
        .map(|(action, count, rows)| {
            rows.filter(|rows| *rows > 0).map_or_else(
                || format!("{action} {count}"),
                |rows| format!("{action} {count} ({rows} rows)"),
            )
        })
        .collect();
    parts.join(", ")
}
