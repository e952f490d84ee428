//! A devnet, every service over it and a Prometheus that watches them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use eidos_sandbox::{
    ManagedProcess, PortLease, ProcessSpec, Prometheus, PrometheusOptions, ScrapeTarget, Signal,
};
use sqlx::PgPool;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

use super::rules::{self, Scale};
use super::tls::TlsServer;
use super::topics::OrderTopics;
use crate::devnet::{Devnet, DevnetOptions};
use crate::history::{self, HistoryManifest, HistoryPlan, HistoryTrap};
use crate::market::Market;
use crate::neighbours;
use crate::orders::OrdersOptions;
use crate::quickstart::all::Stage;
use crate::quickstart::beside::Beside;
use crate::quickstart::beside_config::probe_config;
use crate::quickstart::config::recon_config;
use crate::quickstart::programs::{Programs, sibling};
use crate::quickstart::servers::Servers;
use crate::quickstart::{say, write_private};

pub(super) const EXPIRER: &str = "order-expirer";
pub(super) const AGGREGATOR: &str = "aggregator";
pub(super) const PROBE: &str = "health-probe";

const WALLETS: usize = DevnetOptions::MIN_WALLETS;
/// About ten times as many orders.
const ORDERS: u32 = 12;
const ROWS_PER_MONTH: u64 = 20;
const START_WITHIN: Duration = Duration::from_mins(1);
const DRAIN_WITHIN: Duration = Duration::from_secs(40);

/// One service of the suite.
struct Service {
    name: &'static str,
    config: PathBuf,
    http: PortLease,
    grpc: PortLease,
    settings: Vec<(&'static str, String)>,
    running: Option<ManagedProcess>,
}

/// Everything that can be broken.
pub(super) struct Rig {
    dir: PathBuf,
    servers: Servers,
    programs: Programs,
    stage: Stage,
    manifest: HistoryManifest,
    devnet: Devnet,
    beside: Beside,
    topics: OrderTopics,
    market: Arc<Mutex<Market>>,
    tls: TlsServer,
    /// Trades each minute.
    _feed: AbortOnDrop,
    services: BTreeMap<&'static str, Service>,
}

/// A task that ends with this value.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Rig {
    /// A devnet without faults; no job has run yet.
    pub(super) async fn build(dir: &Path, seed: u64) -> anyhow::Result<Self> {
        let dir = dir.join("alerts");
        std::fs::create_dir_all(&dir)?;
        let programs = Programs::beside_this_one()?;
        let servers = Servers::start(&dir, None).await?;
        programs.migrate(&servers.jobs_url()).await?;
        let exchange = PgPool::connect(&servers.exchange_url()).await?;
        let options = DevnetOptions {
            canary: true,
            ..DevnetOptions::clean(WALLETS)
        };
        let devnet = Devnet::build(seed, &servers.evm_url(), exchange, options).await?;
        let recon = dir.join("recon-svc.yaml");
        // The trades of the history were never on a chain.
        let without_trades = "reconciliation:\n  dimensions: [balance, deposit, withdrawal]\n";
        let yaml = recon_config(&devnet, &servers.endpoints()).replace("reconciliation:\n", without_trades);
        write_private(&recon, &yaml)?;
        let slot_ms = crate::devnet::now_ms() / 1_000 * 1_000;
        let stage = Stage::build(&servers, &dir, slot_ms).await?;
        let mut plan = HistoryPlan::complete(seed, slot_ms, ROWS_PER_MONTH);
        // The month that `restore` brings back is the one of this trap; the others are troubles.
        plan.traps.retain(|trap| *trap == HistoryTrap::HugeJson);
        plan.with_facts = false;
        let manifest = history::fill(&stage.exchange, Some(&stage.jobs), &plan).await?;
        // The history has candles that nothing proves: a fault of its own, whose alert would fire in the calm.
        sqlx::query("TRUNCATE eidos_market_klines")
            .execute(&stage.exchange)
            .await?;
        neighbours::install_disposal(&stage.exchange, &stage.jobs).await?;
        let topics = OrderTopics::start().await?;
        let brokers = Some(topics.brokers());
        let (beside, market) = Beside::build(&servers, &stage, &dir, seed, false, brokers).await?;
        let market = Arc::new(Mutex::new(market));
        let probe = dir.join("health-probe.yaml");
        let state_dir = std::path::absolute(dir.join("health-probe"))?;
        std::fs::create_dir_all(&state_dir)?;
        let tls = TlsServer::start(&dir).await?;
        write_private(&probe, &watching(&servers, &beside, &tls, &state_dir))?;
        let feed = AbortOnDrop(tokio::spawn(trade(Arc::clone(&market))));
        let mut services = BTreeMap::new();
        for (name, config) in [
            ("recon-svc", recon),
            ("retention-manager", dir.join("retention-manager.yaml")),
            ("archiver", dir.join("archiver.yaml")),
            (EXPIRER, beside.expirer.config.clone()),
            (AGGREGATOR, beside.aggregator.config.clone()),
            (PROBE, probe),
        ] {
            let service = Service {
                name,
                config,
                http: PortLease::take()?,
                grpc: PortLease::take()?,
                settings: quiet(name),
                running: None,
            };
            services.insert(name, service);
        }
        Ok(Self {
            dir,
            servers,
            programs,
            stage,
            manifest,
            devnet,
            beside,
            topics,
            market,
            tls,
            _feed: feed,
            services,
        })
    }

