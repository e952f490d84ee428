//! The servers, the exchange, and recon-svc as it is run every hour.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use eidos_devnet::quickstart::{Endpoints, recon_config};
use eidos_devnet::{Devnet, DevnetOptions, Trap};
use eidos_sandbox::{
    Anvil, AnvilOptions, Durability, Postgres, PostgresOptions, Redis, RedisOptions, ScratchDir,
};
use eidos_testkit::{Command, RpcProxy};
use eidos_types::{Clock as _, SystemClock};
use serde_json::Value;
use sqlx::PgPool;

const EXCHANGE: &str = "exchange";
const JOBS: &str = "jobs";
/// Wallets of the first day.
const WALLETS: usize = 60;
/// Far above what a run takes, also through a bad node.
const WITHIN: Duration = Duration::from_mins(3);
/// The chain is older than what happened on the first day.
const GENESIS_AGE: TimeDelta = TimeDelta::hours(3);

/// What recon-svc is told beside the devnet's settings: the head is final, so that reorganisations reach what was compared;
/// an execution is tried once, because the next one is an hour away.
const SETTINGS: [(&str, &str); 2] = [
    ("EIDOS__CHAIN__FINALITY__DEPTH", "0"),
    ("EIDOS__JOBS__RECONCILIATION__RETRY__MAX_ATTEMPTS", "1"),
];

/// An exchange and its reconciler.
pub(crate) struct World {
    pub(crate) devnet: Devnet,
    pub(crate) jobs: PgPool,
    /// Between recon-svc and the node.
    pub(crate) node: RpcProxy,
    postgres: Postgres,
    redis: Redis,
    _anvil: Anvil,
    scratch: ScratchDir,
}

/// How a run ended.
pub(crate) enum Ran {
    /// With this report.
    Reported(Box<Value>),
    /// Without one; the end of what it said.
    Failed(String),
}

impl World {
    /// Starts the servers and opens an exchange in which both sides agree.
    pub(crate) async fn open(seed: u64) -> anyhow::Result<Self> {
        let postgres = Postgres::start(PostgresOptions {
            durability: Durability::Fast,
            ..PostgresOptions::default()
        })
        .await?;
        let redis = Redis::start(RedisOptions::default()).await?;
        let genesis_s = (SystemClock::default().now() - GENESIS_AGE).timestamp();
        let anvil = Anvil::start(AnvilOptions {
            args: vec!["--timestamp".into(), genesis_s.to_string().into()],
            ..AnvilOptions::default()
        })
        .await?;
        for database in [EXCHANGE, JOBS] {
            postgres.create_database(database).await?;
        }
        let jobs = PgPool::connect(&postgres.url(JOBS)).await?;
        eidos_core::migrations::migrate(&jobs, SystemClock::default().now()).await?;
        let options = DevnetOptions {
            traps: vec![Trap::MixedCaseWallet],
            canary: true,
            ..DevnetOptions::clean(WALLETS)
        };
        let books = PgPool::connect(&postgres.url(EXCHANGE)).await?;
        let mut devnet = Devnet::build(seed, &anvil.url(), books, options).await?;
        devnet.cut_at_the_head();
        let world = Self {
            devnet,
            jobs,
            node: RpcProxy::before(&anvil.url()).await,
            postgres,
            redis,
            _anvil: anvil,
            scratch: ScratchDir::create("simulate")?,
        };
        world.write_config()?;
        Ok(world)
    }

    fn config(&self) -> PathBuf {
        self.scratch.path().join("recon-svc.yaml")
    }

    /// Writes the settings, with prices of this hour.
    pub(crate) fn write_config(&self) -> anyhow::Result<()> {
        let endpoints = Endpoints {
            jobs_database: self.postgres.url(JOBS),
            exchange_database: self.postgres.url(EXCHANGE),
            redis: self.redis.url(),
            kafka: String::new(),
            rpc: self.node.url.clone(),
            http_port: 1,
            grpc_port: 2,
        };
        std::fs::write(self.config(), recon_config(&self.devnet, &endpoints)).context("writing the settings")
    }

    /// `recon-svc run reconciliation`.
    pub(crate) async fn reconcile(&self, is_full: bool) -> anyhow::Result<Ran> {
        let args: &[&str] = if is_full { &["--full"] } else { &[] };
        let (status, child) = self
            .recon(&["run", "reconciliation", "--format", "json"])
            .args(args.iter().copied())
            .run(WITHIN)
            .await;
        if !status.success() {
            let said = child.stderr();
            let end: Vec<&str> = said.lines().rev().take(5).collect();
            return Ok(Ran::Failed(end.join("\n")));
        }
        let report = serde_json::from_str(&child.stdout()).context("the report of a run")?;
        Ok(Ran::Reported(Box::new(report)))
    }

    /// What `recon-svc explain` says about these breaks.
    pub(crate) async fn explain(&self, breaks: &[String]) -> anyhow::Result<Vec<Value>> {
        let (status, child) = self
            .recon(&["explain", "--json", &breaks.join(",")])
            .run(WITHIN)
            .await;
        anyhow::ensure!(status.success(), "recon-svc explain: {}", child.stderr());
        let answer = serde_json::from_str(&child.stdout()).context("the explanations")?;
        Ok(match answer {
            Value::Array(answers) => answers,
            only => vec![only],
        })
    }

    fn recon(&self, args: &[&str]) -> Command {
        let command = Command::new(env!("CARGO_BIN_EXE_recon-svc"))
            .args(args.iter().copied())
            .env("EIDOS_CONFIG", self.config());
        SETTINGS
            .iter()
            .fold(command, |command, (key, value)| command.env(key, value))
    }
}
