//! What the books know about the movements of an account with a break: material for a hint at the cause.

use std::collections::HashMap;

use eidos_pg::Sql;
use eidos_types::{Address, Amount};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::snapshot::BooksSnapshot;
use super::{SourceError, column};
use crate::dimensions::balance::classify::{Movement, Movements};
use crate::dimensions::balance::schema::{Schema, TableId};

/// Movements looked at per wallet and kind, newest first.
const NEWEST: i64 = 200;

/// Deposits and withdrawals of one wallet in one token.
pub async fn movements(
    snapshot: &mut BooksSnapshot,
    schema: &Schema,
    wallet: Address,
    symbol: &str,
) -> Result<Movements, SourceError> {
    let what = "an account's movements";
    let wallet = wallet.to_string();
    let sql = schema.sql(
        TableId::Deposits,
        "SELECT {deposit_id}::text AS id, {amount}::numeric AS amount, \
                COALESCE({tx_hash}, '') || ':' || COALESCE({log_index}, 0)::text AS event \
         FROM {table} WHERE lower({wallet}) = $1 AND {token} = $2 ORDER BY {id} DESC LIMIT $3",
    );
    let deposits = rows(snapshot.trading(), sql, &wallet, symbol)
        .await
        .map_err(SourceError::reading(what))?;
    let sql = schema.sql(
        TableId::Withdrawals,
        "SELECT {withdraw_id}::text AS id, {amount}::numeric AS amount, ''::text AS event \
         FROM {table} WHERE lower({wallet}) = $1 AND {token} = $2 ORDER BY {id} DESC LIMIT $3",
    );
    let withdrawals = rows(snapshot.trading(), sql, &wallet, symbol)
        .await
        .map_err(SourceError::reading(what))?;
    let sql = schema.sql(
        TableId::ChainDeposits,
        "SELECT ''::text AS id, {amount}::numeric AS amount, \
                {tx_hash}::text || ':' || COALESCE({log_index}, 0)::text AS event \
         FROM {table} WHERE lower({wallet_address}) = $1 AND {token} = $2 ORDER BY {tx_hash} LIMIT $3",
    );
    let on_chain = rows(snapshot.chain(), sql, &wallet, symbol)
        .await
        .map_err(SourceError::reading(what))?;
    let by_event: HashMap<&str, Amount> = on_chain
        .iter()
        .map(|(_, amount, event)| (event.as_str(), *amount))
        .collect();
    let movement = |(reference, amount, event): &(String, Amount, String)| Movement {
        reference: reference.clone(),
        amount: *amount,
        chain_amount: by_event.get(event.as_str()).copied(),
    };
    // A deposit that only the chain's side recorded was never booked: it explains a missing credit.
    let booked: Vec<&str> = deposits.iter().map(|(_, _, event)| event.as_str()).collect();
    let unbooked = on_chain
        .iter()
        .filter(|(_, _, event)| !booked.contains(&event.as_str()))
        .map(|(_, amount, event)| Movement {
            reference: event.clone(),
            amount: *amount,
            chain_amount: None,
        });
    Ok(Movements {
        deposits: deposits.iter().map(movement).chain(unbooked).collect(),
        withdrawals: withdrawals.iter().map(movement).collect(),
    })
}

async fn rows(
    conn: &mut sqlx::PgConnection,
    sql: Sql,
    wallet: &str,
    symbol: &str,
) -> Result<Vec<(String, Amount, String)>, sqlx::Error> {
    let rows = sqlx::query(sql)
        .bind(wallet)
        .bind(symbol)
        .bind(NEWEST)
        .fetch_all(conn)
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        // A row without a readable amount explains nothing; the comparison itself reports it.
        if let Some(movement) = movement(row)? {
            found.push(movement);
        }
    }
    Ok(found)
}

fn movement(row: &PgRow) -> Result<Option<(String, Amount, String)>, sqlx::Error> {
    let Ok(amount) = column::amount(row, "amount")? else {
        return Ok(None);
    };
    Ok(Some((row.try_get("id")?, amount, row.try_get("event")?)))
}
