//! The books' trades: the trading service's rows, those that were archived, and the chain service's batches.
//!
//! The chain has 32 bytes of a trade's id. A row is found by its batch, which both services name, and where that fails by
//! these bytes: the first 32 of a text, or what its 64 hex digits say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eidos_pg::sql;
use eidos_types::{Address, Amount, Hash32};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::verdict::{Row, State};
use crate::dimensions::balance::account::{TokenIndex, TokenList};
use crate::dimensions::balance::schema::{Schema, TableId};
use crate::dimensions::balance::sources::SourceError;
use crate::dimensions::balance::sources::batch_id::on_chain;
use crate::dimensions::balance::sources::column;

const WHAT: &str = "trades";
const BATCHES: &str = "the chain service's batches";

/// Every column that is compared. Text where the column may hold anything.
const COLUMNS: &str = "{id}::bigint AS id, {trade_id}::text AS trade_id, {market}::text AS market, \
    {maker_wallet}::text AS maker, {taker_wallet}::text AS taker, {amount}::numeric AS amount, \
    {quote_amount}::numeric AS quote_amount, {maker_fee}::numeric AS maker_fee, {taker_fee}::numeric AS taker_fee, \
    {maker_side}::text AS maker_side, {settlement_status}::text AS status, {batch_id}::text AS batch_id, \
    {tx_hash}::text AS tx_hash, {matched_at}::text AS matched_at";

/// A row of the trading service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// Its place in the table.
    pub place: i64,
    /// Its id on the chain.
    pub key: Hash32,
    /// Its batch; `None`: it is in none.
    pub batch: Option<String>,
    /// Its transaction, if it names one.
    pub tx: Option<Hash32>,
    /// The row.
    pub row: Row,
}

/// A batch as the chain service has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The batch.
    pub id: String,
    /// Its transaction, if it names one.
    pub tx: Option<Hash32>,
    /// Its block, if it names one.
    pub block: Option<u64>,
    /// How many trades it has.
    pub trades: u64,
}

/// Reads trades.
#[derive(Debug, Clone)]
pub struct TradeRows {
    /// The tables.
    pub schema: Arc<Schema>,
    /// The run's tokens.
    pub tokens: Arc<TokenList>,
    /// The chain.
    pub chain_id: u64,
    /// When the books are read: ages are measured from here, in epoch ms.
    pub now_ms: i64,
}

