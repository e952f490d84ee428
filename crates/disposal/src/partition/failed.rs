//! Failures that cannot heal: row security that applies to us, a value no archive can keep, a row the server cannot read,
//! a missing right, a reference that came after the freeze.
//!
//! The partition is let go, so that nobody is kept from correcting it; the failure is a refusal, which counts and
//! raises the alert; and what the table was like is remembered with the unit. While that is unchanged, a run of the
//! schedule does not begin again: it would freeze, export and give up every time. A plan that a person applies does.

use eidos_pg::Sql;
use sqlx::PgConnection;
use sqlx::PgPool;

use super::{PartitionDisposal, PartitionIdentity};
use crate::DisposalError;
use crate::lasting::{as_refusal, last_failure, situation};
use crate::unit::{Unit, UnitState};
use crate::unreadable::Unreadable;

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
    let oid = identity.partition_oid;
    let Some((last, failed_as)) = last_failure(jobs, source, &identity.table, name, oid).await? else {
        return Ok(None);
    };
    if situation(conn, oid, true).await? != Some(failed_as) {
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
        let search = Unreadable {
            ctx: self.ctx,
            pool: self.pool(),
            settings: self.settings,
            rows: &Sql::constant("true"),
        };
        let failure = as_refusal(unit, failure, search, "the partition takes writes again for that").await;
        if let Err(error) = Box::pin(self.give_up(unit, &failure)).await {
            // It is still open, and frozen: the next run meets the same failure, and gives it up.
            tracing::warn!(unit = %unit.unit_id, %error, "a unit that failed for good could not be given up yet");
        }
        failure
    }

    async fn give_up(&self, unit: &Unit, failure: &DisposalError) -> Result<(), DisposalError> {
        self.thaw(unit).await?;
        let failed_as = situation(&mut *self.reader().await?, unit.table_oid, true).await?;
        self.released(unit, &failure.to_string(), failed_as).await?;
        Ok(())
    }
}
