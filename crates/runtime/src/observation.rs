//! [`Observation`]: every replica looks at what is true, whoever ran last.

use chrono::{DateTime, Utc};
use eidos_core::db::JobsDb;
use eidos_core::execution;
use eidos_types::JobName;
use serde::de::DeserializeOwned;

use crate::JobError;
use crate::job::take_rendered;

/// What [`crate::Job::observe`] may look at.
#[derive(Debug)]
pub struct Observation<'a> {
    pub(crate) job: &'a JobName,
    pub(crate) db: &'a JobsDb,
    pub(crate) now: DateTime<Utc>,
}

impl Observation<'_> {
    /// Our own tables, to be read.
    #[must_use]
    pub const fn jobs_db(&self) -> &JobsDb {
        self.db
    }

    /// The time of this look.
    #[must_use]
    pub const fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// The report of the job's newest real run, whichever replica made it, as much of it as `T` names. `None` before
    /// the first one, and for one that an earlier release wrote otherwise.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_report<T: DeserializeOwned>(&self) -> Result<Option<T>, JobError> {
        let report = execution::last_report(self.db.read(), self.job).await?;
        Ok(report.and_then(|mut report| {
            take_rendered(&mut report);
            T::deserialize(report)
                .inspect_err(
                    |error| tracing::debug!(job = %self.job, %error, "the last report has another shape"),
                )
                .ok()
        }))
    }
}
