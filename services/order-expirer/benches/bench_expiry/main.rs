//! `./scripts/bench expiry`: expired orders from the table to a confirmed end, through the devnet's matching engine and trading
//! service, Apache Kafka, PostgreSQL and Redis; over both transports, and beside the usual way: one call for each order.
//!
//! `--orders N` sets how many orders each transport ends, `--peer-orders N` how many the usual way does, `--only
//! grpc|kafka|rows|peer` measures one part.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "a benchmark measures in floats and prints"
)]

mod options;
mod ours;
mod peer;
mod stage;

use eidos_testkit::write_result;
use serde_json::json;

use crate::options::{Options, Part};
use crate::ours::Way;
use crate::stage::Stage;

fn main() -> anyhow::Result<()> {
    // Fails only when a provider is installed already, which is what is wanted.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let options = Options::from_args(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let stage = Stage::build().await?;
    let mut document = serde_json::Map::new();
    for (part, way) in [
        (Part::Grpc, Way::GRPC),
        (Part::Kafka, Way::KAFKA),
        (Part::Rows, Way::ROWS),
    ] {
        if options.wants(part) {
            document.insert(way.name.into(), ours::measure(&stage, way, options.orders).await?);
        }
    }
    if options.wants(Part::Peer) {
        for at_once in [1, 16] {
            let name = format!("one_call_per_order_{at_once}_at_once");
            let measured = peer::measure(&stage, options.peer_orders, at_once).await?;
            document.insert(name, measured);
        }
    }
    stage.end().await?;
    let file = write_result("bench", "expiry", &json!(document));
    println!("written to {}", file.display());
    Ok(())
}
