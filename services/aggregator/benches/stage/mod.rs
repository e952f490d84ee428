//! The servers, the databases, and the service as a process of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use eidos_core::migrations;
use eidos_testkit::{
    Durability, Measured, Postgres, PostgresOptions, Redis, RedisOptions, ScratchDir, cpu_seconds,
    ended_children_cpu_seconds,
};
use eidos_types::{Clock, SystemClock};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::process::Command;

/// The market and trading services' tables.
pub(crate) const EXCHANGE: &str = "exchange";
const JOBS: &str = "jobs";
/// Where the measured days begin: 2026-03-02T00:00:00Z, a Monday.
pub(crate) const MONDAY_MS: i64 = 1_772_409_600_000;
pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Sessions end just behind their client; only then their CPU time is counted.
const SESSIONS_END_WITHIN: Duration = Duration::from_millis(300);

/// PostgreSQL and Redis of the benchmark alone.
pub(crate) struct Stage {
    pub(crate) exchange: PgPool,
    pub(crate) postgres: Postgres,
    redis: Redis,
    scratch: ScratchDir,
}

/// What a way to do the work cost.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Cost {
    pub(crate) wall_s: f64,
    pub(crate) client_cpu_s: f64,
    pub(crate) database_cpu_s: f64,
    /// The most memory of the program; 0: the work was this process's.
    pub(crate) peak_mib: f64,
}

impl Stage {
    pub(crate) async fn build() -> anyhow::Result<Self> {
        let postgres = Postgres::start(PostgresOptions {
            durability: Durability::Fast,
            ..PostgresOptions::default()
        })
        .await?;
        postgres.create_database(EXCHANGE).await?;
        let exchange = connect(&postgres.url(EXCHANGE)).await?;
        for tables in [
            include_str!("../../../../crates/devnet/neighbours/market.sql"),
            include_str!("../../../../crates/devnet/neighbours/trading.sql"),
        ] {
            sqlx::raw_sql(tables).execute(&exchange).await?;
        }
        migrations::install_external_fence(&exchange).await?;
        let stage = Self {
            exchange,
            postgres,
            redis: Redis::start(RedisOptions::default()).await?,
            scratch: ScratchDir::create("bench-aggregator")?,
        };
        stage.forget_runs().await?;
        Ok(stage)
    }

    /// An empty jobs database: the next run of a job is its first one.
    pub(crate) async fn forget_runs(&self) -> anyhow::Result<()> {
        self.postgres.fresh_database(JOBS).await?;
        let jobs = self.jobs().await?;
        migrations::migrate(&jobs, SystemClock::default().now()).await?;
        jobs.close().await;
        Ok(())
    }

    /// The jobs database; to be closed before the runs are forgotten.
    pub(crate) async fn jobs(&self) -> anyhow::Result<PgPool> {
        connect(&self.postgres.url(JOBS)).await
    }

