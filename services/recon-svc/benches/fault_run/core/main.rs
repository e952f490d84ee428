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

use anyhow::{Context, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use crate::arena::Arena;
use crate::storm::{REPLICAS, Storm, Tally};
use crate::verdict::Verdict;

/// How long the replicas get to become quiet and to run once more after the last fault.
const RECOVERY: Duration = Duration::from_mins(1);

struct Options {
    rounds: u32,
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let options = options(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let held = runtime.block_on(run(&options))?;
    if !held {
        bail!("an invariant did not hold; seed {} repeats the run", options.seed);
    }
    Ok(())
}

fn options(args: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let mut options = Options {
        rounds: 200,
        seed: rand::random(),
    };
    let mut args = args.filter(|arg| arg != "--bench");
    while let Some(flag) = args.next() {
        let mut number = || -> anyhow::Result<u64> {
            let text = args.next().with_context(|| format!("{flag} needs a number"))?;
            text.parse()
                .with_context(|| format!("{flag} needs a number, not '{text}'"))
        };
        match flag.as_str() {
            "--rounds" => options.rounds = u32::try_from(number()?)?,
            "--seed" => options.seed = number()?,
            _ => bail!("unknown option {flag}; there are --rounds N and --seed S"),
        }
    }
    Ok(options)
}

async fn run(options: &Options) -> anyhow::Result<bool> {
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
    report(options, &tally, &verdicts)?;
    Ok(verdicts.iter().all(Verdict::held))
}

fn report(options: &Options, tally: &Tally, verdicts: &[Verdict]) -> anyhow::Result<()> {
    println!("\nfaults");
    for (fault, count) in tally {
        println!("  {fault:<24} {count:>5}");
    }
    println!("\ninvariants");
    for verdict in verdicts {
        println!("  {verdict}");
    }
    let held = verdicts.iter().all(Verdict::held);
    println!(
        "\n{}",
        if held {
            "every invariant held"
        } else {
            "AN INVARIANT DID NOT HOLD"
        }
    );
    let document = json!({
        "seed": options.seed, "rounds": options.rounds, "faults": tally, "invariants": verdicts, "held": held,
    });
    println!(
        "written to {}",
        arena::write_result("fault-run", "core", &document)?.display()
    );
    Ok(())
}
