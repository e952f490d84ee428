//! The rows of each table, as one INSERT .. SELECT per table: a million in seconds.
//!
//! Row `n` of a table is a function of the seed, the table and `n`: `h` is 32 bits of MD5 of the three. `at` is spread
//! evenly over each month and stays clear of its first six hours and its last one, so that a partition with crooked
//! bounds (the time zone traps) still takes it.

use anyhow::Context;
use eidos_types::Month;
use sqlx::{AssertSqlSafe, PgConnection};

/// How the rows of one table are made.
pub(super) struct Recipe {
    pub(super) table: &'static str,
    /// Monthly partitions by this column.
    pub(super) partitioned: bool,
    /// Whether it is a table of the jobs database.
    pub(super) ours: bool,
    columns: &'static str,
    values: &'static str,
}

/// `$1` seed and table, `$2` first id, `$3` rows per month, `$4`/`$5` months, `$6` until.
fn statement(recipe: &Recipe) -> String {
    format!(
        "WITH spread AS (
             SELECT (m.i - 1) * $3::bigint + k AS n,
                    least(m.lower + 21600000 + greatest(m.upper - m.lower - 25200000, 1) * k / $3::bigint, $6::bigint - 1) AS at
             FROM unnest($4::bigint[], $5::bigint[]) WITH ORDINALITY AS m (lower, upper, i),
                  generate_series(0, $3::bigint - 1) AS k),
         row AS (
             SELECT n, at, $2::bigint + n AS id, ('x' || substr(md5($1 || n), 1, 8))::bit(32)::bigint AS h,
                    '0x' || md5($1 || 'w' || n % 997) || '00000000' AS wallet, '0x' || md5($1 || n) || md5($1 || -n) AS hash
             FROM spread)
         INSERT INTO {} ({}) SELECT {} FROM row",
        recipe.table, recipe.columns, recipe.values
    )
}

/// Fills one table. Returns how many rows.
pub(super) async fn fill(
    conn: &mut PgConnection,
    recipe: &Recipe,
    seed: u64,
    rows_per_month: u64,
    months: &[Month],
    until_ms: i64,
) -> anyhow::Result<u64> {
    let table = recipe.table;
    let first: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT coalesce(max(id), 0) + 1 FROM {table}"
    )))
    .fetch_one(&mut *conn)
    .await?;
    let done = sqlx::query(AssertSqlSafe(statement(recipe)))
        .bind(format!("{seed}:{table}:"))
        .bind(first)
        .bind(i64::try_from(rows_per_month)?)
        .bind(months.iter().map(|month| month.start_ms()).collect::<Vec<_>>())
        .bind(
            months
                .iter()
                .map(|month| month.end_ms().min(until_ms))
                .collect::<Vec<_>>(),
        )
        .bind(until_ms)
        .execute(&mut *conn)
        .await
        .with_context(|| format!("rows of {table}"))?;
    let next =
        format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) + 1 FROM {table}))");
    sqlx::query(AssertSqlSafe(next)).execute(conn).await?;
    Ok(done.rows_affected())
}

