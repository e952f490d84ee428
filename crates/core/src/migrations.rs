//! The schema: who makes it, and how a service refuses one it does not fit.
//!
//! Only `eidosctl migrate` changes the schema. A service calls [`check`] at start and refuses to run on an older
//! or newer one, naming the command.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use crate::error::call;
use crate::{CoreError, db, sql};

mod partitions;

pub use partitions::ensure_history_partitions;

/// Our migrations, embedded. Add-only.
static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// How many months of history partitions [`migrate`] creates beyond the current one.
pub const MONTHS_AHEAD: u32 = 3;

/// The newest migration this program knows.
#[must_use]
pub fn expected_version() -> i64 {
    MIGRATOR
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default()
}

/// Brings the schema up to date and creates the history partitions around `now`. Safe to run at any time and
/// from several places at once; needs the owner's rights.
///
/// # Errors
/// [`CoreError::Migrate`], [`CoreError::Partition`], [`CoreError::Sql`].
pub async fn migrate(pool: &PgPool, now: DateTime<Utc>) -> Result<(), CoreError> {
    MIGRATOR.run(pool).await.map_err(CoreError::Migrate)?;
    ensure_history_partitions(pool, now, MONTHS_AHEAD).await?;
    Ok(())
}

/// [`migrate`] over connections of its own, without the statement timeouts of a service's pool. It locks the schema with
/// a lock of the session, so the session must be its own as well.
///
/// # Errors
/// [`CoreError::Url`], [`CoreError::Connect`], [`CoreError::SharedSession`], and those of [`migrate`].
pub async fn migrate_url(url: &SecretString, now: DateTime<Utc>) -> Result<(), CoreError> {
    let pool = db::connect_owner(url, "eidosctl").await?;
    let outcome = migrate(&pool, now).await;
    pool.close().await;
    outcome
}

/// Installs the fence table in another service's database, for tests and for owners who let us.
///
/// # Errors
/// [`CoreError::Sql`].
pub async fn install_external_fence(pool: &PgPool) -> Result<(), CoreError> {
    call(
        "install the external fence table",
        sqlx::raw_sql(sql::EXTERNAL_FENCE_DDL).execute(pool),
    )
    .await?;
    Ok(())
}

/// Installs what a database needs whose partitions are frozen and quarantined (`migrations/foreign/freeze.sql`).
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn install_external_freeze(pool: &PgPool) -> Result<(), CoreError> {
    call(
        "install the freeze trigger's function",
        sqlx::raw_sql(sql::EXTERNAL_FREEZE_DDL).execute(pool),
    )
    .await?;
    Ok(())
}

/// Compares the database with the embedded migrations.
///
/// # Errors
/// [`CoreError::SchemaVersion`] when it is older, newer or empty; [`CoreError::SchemaChanged`] when an applied
/// migration differs; [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn check(pool: &PgPool) -> Result<(), CoreError> {
    let applied = applied(pool).await?;
    let expected = expected_version();
    let found = applied.keys().max().copied();
    if found != Some(expected) {
        return Err(CoreError::SchemaVersion { found, expected });
    }
    for migration in MIGRATOR.iter() {
        match applied.get(&migration.version) {
            Some(checksum) if **checksum == *migration.checksum => {}
            Some(_other) => {
                return Err(CoreError::SchemaChanged {
                    version: migration.version,
                });
            }
            None => return Err(CoreError::SchemaVersion { found, expected }),
        }
    }
    Ok(())
}

async fn applied(pool: &PgPool) -> Result<BTreeMap<i64, Vec<u8>>, CoreError> {
    let exists: bool = call(
        "look for the migrations table",
        sqlx::query_scalar(sql::MIGRATIONS_TABLE_EXISTS).fetch_one(pool),
    )
    .await?;
    if !exists {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(i64, Vec<u8>)> = call(
        "read the applied migrations",
        sqlx::query_as(sql::APPLIED_MIGRATIONS).fetch_all(pool),
    )
    .await?;
    Ok(rows.into_iter().collect())
}
