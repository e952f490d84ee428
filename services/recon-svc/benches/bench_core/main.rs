//! `./scripts/bench core`: what the guards cost and how fast another replica takes over.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "a benchmark: it measures in floats, prints, and a step that cannot be made ends it"
)]

#[path = "../arena/mod.rs"]
mod arena;
mod cycle;
mod idle;
mod latency;
mod takeover;

use eidos_testkit::write_result;
use serde_json::json;

use crate::arena::Arena;

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let arena = Arena::build(7, 3).await?;
    let lease = cycle::measure(&arena).await?;
    let idle = idle::measure(&arena).await?;
    let start = latency::measure(&arena).await?;
    let takeover = takeover::measure(&arena).await?;
    let document =
        json!({ "lease_cycle": lease, "idle": idle, "slot_to_start": start, "takeover": takeover });
    println!(
        "written to {}",
        write_result("bench", "core", &document).display()
    );
    Ok(())
}
