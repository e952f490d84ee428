//! Failures that cannot heal, for partitions and for rows of plain tables: how they are worded, and what has to change before
//! the same work is tried again.

use eidos_pg::Relation;
use eidos_settings::SourceName;
use sqlx::{PgConnection, PgPool};

use crate::DisposalError;
use crate::unit::{self, Unit, UnitState};
use crate::unreadable::Unreadable;

/// What decides whether an export can succeed: definitions, rights, rows. Row versions of the catalogue stand for
/// definitions: whatever alters one makes a new version, and VACUUM and ANALYZE do not. Where the server counts no
/// changes of rows, every look is another one. `$2`: whether changes of rows count.
const SITUATION: &str = "\
    SELECT md5(concat_ws('|', \
        c.relfilenode, c.relowner, c.relrowsecurity, c.relforcerowsecurity, \
        (SELECT string_agg(concat(a.attnum, ':', a.xmin), ',' ORDER BY a.attnum) FROM pg_attribute a \
          WHERE a.attrelid = c.oid), \
        (SELECT string_agg(concat(k.oid, ':', k.xmin), ',' ORDER BY k.oid) FROM pg_constraint k \
          WHERE k.conrelid IN (c.oid, i.inhparent) OR k.confrelid IN (c.oid, i.inhparent)), \
        (SELECT string_agg(concat(o.oid, ':', o.xmin), ',' ORDER BY o.oid) FROM pg_policy o WHERE o.polrelid = c.oid), \
        row_security_active(c.oid), u.rolname, u.rolsuper, u.rolbypassrls, \
        pg_has_role(u.oid, c.relowner, 'USAGE'), \
        has_schema_privilege(u.oid, to_regnamespace('eidos_quarantine')::oid, 'CREATE'), \
        to_regprocedure('public.eidos_jobs_refuse_write()'), \
        (SELECT concat(d.oid, ':', d.xmin) FROM pg_database d WHERE d.datname = current_database()), \
        CASE WHEN $2 THEN concat_ws('|', pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), \
            pg_stat_get_tuples_deleted(c.oid), \
            CASE WHEN current_setting('track_counts')::bool THEN '' ELSE clock_timestamp()::text END) END)) \
    FROM pg_class c JOIN pg_roles u ON u.rolname = current_user LEFT JOIN pg_inherits i ON i.inhrelid = c.oid \
    WHERE c.oid = $1::bigint::oid";

/// What the table is like now; `None`: it is gone. `counts`: a change of any row is one.
pub(crate) async fn situation(
    conn: &mut PgConnection,
    oid: u32,
    counts: bool,
) -> Result<Option<String>, DisposalError> {
    let found: Option<String> = sqlx::query_scalar(SITUATION)
        .bind(i64::from(oid))
        .bind(counts)
        .fetch_optional(conn)
        .await
        .map_err(DisposalError::sql("look whether a table has changed"))?;
    // A newer program may succeed where an older one could not.
    Ok(found.map(|found| format!("{}/{found}", env!("CARGO_PKG_VERSION"))))
}

/// Returns the newest unit of this name if it was given up for good on this very table, and what the table was like then.
pub(crate) async fn last_failure(
    jobs: &PgPool,
    source: SourceName,
    table: &Relation,
    unit_name: &str,
    oid: u32,
) -> Result<Option<(Unit, String)>, DisposalError> {
    let last = unit::newest_of(jobs, source, table, unit_name).await?;
    let last = last.filter(|last| last.state == UnitState::Abandoned && last.table_oid == oid);
    Ok(last.and_then(|last| Some((last.clone(), last.failed_as?))))
}

/// The failure as a refusal: with the object, the row if one is at fault, and what to do. `advice` says how it is left.
pub(crate) async fn as_refusal(
    unit: &Unit,
    failure: DisposalError,
    search: Unreadable<'_>,
    advice: &str,
) -> DisposalError {
    let Some(code) = failure.sqlstate() else {
        return failure;
    };
    let what = format!("{} of {}", unit.unit_name, unit.table.plain());
    // Insufficient privilege, row security included.
    if code == "42501" {
        return DisposalError::refused(
            "rights",
            format!(
                "{what}: {failure}. Where row security applies to this login, ALTER ROLE .. BYPASSRLS, or NO FORCE ROW \
                 LEVEL SECURITY; otherwise grant it what is missing (docs/runbooks/disposal-refused.md)"
            ),
        );
    }
    match search.first(unit, &code).await {
        Some(row) => DisposalError::refused(
            "unreadable",
            format!(
                "{row} of {what} cannot be read: {failure}. Correct or remove that value; {advice} \
                 (docs/runbooks/disposal-refused.md)"
            ),
        ),
        None => DisposalError::refused(
            "failed",
            format!(
                "{what}: {failure}; the same will happen again until somebody changes its cause; {advice} \
                 (docs/runbooks/disposal-refused.md)"
            ),
        ),
    }
}
