//! [`repeat`]: the rounds in which every replica brings its gauges up to date.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use eidos_core::db::JobsDb;
use eidos_types::SharedClock;

use crate::error::chain;
use crate::registry::Registry;
use crate::{Observation, observe};

/// A job whose look takes longer waits for the next round.
const LIMIT: Duration = Duration::from_secs(20);

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
