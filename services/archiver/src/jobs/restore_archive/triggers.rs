//! What an INSERT into the original fires. Rows that come back were booked when they came first: a trigger that keeps a balance
//! or fills an outbox would book them twice. So a restore refuses, by name, or runs with these triggers and rules
//! disabled, if it is told to: under a lock that keeps every other writer of the partition out meanwhile, since their
//! rows would not fire anything either.
//!
//! Foreign keys and unique keys are not among them: they are checked as always.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{FREEZE_FUNCTION, Relation, TableShape};
use eidos_disposal::partition::{Attempts, try_lock};
use eidos_pg::{Sql, sql};
use eidos_types::ident::SqlIdent;
use serde::Serialize;
use sqlx::PgConnection;

use super::params::Triggers;
use super::work::Work;

/// Triggers and rules for INSERT that are enabled: 4 is the bit of INSERT, 1 that of row triggers, '3' the event of a rule. Those of
/// constraints are left out, except where somebody wrote the constraint as a trigger. `$2`: only those a new partition
/// would get from its parent.
const FIRED: &str = "\
    SELECT 'trigger', t.tgname::text, f.proname::text, t.tgenabled::text \
    FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid \
    WHERE t.tgrelid = $1::bigint::oid AND (t.tgtype & 4) <> 0 AND t.tgenabled IN ('O', 'A') \
      AND (NOT $2 OR (t.tgtype & 1) <> 0) \
      AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.oid = t.tgconstraint AND k.contype <> 't') \
    UNION ALL \
    SELECT 'rule', r.rulename::text, '', r.ev_enabled::text FROM pg_rewrite r \
    WHERE r.ev_class = $1::bigint::oid AND r.ev_type = '3' AND r.ev_enabled IN ('O', 'A') AND NOT $2 \
    ORDER BY 1, 2";

/// Where the rows of a unit go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The partition, or the table.
    pub(super) relation: Relation,
    /// Its identity; of a partition that is still to be made, its parent's.
    pub(super) oid: u32,
    /// Whether it is still to be made.
    pub(super) is_new: bool,
    /// Whether it is partitioned again.
    pub(super) is_divided: bool,
}

/// A trigger or rule that an INSERT fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fired {
    /// `trigger` or `rule`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The function that a trigger calls.
    pub function: String,
    /// When it fires: `O` in ordinary sessions, `A` always.
    #[serde(skip)]
    enabled: String,
}

impl std::fmt::Display for Fired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        if self.function.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.function)
    }
}

/// What an INSERT into the target would fire.
pub(super) async fn fired(
    conn: &mut PgConnection,
    shape: &TableShape,
    into: &Target,
) -> Result<Vec<Fired>, DisposalError> {
    let oid = if into.is_new { shape.oid } else { into.oid };
    let found: Vec<(String, String, String, String)> = sqlx::query_as(FIRED)
        .bind(i64::from(oid))
        .bind(into.is_new)
        .fetch_all(conn)
        .await
        .map_err(DisposalError::sql("read the triggers of a table"))?;
    let fired = found.into_iter().map(|(kind, name, function, enabled)| Fired {
        kind,
        name,
        function,
        enabled,
    });
    Ok(fired.collect())
}

/// Whether a restore may go on.
///
/// # Errors
/// [`DisposalError::Refused`] names everything that would fire, and the choice; or says that the partition is frozen.
pub(super) fn allowed(table: &Relation, fired: &[Fired], triggers: Triggers) -> Result<(), DisposalError> {
    if fired.iter().any(|fired| fired.function == FREEZE_FUNCTION) {
        return Err(DisposalError::refused(
            "restore",
            format!(
                "the partition of {} is frozen: it is on its way out again. Wait for its unit, take it back with `undo`, or \
                 restore with --into side",
                table.plain()
            ),
        ));
    }
    if fired.is_empty() || triggers == Triggers::Disable {
        return Ok(());
    }
    Err(DisposalError::refused(
        "restore",
        format!(
            "an INSERT into {} fires {}: what they did when these rows first came would be done again. Restore with --into \
             side, or add --triggers disable: the rows go in without them, while a lock keeps other writers of that \
             partition out",
            table.plain(),
            listed(fired)
        ),
    ))
}

/// `trigger a (f), trigger b (g)`.
pub(super) fn listed(fired: &[Fired]) -> String {
    let all: Vec<String> = fired.iter().map(ToString::to_string).collect();
    all.join(", ")
}

/// Disables what would fire, if it was asked for, under a lock that lasts as long as the transaction. Where nothing would
/// fire, a lock that only keeps new triggers out.
pub(super) async fn silence(
    work: &Work<'_>,
    conn: &mut PgConnection,
    shape: &TableShape,
    into: &Target,
    triggers: Triggers,
) -> Result<Vec<Fired>, DisposalError> {
    let seen = fired(conn, shape, into).await?;
    let mode = if seen.is_empty() {
        "ROW EXCLUSIVE"
    } else {
        "SHARE ROW EXCLUSIVE"
    };
    let lock = sql!("LOCK TABLE {} IN {mode} MODE", into.relation; mode);
    let mut attempts = Attempts::new(work.ctx, work.disposal, format!("lock {}", into.relation.plain()));
    while let Err(failure) = try_lock(conn, work.disposal.lock_timeout, &lock).await {
        attempts.again_after(failure).await?;
    }
    work.set_limits(conn).await?;
    // Under the lock: nobody adds one any more.
    let seen_before = seen.len();
    let seen = fired(conn, shape, into).await?;
    allowed(&into.relation, &seen, triggers)?;
    if seen.is_empty() {
        return Ok(seen);
    }
    if seen_before == 0 || into.is_divided {
        return Err(DisposalError::refused(
            "restore",
            format!(
                "{} is divided further, or got {} just now: nothing was disabled. Restore again, or with --into side",
                into.relation.plain(),
                listed(&seen)
            ),
        ));
    }
    for fired in &seen {
        alter(conn, into, "DISABLE", fired).await?;
    }
    Ok(seen)
}

/// Enables what was disabled, as it was. Deferred constraints are checked first: their checks are pending on the table.
pub(super) async fn wake(
    conn: &mut PgConnection,
    into: &Target,
    silenced: &[Fired],
) -> Result<(), DisposalError> {
    if silenced.is_empty() {
        return Ok(());
    }
    run(conn, Sql::constant("SET CONSTRAINTS ALL IMMEDIATE")).await?;
    for fired in silenced {
        let enable = if fired.enabled == "A" {
            "ENABLE ALWAYS"
        } else {
            "ENABLE"
        };
        alter(conn, into, enable, fired).await?;
    }
    Ok(())
}

async fn alter(
    conn: &mut PgConnection,
    into: &Target,
    how: &'static str,
    fired: &Fired,
) -> Result<(), DisposalError> {
    let kind = if fired.kind == "rule" { "RULE" } else { "TRIGGER" };
    let statement = sql!(
        "ALTER TABLE {} {how} {kind} {}",
        into.relation, SqlIdent::quoting(&fired.name);
        how, kind
    );
    run(conn, statement).await
}

async fn run(conn: &mut PgConnection, statement: Sql) -> Result<(), DisposalError> {
    sqlx::raw_sql(statement)
        .execute(conn)
        .await
        .map_err(DisposalError::sql("disable or enable the triggers of a table"))?;
    Ok(())
}
