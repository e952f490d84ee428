//! `devnet alerts`: every alert rule of the chart on a real Prometheus that scrapes the real services, once where it must
//! be silent and once where it must fire, and every panel of the dashboards with a value.
//!
//! 1. **Calm.** A devnet without faults in which every job ran once. The rules are the chart's with `for` taken out, so that
//!    a condition that lasts one evaluation shows. None may fire, also not after the running services have run each job
//!    again ([`work`]).
//! 2. **Panels.** After that work every expression of every dashboard gives a number. Where it is 0, the panel's description
//!    says when it is; a panel that says when it is empty must give a number in the trouble.
//! 3. **Trouble.** [`trouble::TROUBLES`] break one thing after the other and name the alerts that must fire. Thresholds that
//!    no small devnet reaches are lowered ([`rules::Scale::Small`]), never raised.
//!
//! The names are compared with the chart's before anything starts: an alert that no trouble names, and a name that no rule
//! has, is a failure. What is not tried is a list of its own ([`trouble::UNTRIED`]) and printed first, with the reason.

mod page;
mod pictures;
mod prometheus;
mod rig;
mod rules;
mod tls;
mod topics;
mod trouble;
mod work;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::say;
use page::{Seen, Shown};
use prometheus::Api;
use rig::Rig;
use rules::Scale;

/// From a cause to the alert: an observation, a scrape and an evaluation, each a second apart, on a busy machine.
const FIRES_WITHIN: Duration = Duration::from_secs(90);
/// How long the calm must last, in a row.
const CALM_FOR: Duration = Duration::from_secs(8);
const CALM_WITHIN: Duration = Duration::from_mins(2);

/// How long a panel may take to show what was done.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// What is broken before any job has run.
const NO_RUN_YET: &str = "no job has run yet";

/// Pages of the documentation to write.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// The tables of alerts and panels; `None`: not written.
    pub tables: Option<PathBuf>,
    /// What each panel showed; `None`: not written.
    pub dashboards: Option<PathBuf>,
}

