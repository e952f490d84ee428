//! health-probe as a process of its own, without PostgreSQL and Redis, which it does not need.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, ensure};
use eidos_testkit::{ChildProcess, Command, PortLease, ScratchDir, cpu_seconds, peak_resident_mib};
use reqwest::Client;

/// Nothing listens on it: the discard port of a machine without such a service.
const NOWHERE: &str = "127.0.0.1:9";
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// The process.
pub(crate) struct Prober {
    child: ChildProcess,
    client: Client,
    port: PortLease,
    _dir: ScratchDir,
}

/// Targets with their addresses.
pub(crate) type Targets = Vec<(String, String)>;

impl Prober {
    /// Starts it with these targets and webhook, and further lines below `probes` and `jobs`.
    pub(crate) async fn start(
        targets: &Targets,
        webhook: Option<&str>,
        (probes, jobs): (&str, &str),
    ) -> anyhow::Result<Self> {
        let (dir, port) = (ScratchDir::create("bench-probe")?, PortLease::take()?);
        let mut text = format!(
            "service: {{ name: bench-probe, env: dev, http_port: {}, grpc_port: 0 }}\n\
             databases: {{ jobs: {{ url: \"postgres://u:p@{NOWHERE}/jobs\" }} }}\nredis: {{ url: \"redis://{NOWHERE}\" }}\n\
             telemetry: {{ log_level: error }}\njobs: {{ {jobs} }}\n",
            port.port()
        );
        if let Some(webhook) = webhook {
            writeln!(
                text,
                "notifications: {{ webhooks: {{ pager: {{ url: \"{webhook}\" }} }} }}"
            )?;
        }
        writeln!(
            text,
            "probes:\n  state_dir: {}\n{probes}\n  targets:",
            dir.path().display()
        )?;
        for (name, url) in targets {
            writeln!(text, "    {name}: {{ url: \"{url}\" }}")?;
        }
        let config = dir.path().join("health-probe.yaml");
        std::fs::write(&config, text)?;
        let child = Command::new(env!("CARGO_BIN_EXE_health-probe"))
            .arg("serve")
            .env("EIDOS_CONFIG", config)
            .spawn();
        let started = Self {
            child,
            client: client()?,
            port,
            _dir: dir,
        };
        let answers = async {
            while started.metrics().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let answered = tokio::time::timeout(ANSWERS_WITHIN, answers).await;
        ensure!(
            answered.is_ok(),
            "health-probe does not answer: {}",
            started.child.stderr()
        );
        Ok(started)
    }

    /// What a Prometheus would read.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let url = format!("http://127.0.0.1:{}/metrics", self.port.port());
        Ok(self
            .client
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?)
    }

    /// User and system seconds so far.
    pub(crate) fn cpu_s(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.child.pid()).with_context(|| format!("health-probe ended: {}", self.child.stderr()))
    }

    /// The most memory it held.
    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        peak_resident_mib(self.child.pid()).context("health-probe ended")
    }
}

/// The sum of the series of a metric whose labels have all these words.
pub(crate) fn sum(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = metrics.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

/// A client that keeps its connections, as Prometheus does.
pub(crate) fn client() -> anyhow::Result<Client> {
    Ok(Client::builder().no_proxy().timeout(ANSWERS_WITHIN).build()?)
}
