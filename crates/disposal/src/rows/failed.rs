//! Exports of a month that cannot succeed as things are: row security that applies to us, a value no archive can keep, a
//! row the server cannot read, a missing right.
//!
//! The unit is closed with the cause. While the table's definitions and the month's row versions are what they were then,
//! a run of the schedule does not begin again. A plan that a person applies does.

use eidos_runtime::JobContext;
use sqlx::PgPool;

use super::predicate::eligible;
use super::{RowDisposal, RowIdentity, RowRule};
use crate::DisposalError;
use crate::catalogue::TableShape;
use crate::export::{LongRead, content_of};
use crate::lasting::{as_refusal, last_failure, situation};
use crate::settings::DisposalSettings;
use crate::unit::Unit;
use crate::unreadable::Unreadable;

/// Where the rows are, and by which rules they leave.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The run.
    pub ctx: &'a JobContext,
    /// The table's database.
    pub pool: &'a PgPool,
    /// Section `disposal`.
    pub settings: &'a DisposalSettings,
    /// The table's rules.
    pub rule: &'a RowRule,
    /// The table.
    pub shape: &'a TableShape,
}

impl Ground<'_> {
    /// Why a month is not tried again, if it is not: its export failed for good, and it is what it was.
    ///
    /// # Errors
    /// [`DisposalError::Sql`]; [`DisposalError::Job`] once the run must stop.
    pub async fn failed_before(&self, identity: &RowIdentity) -> Result<Option<String>, DisposalError> {
        let jobs = self.ctx.jobs_db().read();
        let name = identity.unit_name();
        let oid = identity.table_oid;
        let Some((last, failed_as)) =
            last_failure(jobs, self.rule.source, &identity.table, &name, oid).await?
        else {
            return Ok(None);
        };
        let window = (identity.lower_ms, identity.upper_ms);
        if self.situation(window).await? != Some(failed_as) {
            return Ok(None);
        }
        Ok(Some(format!(
            "{name} was given up by unit {} and nothing about it has changed since: {}. Once it is corrected, the next run \
             tries again, and so does a plan that a person applies",
            last.unit_id,
            last.reason.as_deref().unwrap_or("no reason was recorded")
        )))
    }

    /// Definitions, and which versions of rows the month has; no value of a row is read for it. `None`: the table is gone.
    async fn situation(&self, window: (i64, i64)) -> Result<Option<String>, DisposalError> {
        let mut read = LongRead::open(self.pool, self.settings).await?;
        let outcome = self.situation_in(&mut read, window).await;
        read.close().await;
        outcome
    }

    async fn situation_in(
        &self,
        read: &mut LongRead,
        window: (i64, i64),
    ) -> Result<Option<String>, DisposalError> {
        // The rest of the table is in use: its changes are no news.
        let Some(definitions) = situation(read.conn(), self.shape.oid, false).await? else {
            return Ok(None);
        };
        let versions = format!(
            "SELECT r.ctid::text, r.xmin::text FROM ONLY {} r WHERE {}",
            self.shape.relation,
            eligible(self.shape, self.rule, window)?
        );
        let rows = match content_of(self.ctx, read, &versions, 2).await {
            Ok(content) => format!("{} {}", content.rows, content.digest),
            // A right that is missing, a damaged page.
            Err(error) if error.cannot_heal() => error.sqlstate().unwrap_or_default(),
            Err(error) => return Err(error),
        };
        Ok(Some(format!("{definitions}/{rows}")))
    }
}

impl RowDisposal<'_> {
    fn ground<'a>(&'a self, shape: &'a TableShape) -> Ground<'a> {
        Ground {
            ctx: self.ctx,
            pool: self.external.pool(),
            settings: self.settings,
            rule: self.rule,
            shape,
        }
    }

    /// Refuses a month whose export failed for good and that is what it was, unless a person asks for it.
    pub(super) async fn not_failed_before(
        &self,
        shape: &TableShape,
        identity: &RowIdentity,
        approved_by: &str,
    ) -> Result<(), DisposalError> {
        if approved_by != "policy" {
            return Ok(());
        }
        match self.ground(shape).failed_before(identity).await? {
            Some(why) => Err(DisposalError::refused("failed_before", why)),
            None => Ok(()),
        }
    }

    /// What a failed export leaves: where trying again cannot help, the unit is closed with the cause. Gives the failure to
    /// be told, as a refusal that names the row if one is at fault.
    pub(super) async fn after_failure(
        &self,
        unit: &Unit,
        shape: &TableShape,
        failure: DisposalError,
    ) -> DisposalError {
        if !failure.cannot_heal() {
            return failure;
        }
        let rows = match eligible(shape, self.rule, (unit.lower_ms, unit.upper_ms)) {
            Ok(rows) => rows,
            Err(_unfit) => return failure,
        };
        let search = Unreadable {
            ctx: self.ctx,
            pool: self.external.pool(),
            settings: self.settings,
            rows: &rows,
        };
        let failure = as_refusal(unit, failure, search, "the rows stay where they are").await;
        if let Err(error) = Box::pin(self.give_up(unit, shape, &failure)).await {
            // It is still open: the next run meets the same failure, and gives it up.
            tracing::warn!(unit = %unit.unit_id, %error, "a unit that failed for good could not be given up yet");
        }
        failure
    }

    async fn give_up(
        &self,
        unit: &Unit,
        shape: &TableShape,
        failure: &DisposalError,
    ) -> Result<(), DisposalError> {
        let window = (unit.lower_ms, unit.upper_ms);
        let failed_as = self.ground(shape).situation(window).await?;
        let reason = failure.to_string();
        self.lifecycle()
            .give_up(unit, "abandon", &reason, failed_as)
            .await
            .map(drop)
    }
}
