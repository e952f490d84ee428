//! [`eventually`]: waiting for a condition with a deadline.

use std::fmt::Display;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Calls `condition` until it is `Ok` and returns what it holds.
///
/// `what` completes the sentence "expected that ...", and the last `Err` says what was there instead:
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn held() -> Option<u64> { None }
/// # async fn example() {
/// let token = eidos_testkit::eventually("the second node holds the lease", Duration::from_secs(5), async || {
///     held().await.ok_or("nobody holds it")
/// })
/// .await;
/// # }
/// ```
///
/// The deadline is real time, whatever the clock of the test's runtime says, and also bounds a `condition` that
/// hangs.
#[track_caller]
pub fn eventually<T, E: Display>(
    what: &str,
    within: Duration,
    condition: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    poll(what, within, condition, Location::caller())
}

async fn poll<T, E: Display>(
    what: &str,
    within: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
    caller: &Location<'_>,
) -> T {
    const LONGEST_PAUSE: Duration = Duration::from_millis(100);
    let started = Instant::now();
    let mut pause = Duration::from_millis(5);
    let mut instead = "the condition never answered".to_owned();
    loop {
        let left = within.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, condition()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(error)) => instead = error.to_string(),
            Err(_elapsed) => {}
        }
        assert!(
            started.elapsed() < within,
            "expected within {within:?} that {what}; instead: {instead} (called at {caller})"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
