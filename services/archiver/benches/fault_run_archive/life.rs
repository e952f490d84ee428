//! The exchange's tables, the truth beside them, and how both go on living.

use anyhow::Context;
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use eidos_core::migrations;
use eidos_devnet::neighbours;
use sqlx::{AssertSqlSafe, PgPool};

/// Monthly partitions that expire.
pub(crate) const PARTITIONED: [&str; 3] =
    ["eidos_chain_events", "eidos_risk_audit_logs", "eidos_risk_events"];
/// Plain tables whose old rows are exported and deleted.
pub(crate) const PLAIN: [&str; 2] = ["eidos_admin_audit_logs", "eidos_chain_withdrawal_txs"];
/// Tables whose finished rows move to an archive table beside them.
pub(crate) const MOVED: [&str; 2] = ["eidos_trading_orders", "eidos_trading_trades"];

/// All tables that are watched.
pub(crate) fn watched() -> impl Iterator<Item = &'static str> {
    PARTITIONED.into_iter().chain(PLAIN).chain(MOVED)
}

/// Rows are this old at most when the storm begins.
pub(crate) fn first_month() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2025, 1, 1, 0, 0, 0)
        .single()
        .unwrap_or_default()
}

/// The first slot: a few months of everything are expired by then.
pub(crate) fn first_slot() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2025, 9, 1, 4, 0, 0)
        .single()
        .unwrap_or_default()
}

/// The neighbours' tables, what a database needs that rows are disposed of from, the first rows, and their copy.
pub(crate) async fn install(exchange: &PgPool) -> anyhow::Result<()> {
    neighbours::install(exchange).await?;
    migrations::install_external_fence(exchange).await?;
    migrations::install_external_freeze(exchange).await?;
    sqlx::raw_sql("CREATE SCHEMA truth").execute(exchange).await?;
    for table in watched() {
        let copy = format!("CREATE TABLE truth.{table} (LIKE public.{table} INCLUDING DEFAULTS)");
        sqlx::query(AssertSqlSafe(copy)).execute(exchange).await?;
    }
    let mut month = first_month();
    while month < first_slot() {
        add_rows(exchange, month, TimeDelta::days(28), 60).await?;
        month += TimeDelta::days(30);
    }
    Ok(())
}

/// Adds about `count` rows to each table, spread over `span` from `from`, to the truth and to the exchange.
pub(crate) async fn add_rows(
    exchange: &PgPool,
    from: DateTime<Utc>,
    span: TimeDelta,
    count: i32,
) -> anyhow::Result<()> {
    for (table, columns, values) in ROWS {
        // $1 from, $2 step between rows, $3 count; both sides get the same ids from the truth.
        let statement = format!(
            "WITH base AS (SELECT coalesce(max(id), 0) AS id FROM truth.{table}),
                  added AS (INSERT INTO truth.{table} ({columns})
                            SELECT {values} FROM base, generate_series(1, $3) AS n,
                                   LATERAL (SELECT base.id + n AS id, ($1 + $2 * n)::bigint AS at) AS row
                            RETURNING *)
             INSERT INTO public.{table} SELECT * FROM added"
        );
        sqlx::query(AssertSqlSafe(statement))
            .bind(from.timestamp_millis())
            .bind(span.num_milliseconds() / i64::from(count.max(1)))
            .bind(count)
            .execute(exchange)
            .await
            .with_context(|| format!("rows for {table}"))?;
    }
    Ok(())
}

