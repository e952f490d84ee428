//! The whole program: `recon-svc run reconciliation --full` as a process of its own.

use anyhow::{Context, ensure};
use eidos_testkit::{Measured, ended_children_cpu_seconds};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::stage::Stage;

pub(crate) async fn measure(stage: &Stage) -> anyhow::Result<Value> {
    let postmaster = stage.postgres.pid().await.context("PostgreSQL is not running")?;
    let database_before = ended_children_cpu_seconds(postmaster).context("the server ended")?;
    let run = Measured::run(
        Command::new(env!("CARGO_BIN_EXE_recon-svc"))
            .args(["run", "reconciliation", "--full", "--format", "json"])
            .env("EIDOS_CONFIG", &stage.config)
            // anvil builds the trie of a million slots anew for each proof; other nodes give it from their database.
            .env("EIDOS__CHAIN__STATE_PROOF", "false"),
    )
    .await;
    let Measured {
        wall_s,
        cpu_s,
        peak_mib,
        stdout,
    } = run;
    let report: Value = serde_json::from_str(&stdout).context("the report is not JSON")?;
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
