//! Two databases, Redis, a matching engine, and the jobs in this process or in one of their own.

use std::sync::Arc;
use std::time::Duration;

use eidos_bus::Publisher;
use eidos_core::db::{DatabaseSettings, JobsDb, connect_external, connect_jobs};
use eidos_core::execution::Trigger;
use eidos_core::start::{self, Attempt, Starter};
use eidos_devnet::matching::{Matching, MatchingOptions, Misbehaviour};
use eidos_runtime::{Job, JobContext, JobError, Standalone};
use eidos_settings::{Effective, Input, load};
use eidos_testkit::{Command, ScratchDir, TestDb, TestRedis, eventually};
use eidos_types::{Clock as _, ExecutionId, JobName, NodeId, Slot, SystemClock};
use order_expirer::ExpirerSettings;
use order_expirer::jobs::cleanup_orders::{CleanupOrders, CleanupParams, CleanupReport};
use order_expirer::jobs::expiry_sweep::{ExpirySweep, SweepParams, SweepReport};
use order_expirer::settings::TransportKind;
use order_expirer::sources::cache::OrderCache;
use order_expirer::sources::cancel_requests::CancelRequests;
use order_expirer::sources::engine::Engine;
use order_expirer::sources::transport::Transport;
use order_expirer::store::orders::OrdersStore;
use order_expirer::workers::confirmations::{Confirmations, Databases};
use sqlx::PgPool;

use crate::kafka::{Kafka, Listening};

pub(crate) const ORDERS: &str = "eidos_trading_orders";
pub(crate) const WITHIN: Duration = Duration::from_mins(1);
/// A minute in the unit of the tables.
pub(crate) const MINUTE: i64 = 60_000;

