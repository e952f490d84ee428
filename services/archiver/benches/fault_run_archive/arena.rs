//! Servers, two years of rows, and the two services.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use eidos_core::migrations;
use eidos_sandbox::{Durability, Postgres, PostgresOptions, Redis, RedisOptions, ScratchDir};
use eidos_testkit::{Command, TcpProxy, accept_archive_store};
use eidos_types::{Clock, SystemClock};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::life;

const EXCHANGE: &str = "exchange";
const JOBS: &str = "jobs";
/// The shortest lease the settings allow.
const LEASE_TTL: Duration = Duration::from_secs(4);

/// One of the jobs under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposer {
    /// `retention-manager run data-cleanup`
    Cleanup,
    /// `archiver run archive-data`
    Archive,
    /// `retention-manager run partition-manage`
    Partitions,
}

impl Disposer {
    /// The job's name.
    pub(crate) const fn job(self) -> &'static str {
        match self {
            Self::Cleanup => "data-cleanup",
            Self::Archive => "archive-data",
            Self::Partitions => "partition-manage",
        }
    }
}

/// Everything there is.
pub(crate) struct Arena {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    /// Between the services and PostgreSQL: its bytes are the clock that blows are timed by.
    pub(crate) wire: TcpProxy,
    /// The exchange's database, as its owner.
    pub(crate) exchange: PgPool,
    /// The jobs database, as its owner.
    pub(crate) jobs: PgPool,
    scratch: ScratchDir,
    retention_manager: PathBuf,
}

impl Arena {
    /// Starts the servers and fills the tables.
    pub(crate) async fn build() -> anyhow::Result<Self> {
        let postgres = Postgres::start(PostgresOptions {
            durability: Durability::Fast,
            ..PostgresOptions::default()
        })
        .await?;
        let redis = Redis::start(RedisOptions::default()).await?;
        for database in [EXCHANGE, JOBS] {
            postgres.create_database(database).await?;
        }
        let (exchange, jobs) = (
            pool(&postgres.url(EXCHANGE)).await?,
            pool(&postgres.url(JOBS)).await?,
        );
        migrations::migrate(&jobs, SystemClock::default().now()).await?;
        life::install(&exchange).await?;
        let wire = TcpProxy::start(postgres.port()).await;
        let scratch = ScratchDir::create("archive-arena")?;
        let archiver = Path::new(env!("CARGO_BIN_EXE_archiver"));
        let retention_manager = archiver.with_file_name("retention-manager");
        ensure!(
            retention_manager.is_file(),
            "{} is missing: cargo build -p retention-manager (scripts/fault-run does)",
            retention_manager.display()
        );
        let arena = Self {
            postgres,
            redis,
            wire,
            exchange,
            jobs,
            scratch,
            retention_manager,
        };
        std::fs::create_dir_all(arena.store_dir())?;
        std::fs::write(arena.config(), arena.settings())?;
        // A storm needs no person: the location is accepted as an operator would have done before.
        accept_archive_store(&arena.jobs, &format!("file://{}", arena.store_dir().display())).await;
        Ok(arena)
    }

    /// Where exports go.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    fn config(&self) -> PathBuf {
        self.scratch.path().join("eidos.yaml")
    }

    /// One run of `disposer` for `slot`, in a process of its own.
    pub(crate) fn command(&self, disposer: Disposer, slot: DateTime<Utc>) -> Command {
        let program = match disposer {
            Disposer::Archive => Path::new(env!("CARGO_BIN_EXE_archiver")),
            Disposer::Cleanup | Disposer::Partitions => &self.retention_manager,
        };
        Command::new(program)
            .args(["run", disposer.job(), "--format", "json", "--slot"])
            .arg(slot.to_rfc3339())
            .env("EIDOS_CONFIG", self.config())
    }

    /// Small parts and batches make many steps, and so many places to be killed at.
    fn settings(&self) -> String {
        let (port, redis) = (self.wire.port(), self.redis.url());
        let url = |database: &str| {
            self.postgres
                .url(database)
                .replace(&format!(":{}/", self.postgres.port()), &format!(":{port}/"))
        };
        let (exchange, jobs, store) = (url(EXCHANGE), url(JOBS), self.store_dir());
        let store = store.display();
        let ttl = LEASE_TTL.as_secs();
        let kept = life::PARTITIONED
            .iter()
            .map(|table| {
                format!(
                    "    {table}: {{ retention_months: 6, archive_before_drop: true, quarantine_days: 1 }}\n"
                )
            })
            .collect::<Vec<_>>()
            .concat();
        format!(
            r#"service: {{ name: fault-run, env: dev, shutdown_soft: 1s, shutdown_grace: 2s }}
scheduler: {{ cancel_grace: 1s }}
databases:
  jobs: {{ url: "{jobs}" }}
  trading: {{ url: "{exchange}" }}
  market: {{ url: "{exchange}" }}
  chain: {{ url: "{exchange}" }}
  risk: {{ url: "{exchange}" }}
  admin: {{ url: "{exchange}" }}
redis: {{ url: "{redis}", response_timeout: 300ms }}
telemetry: {{ log_level: info }}
archive_store: {{ url: "file://{store}", part_bytes: 8192, row_group_rows: 64 }}
disposal: {{ lock_timeout: 200ms, lock_attempts: 5 }}
jobs:
  data-cleanup: {{ lock: {{ kind: watchdog, ttl: {ttl}s }}, retry: {{ max_attempts: 1 }} }}
  archive-data: {{ lock: {{ kind: watchdog, ttl: {ttl}s }}, retry: {{ max_attempts: 1 }}, batch_rows: 40, sleep_ms: 0, archive_retention_months: 8 }}
  partition-manage: {{ lock: {{ kind: basic, ttl: 30s }}, timeout: 20s, retry: {{ max_attempts: 1 }}, tables: [{tables}] }}
data_retention:
  partitioned_tables:
{kept}  regular_tables:
    eidos_admin_audit_logs: {{ retention_months: 6, batch_size: 40, sleep_ms: 0, archive_before_delete: true }}
    eidos_chain_withdrawal_txs: {{ retention_months: 6, batch_size: 40, sleep_ms: 0, archive_before_delete: true }}
"#,
            tables = life::PARTITIONED.join(", "),
        )
    }
}

async fn pool(url: &str) -> anyhow::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(30))
        .connect(url)
        .await
        .context("a database of the arena does not answer")
}
