//! Months in UTC, and the partitions that hold them.

use anyhow::Context;
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection};

/// One calendar month, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    /// First instant inside, epoch ms.
    pub lower_ms: i64,
    /// First instant after it, epoch ms.
    pub upper_ms: i64,
    /// Calendar year.
    pub year: i32,
    /// 1 to 12.
    pub number: u32,
}

impl Month {
    /// The month an instant (epoch ms) lies in.
    ///
    /// # Errors
    /// Beyond the calendar.
    pub fn of_ms(ms: i64) -> anyhow::Result<Self> {
        let at: DateTime<Utc> = DateTime::from_timestamp_millis(ms).context("no such instant")?;
        let first = NaiveDate::from_ymd_opt(at.year(), at.month(), 1).context("no such month")?;
        Self::from_first(first)
    }

    fn from_first(first: NaiveDate) -> anyhow::Result<Self> {
        let next = first
            .checked_add_months(Months::new(1))
            .context("beyond the calendar")?;
        let start = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
        Ok(Self {
            lower_ms: start(first),
            upper_ms: start(next),
            year: first.year(),
            number: first.month(),
        })
    }

    /// So many months before this one.
    ///
    /// # Errors
    /// Beyond the calendar.
    pub fn minus(self, months: u32) -> anyhow::Result<Self> {
        let first = NaiveDate::from_ymd_opt(self.year, self.number, 1).context("no such month")?;
        let earlier = first.checked_sub_months(Months::new(months));
        Self::from_first(earlier.context("beyond the calendar")?)
    }

    /// So many months after this one.
    ///
    /// # Errors
    /// Beyond the calendar.
    pub fn plus(self, months: u32) -> anyhow::Result<Self> {
        let first = NaiveDate::from_ymd_opt(self.year, self.number, 1).context("no such month")?;
        let later = first.checked_add_months(Months::new(months));
        Self::from_first(later.context("beyond the calendar")?)
    }

    /// What its partition of `table` is called.
    #[must_use]
    pub fn partition(&self, table: &str) -> String {
        format!("{table}_{:04}_{:02}", self.year, self.number)
    }
}

/// Attached partitions that share time with `[lower, upper)`, by name. Bounds are read from the catalogue.
pub(super) async fn overlapping(
    conn: &mut PgConnection,
    table: &str,
    lower_ms: i64,
    upper_ms: i64,
) -> anyhow::Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        r"SELECT p.name FROM (
              SELECT c.oid::regclass::text AS name,
                     regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(-?\d+)''?\) TO \(''?(-?\d+)''?\)') AS bounds
              FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass) AS p
          WHERE p.bounds[1]::bigint < $3 AND p.bounds[2]::bigint > $2",
    )
    .bind(table)
    .bind(lower_ms)
    .bind(upper_ms)
    .fetch_all(conn)
    .await?)
}

/// Creates the partition of `month` unless all or a part of it has one.
pub(super) async fn ensure(conn: &mut PgConnection, table: &str, month: Month) -> anyhow::Result<()> {
    if !overlapping(conn, table, month.lower_ms, month.upper_ms)
        .await?
        .is_empty()
    {
        return Ok(());
    }
    attach(conn, table, month).await
}

/// Creates the partition of `month`.
pub(super) async fn attach(conn: &mut PgConnection, table: &str, month: Month) -> anyhow::Result<()> {
    let name = month.partition(table);
    let ddl = format!(
        "CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ({}) TO ({})",
        month.lower_ms, month.upper_ms
    );
    sqlx::raw_sql(AssertSqlSafe(ddl))
        .execute(conn)
        .await
        .with_context(|| format!("creating {name}"))?;
    Ok(())
}

/// Drops the partitions that share time with `[lower, upper)`; they must be empty.
pub(super) async fn make_room(
    conn: &mut PgConnection,
    table: &str,
    lower_ms: i64,
    upper_ms: i64,
) -> anyhow::Result<()> {
    for partition in overlapping(conn, table, lower_ms, upper_ms).await? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other_over_new_year() {
        let january = Month::of_ms(1_704_067_200_000).unwrap();
        assert_eq!(january.partition("t"), "t_2024_01");
        assert_eq!(january.minus(1).unwrap().partition("t"), "t_2023_12");
        assert_eq!(january.minus(1).unwrap().upper_ms, january.lower_ms);
        assert_eq!(january.plus(13).unwrap().partition("t"), "t_2025_02");
        assert_eq!(Month::of_ms(january.upper_ms - 1).unwrap(), january);
    }
}
