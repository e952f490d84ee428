//! `data-cleanup` as a job in this process, over a jobs database, a neighbour's and a folder of archives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eidos_archive_store::{ArchiveStore, ArchiveStoreSettings};
use eidos_core::db::{DatabaseSettings, connect_external, connect_jobs};
use eidos_core::fence::{MintRequest, mint};
use eidos_disposal::settings::DisposalSettings;
use eidos_runtime::{Job, JobContext, JobError, Standalone};
use eidos_settings::{SecuritySection, SourceName};
use eidos_testkit::{ScratchDir, TestDb};
use eidos_types::{Clock, ExecutionId, NodeId, SharedClock, Slot, SystemClock};
use retention_manager::cleanup::report::Report;
use retention_manager::cleanup::rules::Rules;
use retention_manager::jobs::data_cleanup::{DataCleanup, Params};
use retention_manager::settings::DataRetention;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::fixture::{accept_store, count, sql};
use crate::partitions_fixture::{at, ms};

/// A partitioned table of the chain service.
pub(crate) const DEPOSITS: &str = "\
    CREATE TABLE eidos_chain_deposit_records ( \
        id BIGSERIAL, created_at BIGINT NOT NULL, wallet_address VARCHAR(42) NOT NULL, amount NUMERIC(36,18) NOT NULL, \
        status SMALLINT NOT NULL DEFAULT 2, note TEXT, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)";

/// A plain one.
pub(crate) const WITHDRAWALS: &str = "\
    CREATE TABLE eidos_chain_withdrawal_txs ( \
        id BIGSERIAL PRIMARY KEY, withdraw_id VARCHAR(64) NOT NULL UNIQUE, amount NUMERIC(36,18) NOT NULL, \
        status SMALLINT NOT NULL, created_at BIGINT NOT NULL); \
    CREATE INDEX idx_withdrawal_created ON eidos_chain_withdrawal_txs (created_at)";

/// Candles.
pub(crate) const KLINES: &str = "\
    CREATE TABLE eidos_market_klines ( \
        market VARCHAR(20) NOT NULL, interval VARCHAR(5) NOT NULL, open_time BIGINT NOT NULL, \
        open NUMERIC(36,18) NOT NULL, high NUMERIC(36,18) NOT NULL, low NUMERIC(36,18) NOT NULL, \
        close NUMERIC(36,18) NOT NULL, volume NUMERIC(36,18) NOT NULL, quote_volume NUMERIC(36,18) NOT NULL, \
        trade_count INT NOT NULL, PRIMARY KEY (market, interval, open_time))";

pub(crate) struct JobFixture {
    pub(crate) jobs: TestDb,
    pub(crate) books: TestDb,
    dir: ScratchDir,
}

