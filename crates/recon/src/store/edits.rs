//! What persons do to breaks: each edit names the version it saw, and is stored with its event or not at all.

use chrono::{DateTime, Utc};
use eidos_types::BreakId;
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};

use super::listing::{self, BreakRow};
use crate::life::{Edit, Life, NotNow};

const LOCK: &str =
    "SELECT state, live, version, assignee FROM eidos_jobs_breaks WHERE break_id = $1 FOR UPDATE";

const EDIT: &str = "UPDATE eidos_jobs_breaks SET version = version + 1, state = $2, status = $3, assignee = $4, \
        acknowledged_by = CASE WHEN $5 = 'acknowledged' THEN $6 ELSE acknowledged_by END, \
        acknowledged_at = CASE WHEN $5 = 'acknowledged' THEN $7 ELSE acknowledged_at END, \
        resolved_by = CASE WHEN $5 IN ('resolved', 'written_off') THEN $6 ELSE resolved_by END, \
        resolved_at = CASE WHEN $5 IN ('resolved', 'written_off') THEN $7 ELSE resolved_at END, \
        resolved_reason = CASE WHEN $5 IN ('resolved', 'written_off') THEN $8 ELSE resolved_reason END \
    WHERE break_id = $1";

const EVENT: &str =
    "INSERT INTO eidos_jobs_break_history (break_id, event, at, by, details) VALUES ($1, $2, $3, $4, $5)";

pub(super) const ALL: &[(&str, &str)] = &[
    ("edits::LOCK", LOCK),
    ("edits::EDIT", EDIT),
    ("edits::EVENT", EVENT),
];

/// An edit and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act<'a> {
    /// Somebody looks at it.
    Acknowledge {
        /// What he says to it.
        note: Option<&'a str>,
    },
    /// Somebody is to look at it.
    Assign {
        /// Who; `None`: nobody.
        to: Option<&'a str>,
        /// What is said to it.
        note: Option<&'a str>,
    },
    /// Something is said to it.
    Comment {
        /// What.
        text: &'a str,
    },
    /// The cause is repaired.
    Resolve {
        /// How.
        reason: &'a str,
    },
    /// The difference is accepted.
    WriteOff {
        /// Why.
        reason: &'a str,
    },
}

impl<'a> Act<'a> {
    const fn edit(&self) -> Edit {
        match self {
            Self::Acknowledge { .. } => Edit::Acknowledge,
            Self::Assign { .. } => Edit::Assign,
            Self::Comment { .. } => Edit::Comment,
            Self::Resolve { .. } => Edit::Resolve,
            Self::WriteOff { .. } => Edit::WriteOff,
        }
    }

    const fn reason(&self) -> Option<&'a str> {
        match self {
            Self::Resolve { reason } | Self::WriteOff { reason } => Some(reason),
            _ => None,
        }
    }

    fn details(&self, assignee: Option<&str>) -> Value {
        match self {
            Self::Acknowledge { note } => json!({ "note": note }),
            Self::Assign { to, note } => json!({ "from": assignee, "to": to, "note": note }),
            Self::Comment { text } => json!({ "text": text }),
            Self::Resolve { reason } | Self::WriteOff { reason } => json!({ "reason": reason }),
        }
    }
}

/// Why an edit changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such break.
    NoBreak,
    /// The break is not as the person saw it.
    Stale {
        /// Its version now.
        now: i64,
    },
    /// Its state does not allow the edit.
    NotNow(NotNow),
}

/// Who edits which version of which break.
#[derive(Debug, Clone, Copy)]
pub struct Editor<'a> {
    /// The break.
    pub id: BreakId,
    /// The version that the person saw.
    pub version: i64,
    /// The person.
    pub by: &'a str,
    /// When.
    pub at: DateTime<Utc>,
}

/// Does it, with its event; part of the caller's transaction. Returns the break as it is then.
pub async fn edit(
    conn: &mut PgConnection,
    editor: Editor<'_>,
    act: Act<'_>,
) -> Result<Result<BreakRow, Refused>, sqlx::Error> {
    let Some(row) = sqlx::query(LOCK)
        .bind(editor.id.as_uuid())
        .fetch_optional(&mut *conn)
        .await?
    else {
        return Ok(Err(Refused::NoBreak));
    };
    let now: i64 = row.try_get("version")?;
    if now != editor.version {
        return Ok(Err(Refused::Stale { now }));
    }
    let state: String = row.try_get("state")?;
    let life = Life {
        state: state.parse().map_err(super::bind::undecodable)?,
        live: row.try_get("live")?,
    };
    let next = match life.edit(act.edit()) {
        Ok(next) => next,
        Err(refused) => return Ok(Err(Refused::NotNow(refused))),
    };
    let before: Option<String> = row.try_get("assignee")?;
    let now_assigned = match act {
        Act::Assign { to, .. } => to,
        _ => before.as_deref(),
    };
    sqlx::query(EDIT)
        .bind(editor.id.as_uuid())
        .bind(next.state.as_str())
        .bind(next.state.status())
        .bind(now_assigned)
        .bind(act.edit().event())
        .bind(editor.by)
        .bind(editor.at)
        .bind(act.reason())
        .execute(&mut *conn)
        .await?;
    sqlx::query(EVENT)
        .bind(editor.id.as_uuid())
        .bind(act.edit().event())
        .bind(editor.at)
        .bind(editor.by)
        .bind(act.details(before.as_deref()))
        .execute(&mut *conn)
        .await?;
    let row = listing::one(&mut *conn, editor.id).await?;
    Ok(row.ok_or(Refused::NoBreak))
}
