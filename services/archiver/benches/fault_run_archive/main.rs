//! `./scripts/fault-run archive --rounds 300`: retention-manager and archiver, killed, stopped and overtaken inside every
//! step of archiving, exporting and dropping; then a verdict for each invariant.
//!
//! The exchange's tables hold two years of rows, and a schema `truth` beside them holds a copy nobody disposes of. Round
//! after round time goes on a day or two, rows finish and are added (to both), and one of the two services works for
//! that slot until it is hit: killed after so many bytes of conversation with PostgreSQL, killed at a random moment,
//! stopped while another process of the same job overtakes it, or left without its database. What is judged afterwards
//! is where the rows are: each of them must be in exactly one place, and that place must be provable.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a harness: a step that cannot be made ends the run, and its output is its purpose"
)]

mod aftermath;
mod arena;
mod life;
mod places;
mod storm;
mod verdict;

use anyhow::bail;
use eidos_testkit::{FaultRunOptions, report_fault_run};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::arena::Arena;
use crate::storm::Storm;

fn main() -> anyhow::Result<()> {
    // Fails only when a provider is installed already, which is what is wanted.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let options = FaultRunOptions::from_args(300, rand::random()).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let held = runtime.block_on(run(options))?;
    if !held {
        bail!("an invariant did not hold; seed {} repeats the run", options.seed);
    }
    Ok(())
}

async fn run(options: FaultRunOptions) -> anyhow::Result<bool> {
    println!(
        "fault-run archive: {} rounds, seed {}",
        options.rounds, options.seed
    );
    let arena = Arena::build().await?;
    let mut storm = Storm::begin(&arena, StdRng::seed_from_u64(options.seed)).await?;
    let tally = storm.rage(options.rounds).await?;
    let last_slot = storm.calm().await?;
    println!("the last slot was {last_slot}");
    let mut verdicts = verdict::judge(&arena, last_slot).await?;
    verdicts.extend(storm.aftermath.verdicts());
    Ok(report_fault_run("archive", options, &tally, &verdicts))
}
