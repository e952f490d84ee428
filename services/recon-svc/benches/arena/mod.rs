//! Servers, a world that stands still, and replicas of recon-svc: what the fault run and the core benchmark share.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use eidos_devnet::quickstart::{Endpoints, recon_config};
use eidos_devnet::{Devnet, DevnetOptions};
use eidos_sandbox::{
    Anvil, AnvilOptions, Durability, PortLease, Postgres, PostgresOptions, Redis, RedisOptions, ScratchDir,
};
use eidos_testkit::{ChildProcess, Command, TcpProxy};
use eidos_types::{Clock, SystemClock};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// The shortest lease the settings allow: a stop beyond it does not take long.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(4);
/// A full run is due every so many seconds.
pub(crate) const PERIOD_S: u32 = 2;

const EXCHANGE: &str = "exchange";
const WALLETS: usize = 50;
/// Jobs database of an undisturbed run.
pub(crate) const CALM: &str = "jobs_calm";
const STORM: &str = "jobs_storm";

/// The servers and the world.
pub(crate) struct Arena {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    /// Between the replicas and the node.
    pub(crate) rpc: TcpProxy,
    world: Devnet,
    _anvil: Anvil,
    scratch: ScratchDir,
    ports: Vec<(PortLease, PortLease)>,
}

impl Arena {
    /// Starts everything and builds the world of `seed`.
    pub(crate) async fn build(seed: u64, replicas: usize) -> anyhow::Result<Self> {
        let postgres = Postgres::start(PostgresOptions {
            durability: Durability::Fast,
            ..PostgresOptions::default()
        })
        .await?;
        let redis = Redis::start(RedisOptions::default()).await?;
        let anvil = Anvil::start(AnvilOptions::default()).await?;
        let rpc = TcpProxy::start(anvil.port()).await;
        for database in [EXCHANGE, CALM, STORM] {
            postgres.create_database(database).await?;
        }
        let world = Devnet::build(
            seed,
            &anvil.url(),
            pool(&postgres.url(EXCHANGE)).await?,
            DevnetOptions::complete(WALLETS),
        )
        .await?;
        for database in [CALM, STORM] {
            let database = pool(&postgres.url(database)).await?;
            eidos_core::migrations::migrate(&database, SystemClock::default().now()).await?;
        }
        let ports = (0..replicas)
            .map(|_| Ok((PortLease::take()?, PortLease::take()?)))
            .collect::<Result<_, eidos_sandbox::SandboxError>>()?;
        let scratch = ScratchDir::create("arena")?;
        Ok(Self {
            postgres,
            redis,
            rpc,
            world,
            _anvil: anvil,
            scratch,
            ports,
        })
    }

    /// The storm's jobs database as its owner.
    pub(crate) async fn jobs(&self) -> anyhow::Result<PgPool> {
        pool(&self.postgres.url(STORM)).await
    }

    /// Starts replica `index` with further environment. Every second replica's clock is a minute ahead.
    pub(crate) fn replica_with(&self, index: usize, env: &[(&str, String)]) -> anyhow::Result<ChildProcess> {
        let command = self.command(index, env)?;
        let command = if index % 2 == 1 { skewed(command)? } else { command };
        Ok(command.spawn())
    }

    /// `recon-svc serve` with a full run due every [`PERIOD_S`] seconds.
    pub(crate) fn command(&self, index: usize, env: &[(&str, String)]) -> anyhow::Result<Command> {
        let config = self.config(&format!("replica-{index}"), STORM, index)?;
        let cron = format!("*/{PERIOD_S} * * * * *");
        let mut command = Command::new(env!("CARGO_BIN_EXE_recon-svc"))
            .arg("serve")
            .env("EIDOS_CONFIG", config)
            .env("EIDOS__JOBS__RECONCILIATION__CRON", &cron)
            .env("EIDOS__JOBS__RECONCILIATION__FULL_CRON", &cron)
            .env(
                "EIDOS__JOBS__RECONCILIATION__LOCK__TTL",
                format!("{}s", LEASE_TTL.as_secs()),
            )
            .env("EIDOS__REDIS__RESPONSE_TIMEOUT", "300ms")
            .env("EIDOS__JOBS__RECONCILIATION__TIMEOUT", "30s")
            .env("EIDOS__TELEMETRY__LOG_LEVEL", "info")
            .env("EIDOS__SCHEDULER__POLL_INTERVAL", "100ms")
            .env("EIDOS__SCHEDULER__CANCEL_GRACE", "1s")
            .env("EIDOS__RECONCILIATION__CONFIRM_POLL", "100ms")
            // Small pages make many steps, and so many places to be killed at.
            .env("EIDOS__RECONCILIATION__PAGE_ACCOUNTS", "8");
        for (key, value) in env {
            command = command.env(key, value);
        }
        Ok(command)
    }

    /// Writes the settings of replica `index` for one of the jobs databases.
    pub(crate) fn config(&self, name: &str, database: &str, index: usize) -> anyhow::Result<PathBuf> {
        let (http, grpc) = self.ports.get(index).context("more replicas than ports")?;
        let endpoints = Endpoints {
            jobs_database: self.postgres.url(database),
            exchange_database: self.postgres.url(EXCHANGE),
            redis: self.redis.url(),
            kafka: String::new(),
            rpc: format!("http://127.0.0.1:{}", self.rpc.port()),
            http_port: http.port(),
            grpc_port: grpc.port(),
        };
        let file = self.scratch.path().join(format!("{name}.yaml"));
        std::fs::write(&file, recon_config(&self.world, &endpoints))?;
        Ok(file)
    }
}

/// Puts the child's wall clock a minute ahead (Debian's `faketime`); its monotonic clock stays as it is.
fn skewed(command: Command) -> anyhow::Result<Command> {
    const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
    let found = std::fs::read_dir("/usr/lib")?
        .filter_map(|entry| Some(entry.ok()?.path().join(LIBRARY)))
        .find(|path| path.is_file())
        .context("libfaketime is missing: apt-get install faketime (scripts/install does)")?;
    Ok(command
        .env("LD_PRELOAD", found)
        .env("FAKETIME", "+60s")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1"))
}

/// A few connections as the owner.
pub(crate) async fn pool(url: &str) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(30))
        .connect(url)
        .await?)
}
