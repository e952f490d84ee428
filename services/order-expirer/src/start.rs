//! The start: connect, compare the profile with the catalogue, refuse with table, column and fix.

use anyhow::bail;
use eidos_runtime::{JobEntry, Parts, ServiceDeps, Severity};

use crate::jobs::cleanup_orders::CleanupOrders;
use crate::jobs::expiry_sweep::ExpirySweep;
use crate::settings::ExpirerSettings;
use crate::sources::cache::OrderCache;
use crate::sources::engine::Engine;
use crate::store::catalogue;
use crate::store::orders::OrdersStore;

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
    let engine = Engine::new(&settings.matching, &suite.security)?;
    let watched = engine.clone();
    // Soft: a replica that cannot reach the engine still answers what it knows.
    deps.health.register("matching_engine", Severity::Soft, move || {
        let engine = watched.clone();
        async move { Ok(engine.check().await?) }
    });
    let orders = OrdersStore::new(&table, &profile.codes);
    let cleanup = CleanupOrders {
        settings: settings.expiry.clone(),
        matching: settings.matching.clone(),
        engine,
        orders: orders.clone(),
        codes: profile.codes,
        replica: replica.clone(),
        primary,
        cache: OrderCache::new(&settings.expiry.cache, &suite.redis)?,
    };
    let sweep = ExpirySweep {
        settings: settings.expiry.clone(),
        orders,
        codes: profile.codes,
        replica,
    };
    Ok(Parts {
        jobs: vec![JobEntry::new(cleanup), JobEntry::new(sweep)],
        workers: Vec::new(),
    })
}
