//! Servers, orders, and the processes that work on them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use eidos_core::migrations;
use eidos_devnet::matching::Topics;
use eidos_devnet::neighbours;
use eidos_devnet::orders::{self, OrdersOptions};
use eidos_sandbox::{
    Durability, KafkaServer, KafkaServerOptions, PortLease, Postgres, PostgresOptions, Redis, RedisOptions,
    ScratchDir,
};
use eidos_testkit::{ChildProcess, Command};
use eidos_types::{Clock as _, SystemClock};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::transport::{Transport, Transports};

/// How many order-expirer processes race for the slots.
pub(crate) const REPLICAS: usize = 2;

const EXCHANGE: &str = "exchange";
const JOBS: &str = "jobs";
/// Orders of the beginning, in units of [`OrdersOptions::some`].
const FIRST_ORDERS: u32 = 100;
/// Orders that are added in each round, in the same units.
const MORE_ORDERS: u32 = 2;
/// The engine in the storm: a share of each fault that asking again cures.
const MISBEHAVIOUR: &str = "drop_requests=20,retry_later=40,retry_after_ms=200,refuse=20,answer_without_removal=20,\
    drop_events=20,duplicate_events=300,delay_events=200,event_delay_ms=500,pause=30,pause_ms=200,break_stream=30,slow_ms=2";

/// What order-expirer may do on the exchange's database: read orders.
const ROLE: &str = "
    CREATE ROLE fault_run_reader LOGIN PASSWORD 'fault-run-reader' NOSUPERUSER NOCREATEDB NOCREATEROLE;
    GRANT USAGE ON SCHEMA public TO fault_run_reader;
    GRANT SELECT ON eidos_trading_orders TO fault_run_reader;";

/// Everything there is.
pub(crate) struct Arena {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) kafka: KafkaServer,
    pub(crate) topics: Topics,
    pub(crate) transports: Transports,
    /// The exchange's database, as its owner.
    pub(crate) exchange: PgPool,
    /// The jobs database, as its owner.
    pub(crate) jobs: PgPool,
    seed: u64,
    scratch: ScratchDir,
    engine_port: PortLease,
    ports: Vec<(PortLease, PortLease)>,
    devnet: PathBuf,
}

impl Arena {
    /// Starts the servers and writes the first orders.
    pub(crate) async fn build(seed: u64, transports: Transports) -> anyhow::Result<Self> {
        let devnet = Path::new(env!("CARGO_BIN_EXE_order-expirer")).with_file_name("devnet");
        ensure!(
            devnet.is_file(),
            "{} is missing: cargo build --workspace --bins (scripts/fault-run does)",
            devnet.display()
        );
        let postgres = Postgres::start(PostgresOptions {
            durability: Durability::Fast,
            ..PostgresOptions::default()
        })
        .await?;
        let redis = Redis::start(RedisOptions::default()).await?;
        let topics = Topics::default();
        let kafka = brokers(&topics).await?;
        for database in [EXCHANGE, JOBS] {
            postgres.create_database(database).await?;
        }
        let (exchange, jobs) = (
            pool(&postgres.url(EXCHANGE)).await?,
            pool(&postgres.url(JOBS)).await?,
        );
        migrations::migrate(&jobs, SystemClock::default().now()).await?;
        neighbours::install(&exchange).await?;
        sqlx::raw_sql(ROLE).execute(&exchange).await?;
        let ports = (0..REPLICAS)
            .map(|_replica| Ok((PortLease::take()?, PortLease::take()?)))
            .collect::<Result<_, eidos_sandbox::SandboxError>>()?;
        let arena = Self {
            postgres,
            redis,
            kafka,
            topics,
            transports,
            exchange,
            jobs,
            seed,
            scratch: ScratchDir::create("expiry-arena")?,
            engine_port: PortLease::take()?,
            ports,
            devnet,
        };
        arena.add_orders("first", FIRST_ORDERS).await?;
        Ok(arena)
    }

