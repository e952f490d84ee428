//! The start: reads addresses and the state file. Nothing is connected.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use eidos_bus::Topic;
use eidos_runtime::{JobEntry, Parts, ServiceDeps, WorkerEntry};
use secrecy::ExposeSecret;

use crate::domain::address::Address;
use crate::jobs::health_monitor::{HealthMonitor, RoundSettings};
use crate::monitor::Monitor;
use crate::probes::{Authority, Prober, Target};
use crate::receivers;
use crate::settings::{ProbeSettings, Probes};
use crate::state_file::StateFile;
use crate::workers::delivery::Delivery;

/// Builds the job and its workers.
pub(crate) async fn build(deps: ServiceDeps<ProbeSettings>) -> anyhow::Result<Parts> {
    let settings = &deps.settings.service;
    let targets = targets(&settings.probes)?;
    let controls = settings.probes.controls.iter().map(|control| {
        let address = address("probes.controls", control)?;
        Ok(Target::new("control".to_owned(), address))
    });
    let controls = controls.collect::<anyhow::Result<Vec<_>>>()?;
    let sinks = receivers::of(&settings.notifications, deps.clock.now_ms())?;
    let file = settings
        .probes
        .state_dir
        .as_ref()
        .map(|dir| StateFile::new(Path::new(dir)));
    if file.is_none() {
        tracing::warn!(
            "probes.state_dir is not set: a restart forgets which targets are down and what was not sent yet"
        );
    }
    let names = sinks.iter().map(|receiver| receiver.sink.name().to_owned());
    let monitor = Monitor::open(
        settings.probes.rules(),
        &targets,
        names.collect(),
        file,
        &*deps.clock,
    )
    .await;
    let monitor = Arc::new(monitor);
    let workers = sinks.into_iter().map(|receiver| {
        WorkerEntry::new(Delivery::new(
            Arc::clone(&monitor),
            receiver.sink,
            receiver.policy,
            Arc::clone(&deps.clock),
        ))
    });
    let prober = Prober::new(settings.probes.timeout)
        .map_err(|error| anyhow!("the prober cannot be made: {error}"))?
        .with_limits(settings.probes.limits.clone(), Arc::clone(&deps.clock))
        .with_jobs(deps.jobs_db.read().clone());
    let job = HealthMonitor {
        prober,
        targets: targets.into(),
        controls: controls.into(),
        settings: RoundSettings {
            spread: settings.probes.spread,
            slow_after: settings.probes.slow_after,
            concurrency: settings.probes.concurrency as usize,
        },
        monitor: Arc::clone(&monitor),
    };
    Ok(Parts {
        workers: workers.collect(),
        jobs: vec![JobEntry::new(job)],
    })
}

fn targets(probes: &Probes) -> anyhow::Result<Vec<Target>> {
    let targets = probes.targets.iter().map(|(name, target)| {
        let address = address(&format!("probes.targets.{name}.url"), target.url.expose_secret())?;
        let authority = target.ca_cert.as_deref().map(Authority::read).transpose();
        let groups = target.groups.iter().map(|(group, topics)| {
            let topics = topics.iter().map(|topic| Topic::new(topic.as_str()));
            Ok((group.clone(), topics.collect::<Result<_, _>>()?))
        });
        let periods = target.periods.iter();
        Ok(Target {
            token: target.token.clone(),
            authority: authority.map_err(|reason| anyhow!("probes.targets.{name}.ca_cert: {reason}"))?,
            server_name: target.server_name.clone(),
            certificate: target.certificate.as_ref().map(PathBuf::from),
            role: target.role,
            groups: groups.collect::<anyhow::Result<_>>()?,
            periods: periods.map(|(job, period)| (job.clone(), period.0)).collect(),
            depends_on: target.depends_on.clone(),
            ..Target::new(name.clone(), address)
        })
    });
    targets.collect()
}

/// The settings were checked before, so this says what a later change of the checks broke.
fn address(key: &str, text: &str) -> anyhow::Result<Address> {
    Address::parse(text).map_err(|reason| anyhow!("{key} {reason}"))
}