/// All tables, trades after their orders.
pub(super) const RECIPES: [Recipe; 13] = [
    // One in 25 is open business, however old. One in 37 is finished in the last weeks although its id is low; one in
    // 41 took 300 days. Ids are shuffled within blocks of 64: committed out of order.
    Recipe {
        table: "eidos_trading_orders",
        partitioned: false,
        ours: false,
        columns: "id, order_id, wallet, market, side, order_type, price, amount, filled_amount, filled_quote, \
                  remaining_amount, status, nonce, signature, reject_reason, freeze_token, freeze_amount, accepted_at, \
                  created_at, updated_at",
        values: "$2::bigint + n / 64 * 64 + n % 64 * 37 % 64, 'h-o-' || n, wallet, CASE n % 3 WHEN 0 THEN 'BTC-USDC' ELSE 'ETH-USDC' END,
                 1 + n % 2, 1, 60000 + h * 0.000000000000000001, 0.001 + h % 977 * 0.0000001, 0, 0, 0.001 + h % 977 * 0.0000001,
                 CASE WHEN h % 25 = 0 THEN (ARRAY[0, 1, 2, 7])[h / 25 % 4 + 1] ELSE 3 + h % 4 END, n, decode(md5($1 || n), 'hex'),
                 CASE WHEN h % 25 <> 0 AND h % 4 = 3 THEN E'no \"room\",\\nno order' END, 'USDC', 1, at, at,
                 CASE WHEN h % 25 = 0 THEN at
                      WHEN n % 37 = 5 THEN greatest(at, $6::bigint - 1 - h % 1728000000)
                      WHEN n % 41 = 7 THEN least($6::bigint - 1, at + 25920000000)
                      ELSE least($6::bigint - 1, at + h % 259200000) END",
    },
    // Matched, pending, submitted, failed and rolled back ones among the settled; one in 29 settled 200 days late.
    Recipe {
        table: "eidos_trading_trades",
        partitioned: false,
        ours: false,
        columns: "id, trade_id, market, maker_order_id, taker_order_id, maker_wallet, taker_wallet, price, amount, \
                  quote_amount, maker_fee, taker_fee, fee_token, maker_side, settlement_status, batch_id, tx_hash, matched_at, \
                  settled_at, created_at, updated_at",
        values: "id, 'h-t-' || n, CASE n % 3 WHEN 0 THEN 'BTC-USDC' ELSE 'ETH-USDC' END, 'h-o-' || n, 'h-o-' || greatest(n - 3, 0), wallet,
                 wallet, 60000 + h * 0.000000000000000001, 0.001, 60, 0.06 + n % 13 * 0.000000000000000001, 0.06, 'USDC', 1 + n % 2,
                 CASE WHEN n % 60 = 0 THEN 1 WHEN n % 61 = 1 THEN 0 WHEN n % 97 = 2 THEN 2 WHEN n % 53 = 3 THEN 4
                      WHEN n % 31 = 4 THEN 5 ELSE 3 END,
                 'h-b-' || n / 500, hash, at,
                 CASE WHEN n % 60 = 0 OR n % 61 = 1 OR n % 97 = 2 OR n % 53 = 3 OR n % 31 = 4 THEN NULL
                      WHEN n % 29 = 6 THEN least($6::bigint - 1, at + 17280000000)
                      ELSE least($6::bigint - 1, at + 60000 + h % 3600000) END,
                 at, least($6::bigint - 1, at + 3600000)",
    },
    Recipe {
        table: "eidos_market_trade_history",
        partitioned: true,
        ours: false,
        columns: "id, trade_id, market, price, size, quote_amount, side, traded_at",
        values: "id, 'h-t-' || n, CASE n % 3 WHEN 0 THEN 'BTC-USDC' ELSE 'ETH-USDC' END, 60000 + h * 0.000000000000000001,
                 0.001, 60, 1 + n % 2, at",
    },
    Recipe {
        table: "eidos_chain_events",
        partitioned: true,
        ours: false,
        columns: "id, chain_id, block_number, tx_hash, log_index, event_type, event_data, processed, created_at, updated_at",
        values: "id, 31337, n, hash, n % 5, (ARRAY['Deposit', 'Withdraw', 'Settlement', 'Unknown'])[h % 4 + 1],
                 jsonb_build_object('topics', ARRAY[hash], 'data', '0x' || repeat(md5($1 || n), (h % 4)::int)), true, at, at",
    },
    Recipe {
        table: "eidos_chain_deposit_records",
        partitioned: true,
        ours: false,
        columns: "id, deposit_id, wallet_address, token, token_address, amount, chain_id, tx_hash, block_number, block_hash, \
                  log_index, confirmations, status, credited_at, created_at, updated_at",
        values: "id, 'h-d-' || n, wallet, 'USDC', '0xaf88d065e77c8cc2239327c5edb3a432268e5831', h * 0.000000000000000001, 31337, hash,
                 n, hash, n % 3, 12, CASE WHEN h % 50 = 0 THEN h % 2 ELSE 2 END, CASE WHEN h % 50 = 0 THEN NULL ELSE at END, at, at",
    },
    Recipe {
        table: "eidos_risk_events",
        partitioned: true,
        ours: false,
        columns: "id, event_id, event_type, risk_level, wallet_address, details, status, resolved_at, resolution, created_at",
        values: "id, 'h-e-' || n, 'velocity', (ARRAY['low', 'medium', 'high'])[h % 3 + 1], wallet,
                 CASE WHEN h % 7 = 0 THEN NULL ELSE jsonb_build_object('score', h % 100, 'note', E'tab\\t, quote \", 中文') END,
                 CASE WHEN h % 9 = 0 THEN 'pending' ELSE 'resolved' END, CASE WHEN h % 9 = 0 THEN NULL ELSE at END,
                 CASE h % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'checked' END, at",
    },
    Recipe {
        table: "eidos_risk_audit_logs",
        partitioned: true,
        ours: false,
        columns: "id, action, wallet_address, request, result, reason, duration_ms, created_at",
        values: "id, 'withdraw', wallet, jsonb_build_object('n', n), CASE WHEN h % 20 = 0 THEN 'REJECTED' ELSE 'ALLOWED' END,
                 CASE h % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE E'line\\nbreak' END, (h % 900)::int, at",
    },
    // In flight or to be sent, some for years: never to be deleted.
    Recipe {
        table: "eidos_chain_withdrawal_txs",
        partitioned: false,
        ours: false,
        columns: "id, withdraw_id, wallet_address, to_address, token, token_address, amount, chain_id, tx_hash, status, \
                  created_at, updated_at",
        values: "id, 'h-w-' || n, wallet, wallet, 'USDC', '0xaf88d065e77c8cc2239327c5edb3a432268e5831', h * 0.000000000000000001,
                 31337, hash, CASE WHEN h % 12 = 0 THEN n % 2 ELSE 2 + n % 2 END, at, at",
    },
    Recipe {
        table: "eidos_chain_settlement_batches",
        partitioned: false,
        ours: false,
        columns: "id, batch_id, trade_count, trade_ids, chain_id, tx_hash, status, created_at, updated_at",
        values: "id, 'h-b-' || n, 1, '[\"h-t-' || n || '\"]', 31337, hash, CASE WHEN h % 12 = 0 THEN n % 2 ELSE 2 + n % 2 END, at, at",
    },
    Recipe {
        table: "eidos_risk_withdrawal_reviews",
        partitioned: false,
        ours: false,
        columns: "id, review_id, withdrawal_id, wallet_address, token, amount, to_address, risk_score, risk_factors, status, \
                  reviewed_at, created_at, expires_at",
        values: "id, 'h-r-' || n, 'h-w-' || n, wallet, 'USDC', h * 0.000000000000000001, wallet, (h % 100)::int,
                 jsonb_build_array('velocity', h % 7), (ARRAY['approved', 'rejected', 'approved', 'pending'])[CASE WHEN h % 15 = 0 THEN 4 ELSE h % 3 + 1 END],
                 CASE WHEN h % 15 = 0 THEN NULL ELSE at END, at, at + 86400000",
    },
    Recipe {
        table: "eidos_admin_audit_logs",
        partitioned: false,
        ours: false,
        columns: "id, admin_id, admin_username, action, resource_type, resource_id, old_value, new_value, ip_address, created_at",
        values: "id, h % 9, 'admin' || h % 9, 'update', 'market', n::text, CASE WHEN h % 5 = 0 THEN NULL ELSE jsonb_build_object('tick', 0.010) END,
                 jsonb_build_object('tick', (h % 1000) * 0.0001), '10.0.0.1', at",
    },
    Recipe {
        table: "eidos_jobs_executions",
        partitioned: true,
        ours: true,
        columns: "id, job_name, status, started_at, finished_at, duration_ms, error_message, result, created_at, execution_id, \
                  slot_ms, trigger, epoch",
        values: "id, 'stats-agg', CASE WHEN h % 30 = 0 THEN 'failed' ELSE 'success' END, at, at + h % 60000, (h % 60000)::int,
                 CASE WHEN h % 30 = 0 THEN 'it did not answer' END, jsonb_build_object('rows', n), at, md5($1 || n)::uuid, at, 'schedule', 1",
    },
    Recipe {
        table: "eidos_jobs_reconciliation_records",
        partitioned: false,
        ours: true,
        columns: "id, job_type, reconcile_type, status, wallet_address, token, offchain_value, onchain_value, diff_value, created_at, \
                  run_id, reference",
        values: "id, 'balance', 'incremental', 'matched', wallet, 'USDC', h, h, 0, at, md5($1 || n / 100)::uuid, 'h-' || n",
    },
];
