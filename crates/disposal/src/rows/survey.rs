//! Which months of a plain table have rows that may go.

use eidos_pg::bounds::{EARLIEST_MS, LATEST_MS};
use eidos_pg::{Sql, sql};
use eidos_types::Month;
use eidos_types::ident::SqlIdent;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::RowRule;
use super::predicate::{Demand, demands, eligible, may_leave};
use crate::DisposalError;
use crate::catalogue::TableShape;

/// Months looked at in one run; the next one goes on.
const MOST_MONTHS: usize = 240;
/// Rows with an unbelievable time are counted up to here.
const MOST_COUNTED: i64 = 1_001;

/// Rows of one UTC month that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowMonth {
    /// Its first instant, epoch ms.
    pub lower_ms: i64,
    /// The first instant after it, or the cutoff if that is earlier, epoch ms.
    pub upper_ms: i64,
    /// How many, counted.
    pub rows: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowSurvey {
    /// The oldest first.
    pub months: Vec<RowMonth>,
    /// What a reader of the plan should know.
    pub notes: Vec<String>,
    /// Expired rows that are not due, by reason; a row with several reasons counts for the first.
    pub staying: Vec<Staying>,
}

/// Expired rows that stay for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staying {
    /// Why, after "they".
    pub why: String,
    /// How many, counted.
    pub rows: u64,
    /// Whether it is because they are not finished.
    pub unfinished: bool,
}

/// Months before `before_ms` with rows that may go. Rows from before [`EARLIEST_MS`] never do: what looks that old may
/// have been written today, in seconds. The caller has limited how long statements may take.
///
/// # Errors
/// [`DisposalError::Refused`] for a table whose rows cannot be deleted safely; [`DisposalError::Sql`].
pub async fn survey(
    conn: &mut PgConnection,
    shape: &TableShape,
    rule: &RowRule,
    before_ms: i64,
) -> Result<RowSurvey, DisposalError> {
    may_leave(shape, rule)?;
    let mut found = RowSurvey::default();
    let mut from_ms = EARLIEST_MS;
    while let Some(oldest_ms) = oldest(conn, shape, rule, (from_ms, before_ms)).await? {
        let month = Month::of_ms(oldest_ms).ok_or_else(|| beyond(shape, rule, oldest_ms))?;
        let (lower_ms, upper_ms) = (month.start_ms(), month.end_ms().min(before_ms));
        let rows = count(conn, shape, rule, (lower_ms, upper_ms)).await?;
        found.months.push(RowMonth {
            lower_ms,
            upper_ms,
            rows,
        });
        from_ms = upper_ms;
        if found.months.len() == MOST_MONTHS || upper_ms >= before_ms {
            break;
        }
    }
    if !found.months.is_empty() && !has_time_index(conn, shape, rule).await? {
        found.notes.push(format!(
            "{0}: no index begins with {1}, so every batch reads the whole table; create one first: CREATE INDEX \
             CONCURRENTLY ON {2} (\"{1}\")",
            shape.relation.plain(),
            rule.time_column,
            shape.relation
        ));
    }
    found.notes.extend(unbelievable(conn, shape, rule).await?);
    let due = found.months.iter().map(|month| month.rows).sum();
    found.staying = staying(conn, shape, rule, before_ms, due).await?;
    Ok(found)
}

/// Expired rows that are not due, by reason. Nothing is asked about each row where all of them are due.
async fn staying(
    conn: &mut PgConnection,
    shape: &TableShape,
    rule: &RowRule,
    before_ms: i64,
    due: u64,
) -> Result<Vec<Staying>, DisposalError> {
    let demands: Vec<Demand> = demands(shape, rule)?;
    let time = SqlIdent::quoting(&rule.time_column);
    let expired = sql!(
        "r.{time} >= {EARLIEST_MS} AND r.{time} < {before_ms}";
        time, EARLIEST_MS, before_ms
    );
    let count = sql!("SELECT count(*) FROM ONLY {} r WHERE {expired}", shape.relation; expired);
    let all: i64 = sqlx::query_scalar(count)
        .fetch_one(&mut *conn)
        .await
        .map_err(DisposalError::sql("count the expired rows"))?;
    if demands.is_empty() || all.unsigned_abs() <= due {
        return Ok(Vec::new());
    }
    let reasons = (0_usize..)
        .zip(&demands)
        .map(|(place, demand)| sql!(" WHEN NOT coalesce({}, false) THEN {place}", demand.condition; place));
    let reasons = Sql::join(reasons, "");
    let statement = sql!(
        "SELECT why, count(*) FROM (SELECT CASE{reasons} END AS why FROM ONLY {} r WHERE {expired}) AS told \
         WHERE why IS NOT NULL GROUP BY why ORDER BY why",
        shape.relation;
        reasons, expired
    );
    let counted: Vec<(i32, i64)> = sqlx::query_as(statement)
        .fetch_all(conn)
        .await
        .map_err(DisposalError::sql("ask why expired rows stay"))?;
    let reason = |place: i32| demands.get(usize::try_from(place).ok()?);
    Ok(counted
        .into_iter()
        .filter_map(|(place, rows)| {
            reason(place).map(|demand| Staying {
                why: demand.otherwise.clone(),
                rows: rows.unsigned_abs(),
                unfinished: demand.finished,
            })
        })
        .collect())
}

