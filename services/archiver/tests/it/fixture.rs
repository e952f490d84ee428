//! Two databases, an object store in a folder, and the jobs in this process or in one of their own.

use std::sync::Arc;
use std::time::Duration;

use archiver::jobs::archive_data::{ArchiveData, ArchiveParams, Report};
use archiver::jobs::restore_archive::{RestoreArchive, RestoreParams, RestoreReport};
use archiver::jobs::verify_archive::{VerifyArchive, VerifyParams, VerifyReport};
use archiver::settings::ArchiveDataOptions;
use chrono::{DateTime, Utc};
use eidos_archive_store::ArchiveStore;
use eidos_core::db::{DatabaseSettings, JobsDb, connect_external, connect_jobs};
use eidos_core::execution::Trigger;
use eidos_core::migrations::{install_external_fence, install_external_freeze};
use eidos_core::start::{self, Attempt, Starter};
use eidos_runtime::{Job, JobContext, JobError, Standalone};
use eidos_settings::{Effective, Input, load};
use eidos_testkit::{Command, ScratchDir, TestDb, TestRedis, accept_archive_store};
use eidos_types::{Clock, ExecutionId, JobName, NodeId, Slot, SystemClock};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

pub(crate) const ORDERS: &str = "eidos_trading_orders";
pub(crate) const TRADES: &str = "eidos_trading_trades";

/// The archive of a table.
pub(crate) fn archive(table: &str) -> String {
    format!("{table}_archive")
}

/// The slot of most tests.
pub(crate) fn slot() -> Slot {
    at("2026-10-21T03:00:00Z")
}

pub(crate) fn at(text: &str) -> Slot {
    Slot::at(text.parse::<DateTime<Utc>>().unwrap())
}

pub(crate) fn ms(text: &str) -> i64 {
    at(text).ms()
}

pub(crate) struct Fixture {
    pub(crate) jobs: TestDb,
    pub(crate) trading: TestDb,
    pub(crate) jobs_db: JobsDb,
    pub(crate) external: PgPool,
    pub(crate) dir: ScratchDir,
    pub(crate) store: ArchiveStore,
    pub(crate) settings: Effective<archiver::ArchiverSettings>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With further settings as YAML.
    pub(crate) async fn with(yaml: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (jobs, trading) = (TestDb::migrated().await, TestDb::empty().await);
        trading
            .sql(include_str!("../../../../crates/devnet/neighbours/trading.sql"))
            .await;
        install_external_fence(trading.pool()).await.unwrap();
        install_external_freeze(trading.pool()).await.unwrap();
        for index in [
            format!(
                "CREATE INDEX IF NOT EXISTS t_orders ON {ORDERS} (updated_at, id) WHERE status IN (3, 4, 5, 6)"
            ),
            format!(
                "CREATE INDEX IF NOT EXISTS t_trades ON {TRADES} ((COALESCE(settled_at, updated_at)), id) \
                 WHERE settlement_status IN (3, 5)"
            ),
        ] {
            trading.sql(&index).await;
        }
        let dir = ScratchDir::create("archiver").unwrap();
        let redis = TestRedis::shared().await;
        let config = dir.path().join("archiver.yaml");
        std::fs::write(&config, config_of(&jobs, &trading, &redis, dir.path(), yaml)).unwrap();
        let settings = load::<archiver::ArchiverSettings>(&Input {
            file: Some(&config),
            env: Vec::new(),
        })
        .unwrap();
        let store = ArchiveStore::open(&settings.service.archive_store, &settings.suite.security)
            .await
            .unwrap();
        accept_archive_store(jobs.pool(), &store.location()).await;
        let jobs_db = connect_jobs(DatabaseSettings::new(jobs.url().into()), "archiver-test")
            .await
            .unwrap();
        let external = connect_external(
            DatabaseSettings::new(trading.url().into()),
            "archiver-test",
            "trading",
        )
        .await
        .unwrap();
        Self {
            jobs,
            trading,
            jobs_db,
            external,
            dir,
            store,
            settings,
        }
    }