impl TradeRows {
    /// The next rows after `after`, by their place. With `since_ms` only those that are open or changed since then.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn after(
        &self,
        conn: &mut PgConnection,
        after: Option<u64>,
        since_ms: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Booked>, SourceError> {
        let template = sql!(
            "SELECT {} FROM {{table}} WHERE ($1::bigint IS NULL OR {{id}} > $1) \
               AND ($2::bigint IS NULL OR {{updated_at}} >= $2 OR {{settlement_status}} = ANY($3)) \
             ORDER BY {{id}} LIMIT $4",
            COLUMNS
        );
        let rows = sqlx::query(self.schema.sql(TableId::Trades, template))
            .bind(after.map(signed))
            .bind(since_ms)
            .bind(&self.schema.codes.trade_open)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(WHAT))?;
        self.all(&rows)
    }

    /// The rows of some batches; of a batch that has more trades than there are rows, those in the archive as well.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of_batches(
        &self,
        conn: &mut PgConnection,
        batches: &[Sent],
    ) -> Result<Vec<Booked>, SourceError> {
        let ids: Vec<&str> = batches.iter().map(|sent| sent.id.as_str()).collect();
        let mut found = self.rows_of_batches(conn, TableId::Trades, &ids).await?;
        let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
        for batch in found.iter().filter_map(|booked| booked.batch.as_deref()) {
            *rows.entry(batch).or_default() += 1;
        }
        let is_short = |sent: &&Sent| rows.get(sent.id.as_str()).copied().unwrap_or_default() < sent.trades;
        let short: Vec<&str> = batches
            .iter()
            .filter(is_short)
            .map(|sent| sent.id.as_str())
            .collect();
        if !short.is_empty() && self.has_archive(conn).await? {
            let archived = self.rows_of_batches(conn, TableId::TradesArchive, &short).await?;
            found.extend(archived);
        }
        Ok(found)
    }

    async fn rows_of_batches(
        &self,
        conn: &mut PgConnection,
        table: TableId,
        batches: &[&str],
    ) -> Result<Vec<Booked>, SourceError> {
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let template = sql!(
            "SELECT {} FROM {{table}} WHERE {{batch_id}} = ANY($1) ORDER BY {{id}}",
            COLUMNS
        );
        let rows = sqlx::query(self.schema.sql(table, template))
            .bind(batches)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(WHAT))?;
        self.all(&rows)
    }

    /// Every row whose id is one of these on the chain; of an id that no row has, those in the archive.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of_keys(
        &self,
        conn: &mut PgConnection,
        keys: &BTreeSet<Hash32>,
    ) -> Result<Vec<Booked>, SourceError> {
        let mut found = self.rows_of_keys(conn, TableId::Trades, keys).await?;
        let rows: BTreeSet<Hash32> = found.iter().map(|booked| booked.key).collect();
        let unknown: BTreeSet<Hash32> = keys.difference(&rows).copied().collect();
        if !unknown.is_empty() && self.has_archive(conn).await? {
            let archived = self.rows_of_keys(conn, TableId::TradesArchive, &unknown).await?;
            found.extend(archived);
        }
        Ok(found)
    }

    async fn rows_of_keys(
        &self,
        conn: &mut PgConnection,
        table: TableId,
        keys: &BTreeSet<Hash32>,
    ) -> Result<Vec<Booked>, SourceError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let (texts, digits) = written(keys);
        let template = sql!(
            "SELECT {} FROM {{table}} WHERE left({{trade_id}}, 32) = ANY($1) OR lower({{trade_id}}) = ANY($2) \
             ORDER BY {{id}}",
            COLUMNS
        );
        let rows = sqlx::query(self.schema.sql(table, template))
            .bind(&texts)
            .bind(&digits)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(WHAT))?;
        let mut found = self.all(&rows)?;
        // The first characters of hex digits are the beginning of another id.
        found.retain(|booked| keys.contains(&booked.key));
        Ok(found)
    }

    /// Checks whether there is an archive of trades: the archiver creates it with its first move.
    async fn has_archive(&self, conn: &mut PgConnection) -> Result<bool, SourceError> {
        let archive = TableId::TradesArchive;
        self.schema
            .exists(conn, archive)
            .await
            .map_err(SourceError::reading(WHAT))
    }

    /// The batches that the chain service saw settled in these blocks, by block, at most `limit`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sent_in(
        &self,
        conn: &mut PgConnection,
        first: u64,
        end: u64,
        limit: Option<usize>,
    ) -> Result<Vec<Sent>, SourceError> {
        let sql = self.schema.sql(
            TableId::ChainBatches,
            "SELECT {batch_id}::text, {tx_hash}::text, {block_number}::bigint, {trade_count}::bigint FROM {table} \
             WHERE {chain_id}::bigint = $1 AND {block_number} BETWEEN $2 AND $3 ORDER BY {block_number} LIMIT $4",
        );
        let rows: Vec<SentRow> = sqlx::query_as(sql)
            .bind(signed(self.chain_id))
            .bind(signed(first))
            .bind(signed(end))
            .bind(limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX)))
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(BATCHES))?;
        Ok(rows.into_iter().map(sent).collect())
    }

    /// What the chain service knows about some batches.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sent_for(
        &self,
        conn: &mut PgConnection,
        batches: &BTreeSet<String>,
    ) -> Result<Vec<Sent>, SourceError> {
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = batches.iter().map(String::as_str).collect();
        let sql = self.schema.sql(
            TableId::ChainBatches,
            "SELECT {batch_id}::text, {tx_hash}::text, {block_number}::bigint, {trade_count}::bigint FROM {table} \
             WHERE {chain_id}::bigint = $1 AND {batch_id} = ANY($2)",
        );
        let rows: Vec<SentRow> = sqlx::query_as(sql)
            .bind(signed(self.chain_id))
            .bind(&ids)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(BATCHES))?;
        Ok(rows.into_iter().map(sent).collect())
    }

    fn all(&self, rows: &[PgRow]) -> Result<Vec<Booked>, SourceError> {
        rows.iter()
            .map(|row| self.booked(row))
            .collect::<Result<_, _>>()
            .map_err(SourceError::reading(WHAT))
    }

    fn booked(&self, row: &PgRow) -> Result<Booked, sqlx::Error> {
        let text = |column: &str| -> Result<String, sqlx::Error> {
            Ok(row.try_get::<Option<String>, _>(column)?.unwrap_or_default())
        };
        let (id, market, batch) = (text("trade_id")?, text("market")?, text("batch_id")?);
        let (base, quote) = self.tokens_of(&market);
        Ok(Booked {
            place: row.try_get("id")?,
            key: on_chain(&id),
            batch: Some(batch).filter(|batch| !batch.is_empty()),
            tx: hash(&text("tx_hash")?),
            row: Row {
                id,
                maker: wallet(text("maker")?),
                taker: wallet(text("taker")?),
                maker_buys: text("maker_side")?.parse() == Ok(self.schema.codes.side_buy),
                base,
                quote,
                base_amount: column::amount(row, "amount")?,
                quote_amount: column::amount(row, "quote_amount")?,
                fee: both(
                    column::amount(row, "maker_fee")?,
                    column::amount(row, "taker_fee")?,
                ),
                state: self.state(&text("status")?, &text("matched_at")?),
            },
        })
    }

    fn tokens_of(&self, market: &str) -> (Result<TokenIndex, String>, Result<TokenIndex, String>) {
        let symbols = self.schema.market_symbols(market);
        let token = |symbol: Option<&str>| {
            let symbol = symbol.ok_or_else(|| market.to_owned())?;
            self.tokens.by_symbol(symbol).ok_or_else(|| symbol.to_owned())
        };
        (token(symbols.map(|of| of.0)), token(symbols.map(|of| of.1)))
    }

    /// A status that is neither open nor settled gave the trade back.
    fn state(&self, status: &str, matched_at: &str) -> State {
        let codes = &self.schema.codes;
        let is_of = |list: &[i16]| status.parse().is_ok_and(|status: i16| list.contains(&status));
        if is_of(&codes.trade_settled) {
            return State::Settled;
        }
        if !is_of(&codes.trade_open) {
            return State::Undone;
        }
        let matched_ms = matched_at.parse::<i64>().unwrap_or_default();
        State::Open {
            age_ms: self.now_ms.saturating_sub(matched_ms),
        }
    }
}

