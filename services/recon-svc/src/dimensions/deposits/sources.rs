//! The books' deposits: streamed by block, or fetched for some transactions and rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eidos_pg::sql;
use eidos_recon::feed::{Feed, Keyed};
use eidos_types::{Address, Hash32};
use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::verdict::{Row, Stage};
use crate::dimensions::balance::account::TokenList;
use crate::dimensions::balance::schema::{Schema, TableId};
use crate::dimensions::balance::sources::SourceError;
use crate::dimensions::balance::sources::column;
use crate::dimensions::balance::sources::snapshot::SnapshotTicket;
use crate::dimensions::movements::key::MovementKey;

/// Rows per batch handed from the stream to the comparison; two batches may wait.
const BATCH_ROWS: usize = 2048;
const BATCHES_WAITING: usize = 2;
const WHAT: &str = "deposits";

/// Every column that is compared. Text where the column may hold anything.
const COLUMNS: &str = "{id}::text AS id, {tx_hash}::text AS tx_hash, {log_index}::text AS log_index, \
    {block_num}::bigint AS block, {wallet}::text AS wallet, {token}::text AS token, {amount}::numeric AS amount, \
    {status}::text AS status, {detected_at}::text AS detected_at";

/// A row of the books, with the block that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The block; 0 for none, or a negative one.
    pub block: u64,
    /// What it names.
    pub key: MovementKey,
    /// Why it names no event; empty if it does.
    pub unnamed: String,
    /// How long ago it was detected, in milliseconds; as long as can be if the time is not readable.
    pub age_ms: i64,
    /// The row.
    pub row: Row,
}

impl Keyed for Booked {
    type Group = u64;

    fn group(&self) -> &u64 {
        &self.block
    }
}

/// Which rows a run reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Only blocks above this one: what is durable already.
    pub after: Option<u64>,
    /// Only blocks from this one on, and what changed since then (epoch ms); `None` for all.
    pub since: Option<(u64, i64)>,
}

/// Reads deposits.
#[derive(Debug, Clone)]
pub struct DepositRows {
    /// The tables.
    pub schema: Arc<Schema>,
    /// The run's tokens.
    pub tokens: Arc<TokenList>,
    /// When the books are read: ages are measured from here, in epoch ms.
    pub now_ms: i64,
}

/// A stream of rows, ascending by block. Dropping it ends the session behind it.
#[derive(Debug)]
pub struct RowStream {
    /// The rows.
    pub feed: Feed<Booked, SourceError>,
    task: JoinHandle<()>,
}

impl Drop for RowStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl DepositRows {
    /// Streams the wanted rows in the ticket's snapshot.
    #[must_use]
    pub fn stream(&self, ticket: SnapshotTicket, wanted: Wanted) -> RowStream {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
        let rows = self.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = rows.send(&ticket, wanted, &sender).await {
                // A closed channel means that nobody reads any more; then nobody needs the error either.
                let _ = sender.send(Err(error)).await;
            }
        });
        RowStream {
            feed: Feed::new(receiver),
            task,
        }
    }

    async fn send(
        &self,
        ticket: &SnapshotTicket,
        wanted: Wanted,
        sender: &mpsc::Sender<Result<Vec<Booked>, SourceError>>,
    ) -> Result<(), SourceError> {
        let mut conn = ticket.join().await?;
        let template = sql!(
            "SELECT {} FROM {{table}} WHERE ($1::bigint IS NULL OR {{block_num}} > $1) \
               AND ($2::bigint IS NULL OR {{block_num}} IS NULL OR {{block_num}} >= $2 OR {{updated_at}} >= $3) \
             ORDER BY {{block_num}} NULLS FIRST, {{id}}",
            COLUMNS
        );
        let mut found = sqlx::query(self.schema.sql(TableId::Deposits, template))
            .bind(wanted.after.map(signed))
            .bind(wanted.since.map(|(block, _)| signed(block)))
            .bind(wanted.since.map_or(0, |(_, changed_ms)| changed_ms))
            .fetch(&mut *conn);
        let mut batch = Vec::with_capacity(BATCH_ROWS);
        while let Some(row) = found.try_next().await.map_err(SourceError::reading(WHAT))? {
            batch.push(self.booked(&row).map_err(SourceError::reading(WHAT))?);
            if batch.len() >= BATCH_ROWS {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS));
                if sender.send(Ok(full)).await.is_err() {
                    return Ok(());
                }
            }
        }
        let _ = sender.send(Ok(batch)).await;
        Ok(())
    }

    /// Every row of some transactions, however their hashes are written, and some rows by their id.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of_keys(
        &self,
        conn: &mut PgConnection,
        keys: &BTreeSet<MovementKey>,
    ) -> Result<Vec<Booked>, SourceError> {
        let hashes: Vec<String> = keys
            .iter()
            .filter_map(MovementKey::tx)
            .map(|tx| tx.to_string())
            .collect();
        let ids: Vec<&str> = keys
            .iter()
            .filter_map(|key| match key {
                MovementKey::Row(id) => Some(id.as_str()),
                _ => None,
            })
            .collect();
        if hashes.is_empty() && ids.is_empty() {
            return Ok(Vec::new());
        }
        let template = sql!(
            "SELECT {} FROM {{table}} WHERE lower({{tx_hash}}::text) = ANY($1) OR {{id}}::text = ANY($2) ORDER BY {{id}}",
            COLUMNS
        );
        let rows = sqlx::query(self.schema.sql(TableId::Deposits, template))
            .bind(&hashes)
            .bind(&ids)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(WHAT))?;
        rows.iter()
            .map(|row| self.booked(row))
            .collect::<Result<_, _>>()
            .map_err(SourceError::reading(WHAT))
    }

    /// The newest rows of one wallet and token, at most `limit`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of_account(
        &self,
        conn: &mut PgConnection,
        wallet: Address,
        symbol: &str,
        limit: i64,
    ) -> Result<Vec<Booked>, SourceError> {
        let key = column::wallet_key(&self.schema);
        let template = sql!(
            "SELECT {} FROM {{table}} WHERE {key} = ANY($1) AND {{token}} = $2 ORDER BY {{id}} DESC LIMIT $3",
            COLUMNS; key
        );
        let rows = sqlx::query(self.schema.sql(TableId::Deposits, template))
            .bind(column::spellings(wallet))
            .bind(symbol)
            .bind(limit)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(WHAT))?;
        rows.iter()
            .map(|row| self.booked(row))
            .collect::<Result<_, _>>()
            .map_err(SourceError::reading(WHAT))
    }

    fn booked(&self, row: &PgRow) -> Result<Booked, sqlx::Error> {
        let text = |column: &str| -> Result<String, sqlx::Error> {
            Ok(row.try_get::<Option<String>, _>(column)?.unwrap_or_default())
        };
        let (id, block): (String, Option<i64>) = (text("id")?, row.try_get("block")?);
        let (wallet, symbol) = (text("wallet")?, text("token")?);
        let (key, unnamed) = match event_of(&text("tx_hash")?, &text("log_index")?) {
            Ok(key) => (key, String::new()),
            Err(reason) => (MovementKey::Row(id.clone()), reason),
        };
        let detected_ms = text("detected_at")?.parse::<i64>().unwrap_or_default();
        let age_ms = self.now_ms.saturating_sub(detected_ms);
        Ok(Booked {
            age_ms,
            block: block
                .and_then(|block| u64::try_from(block).ok())
                .unwrap_or_default(),
            key,
            unnamed,
            row: Row {
                id,
                wallet: wallet
                    .to_ascii_lowercase()
                    .parse::<Address>()
                    .map_err(|_not_hex| wallet),
                token: self.tokens.by_symbol(&symbol).ok_or(symbol),
                amount: column::amount(row, "amount")?,
                stage: self.stage(&text("status")?, age_ms),
            },
        })
    }

    fn stage(&self, status: &str, age_ms: i64) -> Stage {
        let is_credited = status
            .parse()
            .is_ok_and(|status: i16| self.schema.codes.deposit_credited.contains(&status));
        if is_credited {
            return Stage::Credited;
        }
        Stage::Waiting { age_ms }
    }
}

