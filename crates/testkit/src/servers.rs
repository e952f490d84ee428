//! The servers a test process shares.

use std::sync::atomic::{AtomicU32, Ordering};

use eidos_sandbox::{
    Anvil, AnvilOptions, KafkaBroker, Postgres, PostgresOptions, Redis, RedisOptions, SandboxError,
};
use tokio::sync::OnceCell;

use crate::background;

/// The PostgreSQL server of this test process. Do not stop or pause it: other tests use it at the same time.
pub async fn shared_postgres() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    SERVER
        .get_or_init(|| started(Postgres::start(PostgresOptions::default())))
        .await
}

/// The EVM node of this test process: automatic mining, ten funded accounts. Tests share the chain, so each
/// deploys its own contracts and looks only at those.
pub async fn shared_anvil() -> &'static Anvil {
    static SERVER: OnceCell<Anvil> = OnceCell::const_new();
    SERVER
        .get_or_init(|| started(Anvil::start(AnvilOptions::default())))
        .await
}

/// The Kafka broker of this test process, or the real one of `KAFKA_BROKERS`. Use topic names of your own.
pub async fn shared_kafka() -> &'static KafkaBroker {
    static SERVER: OnceCell<KafkaBroker> = OnceCell::const_new();
    SERVER
        .get_or_init(|| started(async { KafkaBroker::start() }))
        .await
}

/// The Redis server of this test process, with a key prefix for one test.
#[derive(Debug, Clone)]
pub struct TestRedis {
    url: String,
    prefix: String,
}

impl TestRedis {
    /// A prefix of one's own on the shared server. A test that flushes, stops or pauses needs a server of its own:
    /// [`Redis::start`].
    pub async fn shared() -> Self {
        static SERVER: OnceCell<Redis> = OnceCell::const_new();
        let server = SERVER
            .get_or_init(|| started(Redis::start(RedisOptions::default())))
            .await;
        Self {
            url: server.url(),
            prefix: unique_name(40),
        }
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What every key of this test begins with; no separator at its end.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// A name for something of the running test: `t_<number>_<name of the test>`, at most `longest` bytes, made of
/// a-z, 0-9 and _. libtest names the thread after the test.
pub(crate) fn unique_name(longest: usize) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let thread = std::thread::current();
    let test: String = thread
        .name()
        .unwrap_or("unnamed")
        .to_ascii_lowercase()
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '_'
            }
        })
        .collect();
    let mut name = format!("t_{number:04}_{test}");
    name.truncate(longest);
    name
}

/// Starts a server on the background runtime.
async fn started<T: Send + 'static>(
    server: impl Future<Output = Result<T, SandboxError>> + Send + 'static,
) -> T {
    match background::run(server).await {
        Ok(server) => server,
        Err(error) => panic!("a server for this test did not start: {error}"),
    }
}
