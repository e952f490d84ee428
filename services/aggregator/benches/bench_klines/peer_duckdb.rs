//! DuckDB: reads and writes the same database through its PostgreSQL scanner.

use std::path::Path;

use aggregator::domain::Level;
use eidos_testkit::bench_python;
use tokio::process::Command;

use crate::stage::{Cost, EXCHANGE, Stage};

/// Its table, like the table of candles.
pub(crate) const TABLE: &str = "duckdb_klines";

/// Builds these levels.
pub(crate) async fn measure(stage: &Stage, levels: &[Level]) -> anyhow::Result<Cost> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/bench_klines/peers/duckdb_klines.py");
    let levels = levels.iter().map(|level| {
        let Level { interval, source } = level;
        format!(
            "{interval}={source}={}={}",
            interval.width_ms(),
            interval.origin_ms()
        )
    });
    let mut command = Command::new(bench_python());
    command
        .arg(script)
        .args([stage.postgres.url(EXCHANGE), TABLE.to_owned()])
        .args(levels);
    let (cost, _types) = stage.measured(&mut command).await?;
    Ok(cost)
}