/// Per table: columns, and their values from `row.id` and `row.at`.
const ROWS: [(&str, &str, &str); 7] = [
    (
        "eidos_chain_events",
        "id, chain_id, block_number, tx_hash, log_index, event_type, event_data, processed, created_at, updated_at",
        "row.id, 31337, row.id, '0x' || md5(row.id::text), row.id % 5, 'Deposit',
         jsonb_build_object('topics', ARRAY[md5(row.id::text)], 'data', repeat('ab', (row.id % 90)::int)), true, row.at, row.at",
    ),
    (
        "eidos_risk_audit_logs",
        "id, action, wallet_address, request, result, reason, duration_ms, created_at",
        "row.id, 'withdraw', '0x' || substr(md5(row.id::text), 1, 40), jsonb_build_object('n', row.id), 'ALLOWED',
         CASE WHEN row.id % 3 = 0 THEN NULL WHEN row.id % 3 = 1 THEN '' ELSE E'line\\nbreak, \"quote\"' END, (row.id % 900)::int, row.at",
    ),
    (
        "eidos_risk_events",
        "id, event_id, event_type, risk_level, wallet_address, details, status, created_at",
        "row.id, 'e' || row.id, 'velocity', 'high', '0x' || substr(md5(row.id::text), 1, 40), NULL, 'resolved', row.at",
    ),
    (
        "eidos_admin_audit_logs",
        "id, admin_id, admin_username, action, resource_type, resource_id, old_value, new_value, ip_address, user_agent, request_id, created_at",
        "row.id, 7, 'root', 'update', 'market', row.id::text, NULL, jsonb_build_object('tick', '0.01'), '10.0.0.1', 'curl', 'r' || row.id, row.at",
    ),
    (
        "eidos_chain_withdrawal_txs",
        "id, withdraw_id, wallet_address, to_address, token, token_address, amount, chain_id, tx_hash, status, created_at, updated_at",
        "row.id, 'w' || row.id, '0x' || md5(row.id::text), '0x' || md5(row.id::text), 'USDC', '0x' || md5('t'), row.id * 0.000000000000000001, 31337,
         '0x' || md5(row.id::text), CASE WHEN row.id % 11 = 0 THEN 1 ELSE 2 + (row.id % 2) END, row.at, row.at",
    ),
    (
        "eidos_trading_orders",
        "id, order_id, wallet, market, side, order_type, price, amount, filled_amount, filled_quote, remaining_amount, avg_price, status, time_in_force,
         nonce, client_order_id, expire_at, signature, reject_reason, freeze_token, freeze_amount, accepted_at, created_at, updated_at, created_by, updated_by",
        "row.id, 'o' || row.id, '0x' || md5(row.id::text), 'BTC-USDC', 1 + row.id % 2, 1, 60000.5, 1.25, 0, 0, 1.25, 0,
         CASE WHEN row.id % 7 = 0 THEN 1 ELSE 3 + row.id % 4 END, 1, row.id, NULL, 0, decode(md5(row.id::text), 'hex'), NULL, 'USDC', 1, row.at, row.at, row.at, NULL, NULL",
    ),
    (
        "eidos_trading_trades",
        "id, trade_id, market, maker_order_id, taker_order_id, maker_wallet, taker_wallet, price, amount, quote_amount, maker_fee, taker_fee, fee_token,
         maker_side, settlement_status, batch_id, tx_hash, matched_at, settled_at, created_at, updated_at",
        "row.id, 't' || row.id, 'BTC-USDC', 'o' || row.id, 'o' || greatest(base.id + 1, row.id - 3), '0xa', '0xb', 60000.5, 0.000000000000000001, 0.00006, 0, 0, 'USDC',
         1, CASE WHEN row.id % 13 = 0 THEN 1 WHEN row.id % 17 = 0 THEN 5 ELSE 3 END, NULL, NULL, row.at,
         CASE WHEN row.id % 13 = 0 OR row.id % 17 = 0 THEN NULL ELSE row.at + 86400000 END, row.at, row.at",
    ),
];

/// Some open orders finish and some trades settle, long after their ids were passed; both sides learn it.
pub(crate) async fn finish_late(exchange: &PgPool, at: DateTime<Utc>) -> anyhow::Result<()> {
    for statement in [
        "WITH late AS (SELECT id FROM public.eidos_trading_orders WHERE status = 1 ORDER BY id LIMIT 3 FOR UPDATE),
              told AS (UPDATE truth.eidos_trading_orders t SET status = 4, updated_at = $1 FROM late WHERE t.id = late.id RETURNING t.id)
         UPDATE public.eidos_trading_orders p SET status = 4, updated_at = $1 FROM told WHERE p.id = told.id",
        "WITH late AS (SELECT id FROM public.eidos_trading_trades WHERE settlement_status = 1 ORDER BY id LIMIT 2 FOR UPDATE),
              told AS (UPDATE truth.eidos_trading_trades t SET settlement_status = 3, settled_at = $1, updated_at = $1 FROM late WHERE t.id = late.id RETURNING t.id)
         UPDATE public.eidos_trading_trades p SET settlement_status = 3, settled_at = $1, updated_at = $1 FROM told WHERE p.id = told.id",
    ] {
        sqlx::query(statement)
            .bind(at.timestamp_millis())
            .execute(exchange)
            .await?;
    }
    Ok(())
}
