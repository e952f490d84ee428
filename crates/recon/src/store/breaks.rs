//! `eidos_jobs_breaks`: one row per open difference, its confirmations and its end.
//!
//! A break is open, is seen again, and is resolved. A difference that comes back after that is another break, with an
//! identity and a history of its own. At most one break of a dimension, subject and kind is open.

use chrono::{DateTime, Utc};
use eidos_types::{Amount, BreakId, ExecutionId};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::bind::{bigint, numeric};
use crate::compare::CutPoint;
use crate::second_reading::Confirmations;
use crate::subject::Identity;

const FIND_OPEN: &str = "SELECT break_id, diff_value::text AS diff, onchain_exact, confirmations, \
        COALESCE(confirmed_block, 0) AS confirmed_block, first_seen \
    FROM eidos_jobs_breaks WHERE status = 'open' AND dimension = $1 AND subject = $2 AND kind = $3 FOR UPDATE";

/// A subject without a token's contract has its key as reference: the columns of before know it by nothing else.
const INSERT: &str = "INSERT INTO eidos_jobs_breaks (break_id, dimension, subject, subject_detail, wallet_address, token, \
        token_address, reference, kind, severity, direction, first_seen, last_seen, first_block, last_block, \
        last_run_id, confirmations, confirmed_block, confirmed_block_hash, offchain_value, onchain_value, diff_value, \
        onchain_exact, usdc_value, evidence) \
    VALUES ($1, $2, $3::text, $4, COALESCE($4::jsonb ->> 'wallet', ''), $5, $4::jsonb ->> 'token_address', \
        CASE WHEN $4::jsonb ->> 'token_address' IS NULL THEN $3::text ELSE '' END, $6, $7, $8, $9, $9, $10, $10, $11, $12, \
        $10, $13, $14::numeric, $15::numeric, $16::numeric, $17, $18::numeric, $19)";

const UPDATE: &str = "UPDATE eidos_jobs_breaks SET severity = $2, direction = $3, last_seen = $4, last_block = $5, \
        occurrences = occurrences + CASE WHEN last_run_id IS DISTINCT FROM $6 THEN 1 ELSE 0 END, \
        last_run_id = $6, confirmations = $7, confirmed_block = $8, confirmed_block_hash = $9, \
        offchain_value = $10::numeric, onchain_value = $11::numeric, diff_value = $12::numeric, \
        onchain_exact = $13, usdc_value = $14::numeric, evidence = $15 WHERE break_id = $1";

const HISTORY: &str = "INSERT INTO eidos_jobs_break_history (break_id, event, at, by, execution_id, block_number, \
        block_hash, details) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const RESOLVE: &str = "WITH closed AS ( \
        UPDATE eidos_jobs_breaks SET status = 'resolved', resolved_at = $4, resolved_by = $9, \
               resolved_reason = 'a later reading of both sides agreed' \
        WHERE status = 'open' AND dimension = $1 AND last_run_id IS DISTINCT FROM $2 \
          AND ($3::text[] IS NULL OR split_part(subject, '/', 1) = ANY($3)) \
          AND NOT split_part(subject, '/', 1) = ANY($5) \
        RETURNING break_id) \
    INSERT INTO eidos_jobs_break_history (break_id, event, at, by, execution_id, block_number, block_hash) \
    SELECT break_id, 'resolved', $4, $9, $6, $7, $8 FROM closed";

const OPEN_GROUPS: &str = "SELECT DISTINCT split_part(subject, '/', 1) FROM eidos_jobs_breaks \
    WHERE status = 'open' AND dimension = $1";

pub(super) const ALL: &[(&str, &str)] = &[
    ("breaks::FIND_OPEN", FIND_OPEN),
    ("breaks::INSERT", INSERT),
    ("breaks::UPDATE", UPDATE),
    ("breaks::HISTORY", HISTORY),
    ("breaks::RESOLVE", RESOLVE),
    ("breaks::OPEN_GROUPS", OPEN_GROUPS),
];