pub(crate) struct Fixture {
    pub(crate) jobs: TestDb,
    pub(crate) trading: TestDb,
    pub(crate) redis: TestRedis,
    pub(crate) engine: Matching,
    pub(crate) dir: ScratchDir,
    pub(crate) settings: Effective<ExpirerSettings>,
    pub(crate) jobs_db: JobsDb,
    pub(crate) primary: PgPool,
    /// Settings by environment, of this process and of the binary.
    env: Vec<(String, String)>,
    /// The slot of the next run, epoch ms; it moves with [`Fixture::later`].
    now_ms: std::sync::atomic::AtomicI64,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with("", Misbehaviour::default()).await
    }

    /// With further settings as YAML, and an engine that does this wrong.
    pub(crate) async fn with(yaml: &str, misbehaviour: Misbehaviour) -> Self {
        Self::build(yaml, misbehaviour, None).await
    }

    /// As [`Self::with`]; requests are published to Kafka, and events are published by engine and trading service.
    pub(crate) async fn over_kafka(yaml: &str, misbehaviour: Misbehaviour, kafka: &Kafka) -> Self {
        Self::build(yaml, misbehaviour, Some(kafka)).await
    }

    async fn build(yaml: &str, misbehaviour: Misbehaviour, kafka: Option<&Kafka>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (jobs, trading) = (TestDb::migrated().await, TestDb::empty().await);
        let ddl = include_str!("../../../../crates/devnet/neighbours/trading.sql");
        sqlx::raw_sql(ddl).execute(trading.pool()).await.unwrap();
        let engine = Matching::start(MatchingOptions {
            misbehaviour,
            brokers: kafka.map(|kafka| kafka.brokers.clone()),
            topics: kafka.map(|kafka| kafka.topics.clone()).unwrap_or_default(),
            ..MatchingOptions::new(trading.pool().clone())
        })
        .await
        .unwrap();
        let (redis, dir) = (TestRedis::shared().await, ScratchDir::create("expirer").unwrap());
        let config = dir.path().join("order-expirer.yaml");
        let text = format!(
            "service: {{ http_port: 0, grpc_port: 0 }}\n\
             databases:\n  jobs: {{ url: \"{}\" }}\n  trading: {{ url: \"{}\" }}\n\
             redis: {{ url: \"{}\", lock_prefix: \"{}\" }}\n{yaml}",
            jobs.url(),
            trading.url(),
            redis.url(),
            redis.prefix(),
        );
        std::fs::write(&config, text).unwrap();
        let mut env = vec![("EIDOS__MATCHING__URL".to_owned(), engine.grpc_url())];
        env.extend(kafka.map(Kafka::env).unwrap_or_default());
        let settings = load::<ExpirerSettings>(&Input {
            file: Some(&config),
            env: env.clone(),
        })
        .unwrap();
        let jobs_db = connect_jobs(DatabaseSettings::new(jobs.url().into()), "expirer-test")
            .await
            .unwrap();
        let primary = connect_external(
            DatabaseSettings::new(trading.url().into()),
            "expirer-test",
            "trading",
        )
        .await
        .unwrap();
        let now_ms = SystemClock::default().now_ms();
        Self {
            jobs,
            trading,
            redis,
            engine,
            dir,
            settings,
            jobs_db,
            primary,
            env,
            now_ms: now_ms.into(),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Moves the slot of the next runs.
    pub(crate) fn later(&self, minutes: i64) {
        self.now_ms
            .fetch_add(minutes * MINUTE, std::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) fn cleanup_orders(&self) -> CleanupOrders {
        let (suite, service) = (&self.settings.suite, &self.settings.service);
        CleanupOrders {
            settings: service.expiry.clone(),
            matching: service.matching.clone(),
            transport: self.transport(),
            orders: self.store(),
            codes: service.expiry_profile.codes,
            replica: self.primary.clone(),
            primary: self.primary.clone(),
            cache: OrderCache::new(&service.expiry.cache, &suite.redis).unwrap(),
        }
    }

    fn transport(&self) -> Transport {
        let (suite, service) = (&self.settings.suite, &self.settings.service);
        match service.expiry.transport {
            TransportKind::Grpc => {
                Transport::Grpc(Box::new(Engine::new(&service.matching, &suite.security).unwrap()))
            }
            TransportKind::Kafka => Transport::Kafka(
                CancelRequests::new(
                    Publisher::connect(&suite.kafka).unwrap(),
                    &service.expiry.kafka,
                    service.matching.connect_timeout,
                    Arc::new(SystemClock::default()),
                )
                .unwrap(),
            ),
        }
    }

    /// Starts a worker that hears of ends.
    pub(crate) fn listen(&self) -> Listening {
        let (suite, service) = (&self.settings.suite, &self.settings.service);
        let databases = Databases {
            jobs_db: self.jobs_db.clone(),
            orders: self.store(),
            codes: service.expiry_profile.codes,
            primary: self.primary.clone(),
        };
        let clock = Arc::new(SystemClock::default());
        let worker = Confirmations::new(&suite.kafka, &service.expiry.kafka, databases, clock).unwrap();
        Listening::start(worker)
    }

    /// Waits until that many requests fulfil the condition.
    pub(crate) async fn until_requests(&self, condition: &str, count: i64) {
        eventually(condition, WITHIN, async || {
            let now = self.requests(condition).await;
            if now == count {
                Ok(())
            } else {
                Err(format!("{now} of {count}"))
            }
        })
        .await;
    }

    pub(crate) fn store(&self) -> OrdersStore {
        let profile = &self.settings.service.expiry_profile;
        OrdersStore::new(&profile.orders().unwrap(), &profile.codes)
    }

    /// A context with a fence of its own, as the runner would make it.
    pub(crate) async fn context(&self, job: &str, dry_run: bool) -> JobContext {
        let real = SystemClock::default();
        let job: JobName = job.parse().unwrap();
        let starter = Starter {
            job: job.clone(),
            execution: ExecutionId::new(&real),
            node: NodeId::new(&real),
            token: 0,
        };
        let slot = Slot::from_ms(self.now_ms()).unwrap();
        let attempt = Attempt {
            slot: Some(slot),
            trigger: Trigger::Cli,
            number: 1,
            idempotency_key: None,
            params: None,
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
            requested_by: None,
            fence: Some(run.fence),
            jobs_db: self.jobs_db.clone(),
            clock: Arc::new(real),
            budget: Duration::from_secs(40),
        })
    }

    pub(crate) async fn try_run(&self) -> Result<CleanupReport, JobError> {
        let ctx = self.context("cleanup-orders", false).await;
        Box::pin(self.cleanup_orders().run(&ctx, CleanupParams::default())).await
    }

    /// A run of `cleanup-orders`.
    pub(crate) async fn run(&self) -> CleanupReport {
        self.try_run().await.unwrap()
    }

    /// A run of `expiry-sweep`.
    pub(crate) async fn sweep(&self) -> SweepReport {
        let service = &self.settings.service;
        let job = ExpirySweep {
            settings: service.expiry.clone(),
            orders: self.store(),
            codes: service.expiry_profile.codes,
            replica: self.primary.clone(),
        };
        let ctx = self.context("expiry-sweep", false).await;
        job.run(&ctx, SweepParams::default()).await.unwrap()
    }

    /// The binary, pointed at this fixture; it runs for the fixture's slot.
    pub(crate) fn command(&self, settings: &[(&str, &str)]) -> Command {
        let slot = Slot::from_ms(self.now_ms()).unwrap().instant().to_rfc3339();
        let mut command = Command::new(env!("CARGO_BIN_EXE_order-expirer"))
            .args(["run", "cleanup-orders", "--format", "json", "--slot", &slot])
            .env("EIDOS_CONFIG", self.dir.path().join("order-expirer.yaml"));
        for (key, value) in &self.env {
            command = command.env(key, value);
        }
        for (key, value) in settings {
            command = command.env(format!("EIDOS__{key}"), value);
        }
        command
    }

    pub(crate) async fn sql(&self, statement: &str) {
        self.trading.sql(statement).await;
    }

    /// Open orders `o<from>..=o<to>` of two markets, of which the first expired longest ago.
    pub(crate) async fn expired_orders(&self, from: i64, to: i64) {
        let expired = self.now_ms() - 30 * MINUTE;
        self.orders(from, to, 1, &format!("{expired} + i"), "1").await;
    }

    /// Orders of a status, with an expiry and a quantity that may name their number `i`; last changed an hour ago.
    pub(crate) async fn orders(&self, from: i64, to: i64, status: i64, expire_at: &str, remaining: &str) {
        let changed = self.now_ms() - 60 * MINUTE;
        self.sql(&format!(
            "INSERT INTO {ORDERS} (id, order_id, wallet, market, side, order_type, price, amount, remaining_amount, status, \
             nonce, freeze_token, freeze_amount, expire_at, created_at, updated_at) \
             SELECT i, 'o' || i, '0x' || md5(i::text), CASE i % 2 WHEN 0 THEN 'BTC-USDC' ELSE 'ETH-USDC' END, 1, 1, 1, 2, \
             {remaining}, {status}, i, 'USDC', 1, {expire_at}, {changed}, {changed} \
             FROM generate_series({from}, {to}) AS i"
        ))
        .await;
        // What the trading service froze when it accepted them.
        self.sql(&format!(
            "INSERT INTO eidos_trading_balances (wallet, token, settled_available, settled_frozen, created_at, updated_at) \
             SELECT wallet, 'USDC', 5, 1, {changed}, {changed} FROM {ORDERS} WHERE id BETWEEN {from} AND {to} \
             ON CONFLICT DO NOTHING"
        ))
        .await;
    }

    /// One number from the trading service's database.
    pub(crate) async fn number(&self, question: &str) -> i64 {
        self.trading.number(question).await
    }

    /// How many orders have this status.
    pub(crate) async fn with_status(&self, status: i64) -> i64 {
        self.number(&format!("SELECT count(*) FROM {ORDERS} WHERE status = {status}"))
            .await
    }

    /// One number from our own table.
    pub(crate) async fn requests(&self, condition: &str) -> i64 {
        let question = format!("SELECT count(*) FROM eidos_jobs_order_expiries WHERE {condition}");
        self.jobs.number(&question).await
    }

    /// Waits until the trading service has recorded that many expired orders.
    pub(crate) async fn until_expired(&self, count: i64) {
        self.until(&format!("SELECT count(*) FROM {ORDERS} WHERE status = 5"), count)
            .await;
    }

    /// Waits until the question is answered with at least `count`.
    pub(crate) async fn until(&self, question: &str, count: i64) {
        eventually("the trading service records the removals", WITHIN, async || {
            let now = self.number(question).await;
            if now >= count {
                Ok(())
            } else {
                Err(format!("{now} of {count}"))
            }
        })
        .await;
    }
}
