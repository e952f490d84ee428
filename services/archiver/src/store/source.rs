//! What is asked of the trading service's server before anything is read.

use eidos_disposal::DisposalError;
use sqlx::PgPool;

pub(super) const IS_STANDBY: &str = "SELECT pg_is_in_recovery()";

pub(super) const NOW: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Checks whether the server is a standby, which cannot be written to.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn is_standby(pool: &PgPool) -> Result<bool, DisposalError> {
    sqlx::query_scalar(IS_STANDBY)
        .fetch_one(pool)
        .await
        .map_err(DisposalError::sql("ask whether the server is a primary"))
}

/// Returns the server's time, epoch ms.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn now_ms(pool: &PgPool) -> Result<i64, DisposalError> {
    sqlx::query_scalar(NOW)
        .fetch_one(pool)
        .await
        .map_err(DisposalError::sql("ask the source for its time"))
}
