//! What tests are built on: a database per test, servers that can be broken, a two-process harness and a breakable
//! network. A development dependency only; nothing of it reaches a service.
//!
//! | for | take |
//! |---|---|
//! | SQL | [`TestDb::migrated`] (our schema) or [`TestDb::empty`]; an own server, to break it: [`Postgres::start`] |
//! | statements against the schema | [`assert_prepares`] |
//! | Redis | [`TestRedis::shared`] with a key prefix per test; an own server, to break it: [`Redis::start`] |
//! | the chain | [`shared_anvil`]; an own node: [`Anvil::start`] |
//! | alerts | an own Alertmanager: [`Alertmanager::start`] |
//! | Kafka | [`shared_kafka`]; an own broker: [`KafkaBroker::start_in_process`] |
//! | time | `eidos_types::ManualClock` |
//! | two processes, SIGSTOP, SIGKILL | [`ChildProcess`] |
//! | a process that dies between two lines | [`crash_point`] |
//! | a network that drops, delays or cuts | [`TcpProxy`] |
//! | a node that lies, lags and breaks down | [`RpcProxy`] |
//! | waiting | [`eventually`], never a sleep |
//! | a fault run or a benchmark | [`FaultRunOptions`], [`Verdict`], [`report_fault_run`]; [`Quantiles`], [`Measured`], [`cpu_seconds`], [`peak_resident_mib`], [`write_result`] |
//!
//! Everything here panics with a full sentence instead of returning an error: the caller is a test.
//!
//! Servers are started once for each test process, at their first use, and end with it. They and the proxies live
//! on a runtime of their own, so a test may stop its clock, block its thread or end while they work.
#![expect(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a failing helper must fail the test that called it, and every function here may"
)]

mod archive_store;
mod background;
mod child;
mod crash;
mod database;
mod fault_run;
mod measured;
mod polling;
mod process_time;
mod proxy;
mod quantiles;
mod rpc_proxy;
mod servers;
mod statements;

pub use archive_store::accept_archive_store;
pub use child::{ChildProcess, Command};
pub use crash::{CRASH_VARIABLE, crash_point};
pub use database::TestDb;
pub use eidos_sandbox::{
    Alertmanager, AlertmanagerOptions, Anvil, AnvilOptions, AppendOnly, Durability, KafkaBroker, Mining,
    PoolMode, Pooler, PoolerBrand, PoolerOptions, PortLease, Postgres, PostgresOptions, Redis, RedisOptions,
    ScratchDir,
};
pub use fault_run::{FaultRunOptions, Tally, Verdict, report_fault_run, write_result};
pub use measured::{Measured, bench_python};
pub use polling::eventually;
pub use process_time::{cpu_seconds, ended_children_cpu_seconds, peak_resident_mib, resident_mib};
pub use proxy::{ProxyMode, TcpProxy, Traffic};
pub use quantiles::Quantiles;
pub use rpc_proxy::{RpcFault, RpcProxy, asks_for, calls_of, rpc_error};
pub use servers::{TestRedis, shared_anvil, shared_kafka, shared_postgres};
pub use statements::assert_prepares;
