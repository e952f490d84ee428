//! The markets are what the generator says, and the comparison finds whatever differs.

use eidos_devnet::market::{Market, MarketOptions, stored_candles, verdict};
use eidos_devnet::neighbours;
use eidos_market::Interval;
use eidos_testkit::TestDb;
use eidos_types::{Clock as _, SystemClock};

async fn filled(gaps: bool) -> (TestDb, Market, i64) {
    let db = TestDb::empty().await;
    neighbours::install(db.pool()).await.unwrap();
    let now_ms = SystemClock::default().now_ms();
    let options = MarketOptions {
        seed: 5,
        now_ms,
        gaps,
    };
    let market = Market::fill(db.pool(), options).await.unwrap();
    (db, market, now_ms)
}

/// Every minute of a candle, and those without one in which nobody traded: they carry the price of the last trade before.
const MINUTES: &str = "WITH known AS MATERIALIZED (SELECT market, open_time, open, high, low, close, volume, quote_volume, \
       trade_count FROM eidos_market_klines WHERE interval = '1m'), \
     lost AS MATERIALIZED (SELECT market, minute FROM (SELECT market, min(open_time) AS first, max(open_time) AS last \
       FROM known GROUP BY market) AS spans, generate_series(first, last, 60000) AS minute \
       EXCEPT SELECT market, open_time FROM known) \
     SELECT * FROM known UNION ALL \
     SELECT lost.market, minute, price, price, price, price, 0, 0, 0 FROM lost, LATERAL (SELECT price \
       FROM eidos_market_trades AS t WHERE t.market = lost.market AND t.timestamp < minute \
       ORDER BY t.timestamp DESC LIMIT 1) AS last_trade \
     WHERE NOT EXISTS (SELECT FROM eidos_market_trades AS t WHERE t.market = lost.market AND t.timestamp >= minute \
       AND t.timestamp < minute + 60000)";

/// How many windows that were over at `closed_ms` lack a minute in which somebody traded.
async fn windows_with_lost_trades(db: &TestDb, closed_ms: i64) -> i64 {
    let mut windows = 0;
    for interval in [Interval::H1, Interval::H4, Interval::D1, Interval::W1] {
        let (width, origin) = (interval.width_ms(), interval.origin_ms());
        let lost = format!(
            "SELECT count(*) FROM (SELECT DISTINCT market, {origin} + (timestamp - {origin}) / {width} * {width} AS w \
               FROM eidos_market_trades AS t WHERE NOT EXISTS (SELECT FROM eidos_market_klines AS k WHERE k.interval = '1m' \
                 AND k.market = t.market AND k.open_time = t.timestamp / 60000 * 60000)) AS windows \
             WHERE w + {width} <= {closed_ms}"
        );
        windows += db.number(&lost).await;
    }
    windows
}

/// Builds what the aggregator would, from the minutes, in SQL of its own.
async fn build(db: &TestDb) {
    for interval in [Interval::H1, Interval::H4, Interval::D1, Interval::W1] {
        let (width, origin) = (interval.width_ms(), interval.origin_ms());
        db.sql(&format!(
            "INSERT INTO eidos_market_klines (market, interval, open_time, open, high, low, close, volume, quote_volume, \
               trade_count, close_time) \
             SELECT market, '{interval}', w, \
               coalesce((array_agg(open ORDER BY open_time) FILTER (WHERE trade_count > 0))[1], \
                 (array_agg(close ORDER BY open_time DESC))[1]), \
               coalesce(max(high) FILTER (WHERE trade_count > 0), (array_agg(close ORDER BY open_time DESC))[1]), \
               coalesce(min(low) FILTER (WHERE trade_count > 0), (array_agg(close ORDER BY open_time DESC))[1]), \
               coalesce((array_agg(close ORDER BY open_time DESC) FILTER (WHERE trade_count > 0))[1], \
                 (array_agg(close ORDER BY open_time DESC))[1]), \
               sum(volume), sum(quote_volume), sum(trade_count), w + {width} - 1 \
             FROM (SELECT *, {origin} + (open_time - {origin}) / {width} * {width} AS w FROM ({MINUTES}) AS every) \
               AS minutes \
             GROUP BY market, w HAVING count(*) = {width} / 60000 OR EXISTS (SELECT FROM eidos_market_markets m \
               WHERE m.symbol = market AND m.created_at > w AND m.created_at < w + {width})"
        ))
        .await;
    }
}

