//! Which wallets an incremental run looks at (ruling 23).

use std::collections::BTreeSet;

use eidos_pg::sql;
use eidos_types::Address;
use sqlx::PgConnection;

use super::{SourceError, column};
use crate::dimensions::balance::schema::{Schema, TableId, WalletCase};

/// Tables whose rows say that a wallet's books changed, with the column that says when (epoch ms).
const CHANGE_COLUMNS: &[(TableId, &str)] = &[
    (TableId::Balances, "updated_at"),
    (TableId::BalanceLogs, "created_at"),
    (TableId::SubaccountBalances, "updated_at"),
    (TableId::Deposits, "updated_at"),
    (TableId::Withdrawals, "updated_at"),
];

/// Wallets whose books changed at `since_ms` or later. The caller subtracts the overlap window: a row that was
/// written earlier and committed later carries an old time, and seeing a wallet twice costs nothing.
pub async fn changed_wallets(
    conn: &mut PgConnection,
    schema: &Schema,
    since_ms: i64,
) -> Result<BTreeSet<Address>, SourceError> {
    let mut wallets = BTreeSet::new();
    for (table, when) in CHANGE_COLUMNS {
        let template = sql!("SELECT DISTINCT {{wallet}}::text FROM {{table}} WHERE {{{when}}} >= $1"; when);
        let found: Vec<String> = sqlx::query_scalar(schema.sql(*table, template))
            .bind(since_ms)
            .fetch_all(&mut *conn)
            .await
            .map_err(SourceError::reading("changed wallets"))?;
        for text in found {
            wallets.insert(column::wallet(&text, schema.name(*table))?);
        }
    }
    Ok(wallets)
}

/// The next `limit` wallets of the books after `cursor`, in the database's order: the rotating sample of quiet
/// ones. Fewer than `limit` means the end was reached; the next sample starts over.
pub async fn wallets_after(
    conn: &mut PgConnection,
    schema: &Schema,
    cursor: Option<Address>,
    limit: u32,
) -> Result<Vec<Address>, SourceError> {
    let key = match schema.wallet_case {
        WalletCase::Lower => "{wallet}",
        WalletCase::Mixed => "lower({wallet})",
    };
    let template =
        sql!("SELECT DISTINCT {key}::text AS w FROM {{table}} WHERE {key} > $1 ORDER BY w LIMIT $2"; key);
    let after = cursor.map_or_else(String::new, |wallet| wallet.to_string());
    let found: Vec<String> = sqlx::query_scalar(schema.sql(TableId::Balances, template))
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
        .map_err(SourceError::reading("a sample of wallets"))?;
    let name = schema.name(TableId::Balances);
    found.iter().map(|text| column::wallet(text, name)).collect()
}

/// The platform's own fees per token symbol: Σ over its buckets.
pub async fn fee_totals(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<(String, Result<eidos_types::Amount, String>)>, SourceError> {
    use sqlx::Row;
    let what = "fee accounts";
    let sql = schema.sql(
        TableId::FeeAccounts,
        "SELECT {token}::text AS token, sum({balance})::numeric AS balance FROM {table} GROUP BY 1 ORDER BY 1",
    );
    let rows = sqlx::query(sql)
        .fetch_all(conn)
        .await
        .map_err(SourceError::reading(what))?;
    rows.iter()
        .map(|row| Ok((row.try_get("token")?, column::amount(row, "balance")?)))
        .collect::<Result<_, _>>()
        .map_err(SourceError::reading(what))
}
