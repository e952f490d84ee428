//! Nobody waits longer than `disposal.lock_timeout` for us.
//!
//! A statement that waits for a strong lock makes everybody wait who comes after it, so the time we may wait *is* the
//! longest outage we can cause. From the moment the first lock is asked for, every statement of an attempt gets what is
//! left of that time, for waiting as well as for working; an attempt that does not make it is rolled back and made
//! again later, with jitter, a bounded number of times.

use std::future::Future;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use eidos_core::CoreError;
use eidos_pg::{Sql, sql};
use eidos_runtime::JobContext;
use sqlx::PgConnection;

use crate::DisposalError;
use crate::error::in_the_way;
use crate::settings::DisposalSettings;

/// The time of one attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    until: Instant,
}

impl Patience {
    /// From now on.
    pub(crate) fn begin(settings: &DisposalSettings) -> Self {
        Self {
            until: Instant::now() + settings.lock_timeout,
        }
    }

    /// Runs a statement within what is left.
    pub(crate) async fn run(
        self,
        conn: &mut PgConnection,
        doing: &'static str,
        statement: &Sql,
    ) -> Result<(), DisposalError> {
        // 0 would mean no limit. In a message of its own: a limit does not hold for statements that came with it.
        let left = self
            .until
            .saturating_duration_since(Instant::now())
            .as_millis()
            .max(1);
        let limits = sql!("SET LOCAL lock_timeout = {left}; SET LOCAL statement_timeout = {left}"; left);
        execute(conn, "limit a statement", limits).await?;
        execute(conn, doing, statement.clone()).await
    }

    /// Reads under the locks, within what is left: each statement of them alone has the limit of the last [`Self::run`].
    pub(crate) async fn within<T>(
        self,
        reading: impl Future<Output = Result<T, DisposalError>>,
    ) -> Result<T, DisposalError> {
        let read = tokio::time::timeout_at(self.until.into(), reading).await;
        read.unwrap_or_else(|_elapsed| {
            Err(DisposalError::Busy {
                what: "the catalogue was not read within disposal.lock_timeout".to_owned(),
            })
        })
    }
}

/// Asks for a lock once, within a transaction that already holds others: where it is not granted in time, the transaction
/// goes back to where it was and keeps those. Only waiting is limited.
///
/// # Errors
/// [`DisposalError::Sql`]: of a lock that was not granted ([`Attempts::again_after`] knows it), or of a lost connection.
pub async fn try_lock(conn: &mut PgConnection, limit: Duration, lock: &Sql) -> Result<(), DisposalError> {
    let limit = limit.as_millis().max(1);
    let begin = sql!(
        "SAVEPOINT eidos_lock; SET LOCAL lock_timeout = {limit}; SET LOCAL statement_timeout = {limit}";
        limit
    );
    execute(conn, "limit a lock", begin).await?;
    match execute(conn, "lock a table", lock.clone()).await {
        Ok(()) => execute(conn, "keep a lock", Sql::constant("RELEASE SAVEPOINT eidos_lock")).await,
        Err(failure) => {
            let back = Sql::constant("ROLLBACK TO SAVEPOINT eidos_lock; RELEASE SAVEPOINT eidos_lock");
            execute(conn, "give a lock up", back).await?;
            Err(failure)
        }
    }
}

/// Runs statements without parameters.
pub(crate) async fn execute(
    conn: &mut PgConnection,
    doing: &'static str,
    statement: Sql,
) -> Result<(), DisposalError> {
    sqlx::raw_sql(statement)
        .execute(conn)
        .await
        .map_err(DisposalError::sql(doing))?;
    Ok(())
}

/// The attempts of one act.
pub struct Attempts<'a> {
    ctx: &'a JobContext,
    doing: String,
    pauses: ExponentialBackoff,
    made: u32,
}

impl<'a> Attempts<'a> {
    /// `doing` completes "could not ...".
    #[must_use]
    pub fn new(ctx: &'a JobContext, settings: &DisposalSettings, doing: String) -> Self {
        let pauses = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(settings.lock_backoff)
            .with_max_delay(settings.lock_backoff_max)
            .with_max_times(settings.lock_attempts.saturating_sub(1) as usize)
            .build();
        Self {
            ctx,
            doing,
            pauses,
            made: 0,
        }
    }

    /// After a failed attempt: waits and returns, or ends it all. Only a lock that somebody else held, or a catalogue
    /// that took too long to read, is worth another attempt.
    ///
    /// # Errors
    /// The failure itself; [`DisposalError::Busy`] after the last attempt; [`DisposalError::Job`] once the run must
    /// stop.
    pub async fn again_after(&mut self, failure: DisposalError) -> Result<(), DisposalError> {
        let may_pass = match &failure {
            DisposalError::Sql { source, .. } => in_the_way(source),
            // A commit that the server refused for its time: nothing of the attempt is left.
            DisposalError::Core(CoreError::Sql { cause, .. }) => in_the_way(cause),
            DisposalError::Busy { .. } => true,
            _ => false,
        };
        if !may_pass {
            return Err(failure);
        }
        self.made += 1;
        tracing::debug!(attempt = self.made, %failure, "somebody else holds a lock");
        let Some(pause) = self.pauses.next() else {
            return Err(DisposalError::Busy {
                what: format!(
                    "could not {} in {} attempts, because it was in use each time (last: {failure}); the next run tries \
                     again",
                    self.doing, self.made
                ),
            });
        };
        self.ctx.unless_cancelled(tokio::time::sleep(pause)).await?;
        Ok(())
    }
}

/// The longest a lock may be waited for where nobody waits behind us.
pub(crate) const UNFELT: Duration = Duration::from_secs(5);
