//! The start: connect, verify, refuse with the name and the fix.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, anyhow};
use eidos_runtime::{Job, JobEntry, ServiceDeps};
use eidos_settings::{SourceName, SuiteSettings};
use secrecy::ExposeSecret;

use crate::jobs::partition_manage::{ManagedTable, PartitionManage};
use crate::settings::{PartitionManageOptions, RetentionSettings, home};
use crate::sources::Sources;

/// Builds the jobs of this service.
pub(crate) async fn build(deps: ServiceDeps<RetentionSettings>) -> anyhow::Result<Vec<JobEntry>> {
    let suite = &deps.settings.suite;
    let options = partition_options(suite)?;
    let tables = managed_tables(suite, &options)?;
    let needed: BTreeSet<SourceName> = tables.iter().map(|table| table.source).collect();
    let sources = Sources::connect(&deps, &needed).await?;
    let partition_manage = PartitionManage {
        same_database: same_database(suite),
        disposal: deps.settings.service.disposal.clone(),
        sources,
        tables,
        options,
    };
    Ok(vec![JobEntry::new(partition_manage)])
}

fn partition_options(suite: &SuiteSettings) -> anyhow::Result<PartitionManageOptions> {
    let name = PartitionManage::NAME;
    let section = suite
        .jobs
        .iter()
        .find(|(job, _)| job.as_str() == name)
        .map(|(_, section)| section)
        .with_context(|| format!("jobs.{name} is not set"))?;
    section
        .parse_options()
        .map_err(|error| anyhow!("jobs.{name}: {error}"))
}

fn managed_tables(
    suite: &SuiteSettings,
    options: &PartitionManageOptions,
) -> anyhow::Result<Vec<ManagedTable>> {
    let rules = &suite.data_retention.partitioned_tables;
    options
        .tables
        .iter()
        .map(|table| {
            Ok(ManagedTable {
                source: home(suite, table).with_context(|| format!("{table} is in no known database"))?,
                table: table.parse()?,
                retention_months: rules.get(table).map(|rule| rule.retention_months),
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
