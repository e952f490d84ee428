//! What each panel showed, drawn as text for the documentation.
#![expect(
    clippy::float_arithmetic,
    reason = "pictures of numbers that Prometheus has as floats"
)]

use std::fmt::Write;
use std::time::Duration;

use super::page::{Shown, explained_zero, is_zero, shown};
use super::prometheus::Series;
use super::rules::Panel;

/// How much of the past a picture has.
pub(super) const STEPS: usize = 20;
pub(super) const STEP: Duration = Duration::from_secs(10);
/// Series of an expression that are drawn: those of largest value.
const DRAWN: usize = 4;
/// From the lowest value of a series to its highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Where there was no value.
const NOTHING: char = '·';

/// The page's text.
pub(super) fn render(panels: &[Shown], day: &str) -> String {
    let mut page = format!(
        "# Dashboards\n\n\
         Written by `./scripts/test-alerts --dashboards docs/dashboards.md`, from what a real Prometheus returned for every\n\
         expression of `helm/eidos-backoffice/dashboards` after every job had run on running services. Last run: {day}.\n\n\
         A line is a series over {} minutes, from its own lowest value (▁) to its own highest (█), each {} s; a dot is a time\n\
         without a value. The number is the newest one. Of more than {DRAWN} series of an expression the largest are drawn.\n\
         Series that are all 0 are one line, with the sentence in which the panel's description says when that is so.\n\
         [alerts-tested.md](alerts-tested.md) says what a panel must show for the run to pass.\n",
        STEPS as u64 * STEP.as_secs() / 60,
        STEP.as_secs(),
    );
    let (mut dashboard, mut row) = ("", "");
    for shown in panels {
        let panel = &shown.panel;
        if panel.dashboard != dashboard {
            (dashboard, row) = (&panel.dashboard, "");
            let _ = write!(page, "\n## {dashboard} (`{}.json`)\n", panel.file);
        }
        if panel.row != row {
            row = &panel.row;
            let _ = write!(
                page,
                "\n### {row}\n\n| panel | series | newest | picture |\n|---|---|---:|---|\n"
            );
        }
        draw(&mut page, shown);
    }
    page
}

/// Whether a series had values, and each of them was 0.
pub(super) fn is_flat(series: &Series) -> bool {
    let mut known = series.values.iter().flatten().peekable();
    known.peek().is_some() && known.all(|value| is_zero(*value))
}

/// The lines of one expression. A series without a value, such as a quantile of no request, is not drawn.
fn draw(page: &mut String, Shown { panel, series, .. }: &Shown) {
    let mut series: Vec<&Series> = series.iter().collect();
    let size = |series: &Series| newest(series).map_or(-1.0, f64::abs);
    series.sort_by(|left, right| size(right).total_cmp(&size(left)));
    let title = cell(&panel.title);
    series.retain(|series| newest(series).is_some());
    let (flat, alive): (Vec<&Series>, Vec<&Series>) = series.iter().partition(|series| is_flat(series));
    for series in alive.iter().take(DRAWN) {
        let newest = newest(series).map_or_else(String::new, |value| with_unit(value, &panel.unit));
        let name = cell(&name(panel, series));
        let _ = writeln!(page, "| {title} | {name} | {newest} | {} |", line(&series.values));
    }
    if alive.len() > DRAWN {
        let _ = writeln!(page, "| {title} | and {} more | | |", alive.len() - DRAWN);
    }
    match flat.as_slice() {
        [] => {}
        [one] => {
            let name = cell(&name(panel, one));
            let _ = writeln!(page, "| {title} | {name} | 0 | {} |", explained_zero(panel));
        }
        many => {
            let legend = cell(&panel.legend);
            let count = many.len();
            let _ = writeln!(
                page,
                "| {title} | {count} of `{legend}` | 0 | {} |",
                explained_zero(panel)
            );
        }
    }
}

fn newest(series: &Series) -> Option<f64> {
    series.values.iter().rev().flatten().next().copied()
}

/// The name of a series in the panel's legend.
fn name(panel: &Panel, series: &Series) -> String {
    let labels = series.labels.iter();
    labels.fold(panel.legend.clone(), |name, (label, value)| {
        name.replace(&format!("{{{{{label}}}}}"), value)
    })
}

fn line(values: &[Option<f64>]) -> String {
    let known = || values.iter().flatten().copied();
    let lowest = known().fold(f64::INFINITY, f64::min);
    let height = known().fold(0.0, |height: f64, value| height.max(value - lowest));
    // The last bar whose lower edge the value reaches; a series that does not change is drawn in the middle.
    let bar = |value: f64| {
        if is_zero(height) {
            return BARS[3];
        }
        let edges = (0_u8..).zip(BARS);
        let reached = edges.take_while(|(edge, _)| (value - lowest) * 8.0 >= height * f64::from(*edge));
        reached.fold(NOTHING, |_, (_, bar)| bar)
    };
    values.iter().map(|value| value.map_or(NOTHING, bar)).collect()
}

fn with_unit(value: f64, unit: &str) -> String {
    let unit = match unit {
        "s" => " s",
        "bytes" => " B",
        "ops" | "reqps" => " /s",
        _ => "",
    };
    format!("{}{unit}", shown(value))
}

/// Text of a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn series(job: &str, values: &[f64]) -> Series {
        let mut all = vec![None; STEPS - values.len()];
        all.extend(values.iter().copied().map(Some));
        Series {
            labels: BTreeMap::from([("job".to_owned(), job.to_owned())]),
            values: all,
        }
    }

    #[test]
    fn a_series_is_drawn_from_its_lowest_to_its_highest_value() {
        assert_eq!(line(&[None, Some(1.0), Some(2.0), Some(8.0)]), "·▁▂█");
        assert_eq!(line(&[Some(5.0), Some(5.0)]), "▄▄");
        assert_eq!(line(&[Some(-7.0), Some(0.0)]), "▁█");
        assert_eq!(line(&[None]), "·");
    }

    #[test]
    fn the_largest_series_are_drawn_and_those_of_zero_are_one_line() {
        let shown = Shown {
            panel: Panel::example(),
            values: Vec::new(),
            series: vec![
                series("a", &[0.0, 0.0]),
                series("b", &[1.0, 2.5]),
                series("c", &[0.0]),
                series("d", &[9.0, 300.0]),
                series("e", &[]),
            ],
        };
        let page = render(&[shown], "2026-12-03");
        let dots = "·".repeat(STEPS - 2);
        for line in [
            "## Eidos: jobs (`jobs.json`)".to_owned(),
            "### Guards".to_owned(),
            format!("| Runs | d | 300 s | {dots}▁█ |\n| Runs | b | 2.5 s | {dots}▁█ |"),
            "| Runs | 2 of `{{job}}` | 0 | 0: no run failed |".to_owned(),
        ] {
            assert!(page.contains(&line), "{line} is missing in\n{page}");
        }
    }

    #[test]
    fn more_series_than_fit_are_counted() {
        let many = ["a", "b", "c", "d", "e", "f"].map(|job| series(job, &[1.0]));
        let shown = Shown {
            panel: Panel::example(),
            values: Vec::new(),
            series: many.to_vec(),
        };
        let page = render(&[shown], "2026-12-03");
        assert!(page.contains("| Runs | and 2 more | | |"), "{page}");
    }
}
