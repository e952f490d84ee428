//! The private servers of the quickstart.

use std::path::Path;

use anyhow::Context;
use eidos_sandbox::{
    Anvil, AnvilOptions, EvmNode, EvmProgram, KafkaBroker, PortLease, Postgres, Redis, Sandbox,
};

use super::config::Endpoints;
use crate::devnet;
use crate::neighbours::{READ_ONLY_PASSWORD, READ_ONLY_ROLE};

/// Our own tables.
const JOBS: &str = "eidos_jobs";
/// The neighbours' tables, all in one database, so that one snapshot covers them.
const EXCHANGE: &str = "eidos_exchange";
/// The chain begins this long ago, so that its many quick blocks do not run into the future.
const GENESIS_AGE_MS: i64 = 3 * 3_600_000;

/// The EVM node of a devnet.
#[derive(Debug)]
enum Evm {
    Anvil(Anvil),
    Other(EvmNode),
}

impl Evm {
    /// anvil, or what `program` names.
    async fn start(
        sandbox: &Sandbox,
        program: Option<EvmProgram>,
    ) -> Result<Self, eidos_sandbox::SandboxError> {
        if let Some(program) = program {
            return EvmNode::start(program).await.map(Self::Other);
        }
        let genesis_s = (devnet::now_ms() - GENESIS_AGE_MS) / 1_000;
        let options = AnvilOptions {
            args: vec!["--timestamp".into(), genesis_s.to_string().into()],
            ..AnvilOptions::default()
        };
        sandbox.anvil(options).await.map(Self::Anvil)
    }

    fn url(&self) -> String {
        match self {
            Self::Anvil(anvil) => anvil.url(),
            Self::Other(node) => node.url(),
        }
    }
}

/// Running servers. They end with this value.
pub(super) struct Servers {
    postgres: Postgres,
    redis: Redis,
    evm: Evm,
    kafka: Option<KafkaBroker>,
    http: PortLease,
    grpc: PortLease,
    _sandbox: Sandbox,
}

impl Servers {
    /// Starts them on the data of the last time and empties what the last run left; the EVM node is anvil unless
    /// `program` names another.
    pub(super) async fn start(dir: &Path, program: Option<EvmProgram>) -> anyhow::Result<Self> {
        let sandbox = Sandbox::open(dir.join("quickstart"))?;
        let (postgres, redis, evm) =
            tokio::try_join!(sandbox.postgres(), sandbox.redis(), Evm::start(&sandbox, program))?;
        redis.flush_all().await?;
        for database in [JOBS, EXCHANGE] {
            postgres.fresh_database(database).await?;
        }
        Ok(Self {
            postgres,
            redis,
            evm,
            kafka: Some(KafkaBroker::start().context("starting the Kafka broker")?),
            http: PortLease::take()?,
            grpc: PortLease::take()?,
            _sandbox: sandbox,
        })
    }

    pub(super) fn jobs_url(&self) -> String {
        self.postgres.url(JOBS)
    }

    pub(super) fn exchange_url(&self) -> String {
        self.postgres.url(EXCHANGE)
    }

    pub(super) fn redis_url(&self) -> String {
        self.redis.url()
    }

    /// Our own database as another role.
    pub(super) fn jobs_url_as(&self, role: &str, password: &str) -> String {
        self.url_as(JOBS, role, password)
    }

    /// The neighbours' database as another role.
    pub(super) fn exchange_url_as(&self, role: &str, password: &str) -> String {
        self.url_as(EXCHANGE, role, password)
    }

    /// Makes an empty database, in place of one of the last time.
    pub(super) async fn fresh_database(&self, database: &str) -> anyhow::Result<()> {
        Ok(self.postgres.fresh_database(database).await?)
    }

    /// A database as its owner.
    pub(super) fn url(&self, database: &str) -> String {
        self.postgres.url(database)
    }

    /// A database as another role.
    pub(super) fn url_as(&self, database: &str, role: &str, password: &str) -> String {
        format!(
            "postgres://{role}:{password}@127.0.0.1:{}/{database}",
            self.postgres.port()
        )
    }

    pub(super) fn evm_url(&self) -> String {
        self.evm.url()
    }

    /// Ends the broker.
    pub(super) fn stop_kafka(&mut self) {
        self.kafka = None;
    }

    /// Kills the EVM node.
    pub(super) async fn kill_node(&self) -> anyhow::Result<()> {
        match &self.evm {
            Evm::Anvil(anvil) => anvil.kill().await?,
            Evm::Other(node) => node.kill().await?,
        }
        Ok(())
    }

    /// What the reconciler gets: the exchange's database as the read-only role.
    pub(super) fn endpoints(&self) -> Endpoints {
        Endpoints {
            jobs_database: self.jobs_url(),
            exchange_database: self.exchange_url_as(READ_ONLY_ROLE, READ_ONLY_PASSWORD),
            redis: self.redis.url(),
            kafka: self
                .kafka
                .as_ref()
                .map_or("", KafkaBroker::bootstrap_servers)
                .to_owned(),
            rpc: self.evm_url(),
            http_port: self.http.port(),
            grpc_port: self.grpc.port(),
        }
    }
}
