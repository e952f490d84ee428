//! Servers, the engine and the trading service, and orders for each part.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use eidos_core::migrations;
use eidos_devnet::matching::Topics;
use eidos_devnet::neighbours;
use eidos_devnet::orders::{self, OrdersOptions};
use eidos_sandbox::{
    KafkaServer, KafkaServerOptions, PortLease, Postgres, PostgresOptions, Redis, RedisOptions, ScratchDir,
};
use eidos_testkit::{ChildProcess, Command};
use eidos_types::{Clock as _, SystemClock};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const EXCHANGE: &str = "exchange";
const JOBS: &str = "jobs";
/// Wallets that own the orders: as many balances are changed by each batch of ends.
const WALLETS: u32 = 1_000;
/// How long the engine's process may take to answer.
const ENGINE_WITHIN: Duration = Duration::from_mins(1);

/// Everything a measurement needs.
pub(crate) struct Stage {
    pub(crate) exchange: PgPool,
    pub(crate) jobs: PgPool,
    postgres: Postgres,
    redis: Redis,
    kafka: KafkaServer,
    engine: ChildProcess,
    engine_port: PortLease,
    ports: (PortLease, PortLease),
    scratch: ScratchDir,
}

impl Stage {
    pub(crate) async fn build() -> anyhow::Result<Self> {
        let postgres = Postgres::start(PostgresOptions::default()).await?;
        let redis = Redis::start(RedisOptions::default()).await?;
        let kafka = KafkaServer::start(KafkaServerOptions::default()).await?;
        let topics = Topics::default();
        for topic in [
            &topics.cancel_requests,
            &topics.order_cancelled,
            &topics.order_updates,
        ] {
            kafka.create_topic(topic, 8).await?;
            kafka.create_topic(&format!("{topic}-dlq"), 1).await?;
        }
        for database in [EXCHANGE, JOBS] {
            postgres.create_database(database).await?;
        }
        let (exchange, jobs) = (
            connect(&postgres.url(EXCHANGE)).await?,
            connect(&postgres.url(JOBS)).await?,
        );
        migrations::migrate(&jobs, SystemClock::default().now()).await?;
        neighbours::install(&exchange).await?;
        let engine_port = PortLease::take()?;
        let engine = engine(&postgres, &kafka, engine_port.port())?;
        Ok(Self {
            exchange,
            jobs,
            postgres,
            redis,
            kafka,
            engine,
            engine_port,
            ports: (PortLease::take()?, PortLease::take()?),
            scratch: ScratchDir::create("bench-expiry")?,
        })
    }

    /// Where the engine listens.
    pub(crate) fn engine_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.engine_port.port())
    }

    /// Waits until the engine listens.
    pub(crate) async fn engine_listens(&self) -> anyhow::Result<()> {
        let port = self.engine_port.port();
        let listens = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(ENGINE_WITHIN, listens)
            .await
            .with_context(|| format!("the engine does not listen: {}", self.engine.stderr()))
    }

    /// Writes `count` expired orders whose ids begin with `prefix`.
    pub(crate) async fn orders(&self, prefix: &str, count: u32) -> anyhow::Result<()> {
        let options = OrdersOptions {
            prefix: prefix.to_owned(),
            wallets: WALLETS,
            ..OrdersOptions::expired(SystemClock::default().now_ms(), count)
        };
        orders::fill(&self.exchange, 7, &options).await?;
        sqlx::raw_sql("VACUUM ANALYZE").execute(&self.exchange).await?;
        Ok(())
    }

    /// Starts order-expirer with `expiry.transport` as named; `events`: it hears of ends on Kafka.
    pub(crate) fn expirer(&self, transport: &str, events: bool) -> anyhow::Result<ChildProcess> {
        let file = self.scratch.path().join("order-expirer.yaml");
        std::fs::write(&file, self.settings(transport, events))?;
        Ok(Command::new(env!("CARGO_BIN_EXE_order-expirer"))
            .arg("serve")
            .env("EIDOS_CONFIG", file)
            .spawn())
    }

    /// The defaults, but for a run every two seconds that may ask for everything.
    fn settings(&self, transport: &str, events: bool) -> String {
        let (http, grpc) = (self.ports.0.port(), self.ports.1.port());
        let (jobs, exchange, redis) = (
            self.postgres.url(JOBS),
            self.postgres.url(EXCHANGE),
            self.redis.url(),
        );
        let (engine, brokers) = (self.engine_url(), self.kafka.bootstrap_servers());
        format!(
            r#"service: {{ name: bench-expiry, env: dev, http_port: {http}, grpc_port: {grpc} }}
databases:
  jobs: {{ url: "{jobs}" }}
  trading: {{ url: "{exchange}" }}
redis: {{ url: "{redis}" }}
telemetry: {{ log_level: warn }}
kafka: {{ brokers: ["{brokers}"] }}
matching: {{ url: "{engine}" }}
expiry:
  transport: {transport}
  kafka: {{ confirmations: {events} }}
  requests_per_run: 1000000
  scan_orders_per_run: 1000000
jobs:
  cleanup-orders: {{ cron: "*/2 * * * * *" }}
"#
        )
    }

    /// Ends the engine in its orderly way.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.engine.interrupt();
        let status = self.engine.wait_exit(Duration::from_secs(30)).await;
        ensure!(
            status.success(),
            "the engine ended with {status}: {}",
            self.engine.stderr()
        );
        Ok(())
    }
}

fn engine(postgres: &Postgres, kafka: &KafkaServer, port: u16) -> anyhow::Result<ChildProcess> {
    let devnet: PathBuf = Path::new(env!("CARGO_BIN_EXE_order-expirer")).with_file_name("devnet");
    ensure!(
        devnet.is_file(),
        "{} is missing: cargo build --release -p eidos-devnet --bins (scripts/bench does)",
        devnet.display()
    );
    Ok(Command::new(devnet)
        .arg("matching")
        .args(["--trading-url", &postgres.url(EXCHANGE)])
        .args(["--brokers", &kafka.bootstrap_servers()])
        .args(["--port", &port.to_string()])
        .spawn())
}

async fn connect(url: &str) -> anyhow::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(20)
        .acquire_timeout(Duration::from_secs(30))
        .connect(url)
        .await
        .context("a database of the benchmark does not answer")
}
