//! Whether an export may go to this store: it can do what an archive needs, and it is the one that has the earlier ones.
//!
//! A file system that was not mounted, or another bucket, takes exports without a word. They would prove what is then
//! dropped, and be out of sight once the right store is back. The newest exports on record tell the two apart.

use eidos_archive_store::ArchiveStore;
use eidos_runtime::JobContext;

use crate::export::stored;
use crate::{DisposalError, unit};

/// The label of the refusal.
pub(crate) const OTHER_STORE: &str = "store";
/// How many exports are looked for: one that was lost must not stop the others.
const NEWEST: i64 = 5;

/// To be asked before an export is begun.
///
/// # Errors
/// [`DisposalError::Refused`] (`store`) where there are exports on record and the store has none of the newest;
/// [`DisposalError::Store`] where it cannot do what an archive needs; [`DisposalError::Sql`].
pub(crate) async fn check(ctx: &JobContext, store: &ArchiveStore) -> Result<(), DisposalError> {
    stored(ctx, store.ready(ctx.job().as_str()).await)?;
    let newest = unit::newest_exports(ctx.jobs_db().read(), NEWEST).await?;
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
