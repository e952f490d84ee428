//! `devnet alerts`: every alert rule of the chart on a real Prometheus that scrapes the real services, once where it must
//! be silent and once where it must fire, and every panel of the dashboards with a value.
//!
//! 1. **Calm.** A devnet without faults in which every job ran once. The rules are the chart's with `for` taken out, so that
//!    a condition that lasts one evaluation shows. None may fire, also not after the running services have run each job
//!    again ([`work`]).
//! 2. **Panels.** After that work every expression of every dashboard gives a number. Where it is 0, the panel's description
//!    says when it is.
//! 3. **Trouble.** [`trouble::TROUBLES`] break one thing after the other and name the alerts that must fire. Thresholds that
//!    no small devnet reaches are lowered ([`rules::Scale::Small`]), never raised.
//!
//! The names are compared with the chart's before anything starts: an alert that no trouble names, and a name that no rule
//! has, is a failure. What is not tried is a list of its own ([`trouble::UNTRIED`]) and printed first, with the reason.

mod page;
mod prometheus;
mod rig;
mod rules;
mod topics;
mod trouble;
mod work;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::say;
use page::Seen;
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

/// Runs all phases, prints a line for each alert, and writes the tables to `page`, if one is named. True if everything held.
///
/// # Errors
/// When a server does not start or a program fails.
pub async fn run(dir: &Path, seed: u64, page: Option<&Path>) -> anyhow::Result<bool> {
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
    if let Some(page) = page {
        let day = chrono::DateTime::from_timestamp_millis(crate::devnet::now_ms()).unwrap_or_default();
        let text = page::render(
            &outcome,
            &rules::all()?,
            &not_tried().join(", "),
            &day.format("%Y-%m-%d").to_string(),
        );
        std::fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))?;
    }
    Ok(outcome.problems.is_empty())
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

/// Every expression gives a number; a panel of which each number is 0 says in its description when that is so: "0: …".
async fn panels(api: &Api, seen: &mut Seen) -> anyhow::Result<()> {
    for panel in rules::panels()? {
        let values = api.wait_for_values(&panel.expression, SHOWN_WITHIN).await?;
        let place = format!("\"{}\" of \"{}\"", panel.title, panel.dashboard);
        match page::largest(&values) {
            None => {
                say(&format!("  EMPTY   panel {place}"));
                seen.problems
                    .push(format!("the panel {place} shows nothing: {}", panel.expression));
            }
            Some(largest) if page::is_zero(largest) && !panel.description.contains(page::ZERO) => {
                say(&format!("  0       panel {place} does not say when it shows 0"));
                seen.problems.push(format!(
                    "the panel {place} shows 0 without a description that says when it does: {}",
                    panel.expression
                ));
            }
            Some(_) => {}
        }
        seen.panels.push((panel, values));
    }
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
    Ok(())
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
