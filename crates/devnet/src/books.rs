//! How changed balances reach the trading service's tables.

use eidos_types::{Address, Amount};
use sqlx::PgConnection;

use crate::ledger::Changes;

/// How the trading service writes a wallet.
pub(crate) type WalletText<'a> = dyn Fn(Address) -> String + Send + Sync + 'a;

/// Upserts every changed balance.
pub(crate) async fn write_changes(
    connection: &mut PgConnection,
    changes: Changes,
    now_ms: i64,
    wallet_text: &WalletText<'_>,
) -> anyhow::Result<()> {
    write_balances(connection, &changes, now_ms, wallet_text).await?;
    write_sub_accounts(connection, &changes, now_ms, wallet_text).await?;
    write_fees(connection, &changes, now_ms).await
}

async fn write_balances(
    connection: &mut PgConnection,
    changes: &Changes,
    now_ms: i64,
    wallet_text: &WalletText<'_>,
) -> anyhow::Result<()> {
    let rows = &changes.books;
    let column = |of: fn(&crate::ledger::Booked) -> Amount| -> Vec<String> {
        rows.iter().map(|(_, row)| of(row).to_string()).collect()
    };
    sqlx::query(
        "INSERT INTO eidos_trading_balances
             (wallet, token, settled_available, settled_frozen, pending_available, pending_total, created_at, updated_at)
         SELECT wallet, token, available::numeric, frozen::numeric, pending::numeric, pending::numeric, $6, $6
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
              AS row (wallet, token, available, frozen, pending)
         ON CONFLICT (wallet, token) DO UPDATE SET
             settled_available = EXCLUDED.settled_available, settled_frozen = EXCLUDED.settled_frozen,
             pending_available = EXCLUDED.pending_available, pending_total = EXCLUDED.pending_total,
             version = eidos_trading_balances.version + 1, updated_at = EXCLUDED.updated_at",
    )
    .bind(rows.iter().map(|((wallet, _), _)| wallet_text(*wallet)).collect::<Vec<_>>())
    .bind(rows.iter().map(|((_, token), _)| *token).collect::<Vec<_>>())
    .bind(column(|row| row.available))
    .bind(column(|row| row.frozen))
    .bind(column(|row| row.pending))
    .bind(now_ms)
    .execute(connection)
    .await?;
    Ok(())
}

/// Sub-account balances are stored with two different display scales on purpose: equal values stay equal.
async fn write_sub_accounts(
    connection: &mut PgConnection,
    changes: &Changes,
    now_ms: i64,
    wallet_text: &WalletText<'_>,
) -> anyhow::Result<()> {
    let rows = &changes.subs;
    sqlx::query(
        "INSERT INTO eidos_trading_subaccount_balances
             (wallet, sub_account_id, token, available, frozen, created_at, updated_at)
         SELECT wallet, sub, token, available::numeric, frozen::numeric::numeric(36,18), $6, $6
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
              AS row (wallet, sub, token, available, frozen)
         ON CONFLICT (sub_account_id, token) DO UPDATE SET available = EXCLUDED.available, frozen = EXCLUDED.frozen,
             version = eidos_trading_subaccount_balances.version + 1, updated_at = EXCLUDED.updated_at",
    )
    .bind(rows.iter().map(|((wallet, _, _), _)| wallet_text(*wallet)).collect::<Vec<_>>())
    .bind(rows.iter().map(|((_, sub, _), _)| sub.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|((_, _, token), _)| *token).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, row)| row.available.to_string()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, row)| row.frozen.to_string()).collect::<Vec<_>>())
    .bind(now_ms)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_fees(connection: &mut PgConnection, changes: &Changes, now_ms: i64) -> anyhow::Result<()> {
    let rows = &changes.fees;
    sqlx::query(
        "INSERT INTO eidos_trading_fee_accounts (bucket_id, token, balance, updated_at)
         SELECT bucket, token, balance::numeric, $4
         FROM unnest($1::int[], $2::text[], $3::text[]) AS row (bucket, token, balance)
         ON CONFLICT (bucket_id, token) DO UPDATE SET balance = EXCLUDED.balance,
             version = eidos_trading_fee_accounts.version + 1, updated_at = EXCLUDED.updated_at",
    )
    .bind(
        rows.iter()
            .map(|((bucket, _), _)| i32::from(*bucket))
            .collect::<Vec<_>>(),
    )
    .bind(rows.iter().map(|((_, token), _)| *token).collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|(_, balance)| balance.to_string())
            .collect::<Vec<_>>(),
    )
    .bind(now_ms)
    .execute(connection)
    .await?;
    Ok(())
}