    /// Settings with the defaults but for what `jobs` says, as YAML below the jobs.
    pub(crate) fn settings(&self, jobs: &str) -> anyhow::Result<PathBuf> {
        let (exchange, own, redis) = (
            self.postgres.url(EXCHANGE),
            self.postgres.url(JOBS),
            self.redis.url(),
        );
        let file = self.scratch.path().join("aggregator.yaml");
        let text = format!(
            r#"service: {{ name: bench-aggregator, env: dev, http_port: 0, grpc_port: 0 }}
databases:
  jobs: {{ url: "{own}" }}
  market: {{ url: "{exchange}" }}
  trading: {{ url: "{exchange}" }}
redis: {{ url: "{redis}" }}
telemetry: {{ log_level: warn }}
jobs: {{ {jobs} }}
"#
        );
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// Runs a job for a slot, again and again until nothing is left to be done.
    pub(crate) async fn run(&self, job: &str, slot_ms: i64, jobs: &str) -> anyhow::Result<Cost> {
        let settings = self.settings(jobs)?;
        let mut total = Cost::default();
        loop {
            let (cost, stdout) = self
                .measured(
                    Command::new(env!("CARGO_BIN_EXE_aggregator"))
                        .args(["run", job, "--format", "json", "--slot", &slot_ms.to_string()])
                        .env("EIDOS_CONFIG", &settings),
                )
                .await?;
            total.wall_s += cost.wall_s;
            total.client_cpu_s += cost.client_cpu_s;
            total.database_cpu_s += cost.database_cpu_s;
            total.peak_mib = total.peak_mib.max(cost.peak_mib);
            let report: Value = serde_json::from_str(&stdout).context("the report is not JSON")?;
            if report["to_be_continued"] != Value::Bool(true) {
                return Ok(total);
            }
        }
    }

    /// Runs a program to its end; with the CPU time of its sessions.
    pub(crate) async fn measured(&self, command: &mut Command) -> anyhow::Result<(Cost, String)> {
        let before = self.database_cpu_s().await?;
        let run = Measured::run(command).await;
        let cost = Cost {
            wall_s: run.wall_s,
            client_cpu_s: run.cpu_s,
            database_cpu_s: self.database_cpu_s().await? - before,
            peak_mib: run.peak_mib,
        };
        Ok((cost, run.stdout))
    }

    /// Measures work of this process, which closes its sessions.
    pub(crate) async fn measured_here(
        &self,
        work: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Cost> {
        let before = self.database_cpu_s().await?;
        let own = || cpu_seconds(std::process::id()).context("this process has ended");
        let (own_before, begun) = (own()?, Instant::now());
        work.await?;
        Ok(Cost {
            wall_s: begun.elapsed().as_secs_f64(),
            client_cpu_s: own()? - own_before,
            database_cpu_s: self.database_cpu_s().await? - before,
            peak_mib: 0.0,
        })
    }

    /// The CPU time of all sessions that have ended.
    async fn database_cpu_s(&self) -> anyhow::Result<f64> {
        tokio::time::sleep(SESSIONS_END_WITHIN).await;
        let postmaster = self.postgres.pid().await.context("PostgreSQL is not running")?;
        ended_children_cpu_seconds(postmaster).context("the server ended")
    }
}

/// Prints what each way cost, beside the first.
pub(crate) fn print_costs(ways: &[(&str, Cost)]) {
    println!(
        "  {:<36} {:>8} {:>11} {:>13} {:>15} {:>9}",
        "way", "wall s", "beside ours", "client CPU s", "database CPU s", "peak MiB"
    );
    let ours_s = ways.first().map_or(0.0, |(_, cost)| cost.wall_s);
    for (name, cost) in ways {
        println!(
            "  {name:<36} {:>8.2} {:>11.2} {:>13.2} {:>15.2} {:>9.0}",
            cost.wall_s,
            cost.wall_s / ours_s,
            cost.client_cpu_s,
            cost.database_cpu_s,
            cost.peak_mib
        );
    }
}

/// The same for the document.
pub(crate) fn document(ways: &[(&str, Cost)]) -> Value {
    let ways = ways.iter().map(|(name, cost)| ((*name).to_owned(), json!(cost)));
    Value::Object(ways.collect())
}

/// Rows of a table that were inserted, changed or deleted so far, as the database counts them.
pub(crate) async fn rows_written(pool: &PgPool, table: &str) -> anyhow::Result<i64> {
    tokio::time::sleep(SESSIONS_END_WITHIN).await;
    let written = sqlx::query_scalar(
        "SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = $1",
    );
    Ok(written.bind(table).fetch_one(pool).await?)
}

/// Fails unless two tables have the same rows in these columns, as the database compares them. Returns how many.
pub(crate) async fn assert_same(
    pool: &PgPool,
    columns: &str,
    (ours, theirs): (&str, &str),
) -> anyhow::Result<i64> {
    let (rows, differences): (i64, i64) = sqlx::query_as(AssertSqlSafe(format!(
        "WITH ours AS (SELECT {columns} FROM {ours}), theirs AS (SELECT {columns} FROM {theirs}) \
         SELECT (SELECT count(*) FROM ours), \
           (SELECT count(*) FROM (TABLE ours EXCEPT ALL TABLE theirs) AS d) + \
           (SELECT count(*) FROM (TABLE theirs EXCEPT ALL TABLE ours) AS d)"
    )))
    .fetch_one(pool)
    .await?;
    ensure!(
        rows > 0 && differences == 0,
        "{differences} rows are only in one of {ours} and {theirs}; {rows} are in the first"
    );
    Ok(rows)
}

pub(crate) async fn connect(url: &str) -> anyhow::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(30))
        .connect(url)
        .await
        .context("a database of the benchmark does not answer")
}
