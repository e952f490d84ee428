//! `./scripts/simulate-recon --days 30 --seed S`: an exchange over many days, hour by hour, and a reconciliation each hour.
//!
//! Servers, programs and this process share one clock (libfaketime), which jumps an hour after each run: a day of the exchange
//! takes about a minute. Traffic never stops. From the seed follow faults of every class and when they are planted, situations
//! that look like faults, an indexer that stands still, transactions that are committed late, reorganisations, and a node that
//! refuses, lies and is slow. What is judged are the open breaks after each run, against what was planted until then.
#![expect(clippy::print_stdout, reason = "a harness: its output is its purpose")]

mod clock;
mod deck;
mod judge;
mod life;
mod report;
mod weather;
mod world;

use anyhow::{Context, bail};
use eidos_testkit::write_result;

use crate::clock::WorldClock;
use crate::life::Life;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
struct Options {
    days: u32,
    seed: u64,
}

impl Options {
    /// Reads the program's arguments.
    fn from_args() -> anyhow::Result<Self> {
        let mut options = Self {
            days: 30,
            seed: rand::random(),
        };
        // Cargo adds --bench to whatever it runs as a benchmark.
        let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
        while let Some(flag) = args.next() {
            let text = args.next().with_context(|| format!("{flag} needs a number"))?;
            let number: u64 = text
                .parse()
                .with_context(|| format!("{flag} needs a number, not '{text}'"))?;
            match flag.as_str() {
                "--days" if (1..=366).contains(&number) => options.days = u32::try_from(number)?,
                "--days" => bail!("--days {number} is not 1 to 366"),
                "--seed" => options.seed = number,
                _ => bail!("unknown option {flag}; there are --days N and --seed S"),
            }
        }
        Ok(options)
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::from_args()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if !runtime.block_on(simulate(options))? {
        bail!("not everything held; seed {} repeats the run", options.seed);
    }
    Ok(())
}

async fn simulate(options: Options) -> anyhow::Result<bool> {
    println!("simulate-recon: {} days, seed {}", options.days, options.seed);
    let mut life = Life::begin(options.seed, WorldClock::of_environment()?).await?;
    for day in 1..=options.days {
        for hour in 0..24 {
            life.hour(hour == 0).await?;
        }
        life.explain_what_is_new().await?;
        println!("day {day:>3}: {}", life.line());
    }
    life.calm_down().await?;
    let report = life.end(options.days, options.seed);
    println!("\n{report}");
    let file = write_result(
        "simulate-recon",
        &format!("seed-{}", options.seed),
        &serde_json::to_value(&report)?,
    );
    println!("written to {}", file.display());
    Ok(report.is_clean())
}
