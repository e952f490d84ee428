//! The runtime on which shared servers, proxies and clean-ups live.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("testkit")
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("cannot start testkit's runtime: {error}"))
});

/// Runs `work` on the background runtime. A test whose own clock is paused would otherwise see every timeout of a
/// server's start fire at once.
pub(crate) async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match RUNTIME.spawn(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(reason) => std::panic::resume_unwind(reason),
            Err(error) => panic!("testkit's runtime dropped its work: {error}"),
        },
    }
}

/// Starts `work` on the background runtime and does not wait.
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    RUNTIME.spawn(work);
}
