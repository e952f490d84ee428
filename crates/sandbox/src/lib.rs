//! Private PostgreSQL, Redis, EVM node and Kafka broker, started from binaries on the machine.
//!
//! Tests and `scripts/quickstart` use the same code, so what a newcomer runs is what the tests run.
//! Nothing here knows a table, a key or a contract of ours.
//!
//! | server | what it is | where its binary comes from |
//! |---|---|---|
//! | [`Postgres`] | the real server, data directory of its own, never as root | Debian package `postgresql` |
//! | [`Pooler`] | `PgBouncer` in front of it, in any mode; Odyssey in `scripts/test-poolers` | Debian package `pgbouncer` |
//! | [`Redis`] | the real server, with or without append-only file | Debian package `redis-server` |
//! | [`Anvil`] | an EVM node | npm package `@foundry-rs/anvil` |
//! | [`EvmNode`] | go-ethereum, Hardhat, Ganache | `scripts/test-nodes` installs them |
//! | [`Moto`] | an S3-compatible server | `PyPI` package `moto[server]` |
//! | [`Prometheus`] | the real server, without history | Debian package `prometheus` |
//! | [`Alertmanager`] | the real server, with one receiver | Debian package `prometheus-alertmanager` |
//! | [`KafkaBroker`] | librdkafka's own broker inside this process, or a real one | linked in, or `KAFKA_BROKERS` |
//! | [`KafkaServer`] | Apache Kafka, one node that is broker and controller | Maven Central, Debian package `default-jre-headless` |
//!
//! Three promises hold for each of them:
//!
//! 1. **They die with their parent**, even when the parent is killed with SIGKILL ([`ManagedProcess`] says how).
//!    A test run leaves no server behind; the directories it leaves are swept by the next run.
//! 2. **They answer only on loopback**, on ports below the kernel's ephemeral range, leased through lock files:
//!    a server that restarts gets its port back, and a client that hammers a dead port cannot connect to itself.
//! 3. **They can be broken**: killed, restarted, stopped with SIGSTOP and continued, each with a bounded wait.
//!
//! [`Sandbox`] is the long-lived form: the same directory, the same data, the second start is fast.

mod alertmanager;
mod anvil;
mod error;
mod evm_nodes;
mod kafka;
mod kafka_admin;
mod kafka_server;
mod pooler;
mod ports;
mod postgres;
mod process;
mod process_table;
mod programs;
mod prometheus;
mod python;
mod redis;
mod reuse;
mod scratch;
mod server;
mod spawner;

pub use alertmanager::{Alertmanager, AlertmanagerOptions};
pub use anvil::{Anvil, AnvilOptions, Mining};
pub use error::SandboxError;
pub use evm_nodes::{EvmNode, EvmProgram};
pub use kafka::KafkaBroker;
pub use kafka_server::{KafkaServer, KafkaServerOptions};
pub use pooler::{PoolMode, Pooler, PoolerBrand, PoolerOptions};
pub use ports::PortLease;
pub use postgres::{Durability, Postgres, PostgresOptions};
pub use process::{ManagedProcess, ProcessSpec, RunAs, Signal};
pub use programs::{find_program, workspace_root};
pub use prometheus::{Prometheus, PrometheusOptions, ScrapeTarget};
pub use python::{Moto, python};
pub use redis::{AppendOnly, Redis, RedisOptions};
pub use reuse::Sandbox;
pub use scratch::ScratchDir;