    pub(crate) fn options(&self) -> ArchiveDataOptions {
        self.settings.options.archive_data.clone()
    }

    pub(crate) fn archive_data(&self) -> ArchiveData {
        ArchiveData {
            options: self.options(),
            disposal: self.settings.service.disposal.clone(),
            rules: self.settings.service.archive_profile.rules().unwrap(),
            pool: self.external.clone(),
            store: self.store.clone(),
        }
    }

    /// A context with a fence of its own, as the runner would make it, and half an hour.
    pub(crate) async fn context(&self, job: &str, slot: Slot, dry_run: bool, params: &Value) -> JobContext {
        self.context_within(job, slot, dry_run, params, Duration::from_mins(30))
            .await
    }

    async fn context_within(
        &self,
        job: &str,
        slot: Slot,
        dry_run: bool,
        params: &Value,
        budget: Duration,
    ) -> JobContext {
        let real = SystemClock::default();
        let job: JobName = job.parse().unwrap();
        let starter = Starter {
            job: job.clone(),
            execution: ExecutionId::new(&real),
            node: NodeId::new(&real),
            token: 0,
        };
        let attempt = Attempt {
            slot: Some(slot),
            trigger: Trigger::Cli,
            number: 1,
            idempotency_key: None,
            params: Some(params.clone()),
            dry_run,
        };
        let run = start::attempt(self.jobs_db.control(), &starter, &attempt, &real)
            .await
            .unwrap();
        JobContext::standalone(Standalone {
            job,
            execution: starter.execution,
            slot,
            dry_run,
            requested_by: Some("ada".to_owned()),
            fence: Some(run.fence),
            jobs_db: self.jobs_db.clone(),
            clock: Arc::new(real),
            budget,
        })
    }

    /// A scheduled run at [`slot`] that has no time left.
    pub(crate) async fn archive_without_time(&self) -> Result<Report, JobError> {
        let job = self.archive_data();
        let ctx = self
            .context_within("archive-data", slot(), false, &Value::Null, Duration::ZERO)
            .await;
        Box::pin(job.run(&ctx, ArchiveParams::default())).await
    }

    pub(crate) async fn archive_at(&self, slot: Slot) -> Result<Report, JobError> {
        let job = self.archive_data();
        let ctx = self.context("archive-data", slot, false, &Value::Null).await;
        Box::pin(job.run(&ctx, ArchiveParams::default())).await
    }

    /// A scheduled run at [`slot`].
    pub(crate) async fn archive(&self) -> Report {
        self.archive_at(slot()).await.unwrap()
    }

    pub(crate) async fn restore(&self, params: Value) -> Result<RestoreReport, JobError> {
        self.restore_as(params, false).await
    }

    /// A dry run.
    pub(crate) async fn restore_planned(&self, params: Value) -> Result<RestoreReport, JobError> {
        self.restore_as(params, true).await
    }

    async fn restore_as(&self, params: Value, dry_run: bool) -> Result<RestoreReport, JobError> {
        let job = RestoreArchive {
            store: self.store.clone(),
            disposal: self.settings.service.disposal.clone(),
            suite: self.settings.suite.clone(),
        };
        let ctx = self.context("restore-archive", slot(), dry_run, &params).await;
        let params: RestoreParams = serde_json::from_value(params).unwrap();
        job.run(&ctx, params).await
    }

    pub(crate) async fn verify(&self, params: VerifyParams) -> Result<VerifyReport, JobError> {
        let job = VerifyArchive {
            store: self.store.clone(),
        };
        let ctx = self
            .context(
                "verify-archive",
                Slot::at(SystemClock::default().now()),
                false,
                &Value::Null,
            )
            .await;
        job.run(&ctx, params).await
    }

    /// The binary, pointed at this fixture.
    pub(crate) fn command(&self, args: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_archiver"))
            .args(args.iter().copied())
            .env("EIDOS_CONFIG", self.dir.path().join("archiver.yaml"));
        for (key, value) in settings {
            command = command.env(format!("EIDOS__{key}"), value);
        }
        command
    }