    /// Runs every job once through its own program, as an operator would.
    pub(super) async fn run_every_job(&mut self) -> anyhow::Result<()> {
        self.reconcile(&["--full"]).await?;
        self.reconcile(&[]).await?;
        self.stage.run_jobs(&self.manifest).await?;
        let orders = OrdersOptions {
            // It is a trouble.
            cancelling: 0,
            ..OrdersOptions::some(crate::devnet::now_ms(), ORDERS)
        };
        self.beside.fill_orders(&orders).await?;
        self.beside.run_expirer(&mut self.stage).await?;
        self.beside.run_aggregator(&mut self.stage).await?;
        let wrong: Vec<&str> = self
            .stage
            .ran
            .iter()
            .filter(|ran| !ran.as_expected)
            .map(|ran| ran.job.as_str())
            .collect();
        if !wrong.is_empty() {
            bail!("jobs ended otherwise than they had to: {}", wrong.join(", "));
        }
        Ok(())
    }

    /// `recon-svc run reconciliation` in a terminal.
    pub(super) async fn reconcile(&self, flags: &[&str]) -> anyhow::Result<()> {
        let config = &self.service("recon-svc")?.config;
        self.programs.reconcile(config, flags).await.map(drop)
    }

    /// A run of a job in a terminal; how it ends is the caller's to judge.
    pub(super) async fn run_job(&mut self, service: &str, args: &[&str]) -> anyhow::Result<()> {
        let service = self.service(service)?;
        let program = sibling(service.name)?;
        let config = service.config.clone();
        let mut command = tokio::process::Command::new(program);
        command.args(args).env("EIDOS_CONFIG", config).kill_on_drop(true);
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        tokio::time::timeout(Duration::from_mins(5), command.status()).await??;
        Ok(())
    }

    /// Where the HTTP API of a service listens.
    pub(super) fn http_url(&self, service: &str) -> anyhow::Result<String> {
        Ok(format!("http://127.0.0.1:{}", self.service(service)?.http.port()))
    }

    /// Where the gRPC API of a service listens.
    pub(super) fn grpc_url(&self, service: &str) -> anyhow::Result<String> {
        Ok(format!("http://127.0.0.1:{}", self.service(service)?.grpc.port()))
    }

