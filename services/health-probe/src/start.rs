//! The start: reads addresses and the state file. Nothing is connected.

use std::path::Path;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use eidos_alerting::{DeskPolicy, LogSink, Sink, Webhook, WebhookSettings};
use eidos_runtime::{JobEntry, Parts, ServiceDeps, WorkerEntry};
use secrecy::ExposeSecret;

use crate::domain::address::Address;
use crate::jobs::health_monitor::{HealthMonitor, RoundSettings};
use crate::monitor::Monitor;
use crate::probes::{Prober, Target};
use crate::settings::{Notifications, ProbeSettings, Probes};
use crate::state_file::StateFile;
use crate::workers::delivery::Delivery;

/// Builds the job and its workers.
pub(crate) async fn build(deps: ServiceDeps<ProbeSettings>) -> anyhow::Result<Parts> {
    let settings = &deps.settings.service;
    let targets = targets(&settings.probes)?;
    if targets.is_empty() {
        bail!(
            "probes.targets names nothing: health-probe has nothing to look at; name a target, such as \
             probes.targets.trading.url: http://trading:8080/health"
        );
    }
    let controls = settings
        .probes
        .controls
        .iter()
        .map(|control| address("probes.controls", control));
    let controls = controls.collect::<anyhow::Result<Vec<_>>>()?;
    let sinks = sinks(&settings.notifications)?;
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
    let names = sinks.iter().map(|sink| sink.name().to_owned());
    let monitor = Monitor::open(
        settings.probes.rules(),
        &targets,
        names.collect(),
        file,
        &*deps.clock,
    )
    .await;
    let monitor = Arc::new(monitor);
    let policy = DeskPolicy {
        repeat_after: settings.notifications.repeat_after,
        give_up_after: settings.notifications.give_up_after,
        ..Delivery::POLICY
    };
    let workers = sinks.into_iter().map(|sink| {
        WorkerEntry::new(Delivery::new(
            Arc::clone(&monitor),
            sink,
            policy,
            Arc::clone(&deps.clock),
        ))
    });
    let job = HealthMonitor {
        prober: Prober::new(settings.probes.timeout)
            .map_err(|error| anyhow!("the prober cannot be made: {error}"))?,
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
        Ok(Target {
            name: name.clone(),
            address: address(&format!("probes.targets.{name}.url"), target.url.expose_secret())?,
            token: target.token.clone(),
        })
    });
    targets.collect()
}

/// The settings were checked before, so this says what a later change of the checks broke.
fn address(key: &str, text: &str) -> anyhow::Result<Address> {
    Address::parse(text).map_err(|reason| anyhow!("{key} {reason}"))
}

fn sinks(notifications: &Notifications) -> anyhow::Result<Vec<Arc<dyn Sink>>> {
    let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
    if notifications.log {
        sinks.push(Arc::new(LogSink));
    }
    for (name, webhook) in &notifications.webhooks {
        let settings = WebhookSettings {
            name: format!("webhook-{name}"),
            url: webhook.url.clone(),
            secret: webhook.secret.clone(),
            timeout: webhook.timeout,
        };
        let webhook =
            Webhook::new(settings).map_err(|reason| anyhow!("notifications.webhooks.{name}.url {reason}"))?;
        sinks.push(Arc::new(webhook));
    }
    if sinks.is_empty() {
        bail!(
            "no receiver of alerts: set notifications.log to true, or name a webhook in notifications.webhooks"
        );
    }
    Ok(sinks)
}
