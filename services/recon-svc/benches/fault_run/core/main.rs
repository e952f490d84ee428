//! `./scripts/fault-run core --rounds 200`: two real recon-svc processes under random faults, then a verdict for each
//! invariant.
//!
//! The world of the books and the chain stands still, so an undisturbed run in a database of its own says which
//! breaks there are. Then two replicas reconcile that world every few seconds while, round after round, one of them is
//! killed or stopped beyond its lease, Redis is restarted or flushed, PostgreSQL is restarted, or the node's RPC goes
//! silent. What is judged afterwards is the database, with an audit table of its own ([`audit`]), never a log line.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a harness: a step that cannot be made ends the run, and its output is its purpose"
)]

#[path = "../../arena/mod.rs"]
mod arena;
mod audit;
mod calm;
mod storm;
mod verdict;

use std::time::Duration;

use anyhow::bail;
use eidos_testkit::{FaultRunOptions, report_fault_run};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::arena::Arena;
use crate::storm::{REPLICAS, Storm};

/// How long the replicas get to become quiet and to run once more after the last fault.
const RECOVERY: Duration = Duration::from_mins(1);

fn main() -> anyhow::Result<()> {
    let options = FaultRunOptions::from_args(200, rand::random()).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let held = runtime.block_on(run(options))?;
    if !held {
        bail!("an invariant did not hold; seed {} repeats the run", options.seed);
    }
    Ok(())
}

async fn run(options: FaultRunOptions) -> anyhow::Result<bool> {
    println!("fault-run core: {} rounds, seed {}", options.rounds, options.seed);
    let arena = Arena::build(options.seed, REPLICAS).await?;
    let expected = calm::undisturbed_breaks(&arena).await?;
    println!("undisturbed run: {} open breaks", expected.len());

    audit::install(&arena.jobs().await?).await?;
    let mut storm = Storm::begin(&arena, StdRng::seed_from_u64(options.seed)).await?;
    let tally = storm.rage(options.rounds).await?;
    let last_fault_ms = storm.calm(RECOVERY).await?;
    storm.end().await?;

    let verdicts = verdict::judge(&arena.jobs().await?, &expected, last_fault_ms).await?;
    Ok(report_fault_run("core", options, &tally, &verdicts))
}
