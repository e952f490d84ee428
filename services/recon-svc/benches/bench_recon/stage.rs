//! Servers with a bulk world of a given size.

use std::path::PathBuf;
use std::time::Duration;

use eidos_devnet::bulk::{self, Bulk, Plan};
use eidos_devnet::quickstart::{Endpoints, Target, recon_config};
use eidos_sandbox::{PortLease, Postgres, PostgresOptions, Redis, RedisOptions, ScratchDir};
use eidos_types::{Clock, SystemClock};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const EXCHANGE: &str = "exchange";
const JOBS: &str = "jobs";

/// Everything a full run needs.
pub(crate) struct Stage {
    pub(crate) accounts: u64,
    pub(crate) bulk: Bulk,
    pub(crate) plan: Plan,
    pub(crate) exchange: PgPool,
    pub(crate) postgres: Postgres,
    pub(crate) config: PathBuf,
    _redis: Redis,
    _ports: (PortLease, PortLease),
    _scratch: ScratchDir,
}

impl Stage {
    pub(crate) async fn build(accounts: u64) -> anyhow::Result<Self> {
        println!("building {accounts} accounts on chain and in the books");
        let postgres = Postgres::start(PostgresOptions::default()).await?;
        let redis = Redis::start(RedisOptions::default()).await?;
        let scratch = ScratchDir::create("bench-recon")?;
        postgres.create_database(EXCHANGE).await?;
        postgres.create_database(JOBS).await?;
        let exchange = connect(&postgres.url(EXCHANGE)).await?;
        let bulk = bulk::build(accounts, scratch.path(), &exchange).await?;
        sqlx::raw_sql("VACUUM ANALYZE").execute(&exchange).await?;
        let jobs = connect(&postgres.url(JOBS)).await?;
        eidos_core::migrations::migrate(&jobs, SystemClock::default().now()).await?;
        let ports = (PortLease::take()?, PortLease::take()?);
        let endpoints = Endpoints {
            jobs_database: postgres.url(JOBS),
            exchange_database: postgres.url(EXCHANGE),
            redis: redis.url(),
            kafka: String::new(),
            rpc: bulk.anvil.url(),
            http_port: ports.0.port(),
            grpc_port: ports.1.port(),
        };
        let target = Target {
            seed: 0,
            addresses: &bulk.addresses,
            tokens: &bulk.tokens,
            mixed_case: false,
            canaries: &[],
        };
        let config = scratch.path().join("recon-svc.yaml");
        std::fs::write(&config, recon_config(target, &endpoints))?;
        let plan = Plan::new(accounts);
        Ok(Self {
            accounts,
            bulk,
            plan,
            exchange,
            postgres,
            config,
            _redis: redis,
            _ports: ports,
            _scratch: scratch,
        })
    }
}

async fn connect(url: &str) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(Duration::from_secs(30))
        .connect(url)
        .await?)
}
