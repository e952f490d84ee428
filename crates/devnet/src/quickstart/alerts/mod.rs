//! `devnet alerts`: every alert rule of the chart on a real Prometheus that scrapes the real services, once where it must
//! be silent and once where it must fire, and every panel of the dashboards with a value.
//!
//! 1. **Calm.** A world without faults in which every job ran once. The rules are the chart's with `for` taken out, so that
//!    a condition that lasts one evaluation shows. None may fire.
//! 2. **Trouble.** [`trouble::TROUBLES`] break one thing after the other and name the alerts that must fire. Thresholds that
//!    no small world reaches are lowered ([`rules::Scale::Small`]), never raised.
//!
//! The names are compared with the chart's: an alert that no trouble names, and a name that no rule has, is a failure.

mod prometheus;
mod rig;
mod rules;
mod trouble;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::say;
use prometheus::Api;
use rig::Rig;
use rules::Scale;

/// From a cause to the alert: an observation, a scrape and an evaluation, each a second apart, on a busy machine.
const FIRES_WITHIN: Duration = Duration::from_secs(90);
/// How long the calm must last, in a row.
const CALM_FOR: Duration = Duration::from_secs(8);
const CALM_WITHIN: Duration = Duration::from_mins(2);

/// Runs both phases and prints a line for each alert. True if everything held.
///
/// # Errors
/// When a server does not start or a program fails.
pub async fn run(dir: &Path, seed: u64) -> anyhow::Result<bool> {
    let mut rig = Rig::build(dir, seed).await?;
    let mut problems = before_the_first_run(&mut rig).await?;
    rig.run_every_job().await?;
    rig.serve().await?;
    problems.extend(calm(&rig).await?);
    problems.extend(troubled(&mut rig).await?);
    for problem in &problems {
        say(&format!("FAILED: {problem}"));
    }
    if problems.is_empty() {
        say("\nOK: every alert was silent in the calm and fired in its trouble; every panel has a value");
    }
    Ok(problems.is_empty())
}

/// Services that have never run a job: what is unknown is told, and nothing else is.
async fn before_the_first_run(rig: &mut Rig) -> anyhow::Result<Vec<String>> {
    say("\nBefore the first run");
    rig.serve().await?;
    let prometheus = rig.prometheus(Scale::Small).await?;
    let api = Api::new(&prometheus)?;
    let mut problems = Vec::new();
    for alert in trouble::BEFORE_THE_FIRST_RUN {
        problems.extend(expect_firing(&api, alert).await?);
    }
    rig.stop_serving().await?;
    Ok(problems)
}

async fn calm(rig: &Rig) -> anyhow::Result<Vec<String>> {
    say("\nCalm: every job ran once");
    let prometheus = rig.prometheus(Scale::Real).await?;
    let api = Api::new(&prometheus)?;
    api.wait_for_targets(rig.service_count(), FIRES_WITHIN).await?;
    let mut problems = Vec::new();
    match api.wait_for_calm(CALM_FOR, CALM_WITHIN).await? {
        noisy if noisy.is_empty() => {
            for alert in rules::names()? {
                say(&format!("  silent  {alert}"));
            }
        }
        noisy => {
            say(&format!("  FIRES   {}", join(&noisy)));
            problems.push(format!("fire although nothing is wrong: {}", join(&noisy)));
        }
    }
    for (panel, expression) in rules::panels()? {
        if !api.has_value(&expression).await? {
            say(&format!("  EMPTY   panel {panel}"));
            problems.push(format!("the panel {panel} shows nothing: {expression}"));
        }
    }
    Ok(problems)
}

async fn troubled(rig: &mut Rig) -> anyhow::Result<Vec<String>> {
    say("\nTrouble");
    let prometheus = rig.prometheus(Scale::Small).await?;
    let api = Api::new(&prometheus)?;
    api.wait_for_targets(rig.service_count(), FIRES_WITHIN).await?;
    let mut problems = Vec::new();
    let mut fired: BTreeSet<String> = trouble::BEFORE_THE_FIRST_RUN
        .iter()
        .map(|alert| (*alert).to_owned())
        .collect();
    for trouble in trouble::TROUBLES {
        say(&format!("  {}", trouble.what));
        trouble::cause(rig, trouble.cause).await.context(trouble.what)?;
        for alert in trouble.alerts {
            problems.extend(expect_firing(&api, alert).await?);
            fired.insert((*alert).to_owned());
        }
    }
    let known = rules::names()?;
    problems.extend(
        known
            .difference(&fired)
            .map(|alert| format!("no trouble makes {alert} fire")),
    );
    problems.extend(
        fired
            .difference(&known)
            .map(|alert| format!("no rule is called {alert}")),
    );
    Ok(problems)
}

async fn expect_firing(api: &Api, alert: &str) -> anyhow::Result<Option<String>> {
    let fires = api.wait_for_alert(alert, FIRES_WITHIN).await?;
    say(&format!(
        "    {}  {alert}",
        if fires { "fires " } else { "SILENT" }
    ));
    Ok((!fires).then(|| format!("{alert} did not fire within {} s", FIRES_WITHIN.as_secs())))
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}