    /// Settings that a service has from its next start on, as environment variables.
    pub(super) fn set(&mut self, service: &str, settings: &[(&'static str, String)]) -> anyhow::Result<()> {
        self.service_mut(service)?.settings.extend_from_slice(settings);
        Ok(())
    }

    /// Starts those services that do not run, with looks at the database each second.
    pub(super) async fn serve(&mut self) -> anyhow::Result<()> {
        for service in self
            .services
            .values_mut()
            .filter(|service| service.running.is_none())
        {
            service.start(&self.dir, &[]).await?;
        }
        Ok(())
    }

    /// Starts `service` anew with a clock that is behind.
    pub(super) async fn restart_with_slow_clock(&mut self, service: &str) -> anyhow::Result<()> {
        let library = faketime()?;
        let dir = self.dir.clone();
        let service = self.service_mut(service)?;
        service.stop().await?;
        service
            .start(&dir, &[("LD_PRELOAD", &library), ("FAKETIME", "-120s")])
            .await
    }

    /// Starts `service` anew, so that it forgets what only its process knew.
    pub(super) async fn restart(&mut self, service: &str) -> anyhow::Result<()> {
        self.stop(service).await?;
        self.serve().await
    }

    /// Ends `service` in order.
    pub(super) async fn stop(&mut self, service: &str) -> anyhow::Result<()> {
        self.service_mut(service)?.stop().await
    }

    pub(super) async fn stop_serving(&mut self) -> anyhow::Result<()> {
        for service in self.services.values_mut() {
            service.stop().await?;
        }
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, service: &str) -> anyhow::Result<()> {
        if let Some(process) = self.service_mut(service)?.running.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// A Prometheus without history over all services and the chart's rules.
    pub(super) async fn prometheus(&self, scale: Scale) -> anyhow::Result<Prometheus> {
        let options = PrometheusOptions {
            targets: self
                .services
                .values()
                .map(|service| ScrapeTarget {
                    service: service.name.to_owned(),
                    address: format!("127.0.0.1:{}", service.http.port()),
                })
                .collect(),
            rule_files: rules::write(&self.dir.join(format!("rules-{scale:?}").to_lowercase()), scale)?,
        };
        Ok(Prometheus::start(&options).await?)
    }

    pub(super) fn service_count(&self) -> usize {
        self.services.len()
    }

    pub(super) const fn jobs(&self) -> &PgPool {
        &self.stage.jobs
    }

    pub(super) const fn exchange(&self) -> &PgPool {
        &self.stage.exchange
    }

    pub(super) const fn devnet(&self) -> &Devnet {
        &self.devnet
    }

    pub(super) const fn servers_mut(&mut self) -> &mut Servers {
        &mut self.servers
    }

    /// Orders with their engine, and the database of the markets.
    pub(super) const fn beside(&self) -> &Beside {
        &self.beside
    }

    /// Where the ends of orders are published.
    pub(super) const fn topics(&self) -> &OrderTopics {
        &self.topics
    }

    /// The markets, between two of their minutes.
    pub(super) async fn market(&self) -> MutexGuard<'_, Market> {
        self.market.lock().await
    }

    /// The server whose certificates health-probe measures.
    pub(super) const fn tls(&self) -> &TlsServer {
        &self.tls
    }

    /// Where exports are.
    pub(super) fn archive(&self) -> PathBuf {
        self.dir.join("quickstart-archive")
    }

    /// Sets a trap of the history after the fact.
    pub(super) async fn set_trap(&mut self, trap: HistoryTrap) -> anyhow::Result<()> {
        let (exchange, jobs) = (self.stage.exchange.clone(), self.stage.jobs.clone());
        history::set_trap(&exchange, Some(&jobs), &mut self.manifest, trap).await?;
        neighbours::install_disposal(&exchange, &jobs).await
    }

    fn service(&self, name: &str) -> anyhow::Result<&Service> {
        self.services
            .get(name)
            .with_context(|| format!("no service {name}"))
    }

    fn service_mut(&mut self, name: &str) -> anyhow::Result<&mut Service> {
        self.services
            .get_mut(name)
            .with_context(|| format!("no service {name}"))
    }
}

impl Service {
    async fn start(&mut self, dir: &Path, env: &[(&str, &str)]) -> anyhow::Result<()> {
        let port = self.http.port();
        let log = dir.join(format!("{}.log", self.name));
        let mut spec = ProcessSpec::new(self.name, sibling(self.name)?, log)
            .arg("serve")
            .env("EIDOS_CONFIG", &self.config)
            .env("EIDOS__SERVICE__HTTP_PORT", port.to_string())
            .env("EIDOS__SERVICE__GRPC_PORT", self.grpc.port().to_string())
            .env("EIDOS__SCHEDULER__OBSERVE_INTERVAL", "1s");
        for (name, value) in &self.settings {
            spec = spec.env(name, value);
        }
        for (name, value) in env {
            spec = spec.env(name, value);
        }
        let process = ManagedProcess::spawn(&spec)?;
        let listening = || async move { TcpStream::connect(("127.0.0.1", port)).await.is_ok() };
        process.wait_ready(START_WITHIN, listening).await?;
        self.running = Some(process);
        Ok(())
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(process) = self.running.take() else {
            return Ok(());
        };
        process.signal(Signal::Terminate)?;
        if process.wait_exit(DRAIN_WITHIN).await.is_err() {
            say(&format!("  {} did not end by itself and is killed", self.name));
            process.kill()?;
        }
        Ok(())
    }
}

/// health-probe asks a target of almost each kind, all of which work in the calm; the engine is taken down later.
fn watching(servers: &Servers, beside: &Beside, tls: &TlsServer, state_dir: &Path) -> String {
    let at = |scheme: &str, url: &str| {
        let (_, rest) = url.split_once("://").unwrap_or(("", url));
        format!("url: \"{scheme}://{rest}\"")
    };
    let path = |scheme: &str, path: &str| format!("url: \"{scheme}://{path}\"");
    probe_config(
        &servers.jobs_url_as(neighbours::AGGREGATOR_ROLE, neighbours::AGGREGATOR_PASSWORD),
        &servers.redis_url(),
        state_dir,
        &[
            ("matching", at("tcp", &beside.engine.grpc_url())),
            (
                "postgres",
                format!("{}, role: primary", at("postgres", &servers.jobs_url())),
            ),
            ("redis", at("redis", &servers.redis_url())),
            ("node", at("evm+http", &servers.evm_url())),
            ("gateway", tls.target()),
            ("archive-disk", path("disk", &state_dir.display().to_string())),
            ("memory", path("memory", "/")),
            (
                "jobs",
                format!(
                    "{}, periods: {{ verify-archive: 30d }}",
                    path("jobs", "executions")
                ),
            ),
            ("differences", path("reconciliation", "differences")),
            ("comparisons", path("reconciliation", "data")),
        ],
    )
}

/// No slot of the jobs that a trouble or a panel needs at a time of its own: midnight is soon in some runs, but once a year.
fn quiet(service: &str) -> Vec<(&'static str, String)> {
    let jobs: &[&'static str] = match service {
        EXPIRER => &[
            "EIDOS__JOBS__CLEANUP_ORDERS__CRON",
            "EIDOS__JOBS__EXPIRY_SWEEP__CRON",
        ],
        AGGREGATOR => &["EIDOS__JOBS__KLINE_AGG__CRON", "EIDOS__JOBS__STATS_AGG__CRON"],
        _ => &[],
    };
    jobs.iter().map(|job| (*job, "0 0 1 1 *".to_owned())).collect()
}

/// Trades each minute as soon as it is over.
async fn trade(market: Arc<Mutex<Market>>) {
    loop {
        if let Err(error) = market.lock().await.advance(crate::devnet::now_ms()).await {
            tracing::error!("the markets stand still: {error:#}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The library that gives a process another clock (Debian package libfaketime).
fn faketime() -> anyhow::Result<String> {
    for folder in std::fs::read_dir("/usr/lib")? {
        let library = folder?.path().join("faketime/libfaketimeMT.so.1");
        if library.exists() {
            return Ok(library.display().to_string());
        }
    }
    bail!("libfaketimeMT.so.1 is missing: install the Debian package libfaketime")
}
