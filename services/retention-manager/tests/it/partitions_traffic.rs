//! Whoever reads and writes through the parent waits for us no longer than `disposal.lock_timeout`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};

use crate::fixture::{count, sql};
use crate::partitions_fixture::{DEFAULT, JobFixture, TABLE, ms};

const SLOT: &str = "2024-01-15T00:00:00Z";
const JANUARY: &str = "CREATE TABLE eidos_chain_events_2024_01 PARTITION OF eidos_chain_events \
     FOR VALUES FROM (1704067200000) TO (1706745600000)";
/// As the issue measures it.
const TOLERANCE: Duration = Duration::from_millis(50);

/// Sessions of readers and writers: the server itself ends one that waits for a lock longer than it may. Unlike a
/// stopwatch, it does not count the time this machine is busy with other tests.
fn sessions(fixture: &JobFixture, patience: Duration) -> PgPool {
    let options: PgConnectOptions = fixture.books.url().parse().unwrap();
    let limit = (patience + TOLERANCE).as_millis().to_string();
    PgPoolOptions::new()
        .max_connections(6)
        .connect_lazy_with(options.options([("lock_timeout", limit)]))
}

struct Traffic {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<(u64, Duration)>>,
}

impl Traffic {
    /// Two readers of the whole table, two of January, and two writers of January.
    fn start(pool: &PgPool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let january = ms("2024-01-01T00:00:00Z");
        let all = format!("SELECT count(*) FROM {TABLE}");
        let recent = format!(
            "SELECT count(*) FROM {TABLE} WHERE created_at >= {january} AND created_at < {january} + 60000"
        );
        let write = format!(
            "INSERT INTO {TABLE} (created_at, amount) VALUES ({january} + (random() * 2000000000)::bigint, 1)"
        );
        let tasks = [&all, &recent, &write, &all, &recent, &write]
            .into_iter()
            .map(|statement| tokio::spawn(worker(pool.clone(), statement.clone(), Arc::clone(&stop))))
            .collect();
        Self { stop, tasks }
    }

    /// Statements that were answered, and the longest of them.
    async fn end(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut answered, mut longest) = (0, Duration::ZERO);
        for task in self.tasks {
            let (count, wait) = task.await.unwrap();
            answered += count;
            longest = longest.max(wait);
        }
        (answered, longest)
    }
}

async fn worker(pool: PgPool, statement: String, stop: Arc<AtomicBool>) -> (u64, Duration) {
    let (mut answered, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        sqlx::query(AssertSqlSafe(statement.clone()))
            .execute(&pool)
            .await
            .unwrap_or_else(|error| panic!("traffic was kept waiting: {error}: {statement}"));
        longest = longest.max(asked.elapsed());
        answered += 1;
    }
    (answered, longest)
}

/// The job under traffic, while further transactions keep every lock it asks for away from it, again and again.
#[expect(clippy::print_stdout, reason = "libtest shows it with --nocapture")]
async fn under_traffic(fixture: &JobFixture, months_ahead: u32) {
    let mut job = fixture.job(&[TABLE]).await;
    job.options.months_ahead = months_ahead;
    job.options.drain_max_rows = 500;
    let patience = job.disposal.lock_timeout;
    let pool = sessions(fixture, patience);
    let traffic = Traffic::start(&pool);
    // Transactions that have read the table and rest for longer than we wait: our requests queue behind them, and
    // traffic queues behind our requests.
    let (slow_pool, stop) = (fixture.pool().clone(), Arc::clone(&traffic.stop));
    let slow = tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let mut tx = slow_pool.begin().await.unwrap();
            sqlx::raw_sql("SELECT count(*) FROM eidos_chain_events; SELECT pg_sleep(0.6)")
                .execute(&mut *tx)
                .await
                .unwrap();
            tx.rollback().await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    fixture.run(&job, SLOT).await.unwrap();
    let (answered, longest) = traffic.end().await;
    slow.await.unwrap();
    assert!(answered > 50, "{answered} statements are no traffic");
    println!("{answered} statements, the longest took {longest:?} in all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_default_partition_nobody_waits_longer_than_lock_timeout() {
    let fixture = JobFixture::new(&[JANUARY]).await;
    under_traffic(&fixture, 12).await;
    fixture
        .assert_tiles(TABLE, "2024-01-01T00:00:00Z", "2025-02-01T00:00:00Z")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_a_default_partition_nobody_waits_longer_than_lock_timeout() {
    let fixture = JobFixture::new(&[
        JANUARY,
        DEFAULT,
        // Rows of two months that move, and many that stay and have to be looked at each time.
        "INSERT INTO eidos_chain_events (created_at, amount) \
         SELECT 1701388800000 + n * 1000000, n FROM generate_series(1, 1500) n",
        "INSERT INTO eidos_chain_events (created_at, amount) \
         SELECT 4018636800000 + n, n FROM generate_series(1, 100000) n",
    ])
    .await;
    under_traffic(&fixture, 5).await;
    fixture
        .assert_tiles(TABLE, "2023-12-01T00:00:00Z", "2024-07-01T00:00:00Z")
        .await;
    assert_eq!(
        count(fixture.pool(), "SELECT count(*) FROM eidos_chain_events_default").await,
        100_000
    );
}

/// A transaction that never ends: the table is reported, to be tried again, and nothing is half done.
#[tokio::test]
async fn a_table_that_is_never_free_is_reported_and_the_next_goes_on() {
    let fixture = JobFixture::new(&[
        DEFAULT,
        "CREATE TABLE eidos_chain_other (created_at BIGINT NOT NULL) PARTITION BY RANGE (created_at)",
    ])
    .await;
    let mut held = fixture.pool().begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM eidos_chain_events")
        .execute(&mut *held)
        .await
        .unwrap();
    let mut job = fixture.job(&[TABLE, "eidos_chain_other"]).await;
    job.disposal.lock_attempts = 3;
    let error = fixture.run(&job, SLOT).await.unwrap_err();
    assert!(
        matches!(error.without_report(), eidos_runtime::JobError::Retry(_)),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("in 3 attempts") && text.contains("4 partitions created"),
        "{text}"
    );
    held.rollback().await.unwrap();
    fixture
        .assert_tiles(
            "eidos_chain_other",
            "2024-01-01T00:00:00Z",
            "2024-05-01T00:00:00Z",
        )
        .await;
    assert!(fixture.partitions(TABLE).await.is_empty());
    sql(fixture.pool(), "DROP TABLE eidos_chain_other").await;
    job.tables.truncate(1);
    fixture.run(&job, SLOT).await.unwrap();
}
