//! Legal holds: what must not be deleted, whatever any rule says (ruling 37). Placed and lifted by people, never deleted.

use chrono::{DateTime, Utc};
use eidos_pg::Relation;
use eidos_settings::SourceName;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::PlanError;

const ACTIVE: &str = "\
    SELECT * FROM eidos_jobs_legal_holds \
    WHERE lifted_at IS NULL AND source = $1 AND schema_name = $2 AND table_name = $3 \
      AND (from_ms IS NULL OR from_ms < $5) AND (to_ms IS NULL OR to_ms > $4) ORDER BY placed_at, hold_id";

const LIST: &str = "\
    SELECT * FROM eidos_jobs_legal_holds WHERE $1 OR lifted_at IS NULL \
    ORDER BY placed_at DESC, hold_id LIMIT $2 OFFSET $3";

const PLACE: &str = "\
    INSERT INTO eidos_jobs_legal_holds \
        (hold_id, source, schema_name, table_name, from_ms, to_ms, reason, placed_by, placed_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *";

const LIFT: &str = "\
    UPDATE eidos_jobs_legal_holds SET lifted_by = $2, lifted_at = $3, lift_reason = $4 \
    WHERE hold_id = $1 AND lifted_at IS NULL RETURNING *";

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Its identity.
    pub hold_id: Uuid,
    /// The logical database.
    pub source: SourceName,
    /// The table.
    pub table: Relation,
    /// The first instant it covers, epoch ms; `None`: since ever.
    pub from_ms: Option<i64>,
    /// The first instant after, epoch ms; `None`: for ever.
    pub to_ms: Option<i64>,
    /// Why.
    pub reason: String,
    /// By whom.
    pub placed_by: String,
    /// When.
    pub placed_at: DateTime<Utc>,
    /// Who lifted it.
    pub lifted_by: Option<String>,
    /// When it was lifted.
    pub lifted_at: Option<DateTime<Utc>>,
    /// Why it was lifted.
    pub lift_reason: Option<String>,
}

/// A hold to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHold {
    /// Its identity, a `UUIDv7`.
    pub hold_id: Uuid,
    /// The logical database.
    pub source: SourceName,
    /// The table.
    pub table: Relation,
    /// The first instant it covers, epoch ms; `None`: since ever.
    pub from_ms: Option<i64>,
    /// The first instant after, epoch ms; `None`: for ever.
    pub to_ms: Option<i64>,
    /// Why.
    pub reason: String,
    /// By whom.
    pub placed_by: String,
    /// When.
    pub placed_at: DateTime<Utc>,
}

impl Hold {
    /// Whether it covers any part of `[from, to)`.
    #[must_use]
    pub fn covers(&self, (from_ms, to_ms): (i64, i64)) -> bool {
        self.from_ms.is_none_or(|from| from < to_ms) && self.to_ms.is_none_or(|to| to > from_ms)
    }

    /// "legal hold … by … (…)": what keeps an object.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!(
            "legal hold {} by {} ({})",
            self.hold_id, self.placed_by, self.reason
        )
    }
}

/// Holds in force on any part of `[from, to)` of a table. From the primary, never a replica: a hold that was placed a
/// moment ago counts.
///
/// # Errors
/// [`PlanError::Sql`].
pub async fn active(
    control: &PgPool,
    source: SourceName,
    table: &Relation,
    (from_ms, to_ms): (i64, i64),
) -> Result<Vec<Hold>, PlanError> {
    let rows = sqlx::query(ACTIVE)
        .bind(source.as_str())
        .bind(&table.schema)
        .bind(&table.name)
        .bind(from_ms)
        .bind(to_ms)
        .fetch_all(control)
        .await
        .map_err(PlanError::sql("look for legal holds"))?;
    rows.iter().map(hold).collect()
}

/// Holds, the newest first; with `lifted` also those that are over.
///
/// # Errors
/// [`PlanError::Sql`].
pub async fn list(pool: &PgPool, lifted: bool, limit: i64, offset: i64) -> Result<Vec<Hold>, PlanError> {
    let rows = sqlx::query(LIST)
        .bind(lifted)
        .bind(limit)
        .bind(offset)
        .fetch_all(pool)
        .await
        .map_err(PlanError::sql("list legal holds"))?;
    rows.iter().map(hold).collect()
}

/// Places a hold. It is in force when this returns: every destructive act asks again right before it.
///
/// # Errors
/// [`PlanError::Refused`] for an empty range; [`PlanError::Sql`].
pub async fn place(control: &PgPool, new: &NewHold) -> Result<Hold, PlanError> {
    if let (Some(from), Some(to)) = (new.from_ms, new.to_ms)
        && from >= to
    {
        return Err(PlanError::refused(
            "hold",
            format!("the hold would cover nothing: from {from} is not before to {to}"),
        ));
    }
    let row = sqlx::query(PLACE)
        .bind(new.hold_id)
        .bind(new.source.as_str())
        .bind(&new.table.schema)
        .bind(&new.table.name)
        .bind(new.from_ms)
        .bind(new.to_ms)
        .bind(&new.reason)
        .bind(&new.placed_by)
        .bind(new.placed_at)
        .fetch_one(control)
        .await
        .map_err(PlanError::sql("place a legal hold"))?;
    hold(&row)
}

/// Lifts a hold; `None` if there is none in force with this identity.
///
/// # Errors
/// [`PlanError::Sql`].
pub async fn lift(
    control: &PgPool,
    hold_id: Uuid,
    by: &str,
    reason: &str,
    at: DateTime<Utc>,
) -> Result<Option<Hold>, PlanError> {
    let row = sqlx::query(LIFT)
        .bind(hold_id)
        .bind(by)
        .bind(at)
        .bind(reason)
        .fetch_optional(control)
        .await
        .map_err(PlanError::sql("lift a legal hold"))?;
    row.as_ref().map(hold).transpose()
}

fn hold(row: &PgRow) -> Result<Hold, PlanError> {
    let read = || -> Result<(String, Hold), sqlx::Error> {
        let source: String = row.try_get("source")?;
        let hold = Hold {
            hold_id: row.try_get("hold_id")?,
            source: SourceName::Jobs,
            table: Relation::new(
                row.try_get::<String, _>("schema_name")?,
                row.try_get::<String, _>("table_name")?,
            ),
            from_ms: row.try_get("from_ms")?,
            to_ms: row.try_get("to_ms")?,
            reason: row.try_get("reason")?,
            placed_by: row.try_get("placed_by")?,
            placed_at: row.try_get("placed_at")?,
            lifted_by: row.try_get("lifted_by")?,
            lifted_at: row.try_get("lifted_at")?,
            lift_reason: row.try_get("lift_reason")?,
        };
        Ok((source, hold))
    };
    let (source, hold) = read().map_err(PlanError::sql("read a legal hold"))?;
    let known = SourceName::ALL.into_iter().find(|known| known.as_str() == source);
    let source = known.ok_or_else(|| {
        // An unreadable hold is a hold.
        PlanError::refused(
            "hold",
            format!(
                "legal hold {} names the source '{source}', which does not exist; correct it",
                hold.hold_id
            ),
        )
    })?;
    Ok(Hold { source, ..hold })
}
