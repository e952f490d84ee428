//! Monthly partitions of the history, with bounds computed in UTC and checked against the catalogue.
//!
//! Names are for people; what a partition covers is read from `pg_inherits` and its bound expression
//! (ruling 33). A month is created before it begins. Rows that arrived in the default partition meanwhile move
//! into their month in the same transaction that attaches it.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, Utc};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::error::call;
use crate::{CoreError, sql};

/// One month of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MonthPartition {
    /// Calendar year, UTC.
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// First instant inside, epoch ms.
    pub from_ms: i64,
    /// First instant after it, epoch ms.
    pub to_ms: i64,
}

impl MonthPartition {
    /// `eidos_jobs_executions_2026_11`: made of digits only, so it needs no quoting.
    #[must_use]
    pub fn name(&self) -> String {
        format!("eidos_jobs_executions_{:04}_{:02}", self.year, self.month)
    }
}

/// The month, in UTC, that `instant` lies in. `None` beyond the calendar's range.
#[must_use]
pub fn month_bounds(instant: DateTime<Utc>) -> Option<MonthPartition> {
    let first = NaiveDate::from_ymd_opt(instant.year(), instant.month(), 1)?;
    let next = first.checked_add_months(Months::new(1))?;
    let ms = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
    Some(MonthPartition {
        year: first.year(),
        month: first.month(),
        from_ms: ms(first),
        to_ms: ms(next),
    })
}

/// The month of `now` and the `ahead` months after it, in order, without gap or overlap.
#[must_use]
pub fn months(now: DateTime<Utc>, ahead: u32) -> Vec<MonthPartition> {
    let mut months = Vec::new();
    let mut next = month_bounds(now);
    while let Some(month) = next {
        months.push(month);
        if months.len() > ahead as usize {
            break;
        }
        next = DateTime::from_timestamp_millis(month.to_ms).and_then(month_bounds);
    }
    months
}

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
) -> Result<Vec<MonthPartition>, CoreError> {
    let mut created = Vec::new();
    for month in months(now, months_ahead) {
        let mut tx = call("begin a history partition", pool.begin()).await?;
        // One at a time, or two programs would both find the month missing.
        call(
            "lock the history's layout",
            sqlx::query(sql::LOCK_HISTORY_LAYOUT).execute(&mut *tx),
        )
        .await?;
        if !covered(&mut tx, &month).await? {
            create(&mut tx, &month).await?;
            created.push(month);
        }
        call("commit a history partition", tx.commit()).await?;
    }
    Ok(created)
}

/// Whether a partition with exactly this month's bounds is attached.
async fn covered(conn: &mut PgConnection, month: &MonthPartition) -> Result<bool, CoreError> {
    let partitions: Vec<(String, Option<String>)> = call(
        "read the history's partitions",
        sqlx::query_as(sql::HISTORY_PARTITIONS).fetch_all(conn),
    )
    .await?;
    for (name, bounds) in partitions {
        let Some((from_ms, to_ms)) = bounds.as_deref().and_then(parse_bounds) else {
            continue;
        };
        if (from_ms, to_ms) == (month.from_ms, month.to_ms) {
            return Ok(true);
        }
        if from_ms < month.to_ms && month.from_ms < to_ms {
            return Err(CoreError::Partition {
                from_ms: month.from_ms,
                to_ms: month.to_ms,
                problem: format!("{name} covers [{from_ms}, {to_ms}); detach it or split it by hand"),
            });
        }
    }
    Ok(false)
}

/// `FOR VALUES FROM ('1704067200000') TO ('1706745600000')`; `None` for the default partition.
fn parse_bounds(expression: &str) -> Option<(i64, i64)> {
    let rest = expression.strip_prefix("FOR VALUES FROM ('")?;
    let (from, rest) = rest.split_once("') TO ('")?;
    let to = rest.strip_suffix("')")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

async fn create(conn: &mut PgConnection, month: &MonthPartition) -> Result<(), CoreError> {
    let name = month.name();
    let (from, to) = (month.from_ms, month.to_ms);
    let astray: i64 = call(
        "count rows in the default partition",
        sqlx::query_scalar(sql::ROWS_IN_DEFAULT)
            .bind(from)
            .bind(to)
            .fetch_one(&mut *conn),
    )
    .await?;
    let mut statements = Vec::new();
    if astray == 0 {
        statements.push(format!(
            "CREATE TABLE {name} PARTITION OF eidos_jobs_executions FOR VALUES FROM ({from}) TO ({to})"
        ));
    } else {
        tracing::info!(
            partition = name,
            rows = astray,
            "moving history rows out of the default partition"
        );
        statements.push("LOCK TABLE eidos_jobs_executions IN ACCESS EXCLUSIVE MODE".to_owned());
        statements.push(format!(
            "CREATE TABLE {name} (LIKE eidos_jobs_executions INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        ));
        statements.push(format!(
            "WITH moved AS (DELETE FROM eidos_jobs_executions_default \
             WHERE started_at >= {from} AND started_at < {to} RETURNING *) INSERT INTO {name} SELECT * FROM moved"
        ));
        statements.push(format!(
            "ALTER TABLE eidos_jobs_executions ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to})"
        ));
    }
    for statement in statements {
        // Safe: the name is made of a constant and digits, the bounds are integers.
        let statement = AssertSqlSafe(statement);
        call(
            "create a history partition",
            sqlx::raw_sql(statement).execute(&mut *conn),
        )
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documents_example_bounds() {
        let month = month_bounds("2024-01-31T23:59:59.999Z".parse().unwrap()).unwrap();
        assert_eq!(
            (month.from_ms, month.to_ms),
            (1_704_067_200_000, 1_706_745_600_000)
        );
        assert_eq!(month.name(), "eidos_jobs_executions_2024_01");
        assert_eq!(
            parse_bounds("FOR VALUES FROM ('1704067200000') TO ('1706745600000')"),
            Some((1_704_067_200_000, 1_706_745_600_000))
        );
        assert_eq!(parse_bounds("DEFAULT"), None);
    }

    proptest! {
        /// Ruling 33: months tile the time line, whatever the start and across years and leap days.
        #[test]
        fn months_tile_the_time_line(start_ms in 0_i64..4_102_444_800_000, ahead in 0_u32..60) {
            let now = DateTime::from_timestamp_millis(start_ms).unwrap();
            let months = months(now, ahead);
            prop_assert_eq!(months.len(), ahead as usize + 1);
            prop_assert!(months[0].from_ms <= start_ms && start_ms < months[0].to_ms);
            for pair in months.windows(2) {
                prop_assert_eq!(pair[0].to_ms, pair[1].from_ms);
            }
            for month in &months {
                // The naive model: walk the days; every one of them is in this month, its neighbours are not.
                let days = (month.to_ms - month.from_ms) / 86_400_000;
                prop_assert_eq!((month.to_ms - month.from_ms) % 86_400_000, 0);
                for day in -1..=days {
                    let date = DateTime::from_timestamp_millis(month.from_ms + day * 86_400_000).unwrap();
                    let inside = (date.year(), date.month()) == (month.year, month.month);
                    prop_assert_eq!(inside, (0..days).contains(&day));
                }
            }
        }
    }
}