    /// Writes the orders of one round; again, while the database restarts or the trading service holds the balances.
    pub(crate) async fn add_round(&self, round: u32) -> anyhow::Result<()> {
        let mut last = None;
        for _attempt in 0..100 {
            match self.add_orders(&format!("r{round}"), MORE_ORDERS).await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(last.context("no attempt")?)
    }

    async fn add_orders(&self, prefix: &str, scale: u32) -> anyhow::Result<()> {
        let options = OrdersOptions {
            prefix: prefix.to_owned(),
            ..OrdersOptions::some(SystemClock::default().now_ms(), scale)
        };
        orders::fill(&self.exchange, self.seed, &options)
            .await
            .map(|_expected| ())
    }

    /// Starts the matching engine and the trading service; `storm`: it misbehaves.
    pub(crate) fn engine(&self, life: u64, storm: bool) -> ChildProcess {
        Command::new(&self.devnet)
            .arg("matching")
            .args(["--trading-url", &self.postgres.url(EXCHANGE)])
            .args(["--brokers", &self.kafka.bootstrap_servers()])
            .args(["--port", &self.engine_port.port().to_string()])
            // Each life has faults of its own, the same for the same run.
            .args(["--seed", &self.seed.wrapping_add(life).to_string()])
            .args(["--misbehave", if storm { MISBEHAVIOUR } else { "" }])
            .spawn()
    }

    /// Starts order-expirer `index`, with the transport of this round.
    pub(crate) fn replica(&self, index: usize, round: u32) -> anyhow::Result<ChildProcess> {
        let file = self.scratch.path().join(format!("replica-{index}.yaml"));
        std::fs::write(&file, self.settings(index, self.transports.of_round(round))?)?;
        Ok(Command::new(env!("CARGO_BIN_EXE_order-expirer"))
            .arg("serve")
            .env("EIDOS_CONFIG", file)
            .spawn())
    }

    /// Short leases and pauses, and small batches, which make many places to be killed at.
    fn settings(&self, index: usize, transport: Transport) -> anyhow::Result<String> {
        let (http, grpc) = self.ports.get(index).context("more replicas than ports")?;
        let (http, grpc, engine) = (http.port(), grpc.port(), self.engine_port.port());
        let (transport, brokers) = (transport.as_str(), self.kafka.bootstrap_servers());
        let (jobs, redis, port) = (self.postgres.url(JOBS), self.redis.url(), self.postgres.port());
        Ok(format!(
            r#"service: {{ name: fault-run, env: dev, http_port: {http}, grpc_port: {grpc}, shutdown_soft: 1s, shutdown_grace: 2s }}
scheduler: {{ poll_interval: 100ms, cancel_grace: 1s }}
databases:
  jobs: {{ url: "{jobs}" }}
  trading: {{ url: "postgres://fault_run_reader:fault-run-reader@127.0.0.1:{port}/{EXCHANGE}" }}
redis: {{ url: "{redis}", response_timeout: 300ms }}
telemetry: {{ log_level: info }}
kafka: {{ brokers: ["{brokers}"], delivery_timeout: 2s, session_timeout: 6s, join_timeout: 20s }}
matching: {{ url: "http://127.0.0.1:{engine}", connect_timeout: 1s, answer_timeout: 2s, batch_orders: 20 }}
expiry:
  transport: {transport}
  kafka: {{ window: 300 }}
  grace: 1s
  page_orders: 50
  resend_after: 1s
  resend_at_most: 4s
  confirm_within: 2s
  confirm_at_most: 8s
  max_epochs: 100
  zero_quantity_after: 0s
jobs:
  cleanup-orders: {{ cron: "*/2 * * * * *", timeout: 20s, lock: {{ kind: watchdog, ttl: 4s }}, retry: {{ max_attempts: 1 }} }}
  expiry-sweep: {{ cron: "*/30 * * * * *" }}
"#
        ))
    }
}

/// Starts Apache Kafka with the exchange's topics and those of dead letters.
async fn brokers(topics: &Topics) -> anyhow::Result<KafkaServer> {
    let kafka = KafkaServer::start(KafkaServerOptions::default()).await?;
    for topic in [
        &topics.cancel_requests,
        &topics.order_cancelled,
        &topics.order_updates,
    ] {
        kafka.create_topic(topic, 8).await?;
        kafka.create_topic(&format!("{topic}-dlq"), 1).await?;
    }
    Ok(kafka)
}

async fn pool(url: &str) -> anyhow::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(30))
        .connect(url)
        .await
        .context("a database of the arena does not answer")
}
