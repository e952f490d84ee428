//! `./scripts/bench probe`: what a probe costs, beside Prometheus' `blackbox_exporter`; ten thousand targets of which one in ten
//! accepts and never answers; and the time from a death to the alert at a webhook.
//!
//! `--probes N` sets how many probes of each prober are measured, `--targets N` and `--rounds N` the large part, `--only
//! cost|scale|alert` measures one part.
#![expect(
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a benchmark measures in floats and prints"
)]

mod alert;
mod blackbox;
mod cost;
mod options;
mod prober;
mod scale;
mod servers;

use eidos_testkit::write_result;
use serde_json::json;

use crate::options::{Options, Part};

fn main() -> anyhow::Result<()> {
    // Fails only when a provider is installed already, which is what is wanted.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let options = Options::from_args(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let mut document = serde_json::Map::new();
    if options.wants(Part::Cost) {
        document.insert("cost".into(), cost::measure(options.probes).await?);
    }
    if options.wants(Part::Scale) {
        document.insert(
            "scale".into(),
            scale::measure(options.targets, options.rounds).await?,
        );
    }
    if options.wants(Part::Alert) {
        document.insert("alert".into(), alert::measure().await?);
    }
    println!(
        "written to {}",
        write_result("bench", "probe", &json!(document)).display()
    );
    Ok(())
}

/// The words of a goal.
const fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "NOT MET" }
}
