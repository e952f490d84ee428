//! A table to Parquet: ours, DuckDB's PostgreSQL scanner, ADBC, `ConnectorX`, taking turns on the same table.

mod peer;
pub(crate) mod worker;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::options::Options;
use crate::stage::{Stage, fill_trades};
use peer::{EXPORTERS, Measured};

const TABLE: &str = "eidos_trading_trades";

/// Every exporter at every size.
pub(crate) async fn measure(stage: &Stage, options: &Options) -> anyhow::Result<Value> {
    let mut sizes = serde_json::Map::new();
    for &rows in &options.rows {
        let database = format!("export_{rows}");
        let exchange = stage.exchange(&database).await?;
        println!("filling {rows} trades");
        fill_trades(&exchange, rows).await?;
        let truth: Vec<(String, String)> = exact_sums(&exchange).await?;
        exchange.close().await;
        // Large tables take minutes in the slower exporters: one turn each is enough to compare.
        let rounds = if rows > 2_000_000 { 1 } else { options.rounds };
        let mut results: BTreeMap<&str, Vec<Measured>> = BTreeMap::new();
        for round in 0..rounds {
            // Each is first once: whoever is first may find colder caches.
            let first = round as usize % EXPORTERS.len();
            for exporter in EXPORTERS.iter().cycle().skip(first).take(EXPORTERS.len()) {
                let folder = stage.folder(&format!("{database}/{}/{round}", exporter.name))?;
                let measured = exporter
                    .run(&stage.postgres.url(&database), TABLE, &folder)
                    .await?;
                results.entry(exporter.name).or_default().push(measured);
                if round + 1 < rounds {
                    std::fs::remove_dir_all(&folder)?;
                }
            }
        }
        let last = rounds.saturating_sub(1);
        sizes.insert(
            rows.to_string(),
            table(stage, rows, last, &results, &truth).await?,
        );
        stage.postgres.drop_database(&database).await?;
    }
    Ok(Value::Object(sizes))
}

/// The money of the table, summed by PostgreSQL.
async fn exact_sums(exchange: &sqlx::PgPool) -> anyhow::Result<Vec<(String, String)>> {
    let sums: (String, String, String, String, String) = sqlx::query_as(
        "SELECT sum(price)::text, sum(amount)::text, sum(quote_amount)::text, sum(maker_fee)::text, sum(taker_fee)::text
         FROM eidos_trading_trades",
    )
    .fetch_one(exchange)
    .await?;
    Ok(vec![
        ("price".to_owned(), sums.0),
        ("amount".to_owned(), sums.1),
        ("quote_amount".to_owned(), sums.2),
        ("maker_fee".to_owned(), sums.3),
        ("taker_fee".to_owned(), sums.4),
    ])
}

async fn table(
    stage: &Stage,
    rows: u64,
    last_round: u32,
    results: &BTreeMap<&str, Vec<Measured>>,
    truth: &[(String, String)],
) -> anyhow::Result<Value> {
    println!("\nexport of {rows} trades to Parquet (zstd)");
    println!(
        "  {:<22} {:>9} {:>9} {:>9} {:>11} {:>9} {:>9}   money",
        "exporter", "median s", "spread s", "process s", "rows/s", "peak MiB", "file MiB"
    );
    let mut shown = serde_json::Map::new();
    for exporter in EXPORTERS {
        let Some(runs) = results.get(exporter.name) else {
            continue;
        };
        let sorted = |of: fn(&Measured) -> f64| {
            let mut seconds: Vec<f64> = runs.iter().map(of).collect();
            seconds.sort_by(f64::total_cmp);
            seconds
        };
        let seconds = sorted(|run| run.seconds);
        let median = seconds[seconds.len() / 2];
        let process = sorted(|run| run.process_seconds)[seconds.len() / 2];
        let spread = seconds[seconds.len() - 1] - seconds[0];
        let peak = runs.iter().map(|run| run.peak_mib).fold(0.0, f64::max);
        let file = runs.last().map_or(0.0, |run| run.file_mib);
        let folder = stage.folder(&format!("export_{rows}/{}/{last_round}", exporter.name))?;
        let money = exporter.exactness(&folder, rows, truth).await?;
        println!(
            "  {:<22} {median:>9.2} {spread:>9.2} {process:>9.2} {:>11.0} {peak:>9.0} {file:>9.1}   {money}",
            exporter.name,
            rows as f64 / median,
        );
        shown.insert(
            exporter.name.to_owned(),
            json!({ "median_s": median, "spread_s": spread, "process_s": process, "rows_per_s": rows as f64 / median,
                    "peak_mib": peak, "file_mib": file, "money": money }),
        );
    }
    Ok(Value::Object(shown))
}
