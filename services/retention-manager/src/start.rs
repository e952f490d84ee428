//! The start: connect, verify, refuse with the name and the fix.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use eidos_archive_store::ArchiveStore;
use eidos_disposal::destination;
use eidos_runtime::{Job, JobEntry, Parts, ServiceDeps, Severity};
use eidos_settings::{SourceName, SuiteSettings};
use secrecy::ExposeSecret;

use crate::cleanup::rules::Rules;
use crate::jobs::data_cleanup::DataCleanup;
use crate::jobs::partition_manage::{ManagedTable, PartitionManage};
use crate::settings::{
    DataRetention, PartitionManageOptions, RetentionOptions, RetentionSettings, home, managed_rule,
};
use crate::sources::Sources;

/// Builds the jobs of this service.
pub(crate) async fn build(deps: ServiceDeps<RetentionSettings>) -> anyhow::Result<Parts> {
    let (suite, settings) = (&deps.settings.suite, &deps.settings.service);
    let RetentionOptions {
        partition_manage: options,
        data_cleanup: cleanup,
    } = deps.settings.options.clone();
    let tables = managed_tables(&settings.data_retention, &options)?;
    let rules = Rules::of(
        &settings.data_retention,
        cleanup.archive_before_cleanup,
        settings.disposal.quarantine_days,
    );
    let needed: BTreeSet<SourceName> = tables
        .iter()
        .map(|table| table.source)
        .chain(rules.sources())
        .collect();
    let sources = Sources::connect(&deps, &needed).await?;
    let store = if rules.archives() {
        let place = settings.archive_store.clone().or_at(&cleanup.archive_storage);
        if place.url.is_empty() {
            bail!(
                "archive_store.url is not set, nor is jobs.data-cleanup.archive_storage: tables are exported there \
                 before they are cleaned up; name a store such as s3://bucket/prefix or file:///folder"
            );
        }
        let store = ArchiveStore::open(&place, &suite.security).await;
        let store = store.context("archive_store (tables are archived before they are cleaned up)")?;
        let (watched, control) = (store.clone(), deps.jobs_db.control().clone());
        deps.health.register("archive_store", Severity::Soft, move || {
            let (store, control) = (watched.clone(), control.clone());
            async move { Ok(destination::ready(&control, DataCleanup::NAME, &store).await?) }
        });
        Some(store)
    } else {
        None
    };
    let partition_manage = PartitionManage {
        same_database: same_database(suite),
        disposal: settings.disposal.clone(),
        sources: sources.clone(),
        tables,
        options,
    };
    let data_cleanup = DataCleanup {
        same_database: same_database(suite),
        disposal: settings.disposal.clone(),
        sources,
        rules,
        store,
    };
    Ok(Parts {
        jobs: vec![JobEntry::new(partition_manage), JobEntry::new(data_cleanup)],
        workers: Vec::new(),
    })
}

fn managed_tables(
    retention: &DataRetention,
    options: &PartitionManageOptions,
) -> anyhow::Result<Vec<ManagedTable>> {
    options
        .tables
        .iter()
        .map(|table| {
            Ok(ManagedTable {
                source: home(retention, table).with_context(|| format!("{table} is in no known database"))?,
                table: table.parse()?,
                retention_months: managed_rule(retention, table).map(|rule| rule.retention_months),
            })
        })
        .collect()
}

/// Sources that are one database, each with the first of them.
fn same_database(suite: &SuiteSettings) -> BTreeMap<SourceName, SourceName> {
    let mut first: BTreeMap<&str, SourceName> = BTreeMap::new();
    let mut same = BTreeMap::new();
    for (source, section) in &suite.databases {
        let url = section.url.expose_secret();
        same.insert(*source, *first.entry(url).or_insert(*source));
    }
    same
}
