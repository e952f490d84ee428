//! Until when the reads of a run may wait.

use std::future::Future;

use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Runs `work`, whose reads of the chain do not wait for a node beyond `deadline`: neither for one that refuses by
/// rate nor for one that is out of order. Holds for the task of `work`, not for tasks that it spawns.
pub async fn within<F: Future>(deadline: Instant, work: F) -> F::Output {
    DEADLINE.scope(deadline, work).await
}

pub(crate) fn current() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok()
}
