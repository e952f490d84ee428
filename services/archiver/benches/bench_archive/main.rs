//! `./scripts/bench archive`: export, moves and drops, each beside a named peer or a bound, in one run.
//!
//! `--rows 1000000,10000000` sets the sizes of the exported table, `--rounds N` how often each exporter runs (they take
//! turns), `--only export|move|drop` one part.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "a benchmark: it measures in floats, prints, and a step that cannot be made ends it"
)]

mod bare_moves;
mod drop_partition;
mod export;
mod moves;
mod options;
mod stage;

use eidos_testkit::write_result;
use serde_json::json;

use crate::options::{Options, Part};
use crate::stage::Stage;

fn main() -> anyhow::Result<()> {
    // Fails only when a provider is installed already, which is what is wanted.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let Some(job) = export::worker::Job::from_args(&args) {
        return runtime.block_on(export::worker::work(&job));
    }
    runtime.block_on(run(&Options::from_args(&args)?))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let stage = Stage::build().await?;
    let mut document = serde_json::Map::new();
    if options.wants(Part::Export) {
        document.insert("export".into(), export::measure(&stage, options).await?);
    }
    if options.wants(Part::Move) {
        document.insert("move".into(), moves::measure(&stage, options).await?);
    }
    if options.wants(Part::Drop) {
        document.insert("drop".into(), drop_partition::measure(&stage).await?);
    }
    println!(
        "written to {}",
        write_result("bench", "archive", &json!(document)).display()
    );
    Ok(())
}