    pub(crate) async fn sql(&self, statement: &str) {
        self.trading.sql(statement).await;
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        self.trading.number(&format!("SELECT count(*) FROM {from}")).await
    }

    pub(crate) async fn jobs_number(&self, question: &str) -> i64 {
        self.jobs.number(question).await
    }

    pub(crate) async fn ids(&self, from: &str) -> Vec<i64> {
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT id FROM {from} ORDER BY id")))
            .fetch_all(self.trading.pool())
            .await
            .unwrap()
    }

    /// Orders with ids `from..=to`, all of this status, updated at this time plus their id in milliseconds.
    pub(crate) async fn orders(&self, from: i64, to: i64, status: i16, updated: &str) {
        let updated = ms(updated);
        self.sql(&format!(
            "INSERT INTO {ORDERS} (id, order_id, wallet, market, side, order_type, price, amount, remaining_amount, status, \
             nonce, freeze_token, signature, created_at, updated_at) \
             SELECT i, 'o' || i, '0x' || md5(i::text), 'BTC-USDC', 1, 1, 1.000000000000000001 * i, i, 0, {status}, i, 'USDC', \
             decode(md5(i::text), 'hex'), {updated} - 1000, {updated} + i FROM generate_series({from}, {to}) AS i"
        ))
        .await;
    }

    /// Trades with ids `from..=to` between the orders `o<maker>` and `o<taker>`.
    pub(crate) async fn trades(
        &self,
        ids: (i64, i64),
        orders: (i64, i64),
        status: i16,
        settled: Option<&str>,
    ) {
        let settled_at = settled.map_or_else(|| "NULL".to_owned(), |settled| format!("{} + i", ms(settled)));
        let updated = ms(settled.unwrap_or("2026-01-01T00:00:00Z"));
        self.sql(&format!(
            "INSERT INTO {TRADES} (id, trade_id, market, maker_order_id, taker_order_id, maker_wallet, taker_wallet, price, \
             amount, quote_amount, fee_token, maker_side, settlement_status, matched_at, settled_at, created_at, updated_at) \
             SELECT i, 't' || i, 'BTC-USDC', 'o{}', 'o{}', '0xm', '0xt', 3, 2, 6, 'USDC', 1, {status}, {updated}, {settled_at}, \
             {updated}, {updated} + i FROM generate_series({}, {}) AS i",
            orders.0, orders.1, ids.0, ids.1
        ))
        .await;
    }

    /// The digest of all rows of a table by their text, without the archive's own columns: in whatever place they are,
    /// the same rows have the same digest.
    pub(crate) async fn fingerprint(&self, tables: &[&str]) -> String {
        let parts: Vec<String> = tables
            .iter()
            .map(|table| {
                format!(
                    "SELECT (to_jsonb(r) - 'archive_completed_at' - 'archived_at')::text AS t FROM {table} r"
                )
            })
            .collect();
        let statement = format!(
            "SELECT coalesce(md5(string_agg(t, '|' ORDER BY t)), '') FROM ({}) AS u",
            parts.join(" UNION ALL ")
        );
        sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_one(self.trading.pool())
            .await
            .unwrap()
    }
}

fn config_of(
    jobs: &TestDb,
    trading: &TestDb,
    redis: &TestRedis,
    dir: &std::path::Path,
    yaml: &str,
) -> String {
    format!(
        "service: {{ http_port: 0, grpc_port: 0 }}\n\
         databases:\n  jobs: {{ url: \"{}\" }}\n  trading: {{ url: \"{}\" }}\n\
         redis: {{ url: \"{}\", lock_prefix: \"{}\" }}\n\
         archive_store: {{ url: \"file://{}/store\", part_bytes: 1048576 }}\n{yaml}",
        jobs.url(),
        trading.url(),
        redis.url(),
        redis.prefix(),
        dir.display(),
    )
}