impl JobFixture {
    /// A neighbour's database with these tables.
    pub(crate) async fn new(statements: &[&str]) -> Self {
        let fixture = Self {
            jobs: TestDb::migrated().await,
            books: TestDb::empty().await,
            dir: ScratchDir::create("cleanup").unwrap(),
        };
        eidos_core::migrations::install_external_fence(fixture.pool())
            .await
            .unwrap();
        eidos_core::migrations::install_external_freeze(fixture.pool())
            .await
            .unwrap();
        std::fs::create_dir_all(fixture.archive()).unwrap();
        accept_store(&fixture.jobs, &fixture.archive()).await;
        for statement in statements {
            sql(fixture.pool(), statement).await;
        }
        fixture
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.books.pool()
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    /// The job with these rules (`data_retention`), as the service builds it.
    pub(crate) async fn job(&self, retention: Value) -> DataCleanup {
        self.job_with(retention, |_settings| {}).await
    }

    pub(crate) async fn job_with(
        &self,
        retention: Value,
        adjust: impl FnOnce(&mut DisposalSettings),
    ) -> DataCleanup {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut disposal = DisposalSettings::default();
        adjust(&mut disposal);
        let mut pools = BTreeMap::new();
        for (source, url) in [
            (SourceName::Chain, self.books.url()),
            (SourceName::Market, self.books.url()),
            (SourceName::Risk, self.books.url()),
            (SourceName::Jobs, self.jobs.url()),
        ] {
            let settings = DatabaseSettings::new(url.into());
            pools.insert(
                source,
                connect_external(settings, "retention-manager", source)
                    .await
                    .unwrap(),
            );
        }
        DataCleanup {
            sources: pools.into_iter().collect(),
            rules: Rules::of(&retention_of(retention), true, disposal.quarantine_days),
            disposal,
            store: Some(self.store().await),
            same_database: BTreeMap::from([
                (SourceName::Market, SourceName::Chain),
                (SourceName::Risk, SourceName::Chain),
            ]),
        }
    }

    pub(crate) async fn store(&self) -> ArchiveStore {
        let settings: ArchiveStoreSettings =
            serde_json::from_value(json!({ "url": format!("file://{}", self.archive().display()) })).unwrap();
        ArchiveStore::open(&settings, &SecuritySection::unencrypted())
            .await
            .unwrap()
    }

    /// A run of this slot with the right to write.
    pub(crate) async fn context(&self, run: Run<'_>) -> JobContext {
        let clock: SharedClock = Arc::new(SystemClock::default());
        let jobs_db = connect_jobs(DatabaseSettings::new(self.jobs.url().into()), "test")
            .await
            .unwrap();
        let execution = ExecutionId::new(&*clock);
        let request = MintRequest {
            job: DataCleanup::NAME.parse().unwrap(),
            floor: 0,
            node: NodeId::new(&*clock),
            execution,
            now_ms: clock.now_ms(),
        };
        let minted = mint(self.jobs.pool(), &request).await.unwrap();
        JobContext::standalone(Standalone {
            job: request.job,
            execution,
            slot: Slot::at(at(run.slot)),
            dry_run: run.dry,
            requested_by: run.by.map(str::to_owned),
            fence: Some(minted.fence),
            jobs_db,
            clock,
            budget: run.budget,
        })
    }

    /// Runs the job for this slot, as the schedule does.
    pub(crate) async fn run(&self, job: &DataCleanup, slot: &str) -> Result<Report, JobError> {
        let ctx = self.context(Run::of(slot)).await;
        job.run(&ctx, Params::default()).await
    }

    /// A dry run, whose report is stored with its execution as the runner does it. Gives the report.
    pub(crate) async fn plan(&self, job: &DataCleanup, slot: &str) -> Report {
        let ctx = self
            .context(Run {
                dry: true,
                ..Run::of(slot)
            })
            .await;
        let report = job.run(&ctx, Params::default()).await.unwrap();
        let now = SystemClock::default().now_ms();
        sqlx::query(
            "INSERT INTO eidos_jobs_executions (execution_id, job_name, status, started_at, finished_at, created_at, \
                 slot_ms, trigger, attempt, epoch, dry_run, result) \
             VALUES ($1, $2, 'success', $3, $3, $3, $4, 'manual', 1, 0, true, $5)",
        )
        .bind(ctx.execution_id().as_uuid())
        .bind(DataCleanup::NAME)
        .bind(now)
        .bind(ms(slot))
        .bind(serde_json::to_value(&report).unwrap())
        .execute(self.jobs.pool())
        .await
        .unwrap();
        report
    }

    /// Applies a plan as `olga`.
    pub(crate) async fn apply(
        &self,
        job: &DataCleanup,
        slot: &str,
        digest: &str,
    ) -> Result<Report, JobError> {
        let ctx = self
            .context(Run {
                by: Some("olga"),
                ..Run::of(slot)
            })
            .await;
        let params = Params {
            plan: Some(digest.to_owned()),
            ..Params::default()
        };
        job.run(&ctx, params).await
    }

    /// A monthly partition of a table with so many rows, spread over the month.
    pub(crate) async fn month(&self, table: &str, first: &str, next: &str, rows: i64) {
        let name = format!("{table}_{}", first.get(..7).unwrap().replace('-', "_"));
        let (lower, upper) = (
            ms(&format!("{first}T00:00:00Z")),
            ms(&format!("{next}T00:00:00Z")),
        );
        sql(
            self.pool(),
            &format!(
                "CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ({lower}) TO ({upper}); \
                 INSERT INTO {table} (created_at, wallet_address, amount, note) \
                 SELECT {lower} + n * (({upper} - {lower}) / {rows}), '0x' || n, n * 1.000000000000000001, \
                        CASE WHEN n % 7 = 0 THEN NULL ELSE 'row ' || n END FROM generate_series(0, {rows} - 1) n"
            ),
        )
        .await;
    }

    /// One number of the neighbour's database.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        count(self.pool(), query).await
    }

    /// One number of the jobs database.
    pub(crate) async fn jobs_count(&self, query: &str) -> i64 {
        count(self.jobs.pool(), query).await
    }

    /// Where a unit's table rests, as a name for statements.
    pub(crate) async fn resting(&self, unit_name: &str) -> String {
        let resting: String = sqlx::query_scalar(
            "SELECT quarantine_table FROM eidos_jobs_disposal_units WHERE unit_name = $1 AND state = 'quarantined'",
        )
        .bind(unit_name)
        .fetch_one(self.jobs.pool())
        .await
        .unwrap();
        let (schema, name) = resting.split_once('.').unwrap();
        format!("\"{schema}\".\"{name}\"")
    }

    /// Units as `name state`, in the order of their months.
    pub(crate) async fn units(&self) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(
            "SELECT unit_name || ' ' || state FROM eidos_jobs_disposal_units ORDER BY lower_ms, created_at"
                .to_owned(),
        ))
        .fetch_all(self.jobs.pool())
        .await
        .unwrap()
    }

    pub(crate) async fn hold(&self, source: &str, table: &str, from: Option<&str>, to: Option<&str>) {
        sqlx::query(
            "INSERT INTO eidos_jobs_legal_holds (hold_id, source, schema_name, table_name, from_ms, to_ms, reason, \
                 placed_by) VALUES (gen_random_uuid(), $1, 'public', $2, $3, $4, 'a court order', 'olga')",
        )
        .bind(source)
        .bind(table)
        .bind(from.map(ms))
        .bind(to.map(ms))
        .execute(self.jobs.pool())
        .await
        .unwrap();
    }
}

/// How a run is made.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) slot: &'a str,
    pub(crate) dry: bool,
    pub(crate) by: Option<&'a str>,
    pub(crate) budget: Duration,
}

impl<'a> Run<'a> {
    pub(crate) const fn of(slot: &'a str) -> Self {
        Self {
            slot,
            dry: false,
            by: None,
            budget: Duration::from_mins(5),
        }
    }
}

pub(crate) fn retention_of(mut value: Value) -> DataRetention {
    for section in ["partitioned_tables", "regular_tables", "timescaledb"] {
        if value.get(section).is_none() {
            value[section] = json!({});
        }
    }
    serde_json::from_value(value).unwrap()
}

/// What went wrong.
pub(crate) fn message(error: &JobError) -> String {
    error.to_string()
}
