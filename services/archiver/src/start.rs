//! The start: connect, compare the profile with the catalogue, refuse with table, column and fix.

use anyhow::{Context, bail};
use eidos_archive_store::ArchiveStore;
use eidos_disposal::{DisposalError, destination};
use eidos_runtime::{Job, JobEntry, Parts, ServiceDeps, Severity};

use crate::jobs::archive_data::{ArchiveData, survey};
use crate::jobs::restore_archive::RestoreArchive;
use crate::jobs::verify_archive::VerifyArchive;
use crate::settings::ArchiverSettings;

/// Builds the jobs of this service.
pub(crate) async fn build(deps: ServiceDeps<ArchiverSettings>) -> anyhow::Result<Parts> {
    let suite = &deps.settings.suite;
    let settings = &deps.settings.service;
    let store = open_store(&deps).await?;
    let (watched, control) = (store.clone(), deps.jobs_db.control().clone());
    deps.health.register("archive_store", Severity::Soft, move || {
        let (store, control) = (watched.clone(), control.clone());
        async move { Ok(destination::ready(&control, ArchiveData::NAME, &store).await?) }
    });
    let rules = settings.archive_profile.rules().map_err(|problems| {
        let problems: Vec<String> = problems
            .into_iter()
            .map(|(key, reason)| format!("{key}: {reason}"))
            .collect();
        anyhow::anyhow!("archive_profile: {}", problems.join("\n"))
    })?;
    let pool = deps.external(settings.archive_profile.source).await?;
    let mut problems = Vec::new();
    {
        let mut conn = pool.acquire().await?;
        for rule in &rules {
            match survey::find(&mut conn, rule).await {
                Ok(_) => {}
                Err(error @ DisposalError::Sql { .. }) => return Err(error.into()),
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    let jobs = vec![
        JobEntry::new(ArchiveData {
            options: deps.settings.options.archive_data.clone(),
            disposal: settings.disposal.clone(),
            rules,
            pool,
            store: store.clone(),
        }),
        JobEntry::new(VerifyArchive { store: store.clone() }),
        JobEntry::new(RestoreArchive {
            store,
            disposal: settings.disposal.clone(),
            suite: suite.clone(),
        }),
    ];
    Ok(Parts {
        jobs,
        workers: Vec::new(),
    })
}

async fn open_store(deps: &ServiceDeps<ArchiverSettings>) -> anyhow::Result<ArchiveStore> {
    let suite = &deps.settings.suite;
    let settings = deps.settings.service.place(suite);
    if settings.url.is_empty() {
        bail!(
            "archive_store.url is not set, nor is jobs.data-cleanup.archive_storage: expired months are exported there; \
             name a store such as s3://bucket/prefix or file:///folder"
        );
    }
    ArchiveStore::open(&settings, &suite.security)
        .await
        .context("archive_store.url (or jobs.data-cleanup.archive_storage)")
}
