//! Failures that cannot heal: row security that applies to us, a value no archive can keep, a row the server cannot read,
//! a missing right, a reference that came after the freeze.
//!
//! The partition is let go, so that nobody is kept from correcting it; the failure is a refusal, which counts and
//! raises the alert; and what the table was like is remembered with the unit. While that is unchanged, a run of the
//! schedule does not begin again: it would freeze, export and give up every time. A plan that a person applies does.

use sqlx::PgConnection;
use sqlx::PgPool;

use super::{PartitionDisposal, PartitionIdentity};
use crate::DisposalError;
use crate::unit::{self, Unit, UnitState};

/// What decides whether an export can succeed: definitions, rights, rows. Row versions of the catalogue stand for
/// definitions: whatever alters one makes a new version, and VACUUM and ANALYZE do not. Where the server counts no
/// changes of rows, every look is another one.
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
        pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_deleted(c.oid), \
        CASE WHEN current_setting('track_counts')::bool THEN '' ELSE clock_timestamp()::text END)) \
    FROM pg_class c JOIN pg_roles u ON u.rolname = current_user LEFT JOIN pg_inherits i ON i.inhrelid = c.oid \
    WHERE c.oid = $1::bigint::oid";

/// Why a partition is not tried again, if it is not: it failed for good, and is what it was.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn failed_before(
    jobs: &PgPool,
    conn: &mut PgConnection,
    identity: &PartitionIdentity,
    source: eidos_settings::SourceName,
) -> Result<Option<String>, DisposalError> {
    let name = &identity.partition.name;
    let Some(last) = unit::newest_of(jobs, source, &identity.table, name).await? else {
        return Ok(None);
    };
    let same_table = last.state == UnitState::Abandoned && last.table_oid == identity.partition_oid;
    let Some(failed_as) = last.failed_as.as_deref().filter(|_then| same_table) else {
        return Ok(None);
    };
    if situation(conn, last.table_oid).await?.as_deref() != Some(failed_as) {
        return Ok(None);
    }
    Ok(Some(format!(
        "{} was given up by unit {} and nothing about it has changed since: {}. It takes writes; once it is corrected, the \
         next run tries again, and so does a plan that a person applies",
        identity.partition.plain(),
        last.unit_id,
        last.reason.as_deref().unwrap_or("no reason was recorded")
    )))
}

/// What the table is like now; `None`: it is gone.
async fn situation(conn: &mut PgConnection, oid: u32) -> Result<Option<String>, DisposalError> {
    let found: Option<String> = sqlx::query_scalar(SITUATION)
        .bind(i64::from(oid))
        .fetch_optional(conn)
        .await
        .map_err(DisposalError::sql("look whether a table has changed"))?;
    // A newer program may succeed where an older one could not.
    Ok(found.map(|found| format!("{}/{found}", env!("CARGO_PKG_VERSION"))))
}

impl PartitionDisposal<'_> {
    /// Refuses a partition that failed for good and is what it was, unless a person asks for it.
    pub(super) async fn not_failed_before(
        &self,
        conn: &mut PgConnection,
        identity: &PartitionIdentity,
        approved_by: &str,
    ) -> Result<(), DisposalError> {
        if approved_by != "policy" {
            return Ok(());
        }
        let jobs = self.ctx.jobs_db().read();
        match failed_before(jobs, conn, identity, self.policy.source).await? {
            Some(why) => Err(DisposalError::refused("failed_before", why)),
            None => Ok(()),
        }
    }

    /// What a failed step leaves: where trying again cannot help, the partition takes writes again, and the unit is
    /// closed with the cause. Gives the failure to be told, as a refusal that names the row if one is at fault.
    pub(super) async fn after_failure(&self, unit: &Unit, failure: DisposalError) -> DisposalError {
        if !failure.cannot_heal() || unit.state > UnitState::Verified {
            return failure;
        }
        let failure = self.told(unit, failure).await;
        if let Err(error) = Box::pin(self.give_up(unit, &failure)).await {
            // It is still open, and frozen: the next run meets the same failure, and gives it up.
            tracing::warn!(unit = %unit.unit_id, %error, "a unit that failed for good could not be given up yet");
        }
        failure
    }

    async fn give_up(&self, unit: &Unit, failure: &DisposalError) -> Result<(), DisposalError> {
        self.thaw(unit).await?;
        let failed_as = situation(&mut *self.reader().await?, unit.table_oid).await?;
        self.released(unit, &failure.to_string(), failed_as).await?;
        Ok(())
    }

    /// The failure as a refusal: with the object, the row if one is at fault, and what to do.
    async fn told(&self, unit: &Unit, failure: DisposalError) -> DisposalError {
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
        match self.first_unreadable(unit, &code).await {
            Some(row) => DisposalError::refused(
                "unreadable",
                format!(
                    "{row} of {what} cannot be read: {failure}. Correct or remove that value; the partition is let go for \
                     that (docs/runbooks/disposal-refused.md)"
                ),
            ),
            None => DisposalError::refused(
                "failed",
                format!(
                    "{what}: {failure}; the same will happen again until somebody changes its cause. The partition is \
                     let go (docs/runbooks/disposal-refused.md)"
                ),
            ),
        }
    }
}
