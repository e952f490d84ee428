//! TimescaleDB: what it changes about deleting candles. Its extension is optional; without it nothing here is asked.
//!
//! `drop_chunks` knows no intervals: on a table that holds several it would take days and weeks along with the minutes
//! (ruling 36). So rows are always deleted by proof, and chunks are only given back once they are empty. The cutoff is
//! a `BIGINT` in milliseconds, never an interval: given one, TimescaleDB goes by the time a chunk was *created*.
//!
//! The decisions are tested; the three statements to TimescaleDB are not: the extension cannot be installed where the
//! tests run. They were written after its documentation (2.x).

use std::time::Duration;

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::TableShape;
use eidos_pg::sql;
use sqlx::{PgConnection, Row};

use super::candle_sql::limit_wait;

/// Direct DELETE on compressed chunks could take more rows than asked for before this version
/// (timescale/timescaledb #10129, fixed by PR #10254).
const SAFE_ON_COMPRESSED: (u32, u32, u32) = (2, 28, 3);

/// What TimescaleDB knows about a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hypertable {
    pub(super) version: String,
    /// Compressed chunks that hold something from before the cutoff.
    pub(super) compressed_chunks: u64,
}

/// How candles may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    /// Rows in batches, each batch proved.
    Delete,
    /// The same, and chunks that are empty then are dropped.
    DeleteThenDropChunks,
    /// Not at all: why, and what to do.
    Refused(String),
}

/// How candles of a table may be deleted. `alone_in_table`: it holds a single interval.
pub(super) fn method(hypertable: Option<&Hypertable>, alone_in_table: bool) -> Method {
    let Some(hypertable) = hypertable else {
        return Method::Delete;
    };
    let is_safe = version(&hypertable.version).is_some_and(|version| version >= SAFE_ON_COMPRESSED);
    if hypertable.compressed_chunks > 0 && !is_safe {
        return Method::Refused(format!(
            "{} compressed chunks hold expired candles, and TimescaleDB {} may delete more of them than asked for \
             (fixed in 2.28.3); upgrade it, or decompress them",
            hypertable.compressed_chunks, hypertable.version
        ));
    }
    if alone_in_table {
        Method::DeleteThenDropChunks
    } else {
        Method::Delete
    }
}

/// `2.28.3`, `2.29.0-dev`; `None` for anything else.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let (release, suffix) = text
        .split_once('-')
        .map_or((text, None), |(release, suffix)| (release, Some(suffix)));
    // A development version precedes its release: it does not have the fix for sure.
    if suffix.is_some() {
        return None;
    }
    let mut parts = release.split('.').map(str::parse::<u32>);
    let mut part = || parts.next()?.ok();
    let version = (part()?, part()?, part()?);
    parts.next().is_none().then_some(version)
}

/// Asks whether the table is a hypertable. `None` without the extension, and for an ordinary table.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(super) async fn look(
    conn: &mut PgConnection,
    shape: &TableShape,
    cutoff_ms: i64,
) -> Result<Option<Hypertable>, DisposalError> {
    let version: Option<String> =
        sqlx::query_scalar("SELECT extversion::text FROM pg_extension WHERE extname = 'timescaledb'")
            .fetch_optional(&mut *conn)
            .await
            .map_err(DisposalError::sql("look for TimescaleDB"))?;
    let Some(version) = version else {
        return Ok(None);
    };
    let row = sqlx::query(
        "SELECT EXISTS (SELECT FROM timescaledb_information.hypertables \
                         WHERE hypertable_schema = $1 AND hypertable_name = $2) AS is_hypertable, \
                (SELECT count(*) FROM timescaledb_information.chunks \
                  WHERE hypertable_schema = $1 AND hypertable_name = $2 AND is_compressed \
                    AND coalesce(range_start_integer, 0) < $3) AS compressed",
    )
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
pub(super) async fn drop_empty_chunks(
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
    let dropped: i64 =
        sqlx::query_scalar("SELECT count(*) FROM drop_chunks($1::regclass, older_than => $2::bigint)")
            .bind(shape.relation.to_string())
            .bind(cutoff_ms)
            .fetch_one(conn)
            .await
            .map_err(DisposalError::sql("drop empty chunks"))?;
    Ok(u64::try_from(dropped).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypertable(version: &str, compressed_chunks: u64) -> Hypertable {
        Hypertable {
            version: version.to_owned(),
            compressed_chunks,
        }
    }

    #[test]
    fn an_ordinary_table_is_deleted_from_in_batches() {
        assert_eq!(method(None, false), Method::Delete);
        assert_eq!(method(None, true), Method::Delete);
    }

    #[test]
    fn ruling_36_chunks_are_dropped_only_where_a_table_holds_one_interval() {
        assert_eq!(method(Some(&hypertable("2.14.2", 0)), false), Method::Delete);
        assert_eq!(
            method(Some(&hypertable("2.14.2", 0)), true),
            Method::DeleteThenDropChunks
        );
    }

    #[test]
    fn compressed_chunks_are_not_deleted_from_before_2_28_3() {
        for (version, refused) in [
            ("2.28.2", true),
            ("2.9.9", true),
            ("1.99.99", true),
            ("2.28.3", false),
            ("2.28.10", false),
            ("2.29.0", false),
            ("3.0.0", false),
            ("2.28.3-dev", true),
            ("2.28", true),
            ("nonsense", true),
        ] {
            let decided = method(Some(&hypertable(version, 1)), false);
            assert_eq!(
                matches!(decided, Method::Refused(_)),
                refused,
                "{version}: {decided:?}"
            );
        }
        assert_eq!(method(Some(&hypertable("2.1.0", 0)), false), Method::Delete);
    }
}