/// Runs all phases, prints a line for each alert, and writes the pages that are named. True if everything held.
///
/// # Errors
/// When a server does not start or a program fails.
pub async fn run(dir: &Path, seed: u64, pages: &Pages) -> anyhow::Result<bool> {
    let unmatched = unmatched(&rules::names()?);
    anyhow::ensure!(unmatched.is_empty(), "{}", unmatched.join("; "));
    say(&format!("Not tried here: {}", not_tried().join(", ")));
    let mut rig = Rig::build(dir, seed).await?;
    let mut outcome = Seen::default();
    before_the_first_run(&mut rig, &mut outcome).await?;
    rig.run_every_job().await?;
    work::prepare(&mut rig)?;
    rig.serve().await?;
    calm(&rig, &mut outcome).await?;
    troubled(&mut rig, &mut outcome).await?;
    for problem in &outcome.problems {
        say(&format!("FAILED: {problem}"));
    }
    if outcome.problems.is_empty() {
        say("\nOK: every alert was silent in the calm and fired in its trouble; every panel has a value");
    }
    outcome.panels.sort_by(|left, right| left.panel.cmp(&right.panel));
    let day = chrono::DateTime::from_timestamp_millis(crate::devnet::now_ms()).unwrap_or_default();
    let day = day.format("%Y-%m-%d").to_string();
    if let Some(path) = &pages.tables {
        let not_tried = not_tried().join(", ");
        write(path, &page::render(&outcome, &rules::all()?, &not_tried, &day))?;
    }
    if let Some(path) = &pages.dashboards {
        write(path, &pictures::render(&outcome.panels, &day))?;
    }
    Ok(outcome.problems.is_empty())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Services that have never run a job: the alerts about what is unknown fire, and no other.
async fn before_the_first_run(rig: &mut Rig, seen: &mut Seen) -> anyhow::Result<()> {
    say("\nBefore the first run");
    rig.serve().await?;
    let prometheus = rig.prometheus(Scale::Small).await?;
    let api = Api::new(&prometheus)?;
    for alert in trouble::BEFORE_THE_FIRST_RUN {
        expect_firing(&api, alert, NO_RUN_YET, seen).await?;
    }
    rig.stop_serving().await
}

async fn calm(rig: &Rig, seen: &mut Seen) -> anyhow::Result<()> {
    say("\nCalm: every job ran once");
    let prometheus = rig.prometheus(Scale::Real).await?;
    let api = Api::new(&prometheus)?;
    api.wait_for_targets(rig.service_count(), FIRES_WITHIN).await?;
    expect_calm(&api, seen).await?;
    work::everything(rig).await?;
    panels(&api, seen).await?;
    expect_calm(&api, seen).await?;
    for alert in rules::names()? {
        if !seen.noisy.contains(&alert) {
            say(&format!("  silent  {alert}"));
        }
    }
    Ok(())
}

async fn expect_calm(api: &Api, seen: &mut Seen) -> anyhow::Result<()> {
    let noisy = api.wait_for_calm(CALM_FOR, CALM_WITHIN).await?;
    if !noisy.is_empty() {
        say(&format!("  FIRES   {}", join(&noisy)));
        seen.problems
            .push(format!("fire although nothing is wrong: {}", join(&noisy)));
        seen.noisy.extend(noisy);
    }
    Ok(())
}

/// Every expression gives a number; a panel with a series of 0 says in its description when that is so: "0: …". One that says
/// when it is empty is asked again in the trouble.
async fn panels(api: &Api, seen: &mut Seen) -> anyhow::Result<()> {
    for panel in rules::panels()? {
        let values = api.wait_for_values(&panel.expression, SHOWN_WITHIN).await?;
        let place = format!("\"{}\" of \"{}\"", panel.title, panel.dashboard);
        match page::largest(&values) {
            None if panel.description.contains(page::EMPTY) => {
                seen.empty.push(panel);
                continue;
            }
            None => {
                say(&format!("  EMPTY   panel {place}"));
                seen.problems
                    .push(format!("the panel {place} shows nothing: {}", panel.expression));
            }
            Some(_) => {}
        }
        show(api, panel, values, seen).await?;
    }
    Ok(())
}

/// Panels that were empty in the calm.
async fn panels_of_trouble(api: &Api, seen: &mut Seen) -> anyhow::Result<()> {
    for panel in std::mem::take(&mut seen.empty) {
        let values = api.wait_for_values(&panel.expression, SHOWN_WITHIN).await?;
        if values.is_empty() {
            let place = format!("\"{}\" of \"{}\"", panel.title, panel.dashboard);
            say(&format!("  EMPTY   panel {place}, in the trouble as well"));
            seen.problems.push(format!(
                "the panel {place} shows nothing, neither in the calm nor in the trouble: {}",
                panel.expression
            ));
        }
        show(api, panel, values, seen).await?;
    }
    Ok(())
}

async fn show(api: &Api, panel: rules::Panel, values: Vec<f64>, seen: &mut Seen) -> anyhow::Result<()> {
    let series = api
        .history(&panel.expression, pictures::STEPS, pictures::STEP)
        .await?;
    if !panel.description.contains(page::ZERO) && series.iter().any(pictures::is_flat) {
        let place = format!("\"{}\" of \"{}\"", panel.title, panel.dashboard);
        say(&format!(
            "  0       a series of panel {place}, which does not say when that is so"
        ));
        seen.problems.push(format!(
            "the panel {place} has a series of 0 without a description that says when it does: {}",
            panel.expression
        ));
    }
    seen.panels.push(Shown {
        panel,
        values,
        series,
    });
    Ok(())
}

async fn troubled(rig: &mut Rig, seen: &mut Seen) -> anyhow::Result<()> {
    say("\nTrouble");
    let prometheus = rig.prometheus(Scale::Small).await?;
    let api = Api::new(&prometheus)?;
    api.wait_for_targets(rig.service_count(), FIRES_WITHIN).await?;
    for trouble in trouble::TROUBLES {
        say(&format!("  {}", trouble.what));
        trouble::cause(rig, trouble.cause).await.context(trouble.what)?;
        for alert in trouble.alerts {
            expect_firing(&api, alert, trouble.what, seen).await?;
        }
    }
    panels_of_trouble(&api, seen).await
}

/// The alerts that only promtool's cases try, each with the reason.
fn not_tried() -> Vec<String> {
    let alerts = trouble::UNTRIED.iter();
    alerts
        .map(|(alert, reason)| format!("{alert} ({reason})"))
        .collect()
}

/// What does not match between the names of the rules and those of the troubles: a misspelt name could never fire.
fn unmatched(known: &BTreeSet<String>) -> Vec<String> {
    let of_troubles = trouble::TROUBLES.iter().flat_map(|trouble| trouble.alerts);
    let named: BTreeSet<&str> = trouble::BEFORE_THE_FIRST_RUN
        .iter()
        .chain(of_troubles)
        .copied()
        .chain(trouble::UNTRIED.iter().map(|(alert, _)| *alert))
        .collect();
    let untried = known.iter().filter(|alert| !named.contains(alert.as_str()));
    let unknown = named.iter().filter(|alert| !known.contains(**alert));
    untried
        .map(|alert| format!("no trouble makes {alert} fire"))
        .chain(unknown.map(|alert| format!("no rule is called {alert}")))
        .collect()
}

async fn expect_firing(api: &Api, alert: &str, what: &'static str, seen: &mut Seen) -> anyhow::Result<()> {
    if api.wait_for_alert(alert, FIRES_WITHIN).await? {
        say(&format!("    fires   {alert}"));
        seen.fired.entry(alert.to_owned()).or_insert(what);
    } else {
        say(&format!("    SILENT  {alert}"));
        seen.problems.push(format!(
            "{alert} did not fire within {} s",
            FIRES_WITHIN.as_secs()
        ));
    }
    Ok(())
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_trouble_and_a_misspelt_name_is_reported() {
        let known = rules::names().unwrap();
        assert_eq!(unmatched(&known), [""; 0]);
        let mut misspelt = known;
        assert!(misspelt.remove("NodeBehind"));
        misspelt.insert("NodesBehind".to_owned());
        assert_eq!(
            unmatched(&misspelt),
            [
                "no trouble makes NodesBehind fire",
                "no rule is called NodeBehind"
            ]
        );
    }
}
