//! Whether an export may go to this store: a person named and confirmed it, it can do what an archive needs, and it is the
//! one that has the earlier exports.
//!
//! A file system that was not mounted, or another bucket, takes exports without a word. They would prove what is then
//! dropped, and be out of sight once the right store is back. The newest exports on record tell the two apart; before the
//! first export only a person can, who accepts the location once ([`requested`]).

mod accepted;
mod request;

use eidos_archive_store::ArchiveStore;
use eidos_runtime::JobContext;
use sqlx::PgPool;

use crate::error::{NOT_ACCEPTED, OTHER_STORE};
use crate::export::stored;
use crate::{DisposalError, unit};

pub use accepted::AcceptedStore;
pub use request::{StoreAct, StoreReport, StoreRequest, requested};

/// How many exports are looked for: one that was lost must not stop the others.
const NEWEST: i64 = 5;

/// To be asked before an export is begun.
///
/// # Errors
/// [`DisposalError::Refused`]: `store_not_accepted` where nobody accepted the location, `store` where there are exports
/// on record and the store has none of the newest; [`DisposalError::Store`] where it cannot do what an archive needs;
/// [`DisposalError::Sql`].
pub(crate) async fn check(ctx: &JobContext, store: &ArchiveStore) -> Result<(), DisposalError> {
    let control = ctx.jobs_db().control();
    match stored_standing(ctx, store).await? {
        Standing::Accepted => {}
        Standing::Adoptable(manifest) => accepted::adopt(ctx, store, &manifest).await?,
        Standing::Unknown => {
            let what = not_accepted(ctx.job().as_str(), &store.location());
            return Err(DisposalError::refused(NOT_ACCEPTED, what));
        }
    }
    stored(ctx, store.ready(ctx.job().as_str()).await)?;
    let newest = unit::newest_exports(control, NEWEST).await?;
    for key in &newest {
        if stored(ctx, store.has_manifest(key).await)? {
            return Ok(());
        }
    }
    let Some(first) = newest.first() else {
        return Ok(());
    };
    Err(DisposalError::refused(
        OTHER_STORE,
        format!(
            "{} has none of the {} newest exports ({first} first): its file system is not mounted, or archive_store.url \
             names another store. Nothing was exported; bring the store back, or copy the archives to the new one first \
             (docs/runbooks/disposal-refused.md)",
            store.location(),
            newest.len(),
        ),
    ))
}

/// Why a run of `job` would export nothing to this store, as a label and a sentence; `None`: the location was accepted,
/// or has the exports of before locations were recorded. Changes nothing and does not ask whether the store works.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn obstacle(
    control: &PgPool,
    job: &str,
    store: &ArchiveStore,
) -> Result<Option<(&'static str, String)>, DisposalError> {
    match standing(control, job, store).await {
        Ok(Standing::Accepted | Standing::Adoptable(_)) => Ok(None),
        Ok(Standing::Unknown) => Ok(Some((NOT_ACCEPTED, not_accepted(job, &store.location())))),
        Err(DisposalError::Store(error)) => Ok(Some((
            NOT_ACCEPTED,
            format!(
                "the archive store {} was never accepted, and could not be asked for earlier exports: {error}",
                store.location()
            ),
        ))),
        Err(error) => Err(error),
    }
}

/// Whether a run of `job` could export to this store now, for a health check: it answers, and was accepted.
///
/// # Errors
/// [`DisposalError::Store`] where it does not answer; [`DisposalError::Refused`] (`store_not_accepted`);
/// [`DisposalError::Sql`].
pub async fn ready(control: &PgPool, job: &str, store: &ArchiveStore) -> Result<(), DisposalError> {
    store.check().await?;
    match obstacle(control, job, store).await? {
        None => Ok(()),
        Some((reason, what)) => Err(DisposalError::refused(reason, what)),
    }
}

/// What is known about a location.
enum Standing {
    Accepted,
    /// It has this manifest of an export from before locations were recorded.
    Adoptable(String),
    Unknown,
}

async fn stored_standing(ctx: &JobContext, store: &ArchiveStore) -> Result<Standing, DisposalError> {
    let found = standing(ctx.jobs_db().control(), ctx.job().as_str(), store).await;
    // A run that was told to stop says so itself.
    found.map_err(|error| match (ctx.check_cancelled(), error) {
        (Err(stopped), DisposalError::Store(_)) => stopped.into(),
        (_, error) => error,
    })
}

/// From the primary, never a replica: what was accepted a moment ago counts.
async fn standing(control: &PgPool, job: &str, store: &ArchiveStore) -> Result<Standing, DisposalError> {
    if accepted::find(control, &store.location()).await?.is_some() {
        return Ok(Standing::Accepted);
    }
    if !accepted::may_adopt(control, job).await? {
        return Ok(Standing::Unknown);
    }
    for manifest in unit::newest_manifests(control, NEWEST).await? {
        match store.manifest(&manifest).await {
            Ok(_) => return Ok(Standing::Adoptable(manifest.key)),
            // Another store, or an export that was lost: not this one.
            Err(error) if error.is_rot() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Standing::Unknown)
}

/// The program that runs a job and opens its store.
fn program_of(job: &str) -> &'static str {
    match job {
        "data-cleanup" | "partition-manage" => "retention-manager",
        _ => "archiver",
    }
}

fn not_accepted(job: &str, location: &str) -> String {
    format!(
        "the archive store {location} was never accepted, so nothing is exported to it and nothing is removed. If this is \
         where archives belong: {} store accept --location '{location}' --reason 'why'; otherwise correct \
         archive_store.url and archive_store.endpoint",
        program_of(job)
    )
}
