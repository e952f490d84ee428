//! The programs the quickstart starts: `eidosctl` and `recon-svc`, built beside this one.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

use super::config::{API_TOKENS, Endpoints};
use super::say;

/// Far above what a run over a few thousand accounts takes.
const RUN_TIMEOUT: Duration = Duration::from_mins(5);
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
        let here = std::env::current_exe().context("where is this program?")?;
        let dir = here.parent().context("this program has no directory")?;
        let find = |name: &str| {
            let path = dir.join(name);
            ensure!(
                path.is_file(),
                "{} is missing: run scripts/quickstart, which builds it",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            eidosctl: find("eidosctl")?,
            recon: find("recon-svc")?,
        })
    }

    /// `eidosctl migrate`.
    pub(super) async fn migrate(&self, jobs_url: &str) -> anyhow::Result<()> {
        // The URL holds a password; arguments are visible to everybody in `ps`, the environment is not.
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

    /// `recon-svc serve` until Ctrl-C.
    pub(super) async fn serve(&self, config: &Path, endpoints: &Endpoints) -> anyhow::Result<()> {
        let mut child = Command::new(&self.recon)
            .arg("serve")
            .env("EIDOS_CONFIG", config)
            .kill_on_drop(true)
            .spawn()
            .context("starting recon-svc serve")?;
        await_port(endpoints.http_port, &mut child).await?;
        say(&how_to_talk(config, endpoints));
        tokio::select! {
            ended = child.wait() => bail!("recon-svc ended by itself: {}", ended?),
            signal = tokio::signal::ctrl_c() => signal.context("waiting for Ctrl-C")?,
        }
        // Ctrl-C reaches the whole process group; what is left is to let it drain.
        match tokio::time::timeout(START_TIMEOUT, child.wait()).await {
            Ok(ended) => ended.map(drop).context("waiting for recon-svc"),
            Err(_elapsed) => child.kill().await.context("stopping recon-svc"),
        }
    }
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

async fn await_port(port: u16, child: &mut tokio::process::Child) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + START_TIMEOUT;
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("recon-svc serve ended at once: {status}");
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "recon-svc does not listen on port {port}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn how_to_talk(config: &Path, endpoints: &Endpoints) -> String {
    let [viewer, operator, _] = API_TOKENS.map(|(_, token)| token);
    let base = format!("http://127.0.0.1:{}", endpoints.http_port);
    format!(
        "\nrecon-svc is serving (configuration: {config}); Ctrl-C ends everything.\n\n  \
         curl -s {base}/ready\n  \
         curl -s -H 'Authorization: Bearer {viewer}' {base}/v1/jobs\n  \
         curl -s -H 'Authorization: Bearer {viewer}' {base}/v1/jobs/reconciliation/report\n  \
         curl -s -H 'Authorization: Bearer {viewer}' {base}/v1/breaks\n  \
         curl -s -X POST -H 'Authorization: Bearer {operator}' -H 'Idempotency-Key: try-1' \\\n       \
         {base}/v1/jobs/reconciliation/trigger\n  \
         curl -s {base}/metrics\n\n  gRPC (eidos.jobs.v1): 127.0.0.1:{grpc}\n  EVM node: {rpc}\n  \
         psql '{exchange}'",
        config = config.display(),
        grpc = endpoints.grpc_port,
        rpc = endpoints.rpc,
        exchange = endpoints.exchange_database,
    )
}
