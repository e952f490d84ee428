//! [`Alertmanager`]: a private Alertmanager.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::SandboxError;
use crate::ports::PortLease;
use crate::process::{ProcessSpec, Signal};
use crate::programs::{find_program, on_path};
use crate::prometheus::{flag, is_ready};
use crate::scratch::ScratchDir;
use crate::server::{Server, server_lifecycle};

const READY_WITHIN: Duration = Duration::from_secs(30);
/// How Debian calls it.
const PROGRAM: &str = "prometheus-alertmanager";

/// Whom it notifies, and when.
#[derive(Debug, Clone)]
pub struct AlertmanagerOptions {
    /// The URL of the one receiver, which is told of ends as well. Every alert is a group of its own.
    pub webhook: String,
    /// How long it waits before it notifies of an alert that is new to it.
    pub group_wait: Duration,
}

/// A private Alertmanager on a loopback port, without a cluster. What it was told is lost when it ends; silences are kept over
/// restarts, and what it has notified over orderly ones.
#[derive(Debug)]
pub struct Alertmanager {
    server: Server,
    port: PortLease,
    _scratch: ScratchDir,
}

server_lifecycle!(Alertmanager);

impl Alertmanager {
    /// Starts a server in a directory of its own that is removed with it.
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`], or why it did not start.
    pub async fn start(options: &AlertmanagerOptions) -> Result<Self, SandboxError> {
        let program = program()?;
        let scratch = ScratchDir::create("alertmanager")?;
        let port = PortLease::take()?;
        let config = scratch.path().join("alertmanager.yml");
        std::fs::write(&config, configuration(options)).map_err(SandboxError::file("write", &config))?;
        let listen = format!("127.0.0.1:{}", port.port());
        let spec = ProcessSpec::new("alertmanager", program, scratch.path().join("alertmanager.log"))
            .arg(flag("--config.file", &config))
            .arg(flag("--storage.path", &scratch.path().join("data")))
            .arg(format!("--web.listen-address={listen}"))
            .arg("--cluster.listen-address=");
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

/// Elsewhere it has the name that its authors gave it.
fn program() -> Result<PathBuf, SandboxError> {
    match on_path("alertmanager") {
        Some(program) => Ok(program),
        None => find_program(PROGRAM, "the Debian package prometheus-alertmanager"),
    }
}

fn configuration(options: &AlertmanagerOptions) -> String {
    format!(
        "route: {{ receiver: webhook, group_by: ['...'], group_wait: {}ms, group_interval: 1s, repeat_interval: 4h }}\n\
         receivers: [{{ name: webhook, webhook_configs: [{{ url: {:?}, send_resolved: true }}] }}]\n",
        options.group_wait.as_millis(),
        options.webhook,
    )
}
