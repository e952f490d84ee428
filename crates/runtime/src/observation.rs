//! [`Observation`]: every replica looks at what is true, whoever ran last.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_core::db::JobsDb;
use eidos_core::execution;
use eidos_types::{JobName, SharedClock};
use serde::de::DeserializeOwned;

use crate::error::chain;
use crate::job::take_rendered;
use crate::registry::Registry;
use crate::{JobError, observe};

/// A job whose look takes longer waits for the next round.
const LIMIT: Duration = Duration::from_secs(20);

/// What [`crate::Job::observe`] may look at.
#[derive(Debug)]
pub struct Observation<'a> {
    job: &'a JobName,
    db: &'a JobsDb,
    now: DateTime<Utc>,
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

/// Looks until it is dropped. A look that fails is only logged: the gauges stay as they are, and the database that
/// does not answer has a check of its own.
pub(crate) async fn repeat(
    registry: Arc<Registry>,
    db: JobsDb,
    clock: SharedClock,
    every: Duration,
) -> Infallible {
    loop {
        match tokio::time::timeout(LIMIT, observe::endings(&registry, &db, clock.now())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "gauges of how runs ended not brought up to date");
            }
            Err(_elapsed) => {
                tracing::warn!(limit = ?LIMIT, "gauges of how runs ended not brought up to date in time");
            }
        }
        for job in registry.iter() {
            let seen = Observation {
                job: &job.name,
                db: &db,
                now: clock.now(),
            };
            match tokio::time::timeout(LIMIT, job.entry.observe(&seen)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(job = %job.name, error = %chain(&error), "gauges not brought up to date");
                }
                Err(_elapsed) => {
                    tracing::warn!(job = %job.name, limit = ?LIMIT, "gauges not brought up to date in time");
                }
            }
        }
        tokio::time::sleep(every).await;
    }
}
