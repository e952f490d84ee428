//! An hour of trades, orders, deposits and withdrawals, made by the database: the same for the same numbers.

use sqlx::{AssertSqlSafe, PgPool};

use crate::options::Options;
use crate::stage::{HOUR_MS, MONDAY_MS};

/// The hour that is measured: the eleventh of the day.
pub(crate) const FROM_MS: i64 = MONDAY_MS + 10 * HOUR_MS;

/// Of each: `$1` how many, `$2` markets, `$3` the hour's beginning. One trade in 97 was rolled back and counts for nothing.
const FILL: [(&str, i64, &str); 5] = [
    (
        "trades",
        100,
        "INSERT INTO eidos_trading_trades (trade_id, market, maker_order_id, taker_order_id, maker_wallet, taker_wallet, price, \
             amount, quote_amount, maker_fee, taker_fee, fee_token, maker_side, settlement_status, matched_at, created_at, updated_at) \
         SELECT 't-' || n, 'M' || lpad((n % $2)::text, 4, '0') || '-USDC', 'm-' || n, 'k-' || n, '0x' || md5((n % 5000)::text) || 'aaaaaaaa', \
             '0x' || md5((n % 7000)::text) || 'bbbbbbbb', price, amount, round(price * amount, 18), round(price * amount * 0.001, 18), \
             round(price * amount * 0.0015, 18), CASE WHEN n % 3 = 0 THEN 'EID' ELSE 'USDC' END, 1 + n % 2, \
             CASE WHEN n % 97 = 0 THEN 5 ELSE 0 END, at, at, at \
         FROM (SELECT n, $3 + 3600000 * n / ($1 + 1) AS at, 100 + (n % 100003) * 0.000000000000000007 AS price, \
             0.001 + (n % 977) * 0.000000123456789 AS amount FROM generate_series(1, $1) AS n) AS drawn",
    ),
    (
        "orders",
        100,
        "INSERT INTO eidos_trading_orders (order_id, wallet, market, side, order_type, price, amount, remaining_amount, status, \
             nonce, freeze_token, created_at, updated_at) \
         SELECT 'o-' || n, '0x' || md5((n % 5000)::text) || 'aaaaaaaa', 'M' || lpad((n % $2)::text, 4, '0') || '-USDC', 1 + n % 2, 1, \
             100, 1, 0, CASE WHEN n % 7 IN (1, 3, 5) THEN 4 ELSE 3 END, n, 'USDC', at, at + 20 \
         FROM (SELECT n, $3 + 3600000 * n / ($1 + 1) AS at FROM generate_series(1, $1) AS n) AS drawn",
    ),
    (
        "deposits",
        2,
        "INSERT INTO eidos_trading_deposits (deposit_id, wallet, token, amount, tx_hash, log_index, block_num, status, detected_at, \
             credited_at, created_at, updated_at) \
         SELECT 'd-' || n, '0x' || md5(n::text) || 'aaaaaaaa', 'T' || n % 9, n * 0.000000000000000001, '0x' || md5(n::text), 1, n, 2, \
             at, at, at, at FROM (SELECT n, $3 + 3600000 * n / ($1 + $2) AS at FROM generate_series(1, $1) AS n) AS drawn",
    ),
    (
        "withdrawals",
        1,
        "INSERT INTO eidos_trading_withdrawals (withdraw_id, wallet, token, amount, to_address, nonce, status, confirmed_at, \
             created_at, updated_at) \
         SELECT 'w-' || n, '0x' || md5(n::text) || 'aaaaaaaa', 'T' || n % 9, n * 0.000000000000000001, '0x00', n, 3, at, at, at \
         FROM (SELECT n, $3 + 3600000 * n / ($1 + $2) AS at FROM generate_series(1, $1) AS n) AS drawn",
    ),
    (
        "markets",
        0,
        "INSERT INTO eidos_market_markets (symbol, base_token, quote_token, min_size, max_size, min_notional, tick_size, created_at, \
             updated_at) SELECT 'M' || lpad(m::text, 4, '0') || '-USDC', 'M' || lpad(m::text, 4, '0'), 'USDC', 1, 1, 1, 1, $1, $3 \
         FROM generate_series(0, $2 - 1) AS m",
    ),
];

/// Writes the rows, and their statistics. Returns how many there are of each kind.
pub(crate) async fn fill(exchange: &PgPool, options: &Options) -> anyhow::Result<Vec<(&'static str, i64)>> {
    let mut filled = Vec::new();
    for (what, percent_of_trades, statement) in FILL {
        let count = options.trades * percent_of_trades / 100;
        let statement = ["$1", "$2", "$3"]
            .iter()
            .fold(statement.to_owned(), |text, name| {
                text.replace(name, &format!("{name}::bigint"))
            });
        sqlx::query(AssertSqlSafe(statement))
            .bind(count)
            .bind(options.markets)
            .bind(FROM_MS)
            .execute(exchange)
            .await?;
        filled.push((what, if count == 0 { options.markets } else { count }));
    }
    sqlx::raw_sql("VACUUM (ANALYZE)").execute(exchange).await?;
    Ok(filled)
}
