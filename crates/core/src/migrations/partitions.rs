//! Monthly partitions of the history, with bounds computed in UTC and checked against the catalogue.
//!
//! Names are for people; what a partition covers is read from `pg_inherits` and its bound expression
//! (ruling 33). A month is created before it begins. Rows that arrived in the default partition meanwhile move
//! into their month in the same transaction that attaches it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_pg::bounds::Bounds;
use eidos_pg::{NewPartition, PgError, Relation, Sql, sql};
use eidos_types::{Month, TimeRange};
use sqlx::{PgConnection, PgPool};

use crate::error::call;
use crate::{CoreError, sql};

const HISTORY: &str = "eidos_jobs_executions";
const DEFAULT: &str = "eidos_jobs_executions_default";
/// How long making one partition may take, rows that have to be moved included.
const MAKING_TIMEOUT: Duration = Duration::from_secs(80);

/// Creates the history partitions of the current month and the `months_ahead` after it, where they are missing.
/// Returns those it created. Needs the owner's rights.
///
/// # Errors
/// [`CoreError::Partition`] when an existing partition covers only part of a month or more than it;
/// [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn ensure_history_partitions(
    pool: &PgPool,
    now: DateTime<Utc>,
    months_ahead: u32,
) -> Result<Vec<Month>, CoreError> {
    let mut created = Vec::new();
    for month in Month::of(now).and_next(months_ahead) {
        let mut tx = call("begin a history partition", pool.begin()).await?;
        // One at a time, or two programs would both find the month missing.
        call(
            "lock the history's layout",
            sqlx::query(sql::LOCK_HISTORY_LAYOUT).execute(&mut *tx),
        )
        .await?;
        if !covered(&mut tx, month.range()).await? {
            create(&mut tx, month).await?;
            created.push(month);
        }
        call("commit a history partition", tx.commit()).await?;
    }
    Ok(created)
}

/// Checks whether a partition with exactly this month's bounds is attached.
async fn covered(conn: &mut PgConnection, month: TimeRange) -> Result<bool, CoreError> {
    let partitions: Vec<(String, Option<String>)> = call(
        "read the history's partitions",
        sqlx::query_as(sql::HISTORY_PARTITIONS).fetch_all(conn),
    )
    .await?;
    for (name, bounds) in partitions {
        let Some((lower_ms, upper_ms)) = bounds
            .and_then(|bounds| Bounds::parse(&bounds).ok())
            .and_then(|bounds| bounds.finite())
        else {
            continue;
        };
        let attached = TimeRange { lower_ms, upper_ms };
        if attached == month {
            return Ok(true);
        }
        if attached.overlaps(month) {
            return Err(CoreError::Partition {
                from_ms: month.lower_ms,
                to_ms: month.upper_ms,
                problem: format!(
                    "{name} covers [{}, {}); detach it or split it by hand",
                    attached.lower_ms, attached.upper_ms
                ),
            });
        }
    }
    Ok(false)
}

/// Makes the partition of a month, and moves its rows out of the default partition.
async fn create(conn: &mut PgConnection, month: Month) -> Result<(), CoreError> {
    let range = month.range();
    let making = tokio::time::timeout(MAKING_TIMEOUT, make(conn, month)).await;
    let made = making.map_err(|_elapsed| CoreError::TimedOut {
        doing: "create a history partition",
        after: MAKING_TIMEOUT,
    })?;
    let moved = made.map_err(|error| match error {
        PgError::Sql { doing, cause } => CoreError::Sql { doing, cause },
        PgError::Layout(problem) => CoreError::Partition {
            from_ms: range.lower_ms,
            to_ms: range.upper_ms,
            problem,
        },
    })?;
    if moved > 0 {
        tracing::info!(%month, rows = moved, "moved history rows out of the default partition");
    }
    Ok(())
}

async fn make(conn: &mut PgConnection, month: Month) -> Result<u64, PgError> {
    let (schema, oid): (String, i64) = sqlx::query_as(sql::HISTORY_TABLE)
        .fetch_one(&mut *conn)
        .await
        .map_err(PgError::sql("find the history"))?;
    let of_schema = |name: &str| Relation::new(&schema, name);
    let (parent, default) = (of_schema(HISTORY), of_schema(DEFAULT));
    let relation = of_schema(&month.partition(HISTORY));
    let (from, to) = (month.start_ms(), month.end_ms());
    let new = NewPartition {
        parent: &parent,
        parent_oid: u32::try_from(oid).unwrap_or_default(),
        key: "started_at",
        relation: &relation,
        bounds_ms: (from, to),
    };
    new.create_table(conn).await?;
    new.prepare(conn).await?;
    for table in [&parent, &default] {
        let lock = sql!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE"; table);
        run(conn, "lock the history", lock).await?;
    }
    let moving = sql!(
        "WITH moved AS (DELETE FROM ONLY {default} WHERE started_at >= {from} AND started_at < {to} RETURNING *) \
         INSERT INTO {relation} SELECT * FROM moved";
        default, from, to, relation
    );
    let moved = run(conn, "move rows out of the default partition", moving).await?;
    for (doing, statement) in new.attach_sql() {
        run(conn, doing, statement).await?;
    }
    new.finish(conn).await?;
    Ok(moved)
}

async fn run(conn: &mut PgConnection, doing: &'static str, statement: Sql) -> Result<u64, PgError> {
    let done = sqlx::raw_sql(statement)
        .execute(conn)
        .await
        .map_err(PgError::sql(doing))?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_example_bounds() {
        let month = Month::of("2024-01-31T23:59:59.999Z".parse().unwrap());
        assert_eq!(month.partition(HISTORY), "eidos_jobs_executions_2024_01");
        let bounds = Bounds::parse("FOR VALUES FROM ('1704067200000') TO ('1706745600000')").unwrap();
        assert_eq!(bounds.finite(), Some((month.start_ms(), month.end_ms())));
        assert!(Bounds::parse("DEFAULT").is_err());
    }
}
