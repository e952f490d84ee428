//! The partitions of a month.

use anyhow::Context;
use eidos_types::{Month, TimeRange};
use sqlx::{AssertSqlSafe, PgConnection};

/// Attached partitions that share time with `range`, by name. Bounds are read from the catalogue.
pub(super) async fn overlapping(
    conn: &mut PgConnection,
    table: &str,
    range: TimeRange,
) -> anyhow::Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        r"SELECT p.name FROM (
              SELECT c.oid::regclass::text AS name,
                     regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(-?\d+)''?\) TO \(''?(-?\d+)''?\)') AS bounds
              FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass) AS p
          WHERE p.bounds[1]::bigint < $3 AND p.bounds[2]::bigint > $2",
    )
    .bind(table)
    .bind(range.lower_ms)
    .bind(range.upper_ms)
    .fetch_all(conn)
    .await?)
}

/// Creates the partition of `month` unless all or a part of it has one.
pub(super) async fn ensure(conn: &mut PgConnection, table: &str, month: Month) -> anyhow::Result<()> {
    if !overlapping(conn, table, month.range()).await?.is_empty() {
        return Ok(());
    }
    attach(conn, table, month).await
}

/// Creates the partition of `month`.
pub(super) async fn attach(conn: &mut PgConnection, table: &str, month: Month) -> anyhow::Result<()> {
    let name = month.partition(table);
    let ddl = format!(
        "CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ({}) TO ({})",
        month.start_ms(),
        month.end_ms()
    );
    sqlx::raw_sql(AssertSqlSafe(ddl))
        .execute(conn)
        .await
        .with_context(|| format!("creating {name}"))?;
    Ok(())
}

/// Drops the partitions that share time with `range`; they must be empty.
pub(super) async fn make_room(conn: &mut PgConnection, table: &str, range: TimeRange) -> anyhow::Result<()> {
    for partition in overlapping(conn, table, range).await? {
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {partition}")))
            .fetch_one(&mut *conn)
            .await?;
        anyhow::ensure!(
            rows == 0,
            "{partition} holds rows; history fills tables that hold none that old"
        );
        sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE {partition}")))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
