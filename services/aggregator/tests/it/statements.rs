//! Every statement on the other services' tables fits them, and a tick reads by an index.

use aggregator::store::activity::Activity;
use aggregator::store::candles::Candles;
use aggregator::store::proofs::Proofs;
use aggregator::store::statistics::Prices;
use aggregator::store::trades::Trades;
use eidos_testkit::assert_prepares;
use sqlx::AssertSqlSafe;

use crate::fixture::{Fixture, HOUR_MS, ms};
use crate::world::{World, list};

#[tokio::test]
async fn every_statement_on_the_other_services_tables_fits_the_documents() {
    let fixture = Fixture::new().await;
    let schema = fixture.settings.service.aggregation_profile.market().unwrap();
    let mut statements = Candles::new(&schema).statements();
    statements.extend(Trades::new(&schema).statements());
    statements.extend(Proofs::new(&schema).statements());
    statements.extend(Prices::new(&schema).statements());
    let trading = fixture.settings.service.aggregation_profile.trading().unwrap();
    statements.extend(Activity::new(&trading).statements());
    assert_prepares(fixture.market.pool(), statements).await;
}

#[tokio::test]
async fn an_hourly_tick_reads_its_windows_by_an_index() {
    let fixture = Fixture::new().await;
    let (from, to) = (ms("2026-03-02T00:00:00Z"), ms("2026-03-09T00:00:00Z"));
    for market in ["A-USDC", "B-USDC", "C-USDC"] {
        list(&fixture, market, 0).await;
        World::generate(1, &[market], (from, to))
            .store(&fixture, market, (from, to))
            .await;
    }
    fixture.sql("ANALYZE").await;
    let schema = fixture.settings.service.aggregation_profile.market().unwrap();
    let statements = Candles::new(&schema).statements();
    let (_, write) = &statements[0];
    let sql = format!("EXPLAIN (FORMAT TEXT) {}", write.as_str())
        .replace("$13", &to.to_string())
        .replace("$12", &(to - HOUR_MS).to_string())
        .replace("$11", "ARRAY['A-USDC', 'B-USDC', 'C-USDC']")
        .replace("$10", &to.to_string())
        .replace("$9", "0")
        .replace("$8", "0")
        .replace("$7", "true")
        .replace("$6", "0")
        .replace("$5", "ARRAY[1]")
        .replace("$4", "60000")
        .replace("$3", "3600000")
        .replace("$2", "'1h'")
        .replace("$1", "'1m'");
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_all(fixture.market.pool())
        .await
        .unwrap();
    let plan = plan.join("\n");
    assert!(
        plan.contains("Index Scan using eidos_market_klines_pkey on eidos_market_klines k"),
        "{plan}"
    );
    assert!(!plan.contains("Seq Scan on eidos_market_klines"), "{plan}");
}
