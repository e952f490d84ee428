//! The books' withdrawals: the trading service's rows, and the chain service's transactions for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use eidos_pg::sql;
use eidos_types::{Address, Hash32};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::verdict::{Row, State};
use crate::dimensions::balance::account::TokenList;
use crate::dimensions::balance::schema::{Schema, TableId};
use crate::dimensions::balance::sources::SourceError;
use crate::dimensions::balance::sources::column;

const WHAT: &str = "withdrawals";

/// Every column that is compared. Text where the column may hold anything.
const COLUMNS: &str = "{id}::bigint AS id, {withdraw_id}::text AS withdraw_id, {wallet}::text AS wallet, \
    {token}::text AS token, {amount}::numeric AS amount, {status}::text AS status, {tx_hash}::text AS tx_hash, \
    {submitted_at}::text AS submitted_at";

/// A row of the trading service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// Its place in the table.
    pub place: i64,
    /// Its transaction, if it names one.
    pub tx: Option<Hash32>,
    /// The row.
    pub row: Row,
}

/// What the chain service knows about a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The withdrawal.
    pub id: String,
    /// Its transaction, if it names one.
    pub tx: Option<Hash32>,
    /// Its block, if it names one.
    pub block: Option<u64>,
}

/// Reads withdrawals.
#[derive(Debug, Clone)]
pub struct WithdrawalRows {
    /// The tables.
    pub schema: Arc<Schema>,
    /// The run's tokens.
    pub tokens: Arc<TokenList>,
    /// The chain.
    pub chain_id: u64,
    /// When the books are read: ages are measured from here, in epoch ms.
    pub now_ms: i64,
}

impl WithdrawalRows {
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
               AND ($2::bigint IS NULL OR {{updated_at}} >= $2 OR {{status}} = ANY($3)) ORDER BY {{id}} LIMIT $4",
            COLUMNS
        );
        let rows = sqlx::query(self.schema.sql(TableId::Withdrawals, template))
            .bind(after.map(signed))
            .bind(since_ms)
            .bind(&self.schema.codes.withdrawal_debited)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(WHAT))?;
        self.all(&rows)
    }

    /// The rows of these withdrawals.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of_ids(
        &self,
        conn: &mut PgConnection,
        ids: &BTreeSet<String>,
    ) -> Result<Vec<Booked>, SourceError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let template = sql!(
            "SELECT {} FROM {{table}} WHERE {{withdraw_id}} = ANY($1) ORDER BY {{id}}",
            COLUMNS
        );
        let rows = sqlx::query(self.schema.sql(TableId::Withdrawals, template))
            .bind(&ids)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(WHAT))?;
        self.all(&rows)
    }

    /// The rows that name these transactions, however their hashes are written.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of_hashes(
        &self,
        conn: &mut PgConnection,
        hashes: &BTreeSet<Hash32>,
    ) -> Result<Vec<Booked>, SourceError> {
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let hashes: Vec<String> = hashes.iter().map(Hash32::to_string).collect();
        let template = sql!(
            "SELECT {} FROM {{table}} WHERE lower({{tx_hash}}::text) = ANY($1) ORDER BY {{id}}",
            COLUMNS
        );
        let rows = sqlx::query(self.schema.sql(TableId::Withdrawals, template))
            .bind(&hashes)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(WHAT))?;
        self.all(&rows)
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
        let rows = sqlx::query(self.schema.sql(TableId::Withdrawals, template))
            .bind(column::spellings(wallet))
            .bind(symbol)
            .bind(limit)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(WHAT))?;
        self.all(&rows)
    }

    /// What the chain service sent that it saw mined in these blocks, by block, at most `limit`.
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
            TableId::ChainWithdrawals,
            "SELECT {withdraw_id}::text, {tx_hash}::text, {block_number}::bigint FROM {table} \
             WHERE {chain_id}::bigint = $1 AND {block_number} BETWEEN $2 AND $3 ORDER BY {block_number} LIMIT $4",
        );
        let rows: Vec<SentRow> = sqlx::query_as(sql)
            .bind(signed(self.chain_id))
            .bind(signed(first))
            .bind(signed(end))
            .bind(limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX)))
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading("the chain service's withdrawals"))?;
        Ok(rows.into_iter().map(sent).collect())
    }

    /// What the chain service sent for these withdrawals or in these transactions.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sent_for(
        &self,
        conn: &mut PgConnection,
        ids: &BTreeSet<String>,
        hashes: &BTreeSet<Hash32>,
    ) -> Result<Vec<Sent>, SourceError> {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let hashes: Vec<String> = hashes.iter().map(Hash32::to_string).collect();
        let sql = self.schema.sql(
            TableId::ChainWithdrawals,
            "SELECT {withdraw_id}::text, {tx_hash}::text, {block_number}::bigint FROM {table} \
             WHERE {chain_id}::bigint = $1 AND ({withdraw_id} = ANY($2) OR {tx_hash} = ANY($3))",
        );
        let rows: Vec<SentRow> = sqlx::query_as(sql)
            .bind(signed(self.chain_id))
            .bind(&ids)
            .bind(&hashes)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading("the chain service's withdrawals"))?;
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
        let (wallet, symbol) = (text("wallet")?, text("token")?);
        Ok(Booked {
            place: row.try_get("id")?,
            tx: hash(&text("tx_hash")?),
            row: Row {
                id: text("withdraw_id")?,
                wallet: wallet
                    .to_ascii_lowercase()
                    .parse::<Address>()
                    .map_err(|_not_hex| wallet),
                token: self.tokens.by_symbol(&symbol).ok_or(symbol),
                amount: column::amount(row, "amount")?,
                state: self.state(&text("status")?, &text("submitted_at")?),
            },
        })
    }

    /// A status that is neither open nor confirmed gave the withdrawal back.
    fn state(&self, status: &str, submitted_at: &str) -> State {
        let codes = &self.schema.codes;
        let is_of = |list: &[i16]| status.parse().is_ok_and(|status: i16| list.contains(&status));
        if is_of(&codes.withdrawal_confirmed) {
            return State::Confirmed;
        }
        if !is_of(&codes.withdrawal_debited) {
            return State::Undone;
        }
        let submitted = submitted_at.parse::<i64>().ok().filter(|at| *at > 0);
        State::Open {
            submitted_ms: submitted.map(|at| self.now_ms.saturating_sub(at)),
        }
    }
}

type SentRow = (Option<String>, Option<String>, Option<i64>);

fn sent((id, tx, block): SentRow) -> Sent {
    Sent {
        id: id.unwrap_or_default(),
        tx: hash(&tx.unwrap_or_default()),
        block: block
            .and_then(|block| u64::try_from(block).ok())
            .filter(|block| *block > 0),
    }
}

fn hash(text: &str) -> Option<Hash32> {
    text.to_ascii_lowercase().parse().ok()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
