//! What was seen, as a page of the documentation.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::prometheus::Series;
use super::rules::{Panel, Rule};

/// Begins the sentence of a panel's description that says when the panel shows 0.
pub(super) const ZERO: &str = "0: ";
/// Begins the sentence of a panel's description that says when the panel shows nothing. Such a panel shows something in the
/// trouble.
pub(super) const EMPTY: &str = "Empty: ";

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The trouble in which each alert fired.
    pub(super) fired: BTreeMap<String, &'static str>,
    /// Alerts that fired in the calm, or after its work.
    pub(super) noisy: Vec<String>,
    /// What each panel's expressions gave.
    pub(super) panels: Vec<Shown>,
    /// Panels that have something to show in the trouble only.
    pub(super) empty: Vec<Panel>,
    /// What did not hold.
    pub(super) problems: Vec<String>,
}

/// What one expression of a panel gave.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) panel: Panel,
    /// The numbers that were asked for first.
    pub(super) values: Vec<f64>,
    /// The time before, and those numbers as they are now.
    pub(super) series: Vec<Series>,
}

/// The page's text. `rules` are all rules of the chart, `not_tried` what only promtool's cases try.
pub(super) fn render(seen: &Seen, rules: &[Rule], not_tried: &str, day: &str) -> String {
    let mut page = format!(
        "# Alerts and panels, tried\n\n\
         Written by `./scripts/test-alerts --page docs/alerts-tested.md`, which belongs to the check of a release, not to\n\
         `scripts/test`. Last run: {day}.\n\n\
         A real Prometheus scrapes every real service each second and evaluates the chart's rules without their `for`. \"Silent\":\n\
         in a devnet without faults the alert did not fire, neither before nor after the running services had run each of their\n\
         jobs. \"Fired in\": what was broken when it did. Thresholds that no small devnet reaches are lowered for that (`SMALLER`\n\
         in `crates/devnet/src/quickstart/alerts/rules.rs`). Not tried here, only by promtool's cases:\n\
         {not_tried}.\n\n\
         ## Alerts\n\n| alert | severity | silent | fired in |\n|---|---|---|---|\n"
    );
    for Rule { alert, severity } in rules {
        let silent = if seen.noisy.contains(alert) {
            "**no**"
        } else {
            "yes"
        };
        let fired = seen.fired.get(alert).copied().unwrap_or("**did not fire**");
        let _ = writeln!(page, "| {alert} | {severity} | {silent} | {fired} |");
    }
    let _ = write!(
        page,
        "\n## Panels\n\n\
         Each expression of each dashboard after that work. A value is the largest of the expression's series; where all of them\n\
         are 0, the panel's own description says when that is so.\n\n\
         | dashboard | row | panel | series | value | unit |\n|---|---|---|---|---|---|\n"
    );
    for Shown { panel, values, .. } in &seen.panels {
        let _ = writeln!(
            page,
            "| {} | {} | {}{} | {} | {} | {} |",
            panel.dashboard,
            panel.row,
            panel.title,
            legend(panel),
            values.len(),
            value(panel, values),
            panel.unit
        );
    }
    page
}

/// What distinguishes the expressions of one panel.
fn legend(panel: &Panel) -> String {
    if panel.legend.is_empty() {
        String::new()
    } else {
        format!(" (`{}`)", panel.legend)
    }
}

fn value(panel: &Panel, values: &[f64]) -> String {
    match largest(values) {
        None => "**none**".to_owned(),
        Some(largest) if is_zero(largest) => explained_zero(panel),
        Some(largest) => shown(largest),
    }
}

/// The sentence of the description that says when the panel shows 0.
pub(super) fn explained_zero(panel: &Panel) -> String {
    let (_, sentence) = panel
        .description
        .split_once(ZERO)
        .unwrap_or(("", "**not explained**"));
    let sentence = sentence.split_once(". ").map_or(sentence, |(first, _)| first);
    format!("{ZERO}{}", sentence.trim_end_matches('.').replace('|', "\\|"))
}

/// The value of largest magnitude.
pub(super) fn largest(values: &[f64]) -> Option<f64> {
    values
        .iter()
        .copied()
        .max_by(|left, right| left.abs().total_cmp(&right.abs()))
}

/// Whether a panel shows a 0.
pub(super) fn is_zero(value: f64) -> bool {
    value.abs() < f64::MIN_POSITIVE
}

/// About three digits.
pub(super) fn shown(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_that_did_not_fire_and_a_panel_without_a_value_are_told_on_the_page() {
        let shown = |title: &str, values| Shown {
            panel: Panel {
                title: title.to_owned(),
                ..Panel::example()
            },
            values,
            series: Vec::new(),
        };
        let seen = Seen {
            fired: BTreeMap::from([("Fired".to_owned(), "a trouble")]),
            noisy: vec!["Noisy".to_owned()],
            panels: vec![
                shown("Some", vec![0.0, 12.34]),
                shown("Zero", vec![0.0, -0.0]),
                shown("None", vec![]),
            ],
            empty: Vec::new(),
            problems: Vec::new(),
        };
        let rules: Vec<Rule> = ["Fired", "Noisy"]
            .into_iter()
            .map(|alert| Rule {
                alert: alert.to_owned(),
                severity: "warning".to_owned(),
            })
            .collect();
        let page = render(&seen, &rules, "what is not tried", "2026-12-01");
        for row in [
            "| Fired | warning | yes | a trouble |",
            "| Noisy | warning | **no** | **did not fire** |",
            "| Eidos: jobs | Guards | Some (`{{job}}`) | 2 | 12.3 | s |",
            "| Eidos: jobs | Guards | Zero (`{{job}}`) | 2 | 0: no run failed | s |",
            "| Eidos: jobs | Guards | None (`{{job}}`) | 0 | **none** | s |",
        ] {
            assert!(page.contains(row), "{row} is missing in\n{page}");
        }
    }
}