/// A sentence about rows whose time cannot be in epoch milliseconds. The extremes tell most tables without counting.
async fn unbelievable(
    conn: &mut PgConnection,
    shape: &TableShape,
    rule: &RowRule,
) -> Result<Option<String>, DisposalError> {
    let time = SqlIdent::quoting(&rule.time_column);
    let part = |condition: Sql| {
        sql!(
            "(SELECT count(*) FROM (SELECT FROM ONLY {} r WHERE r.{time} {condition} LIMIT {MOST_COUNTED}) AS few)",
            shape.relation;
            time, condition, MOST_COUNTED
        )
    };
    let statement = sql!(
        "SELECT CASE WHEN lowest < {EARLIEST_MS} THEN {} ELSE 0 END, CASE WHEN highest >= {LATEST_MS} THEN {} ELSE 0 END \
         FROM (SELECT min({time}) AS lowest, max({time}) AS highest FROM ONLY {}) AS extremes",
        part(sql!("< {EARLIEST_MS}"; EARLIEST_MS)),
        part(sql!(">= {LATEST_MS}"; LATEST_MS)),
        shape.relation;
        EARLIEST_MS, LATEST_MS, time
    );
    let (early, late): (i64, i64) = sqlx::query_as(statement)
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql("look for rows with an unbelievable time"))?;
    let told = |rows: i64| {
        if rows == MOST_COUNTED {
            "over 1000".to_owned()
        } else {
            rows.to_string()
        }
    };
    Ok((early + late > 0).then(|| {
        format!(
            "{}: by {} {} rows are from before 2010 (0, or seconds?) and {} from after 2100 (microseconds?); they stay \
             until somebody corrects them",
            shape.relation.plain(),
            rule.time_column,
            told(early),
            told(late)
        )
    }))
}

async fn oldest(
    conn: &mut PgConnection,
    shape: &TableShape,
    rule: &RowRule,
    window: (i64, i64),
) -> Result<Option<i64>, DisposalError> {
    let statement = sql!(
        "SELECT min(r.{}) FROM ONLY {} r WHERE {}",
        SqlIdent::quoting(&rule.time_column),
        shape.relation,
        eligible(shape, rule, window)?
    );
    sqlx::query_scalar(statement)
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql("look for the oldest row that may go"))
}

async fn count(
    conn: &mut PgConnection,
    shape: &TableShape,
    rule: &RowRule,
    window: (i64, i64),
) -> Result<u64, DisposalError> {
    let statement = sql!(
        "SELECT count(*) FROM ONLY {} r WHERE {}",
        shape.relation,
        eligible(shape, rule, window)?
    );
    let rows: i64 = sqlx::query_scalar(statement)
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql("count the rows that may go"))?;
    Ok(rows.unsigned_abs())
}

async fn has_time_index(
    conn: &mut PgConnection,
    shape: &TableShape,
    rule: &RowRule,
) -> Result<bool, DisposalError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
         WHERE i.indrelid = $1::bigint::oid AND i.indisvalid AND a.attname = $2)",
    )
    .bind(i64::from(shape.oid))
    .bind(&rule.time_column)
    .fetch_one(conn)
    .await
    .map_err(DisposalError::sql("look for an index on the time column"))
}

fn beyond(shape: &TableShape, rule: &RowRule, ms: i64) -> DisposalError {
    DisposalError::refused(
        "time",
        format!(
            "{}.{} holds {ms}, which is no instant of the calendar in epoch milliseconds; correct that row",
            shape.relation.plain(),
            rule.time_column
        ),
    )
}