#[tokio::test]
async fn minutes_are_those_of_the_public_trades_and_gaps_are_left_out() {
    let (db, market, _) = filled(true).await;
    assert_eq!(market.names(), ["BTC-USDC", "ETH-USDC", "SOL-ETH"]);
    let sums = "SELECT count(*) FROM (SELECT market, sum(volume) AS v, sum(trade_count) AS n FROM eidos_market_klines GROUP BY 1) k \
                JOIN (SELECT market, sum(amount) AS v, count(*) AS n FROM eidos_market_trades GROUP BY 1) t USING (market, v, n)";
    assert_eq!(db.number(sums).await, 2, "BTC-USDC has gaps");
    assert_eq!(market.gaps().len(), 2);
    for gap in market.gaps() {
        let minutes = format!(
            "SELECT count(*) FROM eidos_market_klines WHERE market = '{}' AND open_time >= {} AND open_time < {}",
            gap.market, gap.from_ms, gap.to_ms
        );
        assert_eq!(db.number(&minutes).await, 0);
    }
    let minutes = stored_candles(db.pool(), "ETH-USDC", Interval::M1).await.unwrap();
    let (from_ms, to_ms) = market.range();
    assert_eq!(i64::try_from(minutes.len()).unwrap(), (to_ms - from_ms) / 60_000);
    assert!(minutes.values().any(|candle| candle.trades > 20), "no burst");
}

#[tokio::test]
async fn the_comparison_holds_for_right_candles_and_finds_a_wrong_a_missing_and_a_superfluous_one() {
    let (db, mut market, now_ms) = filled(true).await;
    let jobs = TestDb::migrated().await;
    build(&db).await;
    let closed_ms = verdict::closed_ms(now_ms);
    // The windows that end within the margin of a run are built here already.
    db.sql(&format!(
        "DELETE FROM eidos_market_klines WHERE interval <> '1m' AND close_time >= {closed_ms}"
    ))
    .await;
    let holds = verdict::candles(&market, closed_ms).await.unwrap();
    assert_eq!((holds.violations, &holds.example), (0, &None));
    // At least a week of two markets.
    assert!(holds.checked > 400, "{holds:?}");
    let unnoted = verdict::gaps(&market, jobs.pool(), closed_ms).await.unwrap();
    let traded = windows_with_lost_trades(&db, closed_ms).await;
    assert!(traded > 0);
    assert_eq!(unnoted.violations, traded, "no ledger: {unnoted:?}");

    let arrived = market.arrive_late(now_ms).await.unwrap();
    assert_eq!((arrived.gaps, arrived.trades), (2, 2));
    assert!(market.gaps().is_empty());
    let stale = verdict::candles(&market, closed_ms).await.unwrap();
    assert!(
        stale.violations > unnoted.violations,
        "gaps and late trades: {stale:?}"
    );
    db.sql("DELETE FROM eidos_market_klines WHERE interval <> '1m'")
        .await;
    build(&db).await;
    db.sql(&format!(
        "DELETE FROM eidos_market_klines WHERE interval <> '1m' AND close_time >= {closed_ms}"
    ))
    .await;
    let holds = verdict::candles(&market, closed_ms).await.unwrap();
    assert_eq!((holds.violations, &holds.example), (0, &None));

    for wrong in [
        "UPDATE eidos_market_klines SET volume = volume + 0.000000000000000001 WHERE",
        "DELETE FROM eidos_market_klines WHERE",
        "INSERT INTO eidos_market_klines SELECT market, interval, open_time - 31536000000, open, high, low, close, volume, \
           quote_volume, trade_count, close_time - 31536000000 FROM eidos_market_klines WHERE",
    ] {
        db.sql(&format!(
            "{wrong} (market, interval, open_time) = (SELECT market, interval, min(open_time) FROM eidos_market_klines \
             WHERE market = 'ETH-USDC' AND interval = '4h' AND open_time > {} GROUP BY 1, 2)",
            market.range().0
        ))
        .await;
        let found = verdict::candles(&market, closed_ms).await.unwrap();
        assert!(found.violations > 0, "{wrong}");
        assert!(found.example.unwrap().starts_with("ETH-USDC 4h at "));
    }
}

#[tokio::test]
async fn the_market_goes_on_minute_by_minute() {
    let (db, mut market, now_ms) = filled(false).await;
    let until_ms = market.range().1;
    market.advance(now_ms + 3 * 60_000).await.unwrap();
    assert_eq!(market.range().1, until_ms + 3 * 60_000);
    let minutes =
        format!("SELECT count(*) FROM eidos_market_klines WHERE interval = '1m' AND open_time >= {until_ms}");
    assert_eq!(db.number(&minutes).await, 9);
    let trades = format!(
        "SELECT count(*) FROM eidos_trading_trades t JOIN eidos_market_trades p ON p.market = t.market \
         AND p.timestamp = t.matched_at AND p.amount = t.amount WHERE t.matched_at >= {until_ms}"
    );
    assert!(db.number(&trades).await >= 3, "each market trades");
}
