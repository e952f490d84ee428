//! Debian's `prometheus-blackbox-exporter`, asked as Prometheus asks it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use eidos_testkit::{ChildProcess, Command, PortLease, ScratchDir, cpu_seconds, peak_resident_mib};
use futures::{StreamExt, TryStreamExt};
use reqwest::Client;

use crate::prober::client;

const PROGRAM: &str = "/usr/bin/prometheus-blackbox-exporter";
const MODULES: &str =
    "modules: { http_2xx: { prober: http, timeout: 5s, http: { preferred_ip_protocol: ip4 } } }\n";
const LISTENS_WITHIN: Duration = Duration::from_secs(30);
/// Questions at the same time.
const AT_ONCE: usize = 8;

/// The process.
pub(crate) struct Blackbox {
    child: ChildProcess,
    client: Client,
    port: PortLease,
    _dir: ScratchDir,
}

impl Blackbox {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        ensure!(
            Path::new(PROGRAM).is_file(),
            "{PROGRAM} is missing: scripts/install --bench"
        );
        let (dir, port) = (ScratchDir::create("bench-blackbox")?, PortLease::take()?);
        let config = dir.path().join("blackbox.yaml");
        std::fs::write(&config, MODULES)?;
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", port.port()))
            .arg("--log.level=error")
            .spawn();
        let listens = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port.port()))
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let listening = tokio::time::timeout(LISTENS_WITHIN, listens).await;
        listening.with_context(|| format!("{PROGRAM} does not listen: {}", child.stderr()))?;
        Ok(Self {
            child,
            client: client()?,
            port,
            _dir: dir,
        })
    }

    /// Has each of these addresses probed once.
    pub(crate) async fn probe(&self, urls: &[String]) -> anyhow::Result<()> {
        let probes = futures::stream::iter(urls).map(|url| async move {
            let question = format!(
                "http://127.0.0.1:{}/probe?module=http_2xx&target={url}",
                self.port.port()
            );
            let answer = self.client.get(question).send().await?.text().await?;
            ensure!(
                answer.contains("\nprobe_success 1\n"),
                "a probe of {url} failed: {answer}"
            );
            Ok(())
        });
        probes.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// User and system seconds so far.
    pub(crate) fn cpu_s(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.child.pid()).context("blackbox_exporter ended")
    }

    /// The most memory it held.
    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        peak_resident_mib(self.child.pid()).context("blackbox_exporter ended")
    }
}
