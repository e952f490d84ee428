//! TimescaleDB's side of a table of candles. Its extension is optional; without it nothing here is asked.
//!
//! These statements are not tested: the extension cannot be installed where the tests run. They were written after its
//! documentation (2.x).

use std::time::Duration;

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::TableShape;
use eidos_pg::sql;
use sqlx::{PgConnection, Row};

use super::candles::limit_wait;
use crate::domain::hypertable::Hypertable;

pub(super) const VERSION: &str = "SELECT extversion::text FROM pg_extension WHERE extname = 'timescaledb'";

const HYPERTABLE: &str = "\
    SELECT EXISTS (SELECT FROM timescaledb_information.hypertables \
                    WHERE hypertable_schema = $1 AND hypertable_name = $2) AS is_hypertable, \
           (SELECT count(*) FROM timescaledb_information.chunks \
             WHERE hypertable_schema = $1 AND hypertable_name = $2 AND is_compressed \
               AND coalesce(range_start_integer, 0) < $3) AS compressed";

const DROP_CHUNKS: &str = "SELECT count(*) FROM drop_chunks($1::regclass, older_than => $2::bigint)";

/// Asks whether the table is a hypertable. `None` without the extension, and for an ordinary table.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn look(
    conn: &mut PgConnection,
    shape: &TableShape,
    cutoff_ms: i64,
) -> Result<Option<Hypertable>, DisposalError> {
    let version: Option<String> = sqlx::query_scalar(VERSION)
        .fetch_optional(&mut *conn)
        .await
        .map_err(DisposalError::sql("look for TimescaleDB"))?;
    let Some(version) = version else {
        return Ok(None);
    };
    let row = sqlx::query(HYPERTABLE)
        .bind(&shape.relation.schema)
        .bind(&shape.relation.name)
        .bind(cutoff_ms)
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql("ask TimescaleDB about a table"))?;
    let decode = DisposalError::sql("decode what TimescaleDB said");
    if !row.try_get::<bool, _>("is_hypertable").map_err(decode)? {
        return Ok(None);
    }
    let compressed: i64 = row
        .try_get("compressed")
        .map_err(DisposalError::sql("decode what TimescaleDB said"))?;
    Ok(Some(Hypertable {
        version,
        compressed_chunks: u64::try_from(compressed).unwrap_or_default(),
    }))
}

/// Gives back chunks that end by `cutoff_ms`, if not a single candle is left before it. Runs inside a fenced step; the
/// lock keeps late candles out between the look and the drop.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn drop_empty_chunks(
    conn: &mut PgConnection,
    shape: &TableShape,
    cutoff_ms: i64,
    lock_timeout: Duration,
) -> Result<u64, DisposalError> {
    limit_wait(conn, lock_timeout).await?;
    let lock = sql!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", shape.relation);
    sqlx::query(lock)
        .execute(&mut *conn)
        .await
        .map_err(DisposalError::sql("lock a hypertable"))?;
    let left = sql!(
        "SELECT EXISTS (SELECT FROM {} WHERE open_time < $1)",
        shape.relation
    );
    let is_left: bool = sqlx::query_scalar(left)
        .bind(cutoff_ms)
        .fetch_one(&mut *conn)
        .await
        .map_err(DisposalError::sql("look whether chunks are empty"))?;
    if is_left {
        return Ok(0);
    }
    let dropped: i64 = sqlx::query_scalar(DROP_CHUNKS)
        .bind(shape.relation.to_string())
        .bind(cutoff_ms)
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql("drop empty chunks"))?;
    Ok(u64::try_from(dropped).unwrap_or_default())
}