/// Which run acts on breaks.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// The job, as the history names it.
    pub by: &'a str,
    /// The logical run.
    pub run: Uuid,
    /// The execution.
    pub execution: ExecutionId,
    /// When.
    pub at: DateTime<Utc>,
}

/// A break as a run saw it.
#[derive(Debug, Clone)]
pub struct Sighting<'a> {
    /// The dimension.
    pub dimension: &'a str,
    /// What differs.
    pub subject: &'a Identity,
    /// What kind.
    pub kind: &'a str,
    /// `warning` or `critical`.
    pub severity: &'a str,
    /// True if the right side lacks something.
    pub shortfall: bool,
    /// What is expected.
    pub left: Option<Amount>,
    /// What is there.
    pub right: Option<Amount>,
    /// What is there with every digit, if it is not an amount.
    pub right_exact: Option<&'a str>,
    /// Right − left.
    pub diff: Option<Amount>,
    /// Magnitude in USDC.
    pub usdc: Option<Amount>,
    /// What reproduces it.
    pub evidence: Value,
    /// Where it was read.
    pub point: &'a CutPoint,
    /// Who saw it.
    pub actor: Actor<'a>,
}

/// What a sighting did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The break.
    pub id: BreakId,
    /// True if it was not open before.
    pub opened: bool,
    /// Its confirmations, this sighting included if it was at a newer cut.
    pub confirmations: Confirmations,
    /// When it was first seen.
    pub first_seen: DateTime<Utc>,
}

/// Opens the break or updates the open one. `fresh` is the identity of a new one, `first_point` the cut of the first
/// reading. A difference of another size starts its confirmations again: only consecutive equal readings count (ruling 24).
pub async fn see(
    conn: &mut PgConnection,
    sighting: &Sighting<'_>,
    fresh: BreakId,
    first_point: u64,
) -> Result<Stored, sqlx::Error> {
    let open = find_open(conn, sighting).await?;
    let same_size = open.as_ref().is_some_and(|open| {
        open.diff == sighting.diff && open.right_exact.as_deref() == sighting.right_exact
    });
    let mut confirmations = open
        .as_ref()
        .filter(|_| same_size)
        .map_or_else(Confirmations::default, |open| open.confirmations);
    confirmations.confirm_at(first_point);
    confirmations.confirm_at(sighting.point.number);
    let (id, opened, first_seen) = match &open {
        Some(open) => (open.id, false, open.first_seen),
        None => (fresh, true, sighting.actor.at),
    };
    if opened {
        insert(conn, sighting, id, confirmations).await?;
    } else {
        update(conn, sighting, id, confirmations).await?;
    }
    let event = if opened { "opened" } else { "seen" };
    history(conn, id, event, sighting, confirmations).await?;
    Ok(Stored {
        id,
        opened,
        confirmations,
        first_seen,
    })
}

struct Open {
    id: BreakId,
    diff: Option<Amount>,
    right_exact: Option<String>,
    confirmations: Confirmations,
    first_seen: DateTime<Utc>,
}

async fn find_open(conn: &mut PgConnection, sighting: &Sighting<'_>) -> Result<Option<Open>, sqlx::Error> {
    let row = sqlx::query(FIND_OPEN)
        .bind(sighting.dimension)
        .bind(sighting.subject.key.as_str())
        .bind(sighting.kind)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let diff: Option<String> = row.try_get("diff")?;
    let count: i32 = row.try_get("confirmations")?;
    let point: i64 = row.try_get("confirmed_block")?;
    Ok(Some(Open {
        id: BreakId::from_uuid(row.try_get("break_id")?),
        diff: diff.and_then(|text| text.parse().ok()),
        right_exact: row.try_get("onchain_exact")?,
        confirmations: Confirmations {
            count: u32::try_from(count).unwrap_or_default(),
            last_point: u64::try_from(point).unwrap_or_default(),
        },
        first_seen: row.try_get("first_seen")?,
    }))
}