/// The event that a row names.
fn event_of(tx: &str, index: &str) -> Result<MovementKey, String> {
    let hash = tx
        .to_ascii_lowercase()
        .parse::<Hash32>()
        .map_err(|error| format!("its transaction: {error}"))?;
    let index = index.parse::<u64>().map_err(|error| {
        format!(
            "its log index '{}': {error}",
            index.chars().take(40).collect::<String>()
        )
    })?;
    Ok(MovementKey::Event { tx: hash, index })
}

/// Transaction, log index, number and hash of the block, as the chain service has them.
type Seen = (Option<String>, Option<String>, Option<i64>, Option<String>);

/// Where the chain service saw some deposits: number and hash of the block.
///
/// # Errors
/// Those of the database.
pub async fn blocks_seen(
    conn: &mut PgConnection,
    schema: &Schema,
    chain_id: u64,
    keys: &BTreeSet<MovementKey>,
) -> Result<BTreeMap<MovementKey, Vec<(u64, Hash32)>>, SourceError> {
    let what = "the chain service's deposits";
    let hashes: Vec<String> = keys
        .iter()
        .filter_map(MovementKey::tx)
        .map(|tx| tx.to_string())
        .collect();
    if hashes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = schema.sql(
        TableId::ChainDeposits,
        "SELECT {tx_hash}::text AS tx_hash, {log_index}::text AS log_index, {block_number}::bigint AS block, \
                {block_hash}::text AS hash \
         FROM {table} WHERE {chain_id}::bigint = $1 AND lower({tx_hash}::text) = ANY($2)",
    );
    let rows: Vec<Seen> = sqlx::query_as(sql)
        .bind(signed(chain_id))
        .bind(&hashes)
        .fetch_all(conn)
        .await
        .map_err(SourceError::reading(what))?;
    let mut seen: BTreeMap<MovementKey, Vec<(u64, Hash32)>> = BTreeMap::new();
    for (tx, index, block, hash) in rows {
        let key = event_of(&tx.unwrap_or_default(), &index.unwrap_or_default());
        let block = block.and_then(|block| u64::try_from(block).ok());
        let hash = hash.and_then(|text| text.to_ascii_lowercase().parse().ok());
        if let (Ok(key), Some(block), Some(hash)) = (key, block, hash)
            && keys.contains(&key)
        {
            seen.entry(key).or_default().push((block, hash));
        }
    }
    Ok(seen)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_an_event_or_says_why_not() {
        let hash = format!("0x{}", "Ab".repeat(32));
        let key = event_of(&hash, "3").unwrap();
        assert_eq!(key.text(), format!("{}:3", hash.to_ascii_lowercase()));
        for (tx, index, reason) in [
            ("", "3", "its transaction"),
            ("0x12", "3", "its transaction"),
            (hash.as_str(), "", "its log index ''"),
            (hash.as_str(), "-1", "its log index '-1'"),
            (hash.as_str(), "NaN", "its log index 'NaN'"),
        ] {
            assert!(event_of(tx, index).unwrap_err().contains(reason), "{tx} {index}");
        }
    }
}
