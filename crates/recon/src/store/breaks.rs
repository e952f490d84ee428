//! `eidos_jobs_breaks` as runs write it: a difference is seen, seen again, and gone.
//!
//! What a sighting does to the break of its identity says [`crate::life`]. At most one break of a dimension, subject and
//! kind is live, and at most one is open.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_types::{Amount, BreakId, ExecutionId};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::bind::{bigint, numeric};
use crate::compare::CutPoint;
use crate::life::{Life, Seen, Sighted, State};
use crate::second_reading::Confirmations;
use crate::severity::Severity;
use crate::subject::Identity;

const FIND_LIVE: &str = "SELECT break_id, diff_value::text AS diff, onchain_exact, confirmations, \
        COALESCE(confirmed_block, 0) AS confirmed_block, first_seen, state, severity, last_run_id \
    FROM eidos_jobs_breaks WHERE live AND dimension = $1 AND subject = $2 AND kind = $3 FOR UPDATE";

/// A subject without a token's contract has its key as reference: the columns of before know it by nothing else.
const INSERT: &str = "INSERT INTO eidos_jobs_breaks (break_id, dimension, subject, subject_detail, wallet_address, token, \
        token_address, reference, kind, severity, direction, first_seen, last_seen, first_block, last_block, \
        last_run_id, confirmations, confirmed_block, confirmed_block_hash, offchain_value, onchain_value, diff_value, \
        onchain_exact, usdc_value, evidence) \
    VALUES ($1, $2, $3::text, $4, COALESCE($4::jsonb ->> 'wallet', ''), $5, $4::jsonb ->> 'token_address', \
        CASE WHEN $4::jsonb ->> 'token_address' IS NULL THEN $3::text ELSE '' END, $6, $7, $8, $9, $9, $10, $10, $11, $12, \
        $10, $13, $14::numeric, $15::numeric, $16::numeric, $17, $18::numeric, $19)";

/// A severity that age has raised does not fall to what the size alone gives. Open again, nobody has ended or acknowledged it.
const UPDATE: &str = "UPDATE eidos_jobs_breaks SET \
        severity = CASE WHEN escalated_at IS NOT NULL AND $2 = 'warning' THEN 'critical' ELSE $2 END, \
        direction = $3, last_seen = $4, last_block = $5, \
        occurrences = occurrences + CASE WHEN last_run_id IS DISTINCT FROM $6 THEN 1 ELSE 0 END, \
        last_run_id = $6, confirmations = $7, confirmed_block = $8, confirmed_block_hash = $9, \
        offchain_value = $10::numeric, onchain_value = $11::numeric, diff_value = $12::numeric, \
        onchain_exact = $13, usdc_value = $14::numeric, evidence = $15, state = $16::text, status = $17::text, \
        acknowledged_by = CASE WHEN $16::text = 'open' THEN NULL ELSE acknowledged_by END, \
        acknowledged_at = CASE WHEN $16::text = 'open' THEN NULL ELSE acknowledged_at END, \
        resolved_by = CASE WHEN $17::text = 'open' THEN NULL ELSE resolved_by END, \
        resolved_at = CASE WHEN $17::text = 'open' THEN NULL ELSE resolved_at END, \
        resolved_reason = CASE WHEN $17::text = 'open' THEN NULL ELSE resolved_reason END \
    WHERE break_id = $1";

const HISTORY: &str = "INSERT INTO eidos_jobs_break_history (break_id, event, at, by, execution_id, block_number, \
        block_hash, details) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// [`crate::life::Life::clean`] for all breaks at once: what counted is closed, what a person ended is proven.
const CLEAN: &str = "WITH closed AS ( \
        UPDATE eidos_jobs_breaks SET live = FALSE, status = 'resolved', \
               state = CASE WHEN status = 'open' THEN 'auto_closed' ELSE state END, \
               resolved_at = COALESCE(resolved_at, $4), resolved_by = COALESCE(resolved_by, $9), \
               resolved_reason = COALESCE(resolved_reason, 'a later reading of both sides agreed') \
        WHERE live AND dimension = $1 AND last_run_id IS DISTINCT FROM $2 \
          AND ($3::text[] IS NULL OR split_part(subject, '/', 1) = ANY($3)) \
          AND NOT split_part(subject, '/', 1) = ANY($5) \
        RETURNING break_id, state) \
    INSERT INTO eidos_jobs_break_history (break_id, event, at, by, execution_id, block_number, block_hash) \
    SELECT break_id, CASE state WHEN 'auto_closed' THEN 'auto_closed' ELSE 'proven' END, $4, $9, $6, $7, $8 FROM closed";

const ESCALATE: &str = "WITH risen AS ( \
        UPDATE eidos_jobs_breaks SET severity = 'critical', escalated_at = $2 \
        WHERE status = 'open' AND dimension = $1 AND severity = 'warning' AND first_seen <= $3 RETURNING break_id) \
    INSERT INTO eidos_jobs_break_history (break_id, event, at, by, execution_id, details) \
    SELECT break_id, 'escalated', $2, $4, $5, $6 FROM risen";

/// Also those that a person ended: a clean reading is still to prove it.
const LIVE_GROUPS: &str = "SELECT DISTINCT split_part(subject, '/', 1) FROM eidos_jobs_breaks \
    WHERE live AND dimension = $1";

pub(super) const ALL: &[(&str, &str)] = &[
    ("breaks::FIND_LIVE", FIND_LIVE),
    ("breaks::INSERT", INSERT),
    ("breaks::UPDATE", UPDATE),
    ("breaks::HISTORY", HISTORY),
    ("breaks::CLEAN", CLEAN),
    ("breaks::ESCALATE", ESCALATE),
    ("breaks::LIVE_GROUPS", LIVE_GROUPS),
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
    /// True if a person has ended it: it is seen, and gives no reason to act.
    pub accepted: bool,
}