async fn insert(
    conn: &mut PgConnection,
    sighting: &Sighting<'_>,
    id: BreakId,
    confirmations: Confirmations,
) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT)
        .bind(id.as_uuid())
        .bind(sighting.dimension)
        .bind(sighting.subject.key.as_str())
        .bind(&sighting.subject.detail)
        .bind(&sighting.subject.unit)
        .bind(sighting.kind)
        .bind(sighting.severity)
        .bind(direction(sighting))
        .bind(sighting.actor.at)
        .bind(bigint(sighting.point.number))
        .bind(sighting.actor.run)
        .bind(i32::try_from(confirmations.count).unwrap_or(i32::MAX))
        .bind(&sighting.point.hash)
        .bind(numeric(sighting.left))
        .bind(numeric(sighting.right))
        .bind(numeric(sighting.diff))
        .bind(sighting.right_exact)
        .bind(numeric(sighting.usdc))
        .bind(&sighting.evidence)
        .execute(conn)
        .await?;
    Ok(())
}

async fn update(
    conn: &mut PgConnection,
    sighting: &Sighting<'_>,
    id: BreakId,
    confirmations: Confirmations,
) -> Result<(), sqlx::Error> {
    sqlx::query(UPDATE)
        .bind(id.as_uuid())
        .bind(sighting.severity)
        .bind(direction(sighting))
        .bind(sighting.actor.at)
        .bind(bigint(sighting.point.number))
        .bind(sighting.actor.run)
        .bind(i32::try_from(confirmations.count).unwrap_or(i32::MAX))
        .bind(bigint(confirmations.last_point))
        .bind(&sighting.point.hash)
        .bind(numeric(sighting.left))
        .bind(numeric(sighting.right))
        .bind(numeric(sighting.diff))
        .bind(sighting.right_exact)
        .bind(numeric(sighting.usdc))
        .bind(&sighting.evidence)
        .execute(conn)
        .await?;
    Ok(())
}

const fn direction(sighting: &Sighting<'_>) -> &'static str {
    if sighting.shortfall {
        "shortfall"
    } else {
        "surplus"
    }
}

async fn history(
    conn: &mut PgConnection,
    id: BreakId,
    event: &str,
    sighting: &Sighting<'_>,
    confirmations: Confirmations,
) -> Result<(), sqlx::Error> {
    let details =
        json!({ "severity": sighting.severity, "diff": sighting.diff, "confirmations": confirmations.count });
    sqlx::query(HISTORY)
        .bind(id.as_uuid())
        .bind(event)
        .bind(sighting.actor.at)
        .bind(sighting.actor.by)
        .bind(sighting.actor.execution.as_uuid())
        .bind(bigint(sighting.point.number))
        .bind(&sighting.point.hash)
        .bind(details)
        .execute(conn)
        .await?;
    Ok(())
}

/// Which open breaks a clean run closes.
#[derive(Debug, Clone, Copy)]
pub struct Clean<'a> {
    /// Dimension.
    pub dimension: &'a str,
    /// Groups of subjects that the run compared; `None` for all.
    pub groups: Option<&'a [String]>,
    /// Groups that it could not decide about.
    pub undecided: &'a [String],
    /// Where it read.
    pub point: &'a CutPoint,
    /// The run: breaks it saw stay open.
    pub actor: Actor<'a>,
}

/// Closes the open breaks that a run compared and did not see. Returns how many.
pub async fn resolve(conn: &mut PgConnection, clean: Clean<'_>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(RESOLVE)
        .bind(clean.dimension)
        .bind(clean.actor.run)
        .bind(clean.groups)
        .bind(clean.actor.at)
        .bind(clean.undecided)
        .bind(clean.actor.execution.as_uuid())
        .bind(bigint(clean.point.number))
        .bind(&clean.point.hash)
        .bind(clean.actor.by)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// The groups of subjects with open breaks.
pub async fn open_groups(pool: &PgPool, dimension: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(OPEN_GROUPS)
        .bind(dimension)
        .fetch_all(pool)
        .await
}
