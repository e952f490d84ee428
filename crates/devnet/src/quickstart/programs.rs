//! The programs the quickstart starts: `eidosctl` and `recon-svc`, built beside this one.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use eidos_sandbox::{ManagedProcess, ProcessSpec, Signal};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::config::{API_TOKENS, Endpoints};
use super::say;

/// Far above what a run over a few thousand accounts takes.
const RUN_TIMEOUT: Duration = Duration::from_mins(5);
/// Runs in progress get to their next step and end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(40);
/// From start to an answering port.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Where they are.
pub(super) struct Programs {
    eidosctl: PathBuf,
    recon: PathBuf,
}

impl Programs {
    /// Cargo puts all binaries of a workspace into one directory.
    pub(super) fn beside_this_one() -> anyhow::Result<Self> {
        Ok(Self {
            eidosctl: sibling("eidosctl")?,
            recon: sibling("recon-svc")?,
        })
    }

    /// `eidosctl migrate`.
    pub(super) async fn migrate(&self, jobs_url: &str) -> anyhow::Result<()> {
        // The URL holds a password; arguments are visible to every user in `ps`, the environment is not.
        let mut command = Command::new(&self.eidosctl);
        command
            .arg("migrate")
            .env("EIDOS_DATABASE_URL", jobs_url)
            .env("EIDOS__DATABASES__JOBS__URL", jobs_url);
        finish("eidosctl migrate", &mut command).await.map(drop)
    }

    /// `recon-svc run reconciliation`, and what it printed.
    pub(super) async fn reconcile(&self, config: &Path, flags: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.recon);
        command
            .args(["run", "reconciliation", "--format", "table"])
            .args(flags)
            .env("EIDOS_CONFIG", config);
        finish("recon-svc run reconciliation", &mut command).await
    }

    /// What `recon-svc explain` says about these breaks, as JSON.
    pub(super) async fn explain(&self, config: &Path, breaks: &[String]) -> anyhow::Result<Vec<Value>> {
        if breaks.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = Command::new(&self.recon);
        command
            .args(["explain", "--json", &breaks.join(",")])
            .env("EIDOS_CONFIG", config);
        let printed = finish("recon-svc explain", &mut command).await?;
        let answer: Value = serde_json::from_str(&printed).context("recon-svc explain printed no JSON")?;
        Ok(match answer {
            Value::Array(answers) => answers,
            only => vec![only],
        })
    }

    /// `recon-svc serve` until Ctrl-C or SIGTERM. Its log is written to a file: the terminal is for the person.
    pub(super) async fn serve(&self, config: &Path, endpoints: &Endpoints) -> anyhow::Result<()> {
        let log = config.with_file_name("recon-svc.log");
        let spec = ProcessSpec::new("recon-svc", &self.recon, &log)
            .arg("serve")
            .env("EIDOS_CONFIG", config);
        let process = ManagedProcess::spawn(&spec)?;
        let port = endpoints.http_port;
        let listening = || async move { TcpStream::connect(("127.0.0.1", port)).await.is_ok() };
        process.wait_ready(START_TIMEOUT, listening).await?;
        say(&how_to_talk(config, &log, endpoints));
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = process.wait_exit(Duration::MAX) => {
                bail!("recon-svc ended by itself ({}):\n{}", ended?, process.log_tail());
            }
            interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for Ctrl-C")?,
            _ = terminate.recv() => {}
        }
        // A terminal's Ctrl-C reaches recon-svc too; a second request to drain is none, and it may be gone already.
        let _ = process.signal(Signal::Terminate);
        if process.wait_exit(DRAIN_TIMEOUT).await.is_err() {
            process.kill()?;
        }
        Ok(())
    }
}

/// The program `name` of this build.
pub(super) fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("where is this program?")?;
    let path = here.parent().context("this program has no directory")?.join(name);
    ensure!(
        path.is_file(),
        "{} is missing: run scripts/quickstart, which builds it",
        path.display()
    );
    Ok(path)
}

async fn finish(name: &str, command: &mut Command) -> anyhow::Result<String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(RUN_TIMEOUT, command.output())
        .await
        .with_context(|| format!("{name} did not end within {} s", RUN_TIMEOUT.as_secs()))?
        .with_context(|| format!("{name} does not start"))?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(
        output.status.success(),
        "{name} failed ({}):\n{stdout}{stderr}",
        output.status
    );
    Ok(stdout.trim_end().to_owned())
}

fn how_to_talk(config: &Path, log: &Path, endpoints: &Endpoints) -> String {
    let [viewer, operator, _] = API_TOKENS.map(|(_, token)| token);
    let base = format!("http://127.0.0.1:{}", endpoints.http_port);
    format!(
        "\nrecon-svc is serving (configuration {config}, log {log}); Ctrl-C ends everything.\n\n  \
         curl -s {base}/ready\n  \
         curl -s -H 'Authorization: Bearer {viewer}' {base}/v1/jobs\n  \
         curl -s -H 'Authorization: Bearer {viewer}' {base}/v1/jobs/reconciliation/report\n  \
         curl -s -H 'Authorization: Bearer {viewer}' {base}/v1/breaks\n  \
         curl -s -X POST -H 'Authorization: Bearer {operator}' -H 'Idempotency-Key: try-1' \\\n       \
         {base}/v1/jobs/reconciliation/trigger\n  \
         curl -s {base}/metrics\n\n  gRPC (eidos.jobs.v1): 127.0.0.1:{grpc}\n  EVM node: {rpc}\n  \
         psql '{exchange}'",
        config = config.display(),
        log = log.display(),
        grpc = endpoints.grpc_port,
        rpc = endpoints.rpc,
        exchange = endpoints.exchange_database,
    )
}
