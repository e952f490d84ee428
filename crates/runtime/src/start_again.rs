//! A start that is tried again while a server that it needs does not answer: PostgreSQL, Redis or a node that is being
//! restarted is back within seconds.

use std::time::Duration;

use eidos_core::CoreError;
use eidos_core::lease::LeaseError;
use eidos_pg::is_transient;
use tokio::time::{Instant, sleep};

use crate::JobError;
use crate::retry::RetryRule;

/// Pauses between two attempts; time is what bounds them.
const PAUSES: RetryRule = RetryRule {
    max_attempts: u32::MAX,
    base: Duration::from_millis(500),
    max: Duration::from_secs(5),
};

/// Returns the first success of `attempt`, or its error once that is final or another attempt would begin later than
/// `within` after the first one.
pub(crate) async fn until_it_starts<T>(
    within: Duration,
    mut attempt: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    let mut number = 1;
    loop {
        let error = match attempt().await {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        let left = within.saturating_sub(began.elapsed());
        let pause = PAUSES.wait_after(number, left).filter(|_| may_recover(&error));
        let Some(pause) = pause else { return Err(error) };
        tracing::warn!(
            error = format!("{error:#}"),
            ?pause,
            "the start failed and is tried again"
        );
        sleep(pause).await;
        number += 1;
    }
}

/// Checks whether the same start may succeed without a change by a person. A service says so of its own servers with
/// [`JobError::Retry`].
fn may_recover(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let database = cause.downcast_ref::<sqlx::Error>();
        let lease = cause.downcast_ref::<LeaseError>();
        // A certificate that was refused is refused again.
        database.is_some_and(|error| is_transient(error) && !matches!(error, sqlx::Error::Tls(_)))
            || lease.is_some_and(LeaseError::is_retryable)
            || matches!(cause.downcast_ref(), Some(CoreError::TimedOut { .. }))
            || matches!(cause.downcast_ref(), Some(JobError::Retry(_)))
    })
}