/// How ids that are these on the chain begin in the books: as text, and as hex digits.
fn written(keys: &BTreeSet<Hash32>) -> (Vec<String>, Vec<String>) {
    let mut texts = Vec::with_capacity(keys.len());
    let mut digits = Vec::with_capacity(2 * keys.len());
    for key in keys {
        if let Ok(text) = std::str::from_utf8(key.as_bytes()) {
            let text = text.trim_end_matches('\0');
            if !text.contains('\0') {
                texts.push(text.to_owned());
            }
        }
        let hex = key.to_string();
        digits.push(hex.trim_start_matches("0x").to_owned());
        digits.push(hex);
    }
    (texts, digits)
}

fn wallet(text: String) -> Result<Address, String> {
    text.to_ascii_lowercase()
        .parse::<Address>()
        .map_err(|_not_hex| text)
}

fn both(one: Result<Amount, String>, other: Result<Amount, String>) -> Result<Amount, String> {
    one?.checked_add(other?).map_err(|overflow| overflow.to_string())
}

type SentRow = (Option<String>, Option<String>, Option<i64>, Option<i64>);

fn sent((id, tx, block, trades): SentRow) -> Sent {
    Sent {
        id: id.unwrap_or_default(),
        tx: hash(&tx.unwrap_or_default()),
        block: block
            .and_then(|block| u64::try_from(block).ok())
            .filter(|block| *block > 0),
        trades: trades
            .and_then(|trades| u64::try_from(trades).ok())
            .unwrap_or_default(),
    }
}

fn hash(text: &str) -> Option<Hash32> {
    text.to_ascii_lowercase().parse().ok()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_for_as_it_may_be_written() {
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        let (texts, digits) = written(&BTreeSet::from([on_chain(uuid)]));
        assert_eq!(texts, [&uuid[..32]]);
        assert_eq!(digits.len(), 2);
        let hex = "ff".repeat(32);
        let (texts, digits) = written(&BTreeSet::from([on_chain(&hex)]));
        assert_eq!(texts, Vec::<String>::new(), "no text begins like that");
        assert_eq!(digits, [hex.clone(), format!("0x{hex}")]);
        let (texts, _) = written(&BTreeSet::from([on_chain("t-1")]));
        assert_eq!(texts, ["t-1"]);
    }
}
