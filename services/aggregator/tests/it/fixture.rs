//! Two databases, and the jobs in this process or in one of their own.

use std::sync::Arc;
use std::time::Duration;

use aggregator::AggregatorSettings;
use aggregator::jobs::kline_agg::{KlineAgg, KlineAggParams, Report};
use aggregator::store::candles::Candles;
use aggregator::store::proofs::Proofs;
use aggregator::store::trades::Trades;
use chrono::{DateTime, Utc};
use eidos_core::db::{DatabaseSettings, JobsDb, connect_external, connect_jobs};
use eidos_core::execution::Trigger;
use eidos_core::migrations::install_external_fence;
use eidos_core::start::{self, Attempt, Starter};
use eidos_runtime::{Job, JobContext, JobError, Standalone};
use eidos_settings::{Effective, Input, load};
use eidos_testkit::{Command, ScratchDir, TestDb, TestRedis};
use eidos_types::{ExecutionId, JobName, NodeId, Slot, SystemClock};
use serde_json::{Value, json};
use sqlx::PgPool;

pub(crate) const HOUR_MS: i64 = 3_600_000;

pub(crate) fn at(text: &str) -> Slot {
    Slot::at(text.parse::<DateTime<Utc>>().unwrap())
}

pub(crate) fn ms(text: &str) -> i64 {
    at(text).ms()
}

pub(crate) struct Fixture {
    pub(crate) jobs: TestDb,
    pub(crate) market: TestDb,
    pub(crate) jobs_db: JobsDb,
    pub(crate) external: PgPool,
    pub(crate) redis: TestRedis,
    pub(crate) dir: ScratchDir,
    pub(crate) settings: Effective<AggregatorSettings>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With further settings as YAML.
    pub(crate) async fn with(yaml: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (jobs, market) = (TestDb::migrated().await, TestDb::empty().await);
        for tables in [
            include_str!("../../../../crates/devnet/neighbours/market.sql"),
            include_str!("../../../../crates/devnet/neighbours/trading.sql"),
        ] {
            market.sql(tables).await;
        }
        install_external_fence(market.pool()).await.unwrap();
        let redis = TestRedis::shared().await;
        let dir = ScratchDir::create("aggregator").unwrap();
        let config = dir.path().join("aggregator.yaml");
        let text = format!(
            "service: {{ http_port: 0, grpc_port: 0 }}\n\
             databases:\n  jobs: {{ url: \"{}\" }}\n  market: {{ url: \"{}\" }}\n  trading: {{ url: \"{}\" }}\n\
             redis: {{ url: \"{}\", lock_prefix: \"{}\" }}\n{yaml}",
            jobs.url(),
            market.url(),
            market.url(),
            redis.url(),
            redis.prefix(),
        );
        std::fs::write(&config, text).unwrap();
        let settings = load::<AggregatorSettings>(&Input {
            file: Some(&config),
            env: Vec::new(),
        })
        .unwrap();
        let jobs_db = connect_jobs(DatabaseSettings::new(jobs.url().into()), "aggregator-test")
            .await
            .unwrap();
        let external = connect_external(
            DatabaseSettings::new(market.url().into()),
            "aggregator-test",
            "market",
        )
        .await
        .unwrap();
        Self {
            jobs,
            market,
            jobs_db,
            external,
            redis,
            dir,
            settings,
        }
    }

    pub(crate) fn kline_agg(&self) -> KlineAgg {
        let options = self.settings.options.kline_agg.clone();
        let profile = &self.settings.service.aggregation_profile;
        let schema = profile.market().unwrap();
        KlineAgg {
            levels: options.levels().unwrap(),
            options,
            active: profile.codes.market_active.clone(),
            candles: Candles::new(&schema),
            trades: Trades::new(&schema),
            proofs: Proofs::new(&schema),
            schema,
            pool: self.external.clone(),
        }
    }

    /// A context with a fence of its own, as the runner would make it.
    pub(crate) async fn context(&self, job: &str, slot: Slot, dry_run: bool, budget: Duration) -> JobContext {
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
            params: Some(Value::Null),
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

    /// A scheduled run of `kline-agg`.
    pub(crate) async fn klines_at(&self, slot: &str) -> Report {
        self.klines_within(at(slot), Duration::from_mins(30)).await
    }

    pub(crate) async fn klines_within(&self, slot: Slot, budget: Duration) -> Report {
        let ctx = self.context("kline-agg", slot, false, budget).await;
        Box::pin(self.kline_agg().run(&ctx, KlineAggParams::default()))
            .await
            .unwrap()
    }

    pub(crate) async fn klines_dry(&self, slot: &str) -> Report {
        let ctx = self
            .context("kline-agg", at(slot), true, Duration::from_mins(30))
            .await;
        Box::pin(self.kline_agg().run(&ctx, KlineAggParams::default()))
            .await
            .unwrap()
    }

    pub(crate) async fn backfill(
        &self,
        slot: &str,
        (from, to): (&str, &str),
        market: Option<&str>,
    ) -> Result<Report, JobError> {
        let ctx = self
            .context("kline-agg", at(slot), false, Duration::from_mins(30))
            .await;
        let params: KlineAggParams =
            serde_json::from_value(json!({ "from": from, "to": to, "market": market })).unwrap();
        Box::pin(self.kline_agg().run(&ctx, params)).await
    }

    /// The binary, pointed at this fixture.
    pub(crate) fn command(&self, args: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aggregator"))
            .args(args.iter().copied())
            .env("EIDOS_CONFIG", self.dir.path().join("aggregator.yaml"));
        for (key, value) in settings {
            command = command.env(format!("EIDOS__{key}"), value);
        }
        command
    }

    pub(crate) async fn sql(&self, statement: &str) {
        self.market.sql(statement).await;
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        self.market.number(&format!("SELECT count(*) FROM {from}")).await
    }

    pub(crate) async fn jobs_number(&self, question: &str) -> i64 {
        self.jobs.number(question).await
    }

    /// The digest of all candles that are built.
    pub(crate) async fn digest(&self) -> String {
        sqlx::query_scalar(
            "SELECT coalesce(md5(string_agg(k::text, '|' ORDER BY market, interval, open_time)), '') \
             FROM eidos_market_klines k WHERE interval <> '1m'",
        )
        .fetch_one(self.market.pool())
        .await
        .unwrap()
    }

    /// The digest of the places and transactions of all candles: it changes with every row that is written, also with one
    /// that is written as it was.
    pub(crate) async fn versions(&self) -> String {
        sqlx::query_scalar(
            "SELECT md5(string_agg(ctid::text || xmin::text, '|' ORDER BY ctid)) FROM eidos_market_klines",
        )
        .fetch_one(self.market.pool())
        .await
        .unwrap()
    }
}
