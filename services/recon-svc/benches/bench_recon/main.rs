//! `./scripts/bench recon`: a full balance run over a million (wallet, token) pairs, what each part of it costs, and
//! the naive way beside it.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "a benchmark measures in floats and prints"
)]

mod books_side;
mod full_run;
mod naive;
mod rungs;
mod stage;

use serde_json::json;

use crate::stage::Stage;

/// The size of the claim; and smaller ones, to show what memory depends on: below a page per shard on the data, above
/// it on the page.
const LARGE: u64 = 1_000_000;
const MIDDLE: u64 = 400_000;
const SMALL: u64 = 100_000;

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let small = Stage::build(SMALL).await?;
    let small_run = full_run::measure(&small).await?;
    let rungs = rungs::measure(&small).await?;
    let naive = naive::measure(&small, LARGE).await?;
    drop(small);
    let middle = Stage::build(MIDDLE).await?;
    let middle_run = full_run::measure(&middle).await?;
    drop(middle);
    let large = Stage::build(LARGE).await?;
    let books_side = books_side::measure(&large).await?;
    let large_run = full_run::measure(&large).await?;
    let document = json!({
        "books_side": books_side, "full_run_small": small_run, "full_run_middle": middle_run,
        "full_run": large_run,
        "rungs": rungs, "naive_extrapolated": naive,
    });
    let root = eidos_sandbox::workspace_root().ok_or_else(|| anyhow::anyhow!("not inside the workspace"))?;
    let dir = root.join("target/bench");
    std::fs::create_dir_all(&dir)?;
    let file = dir.join("recon.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&document)?)?;
    println!("written to {}", file.display());
    Ok(())
}