/// Opens the break, or adds the sighting to the live one. `fresh` is the identity of a new one, `first_point` the cut of the
/// first reading. A difference of another size starts its confirmations again: only consecutive equal readings count
/// (ruling 24).
pub async fn see(
    conn: &mut PgConnection,
    sighting: &Sighting<'_>,
    fresh: BreakId,
    first_point: u64,
) -> Result<Stored, sqlx::Error> {
    let newest = find_live(conn, sighting).await?;
    let decided = newest.as_ref().map(|newest| (newest, newest.decide(sighting)));
    let (kept, next) = match decided {
        Some((known, Sighted::Again(next) | Sighted::Reopens(next))) => (Some(known), next),
        Some((_, Sighted::Begins)) | None => (None, Life::NEW),
    };
    let mut confirmations = kept
        .filter(|known| known.same_size(sighting))
        .map_or_else(Confirmations::default, |known| known.confirmations);
    confirmations.confirm_at(first_point);
    confirmations.confirm_at(sighting.point.number);
    let mut details =
        json!({ "severity": sighting.severity, "diff": sighting.diff, "confirmations": confirmations.count });
    let (id, first_seen, event) = match (kept, decided) {
        (Some(known), Some((_, Sighted::Reopens(_)))) => {
            details["from"] = known.life.state.as_str().into();
            (known.id, known.first_seen, "reopened")
        }
        (Some(known), _) => (known.id, known.first_seen, "seen"),
        (None, _) => {
            details["previous"] = newest.as_ref().map(|newest| newest.id.to_string()).into();
            (fresh, sighting.actor.at, "opened")
        }
    };
    if kept.is_some() {
        update(conn, sighting, id, confirmations, next.state).await?;
    } else {
        insert(conn, sighting, id, confirmations).await?;
    }
    history(conn, id, event, sighting, details).await?;
    Ok(Stored {
        id,
        opened: kept.is_none(),
        confirmations,
        first_seen,
        accepted: !next.state.is_unresolved(),
    })
}

/// The break that what is seen next belongs to.
struct Live {
    id: BreakId,
    diff: Option<Amount>,
    right_exact: Option<String>,
    confirmations: Confirmations,
    first_seen: DateTime<Utc>,
    severity: String,
    last_run: Option<Uuid>,
    life: Life,
}

impl Live {
    fn same_size(&self, sighting: &Sighting<'_>) -> bool {
        self.diff == sighting.diff && self.right_exact.as_deref() == sighting.right_exact
    }

    fn decide(&self, sighting: &Sighting<'_>) -> Sighted {
        self.life.seen(Seen {
            same_size: self.same_size(sighting),
            is_worse: sighting.severity == Severity::Critical.as_str() && self.severity != sighting.severity,
            same_run: self.last_run == Some(sighting.actor.run),
        })
    }
}

async fn find_live(conn: &mut PgConnection, sighting: &Sighting<'_>) -> Result<Option<Live>, sqlx::Error> {
    let row = sqlx::query(FIND_LIVE)
        .bind(sighting.dimension)
        .bind(sighting.subject.key.as_str())
        .bind(sighting.kind)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let diff: Option<String> = row.try_get("diff")?;
    let count: i32 = row.try_get("confirmations")?;
    let point: i64 = row.try_get("confirmed_block")?;
    let state: String = row.try_get("state")?;
    Ok(Some(Live {
        id: BreakId::from_uuid(row.try_get("break_id")?),
        diff: diff.and_then(|text| text.parse().ok()),
        right_exact: row.try_get("onchain_exact")?,
        confirmations: Confirmations {
            count: u32::try_from(count).unwrap_or_default(),
            last_point: u64::try_from(point).unwrap_or_default(),
        },
        first_seen: row.try_get("first_seen")?,
        severity: row.try_get("severity")?,
        last_run: row.try_get("last_run_id")?,
        life: Life {
            state: state.parse().map_err(super::bind::undecodable)?,
            live: true,
        },
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
    state: State,
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
        .bind(state.as_str())
        .bind(state.status())
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
    details: Value,
) -> Result<(), sqlx::Error> {
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

/// Which breaks a clean run closes.
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

/// Closes the live breaks that a run compared and did not see, and proves those that a person ended. Returns how many. This is
/// the only way to `auto_closed`: both sides were read, and what could not be decided is left out.
pub async fn resolve(conn: &mut PgConnection, clean: Clean<'_>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(CLEAN)
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

/// Raises the unresolved warnings of a dimension that are older than `after` to critical. Returns how many.
pub async fn escalate(
    conn: &mut PgConnection,
    dimension: &str,
    after: Duration,
    actor: Actor<'_>,
) -> Result<u64, sqlx::Error> {
    let Some(first_seen) = chrono::TimeDelta::from_std(after)
        .ok()
        .and_then(|after| actor.at.checked_sub_signed(after))
    else {
        return Ok(0);
    };
    let details =
        json!({ "from": "warning", "to": "critical", "because": "age", "after_s": after.as_secs() });
    let done = sqlx::query(ESCALATE)
        .bind(dimension)
        .bind(actor.at)
        .bind(first_seen)
        .bind(actor.by)
        .bind(actor.execution.as_uuid())
        .bind(details)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// The groups of subjects with live breaks: a run has to look at them.
pub async fn open_groups(pool: &PgPool, dimension: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(LIVE_GROUPS)
        .bind(dimension)
        .fetch_all(pool)
        .await
}
