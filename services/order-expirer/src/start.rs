//! The start: connect, compare the profile with the catalogue, refuse with table, column and fix.

use anyhow::bail;
use eidos_bus::Publisher;
use eidos_runtime::{JobEntry, Parts, ServiceDeps, Severity, WorkerEntry};

use crate::jobs::cleanup_orders::CleanupOrders;
use crate::jobs::expiry_sweep::ExpirySweep;
use crate::settings::{ExpirerSettings, TransportKind};
use crate::sources::cache::OrderCache;
use crate::sources::cancel_requests::CancelRequests;
use crate::sources::engine::Engine;
use crate::sources::transport::Transport;
use crate::store::catalogue;
use crate::store::orders::OrdersStore;
use crate::workers::confirmations::{Confirmations, Databases};

/// Builds the jobs of this service.
pub(crate) async fn build(deps: ServiceDeps<ExpirerSettings>) -> anyhow::Result<Parts> {
    let suite = &deps.settings.suite;
    let settings = &deps.settings.service;
    let profile = &settings.expiry_profile;
    let table = profile.orders().map_err(|problems| {
        let problems: Vec<String> = problems
            .into_iter()
            .map(|(key, reason)| format!("{key}: {reason}"))
            .collect();
        anyhow::anyhow!("expiry_profile: {}", problems.join("\n"))
    })?;
    // Its sessions are read-only: no step is ever opened there.
    let primary = deps.external(profile.source).await?;
    let has_replica = suite
        .databases
        .get(&profile.source)
        .is_some_and(|section| section.replica_url.is_some());
    let replica = if has_replica {
        deps.source(profile.source).await?
    } else {
        primary.clone()
    };
    let problems = catalogue::problems(&primary, &table).await?;
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    let transport = transport(&deps)?;
    let watched = transport.clone();
    // Soft: a replica that cannot reach the engine still answers what it knows.
    deps.health
        .register(transport.dependency(), Severity::Soft, move || {
            let transport = watched.clone();
            async move { Ok(transport.check().await?) }
        });
    let orders = OrdersStore::new(&table, &profile.codes);
    let cleanup = CleanupOrders {
        settings: settings.expiry.clone(),
        matching: settings.matching.clone(),
        transport,
        orders: orders.clone(),
        codes: profile.codes,
        replica: replica.clone(),
        primary,
        cache: OrderCache::new(&settings.expiry.cache, &suite.redis)?,
    };
    let workers = confirmations(
        &deps,
        Databases {
            jobs_db: deps.jobs_db.clone(),
            orders: orders.clone(),
            codes: profile.codes,
            primary: cleanup.primary.clone(),
        },
    )?;
    let sweep = ExpirySweep {
        settings: settings.expiry.clone(),
        orders,
        codes: profile.codes,
        replica,
    };
    Ok(Parts {
        jobs: vec![JobEntry::new(cleanup), JobEntry::new(sweep)],
        workers,
    })
}

/// The way to the engine.
fn transport(deps: &ServiceDeps<ExpirerSettings>) -> anyhow::Result<Transport> {
    let (suite, settings) = (&deps.settings.suite, &deps.settings.service);
    Ok(match settings.expiry.transport {
        TransportKind::Grpc => Transport::Grpc(Box::new(Engine::new(&settings.matching, &suite.security)?)),
        TransportKind::Kafka => Transport::Kafka(CancelRequests::new(
            Publisher::connect(&suite.kafka)?,
            &settings.expiry.kafka,
            settings.matching.connect_timeout,
            deps.clock.clone(),
        )?),
    })
}

/// The worker that hears of ends, where there are brokers.
fn confirmations(
    deps: &ServiceDeps<ExpirerSettings>,
    databases: Databases,
) -> anyhow::Result<Vec<WorkerEntry>> {
    let (kafka, settings) = (&deps.settings.suite.kafka, &deps.settings.service.expiry.kafka);
    if !kafka.is_enabled() || !settings.confirmations {
        return Ok(Vec::new());
    }
    let worker = Confirmations::new(kafka, settings, databases, deps.clock.clone())?;
    Ok(vec![WorkerEntry::new(worker)])
}
