//! The database whose rows leave.

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

use crate::DisposalError;

/// A connection to a source database from its pool, whose limits of time and number are those of `databases.*`.
///
/// # Errors
/// [`DisposalError::Sql`] where none is free in time, or the server does not answer.
pub async fn source_connection(pool: &PgPool) -> Result<PoolConnection<Postgres>, DisposalError> {
    let acquired = pool.acquire().await;
    acquired.map_err(DisposalError::sql("get a connection to a source database"))
}
