//! The whole program: `recon-svc run reconciliation --full` as a process of its own.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use eidos_testkit::{cpu_seconds, ended_children_cpu_seconds, peak_resident_mib};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::stage::Stage;

pub(crate) async fn measure(stage: &Stage) -> anyhow::Result<Value> {
    let postmaster = stage.postgres.pid().await.context("PostgreSQL is not running")?;
    let database_before = ended_children_cpu_seconds(postmaster).context("the server ended")?;
    let begun = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_recon-svc"))
        .args(["run", "reconciliation", "--full", "--format", "json"])
        .env("EIDOS_CONFIG", &stage.config)
        // anvil builds the trie of a million slots anew for each proof; other nodes give it from their database.
        .env("EIDOS__CHAIN__STATE_PROOF", "false")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().context("it ended at once")?;
    let output = child.wait_with_output();
    tokio::pin!(output);
    let (mut cpu_s, mut peak_mib) = (0.0, 0.0);
    let output = loop {
        tokio::select! {
            output = &mut output => break output?,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                // The process may end between two looks; the last look counts.
                cpu_s = cpu_seconds(pid).unwrap_or(cpu_s);
                peak_mib = peak_resident_mib(pid).unwrap_or(peak_mib);
            }
        }
    };
    let wall_s = begun.elapsed().as_secs_f64();
    ensure!(output.status.success(), "the run failed: {}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).context("the report is not JSON")?;
    let report = report.get("report").unwrap_or(&report);
    ensure!(
        report["checked"].as_u64() >= Some(stage.accounts),
        "only {} accounts were checked",
        report["checked"]
    );
    ensure!(
        report["breaks_found"] == 0,
        "a world that agrees has {} breaks",
        report["breaks_found"]
    );
    let database_s = ended_children_cpu_seconds(postmaster).context("the server ended")? - database_before;
    let requests = &report["rpc"];
    println!(
        "full run, {} pairs: {wall_s:.2} s wall, service {cpu_s:.2} CPU-s, database {database_s:.2} CPU-s, \
         peak {peak_mib:.0} MiB\n  rpc {requests}",
        stage.accounts
    );
    Ok(json!({
        "pairs": stage.accounts, "wall_s": wall_s, "service_cpu_s": cpu_s, "database_cpu_s": database_s,
        "peak_resident_mib": peak_mib, "rpc": requests,
    }))
}
