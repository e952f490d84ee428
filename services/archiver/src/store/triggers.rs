//! The triggers and rules of a table that an INSERT fires, and how they are disabled and enabled.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::TableShape;
use eidos_pg::{Relation, Sql, sql};
use eidos_types::ident::SqlIdent;
use serde::Serialize;
use sqlx::PgConnection;

/// Triggers and rules for INSERT that are enabled: 4 is the bit of INSERT, 1 that of row triggers, '3' the event of a rule. Those of
/// constraints are left out, except where somebody wrote the constraint as a trigger. `$2`: only those a new partition
/// would get from its parent.
pub(super) const FIRED: &str = "\
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
pub(crate) struct Target {
    /// The partition, or the table.
    pub(crate) relation: Relation,
    /// Its identity; of a partition that is still to be made, its parent's.
    pub(crate) oid: u32,
    /// Whether it is still to be made.
    pub(crate) is_new: bool,
    /// Whether it is partitioned again.
    pub(crate) is_divided: bool,
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
    pub(crate) enabled: String,
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
pub(crate) async fn fired(
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

/// Returns the lock under which they are disabled, or that only keeps new ones out.
pub(crate) fn lock(into: &Target, keeps_writers_out: bool) -> Sql {
    let mode = if keeps_writers_out {
        "SHARE ROW EXCLUSIVE"
    } else {
        "ROW EXCLUSIVE"
    };
    sql!("LOCK TABLE {} IN {mode} MODE", into.relation; mode)
}

/// Checks deferred constraints now: their checks are pending on the table.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn check_deferred(conn: &mut PgConnection) -> Result<(), DisposalError> {
    run(conn, Sql::constant("SET CONSTRAINTS ALL IMMEDIATE")).await
}

/// Disables or enables a trigger or rule.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn alter(
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
