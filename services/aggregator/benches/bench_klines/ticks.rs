//! One hour after another: its minutes are written, and the job runs.

use std::time::Duration;

use eidos_testkit::Quantiles;
use serde_json::{Value, json};

use crate::minutes::{add, at_ms};
use crate::options::Options;
use crate::stage::{MINUTE_MS, Stage, assert_same};
use crate::{BUILT, COLUMNS, market_loop, ours};

/// The goal of a tick, with the start of the program.
const GOAL: Duration = Duration::from_secs(1);

pub(crate) async fn measure(stage: &Stage, options: &Options, first: i64) -> anyhow::Result<Value> {
    let levels = ours::levels(stage, ours::DEFAULTS)?;
    let (mut walls, mut in_loop, mut table_scanned) = (Vec::new(), Vec::new(), 0);
    for tick in 0..i64::from(options.ticks) {
        let (from, to) = (first + tick * 60, first + (tick + 1) * 60);
        add(&stage.exchange, options.markets, (from, to)).await?;
        let before = ours::scans(&stage.exchange).await?;
        let cost = stage
            .run("kline-agg", at_ms(to) + MINUTE_MS, ours::DEFAULTS)
            .await?;
        let after = ours::scans(&stage.exchange).await?;
        table_scanned += after.0 - before.0;
        println!(
            "tick {}: {:.2} s, client {:.2} CPU-s, database {:.2} CPU-s, {} index scans, {} rows read without an index",
            tick + 1,
            cost.wall_s,
            cost.client_cpu_s,
            cost.database_cpu_s,
            after.1 - before.1,
            after.0 - before.0,
        );
        walls.push(Duration::from_secs_f64(cost.wall_s));
        // The longest window that may end with this hour.
        let closed = levels
            .iter()
            .filter(|level| level.interval.floor_ms(at_ms(to)) == at_ms(to));
        for level in closed {
            let range = (at_ms(to) - level.interval.width_ms(), at_ms(to));
            let cost_of_loop = market_loop::measure(stage, &[*level], range).await?;
            if level.interval.width_ms() == at_ms(60) - at_ms(0) {
                in_loop.push(Duration::from_secs_f64(cost_of_loop.wall_s));
            }
        }
    }
    let candles = assert_same(&stage.exchange, COLUMNS, (BUILT, market_loop::TABLE)).await?;
    let plan = ours::plan_of_a_tick(stage, at_ms(first + i64::from(options.ticks) * 60)).await?;
    let scans: Vec<&str> = plan
        .lines()
        .filter(|line| line.contains(" on eidos_market_klines"))
        .collect();
    let uses_index = !scans.is_empty() && scans.iter().all(|scan| scan.contains("Index"));
    let (ours, in_loop) = (Quantiles::of(walls), Quantiles::of(in_loop));
    println!("\n{candles} candles after the ticks, equal to those of the loop");
    println!("ours, start of the program to its end   {ours}");
    println!("loop, candles of the hour alone         {in_loop}");
    println!("EXPLAIN of a tick shows an index and no scan of the table: {uses_index}");
    let met = ours.max_ms <= GOAL.as_secs_f64() * 1_000.0;
    println!(
        "goal, a tick within {GOAL:?}: {}",
        if met { "met" } else { "NOT MET" }
    );
    Ok(json!({
        "ours": ours, "loop_of_the_hour": in_loop, "explain_uses_index": uses_index,
        "rows_read_without_an_index": table_scanned, "goal_met": met, "candles_equal": candles,
    }))
}
