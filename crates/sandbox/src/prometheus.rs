//! [`Prometheus`]: a private Prometheus server.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::error::SandboxError;
use crate::ports::PortLease;
use crate::process::{ProcessSpec, Signal};
use crate::programs::find_program;
use crate::scratch::ScratchDir;
use crate::server::{Server, server_lifecycle};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// One service to scrape.
#[derive(Debug, Clone)]
pub struct ScrapeTarget {
    /// The value of the label `service`, as the chart's `ServiceMonitor` sets it.
    pub service: String,
    /// `host:port` of its HTTP API.
    pub address: String,
}

/// What to scrape and which rules to evaluate.
#[derive(Debug, Clone, Default)]
pub struct PrometheusOptions {
    /// The services.
    pub targets: Vec<ScrapeTarget>,
    /// Files of alerting rules, absolute.
    pub rule_files: Vec<PathBuf>,
}

/// A private Prometheus server on a loopback port. It scrapes and evaluates each second.
#[derive(Debug)]
pub struct Prometheus {
    server: Server,
    port: PortLease,
    _scratch: ScratchDir,
}

server_lifecycle!(Prometheus);

impl Prometheus {
    /// Starts a server without history, in a directory of its own that is removed with it.
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`], or why it did not start: a rule file it does not take, for example.
    pub async fn start(options: &PrometheusOptions) -> Result<Self, SandboxError> {
        let program = find_program("prometheus", "the Debian package prometheus")?;
        let scratch = ScratchDir::create("prometheus")?;
        let port = PortLease::take()?;
        let config = scratch.path().join("prometheus.yml");
        std::fs::write(&config, configuration(options)).map_err(SandboxError::file("write", &config))?;
        let listen = format!("127.0.0.1:{}", port.port());
        let spec = ProcessSpec::new("prometheus", program, scratch.path().join("prometheus.log"))
            .arg(flag("--config.file", &config))
            .arg(flag("--storage.tsdb.path", &scratch.path().join("data")))
            .arg(format!("--web.listen-address={listen}"));
        let server = Server::new(spec, Signal::Terminate, READY_WITHIN, move || {
            let listen = listen.clone();
            async move { is_ready(&listen).await.unwrap_or(false) }
        });
        server.start().await?;
        Ok(Self {
            server,
            port,
            _scratch: scratch,
        })
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.port())
    }
}

/// It accepts connections and answers 503 while it loads its data.
pub(crate) async fn is_ready(address: &str) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(b"GET /-/ready HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.0 200"))
}

pub(crate) fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn configuration(options: &PrometheusOptions) -> String {
    let mut yaml =
        "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\nrule_files:\n"
            .to_owned();
    for file in &options.rule_files {
        let _ = writeln!(yaml, "  - {:?}", file.display().to_string());
    }
    yaml.push_str("scrape_configs:\n");
    for target in &options.targets {
        let _ = writeln!(
            yaml,
            "  - {{ job_name: {:?}, honor_labels: true, static_configs: [{{ targets: [{:?}], labels: {{ service: {:?} }} }}] }}",
            target.service, target.address, target.service
        );
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_label_job_is_kept_and_the_service_named() {
        let yaml = configuration(&PrometheusOptions {
            targets: vec![ScrapeTarget {
                service: "recon-svc".to_owned(),
                address: "127.0.0.1:8080".to_owned(),
            }],
            rule_files: vec!["/rules/jobs.yaml".into()],
        });
        assert!(yaml.contains("honor_labels: true"), "{yaml}");
        assert!(yaml.contains("labels: { service: \"recon-svc\" }"), "{yaml}");
        assert!(yaml.contains("- \"/rules/jobs.yaml\""), "{yaml}");
    }
}
