//! [`accept_archive_store`]: the consent of a person, which tests of exports are not about.

use sqlx::PgPool;

/// Records in a jobs database that a person accepted the archive store at `location`, written as
/// `ArchiveStore::location` writes it.
pub async fn accept_archive_store(jobs: &PgPool, location: &str) {
    sqlx::query(
        "INSERT INTO eidos_jobs_archive_stores (location, accepted_by, accepted_at, reason, execution_id, epoch) \
         VALUES ($1, 'set-up', now(), 'a test', gen_random_uuid(), 0)",
    )
    .bind(location)
    .execute(jobs)
    .await
    .unwrap_or_else(|error| panic!("could not accept the archive store {location}: {error}"));
}
