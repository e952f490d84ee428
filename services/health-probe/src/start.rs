//! The start: reads addresses and the state file. Nothing is connected.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use eidos_bus::Topic;
use eidos_runtime::{JobEntry, Parts, ServiceDeps, WorkerEntry};
use secrecy::ExposeSecret;

use crate::domain::address::Address;
use crate::jobs::alert_drill::AlertDrill;
use crate::jobs::health_monitor::{HealthMonitor, RoundSettings};
use crate::monitor::Monitor;
use crate::probes::{Authority, Prober, Target};
use crate::receivers::{self, Receiver};
use crate::settings::{Notifications, ProbeSettings, Probes};
use crate::sources::ballots::Ballots;
use crate::sources::cool_down::CoolDown;
use crate::sources::shared_redis::SharedRedis;
use crate::state_file::StateFile;
use crate::workers::delivery::{Delivery, Shared};
use crate::workers::heartbeat::Beats;
use crate::workers::silences::{Silenced, Silences};
use crate::workers::voting::Voting;

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
        settings.probes.vote,
        &targets,
        names.collect(),
        file,
        &*deps.clock,
    )
    .await;
    let monitor = Arc::new(monitor);
    let drill = AlertDrill {
        sinks: sinks.iter().map(|receiver| Arc::clone(&receiver.sink)).collect(),
    };
    let workers = workers(&deps, sinks, &monitor)?;
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
        workers,
        jobs: vec![JobEntry::new(job), JobEntry::new(drill)],
    })
}

fn workers(
    deps: &ServiceDeps<ProbeSettings>,
    sinks: Vec<Receiver>,
    monitor: &Arc<Monitor>,
) -> anyhow::Result<Vec<WorkerEntry>> {
    let settings: &Notifications = &deps.settings.service.notifications;
    let servers = receivers::silences_of(settings)?;
    let silenced = Arc::new(Silenced::by(servers.len()));
    let redis = Arc::new(SharedRedis::new(&deps.settings.suite.redis)?);
    let voting = Voting::new(
        Ballots::new(Arc::clone(&redis), deps.node),
        Arc::clone(monitor),
        Arc::clone(&deps.clock),
    );
    let shared = Arc::new(Shared {
        silenced: Arc::clone(&silenced),
        cool_down: settings
            .cool_down
            .then(|| CoolDown::new(redis, deps.node, settings.repeat_after)),
    });
    let deliveries = sinks.into_iter().map(|receiver| {
        let shared = receiver.is_shared.then(|| Arc::clone(&shared));
        WorkerEntry::new(Delivery::new(
            Arc::clone(monitor),
            receiver.sink,
            receiver.policy,
            shared,
            Arc::clone(&deps.clock),
        ))
    });
    let readers = servers
        .into_iter()
        .map(|server| WorkerEntry::new(Silences::new(server, Arc::clone(&silenced))));
    let beats = receivers::heartbeats_of(settings)?.into_iter();
    let beats = beats.map(|(name, heartbeat, every_rounds)| {
        WorkerEntry::new(Beats::new(&name, heartbeat, every_rounds, Arc::clone(monitor)))
    });
    let others = readers.chain(beats).chain([WorkerEntry::new(voting)]);
    Ok(deliveries.chain(others).collect())
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
