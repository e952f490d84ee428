//! A plan as a person reads it at three in the morning: grouped by table, locks and steps once for each group.

use std::fmt::Write;

use chrono::DateTime;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::{Action, Plan, PlanItem};

/// Columns of a terminal that is not too small.
const WIDTH: u16 = 120;

pub(crate) fn render(plan: &Plan) -> String {
    let mut out = String::new();
    let blocked = plan.items.iter().filter(|item| item.blocked.is_some()).count();
    let due = plan.items.len() - blocked;
    let _infallible = writeln!(
        out,
        "Plan of {} for slot {}: {due} to do, {blocked} blocked",
        plan.job, plan.slot
    );
    for group in groups(&plan.items) {
        out.push('\n');
        render_group(&mut out, &group);
    }
    if plan.items.is_empty() {
        out.push_str("\nNothing is due.\n");
    }
    if !plan.notes.is_empty() {
        out.push_str("\nTo know:\n");
        for note in &plan.notes {
            let _infallible = writeln!(out, "  - {}", note.0);
        }
    }
    let _infallible = write!(
        out,
        "\nDigest {}\nTo do exactly this: apply --job {} --plan {}",
        plan.digest, plan.job, plan.digest
    );
    out
}

/// Items that are done the same way to the same table, in the order of the plan.
fn groups(items: &[PlanItem]) -> Vec<Vec<&PlanItem>> {
    let mut groups: Vec<Vec<&PlanItem>> = Vec::new();
    for item in items {
        let fits = |group: &&mut Vec<&PlanItem>| {
            group.first().is_some_and(|first| {
                first.source == item.source
                    && first.table == item.table
                    && first.action == item.action
                    && first.steps == item.steps
                    && locks_of_each(first) == locks_of_each(item)
            })
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

fn render_group(out: &mut String, group: &[&PlanItem]) {
    let Some(first) = group.first() else { return };
    let rows: u64 = group.iter().filter_map(|item| item.rows_estimate).sum();
    let bytes: u64 = group.iter().filter_map(|item| item.bytes).sum();
    let _infallible = writeln!(
        out,
        "{} ({}): {} · {} · ~{} rows{}",
        first.table,
        first.source,
        first.action,
        counted(group.len(), first.action),
        grouped(rows),
        if bytes > 0 {
            format!(" · {}", human_bytes(bytes))
        } else {
            String::new()
        }
    );
    let _infallible = writeln!(out, "  why    {}", first.reason);
    for (i, step) in first.steps.iter().enumerate() {
        let _infallible = writeln!(
            out,
            "  {} {}. {}",
            if i == 0 { "steps " } else { "      " },
            i + 1,
            indented(step)
        );
    }
    let locks = if group.len() > 1 {
        locks_of_each(first)
    } else {
        first.locks.clone()
    };
    for (i, lock) in locks.iter().enumerate() {
        let _infallible = writeln!(
            out,
            "  {} {}",
            if i == 0 { "locks " } else { "      " },
            indented(lock)
        );
    }
    let _infallible = writeln!(out, "{}", objects(group));
}

/// Its locks without its own name, as they are printed once for a group.
fn locks_of_each(item: &PlanItem) -> Vec<String> {
    let locks = item.locks.iter();
    locks.map(|lock| lock.replace(&item.object, "<each>")).collect()
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n            ")
}

fn objects(group: &[&PlanItem]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(["object", "from (UTC)", "to (UTC)", "rows", "size", "blocked"]);
    for item in group {
        let (from, to) = item
            .window_ms
            .map_or_else(Default::default, |(from, to)| (instant(from), instant(to)));
        table.add_row([
            item.object.clone(),
            from,
            to,
            item.rows_estimate
                .map_or_else(|| "?".to_owned(), |rows| format!("~{}", grouped(rows))),
            item.bytes.map_or_else(String::new, human_bytes),
            item.blocked.clone().unwrap_or_default(),
        ]);
    }
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn counted(count: usize, action: Action) -> String {
    let (one, many) = match action {
        Action::Create | Action::ArchiveAndDrop | Action::Drop | Action::DropQuarantined => {
            ("partition", "partitions")
        }
        Action::Drain => ("piece", "pieces"),
        Action::ArchiveAndDelete | Action::Delete => ("month", "months"),
        Action::Move => ("table", "tables"),
    };
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A date where the instant is midnight, else the whole instant; bounds that stand for "ever" say so.
fn instant(ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    match DateTime::from_timestamp_millis(ms) {
        None => if ms < 0 { "ever" } else { "for ever" }.to_owned(),
        Some(_) if ms <= 0 => "ever".to_owned(),
        Some(at) if ms % DAY_MS == 0 => at.format("%Y-%m-%d").to_string(),
        Some(at) => at.format("%Y-%m-%d %H:%M:%S").to_string(),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// With a binary unit, rounded down to a tenth.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_instants_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1024), "1.0 KiB");
        assert_eq!(human_bytes(34_603_008), "33.0 MiB");
        assert_eq!(instant(1_735_689_600_000), "2025-01-01");
        assert_eq!(instant(1_735_689_601_000), "2025-01-01 00:00:01");
        assert_eq!(instant(i64::MIN), "ever");
        assert_eq!(instant(i64::MAX), "for ever");
    }
}
