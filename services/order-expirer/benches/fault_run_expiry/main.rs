//! `./scripts/fault-run expiry --minutes 30 [--transport grpc|kafka|both]`: two order-expirer processes, a matching engine that
//! misbehaves, a trading service, Apache Kafka, PostgreSQL and Redis, each of them killed or stopped at random; then a verdict
//! for each invariant. With `both`, the default, the transport of requests changes with every round: the two processes are
//! told the other one when they are started again, which each round does to one of them.
//!
//! Orders of every kind are written, and more of them in every round. The engine and the trading service are a process of
//! the devnet, which drops, delays, repeats and forgets, and loses its memory when it is killed. What is judged afterwards is the
//! exchange's tables, by an oracle that knows each order's fate, and what order-expirer recorded as ended.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a harness: a step that cannot be made ends the run, and its output is its purpose"
)]

mod arena;
mod poison;
mod storm;
mod transport;
mod verdict;

use anyhow::bail;
use eidos_devnet::orders;
use eidos_testkit::{FaultRunOptions, report_fault_run};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::arena::Arena;
use crate::storm::Storm;
use crate::transport::Transports;

fn main() -> anyhow::Result<()> {
    let (transports, rest) = Transports::from_args(std::env::args().skip(1))?;
    let options = FaultRunOptions::from_list(rest, 200, rand::random()).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let held = runtime.block_on(run(options, transports))?;
    if !held {
        bail!("an invariant did not hold; seed {} repeats the run", options.seed);
    }
    Ok(())
}

async fn run(options: FaultRunOptions, transports: Transports) -> anyhow::Result<bool> {
    println!(
        "fault-run expiry: {} rounds, seed {}, transport {}",
        options.rounds,
        options.seed,
        transports.as_str()
    );
    let arena = Arena::build(options.seed, transports).await?;
    let mut storm = Storm::begin(&arena, StdRng::seed_from_u64(options.seed)).await?;
    let tally = storm.rage(options.rounds).await?;
    storm.calm().await?;
    storm.end().await?;
    let comparison = orders::verdict(&arena.exchange).await?;
    println!("\nthe tables against the oracle\n{comparison}");
    let verdicts = verdict::judge(&arena, &comparison, storm.planted()).await?;
    Ok(report_fault_run("expiry", options, &tally, &verdicts))
}
