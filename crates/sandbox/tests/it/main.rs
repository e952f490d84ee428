//! The sandbox against the real binaries.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test that called them"
)]

mod anvil;
mod kafka;
mod long_lived;
mod postgres;
mod process;
mod python;
mod redis;
mod scratch;

use std::time::{Duration, Instant};

/// Polls until `condition` holds; testkit has a richer one, but stands a floor above.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(
            started.elapsed() < Duration::from_mins(1),
            "not within a minute: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs: neither gone nor a zombie.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}
