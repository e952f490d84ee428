//! The books: balances and sub-account balances, streamed in key order or fetched for some wallets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use eidos_pg::{Sql, sql};
use eidos_recon::feed::Feed;
use eidos_types::copy_binary::CopyScanner;
use eidos_types::{Address, Amount};
use futures::StreamExt;
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::snapshot::SnapshotTicket;
use super::{SourceError, column};
use crate::dimensions::balance::account::{AccountKey, TokenList};
use crate::dimensions::balance::merge::BooksRow;
use crate::dimensions::balance::schema::{Schema, TableId, WalletCase};
use crate::dimensions::balance::shard::Shard;

/// Rows per batch handed from the stream to the merge; two batches may wait.
const BATCH_ROWS: usize = 2048;
const BATCHES_WAITING: usize = 2;

/// Tokens of the books that nobody knows, and how many rows have them: a finding, not an end of the run.
pub type UnknownTokens = Arc<Mutex<BTreeMap<String, u64>>>;

/// Reads balances.
#[derive(Debug, Clone)]
pub struct Books {
    schema: Arc<Schema>,
    tokens: Arc<TokenList>,
    order: WalletOrder,
    unknown: UnknownTokens,
}

/// How the wallet column has to be ordered and compared to get bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalletOrder {
    /// The column sorts by bytes already: an index on it can be used.
    AsIs,
    /// Another collation: a sort under "C" is needed.
    UnderC,
    /// Mixed case: lower it first.
    Lowered,
}

/// One of the two tables with balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BalanceTable {
    /// The wallets' own.
    Balances,
    /// Their sub-accounts'.
    Subaccounts,
}

impl BalanceTable {
    /// Wallet, token and the two columns that make the amount.
    const FIELDS: usize = 4;

    const fn id(self) -> TableId {
        match self {
            Self::Balances => TableId::Balances,
            Self::Subaccounts => TableId::SubaccountBalances,
        }
    }

    const fn columns(self) -> &'static str {
        match self {
            Self::Balances => "{token}::text, {settled_available}::numeric, {settled_frozen}::numeric",
            Self::Subaccounts => "{token}::text, {available}::numeric, {frozen}::numeric",
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Balances => "balances",
            Self::Subaccounts => "sub-account balances",
        }
    }
}

/// A stream of one table over one shard. Dropping it ends the session behind it.
#[derive(Debug)]
pub struct BooksStream {
    /// The rows, ascending by wallet.
    pub feed: Feed<BooksRow, SourceError>,
    task: JoinHandle<()>,
}

impl Drop for BooksStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Books {
    /// A reader of the tables that `schema` names, for the tokens of this run.
    #[must_use]
    pub fn new(schema: Arc<Schema>, tokens: Arc<TokenList>, order: WalletOrder) -> Self {
        Self {
            schema,
            tokens,
            order,
            unknown: UnknownTokens::default(),
        }
    }

    /// Rows with tokens that are in no list, so far.
    #[must_use]
    pub fn unknown_tokens(&self) -> BTreeMap<String, u64> {
        self.unknown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Streams a table over a shard, starting after `after`, in the ticket's snapshot.
    #[must_use]
    pub fn stream(
        &self,
        ticket: SnapshotTicket,
        table: BalanceTable,
        shard: Shard,
        after: Option<Address>,
    ) -> BooksStream {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
        let books = self.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = books.copy(&ticket, table, shard, after, &sender).await {
                // A closed channel means that nobody reads any more; then nobody needs the error either.
                let _ = sender.send(Err(error)).await;
            }
        });
        BooksStream {
            feed: Feed::new(receiver),
            task,
        }
    }

    async fn copy(
        &self,
        ticket: &SnapshotTicket,
        table: BalanceTable,
        shard: Shard,
        after: Option<Address>,
        sender: &mpsc::Sender<Result<Vec<BooksRow>, SourceError>>,
    ) -> Result<(), SourceError> {
        let what = table.what();
        let mut conn = ticket.join().await?;
        let statement = self.copy_statement(table, shard, after);
        let mut stream = conn
            .copy_out_raw(statement.as_str())
            .await
            .map_err(SourceError::reading(what))?;
        let mut scanner = CopyScanner::new(BalanceTable::FIELDS);
        let mut batch = Vec::with_capacity(BATCH_ROWS);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(SourceError::reading(what))?;
            scanner.feed(&chunk, SourceError::malformed(what), |tuple| {
                let fields = tuple.array();
                // They come from `strays`, wherever the database sorts them.
                if has_capitals(fields[0]) {
                    return Ok(());
                }
                batch.extend(self.row(table, fields)?);
                Ok(())
            })?;
            if batch.len() >= BATCH_ROWS {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS));
                if sender.send(Ok(full)).await.is_err() {
                    return Ok(());
                }
            }
        }
        scanner.finish().map_err(SourceError::malformed(what))?;
        let _ = sender.send(Ok(batch)).await;
        Ok(())
    }

    fn copy_statement(&self, table: BalanceTable, shard: Shard, after: Option<Address>) -> Sql {
        let key = self.key_expression();
        let from = match after {
            Some(after) => sql!("{key} > {}", literal(after); key),
            None => sql!("{key} >= {}", literal(shard.first); key),
        };
        let template = sql!(
            "COPY (SELECT {key}::text, {} FROM {{table}} WHERE {from} AND {key} <= {} ORDER BY {key}) \
             TO STDOUT (FORMAT binary)",
            table.columns(), literal(shard.last);
            key, from
        );
        self.schema.sql(table.id(), template)
    }

    const fn key_expression(&self) -> &'static str {
        match self.order {
            WalletOrder::AsIs => "{wallet}",
            WalletOrder::UnderC => "{wallet} COLLATE \"C\"",
            WalletOrder::Lowered => "lower({wallet}) COLLATE \"C\"",
        }
    }

    /// A row; `None` for an unknown token, which is counted.
    fn row(
        &self,
        table: BalanceTable,
        fields: [Option<&[u8]>; BalanceTable::FIELDS],
    ) -> Result<Option<BooksRow>, SourceError> {
        let [wallet, token, available, frozen] = fields;
        let name = self.schema.name(table.id());
        let text = |field: Option<&[u8]>| String::from_utf8_lossy(field.unwrap_or_default()).into_owned();
        let Some(wallet) = wallet.and_then(address) else {
            return Err(column::bad_row(
                name,
                &text(wallet),
                "a wallet must be 0x and 40 hex digits",
            ));
        };
        let symbol = std::str::from_utf8(token.unwrap_or_default()).unwrap_or_default();
        let Some(token) = self.tokens.by_symbol(symbol) else {
            let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
            *unknown.entry(symbol.to_owned()).or_default() += 1;
            return Ok(None);
        };
        let amount = sum(available, frozen);
        Ok(Some(BooksRow {
            key: AccountKey { wallet, token },
            amount,
        }))
    }

    /// Rows whose wallet is written with capital letters, in both tables, ascending: the few that an index in
    /// byte order puts elsewhere. With [`WalletCase::Mixed`] there are none, because everything is lowered.
    pub async fn strays(&self, conn: &mut PgConnection, limit: usize) -> Result<Vec<BooksRow>, SourceError> {
        let mut found = Vec::new();
        if self.order == WalletOrder::Lowered {
            return Ok(found);
        }
        for table in [BalanceTable::Balances, BalanceTable::Subaccounts] {
            let what = table.what();
            let template = sql!(
                "SELECT lower({{wallet}}), {} FROM {{table}} \
                 WHERE {{wallet}} COLLATE \"C\" <> lower({{wallet}} COLLATE \"C\") LIMIT $1",
                table.columns()
            );
            let rows = sqlx::query(self.schema.sql(table.id(), template))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1))
                .fetch_all(&mut *conn)
                .await
                .map_err(SourceError::reading(what))?;
            if rows.len() > limit {
                let detail = format!(
                    "more than {limit} wallets have capital letters; set schema_profile.wallet_case to mixed"
                );
                return Err(column::bad_row(self.schema.name(table.id()), "wallet", &detail));
            }
            for row in &rows {
                let fields = raw_fields(row).map_err(SourceError::reading(what))?;
                found.extend(self.row(table, fields)?);
            }
        }
        found.sort_by_key(|row| row.key);
        Ok(found)
    }

    /// The rows of some wallets, ascending; both tables. Without strays.
    pub async fn of_wallets(
        &self,
        conn: &mut PgConnection,
        wallets: &[Address],
    ) -> Result<(Vec<BooksRow>, Vec<BooksRow>), SourceError> {
        let balances = self.of_wallets_in(conn, BalanceTable::Balances, wallets).await?;
        let subaccounts = self
            .of_wallets_in(conn, BalanceTable::Subaccounts, wallets)
            .await?;
        Ok((balances, subaccounts))
    }

    /// The rows of one wallet in both tables, however it is written: with strays.
    pub async fn of_spellings(
        &self,
        conn: &mut PgConnection,
        wallet: Address,
    ) -> Result<(Vec<BooksRow>, Vec<BooksRow>), SourceError> {
        let written = match self.order {
            WalletOrder::Lowered => vec![wallet.to_string()],
            WalletOrder::AsIs | WalletOrder::UnderC => column::spellings(wallet),
        };
        let balances = self
            .of_texts(conn, BalanceTable::Balances, written.clone())
            .await?;
        let subaccounts = self.of_texts(conn, BalanceTable::Subaccounts, written).await?;
        Ok((balances, subaccounts))
    }

    async fn of_wallets_in(
        &self,
        conn: &mut PgConnection,
        table: BalanceTable,
        wallets: &[Address],
    ) -> Result<Vec<BooksRow>, SourceError> {
        let wallets = wallets.iter().map(Address::to_string).collect();
        self.of_texts(conn, table, wallets).await
    }

    async fn of_texts(
        &self,
        conn: &mut PgConnection,
        table: BalanceTable,
        wallets: Vec<String>,
    ) -> Result<Vec<BooksRow>, SourceError> {
        let what = table.what();
        let key = match self.order {
            WalletOrder::AsIs | WalletOrder::UnderC => "{wallet}",
            WalletOrder::Lowered => "lower({wallet})",
        };
        let template = sql!(
            "SELECT {key}::text, {} FROM {{table}} WHERE {key} = ANY($1)",
            table.columns();
            key
        );
        let rows = sqlx::query(self.schema.sql(table.id(), template))
            .bind(wallets)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(what))?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let fields = raw_fields(row).map_err(SourceError::reading(what))?;
            found.extend(self.row(table, fields)?);
        }
        found.sort_by_key(|row| row.key);
        Ok(found)
    }
}

/// A wallet as a literal: `COPY` takes no parameters.
fn literal(wallet: Address) -> Sql {
    Sql::literal(&wallet.to_string()).unwrap_or_default()
}

fn raw_fields(row: &sqlx::postgres::PgRow) -> Result<[Option<&[u8]>; 4], sqlx::Error> {
    use sqlx::Row;
    let mut fields = [None; 4];
    for (i, field) in fields.iter_mut().enumerate() {
        // `as_bytes` fails for NULL only, which is `None` here.
        *field = row.try_get_raw(i)?.as_bytes().ok();
    }
    Ok(fields)
}

fn sum(available: Option<&[u8]>, frozen: Option<&[u8]>) -> Result<Amount, String> {
    let amount = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => Amount::from_pg_numeric(bytes).map_err(|error| error.to_string()),
        None => Err("an amount is NULL".to_owned()),
    };
    amount(available)?
        .checked_add(amount(frozen)?)
        .map_err(|overflow| overflow.to_string())
}

/// Capital letters sort before small ones: such a row is at another place of the byte order than its address.
fn has_capitals(wallet: Option<&[u8]>) -> bool {
    wallet.is_some_and(|text| text.iter().any(u8::is_ascii_uppercase))
}

fn address(text: &[u8]) -> Option<Address> {
    let digits = text.strip_prefix(b"0x")?;
    let mut bytes = [0; 20];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(Address::new(bytes))
}

/// Finds out whether the wallet column sorts by bytes.
///
/// # Errors
/// If the catalogue cannot be read.
pub async fn wallet_order(schema: &Schema, pool: &PgPool) -> Result<WalletOrder, SourceError> {
    if schema.wallet_case == WalletCase::Mixed {
        return Ok(WalletOrder::Lowered);
    }
    for table in [TableId::Balances, TableId::SubaccountBalances] {
        let column = schema.sql(table, "{wallet}").as_str().replace('"', "");
        let bytewise: Option<bool> = sqlx::query_scalar(
            "SELECT CASE WHEN c.collname = 'default' THEN d.datcollate ELSE c.collcollate END \
                    IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8') \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation, \
                  pg_catalog.pg_database d \
             WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND d.datname = current_database()",
        )
        .bind(schema.sql(table, "{table}").to_string())
        .bind(column)
        .fetch_optional(pool)
        .await
        .map_err(SourceError::reading("the wallet column's collation"))?
        .flatten();
        if bytewise != Some(true) {
            return Ok(WalletOrder::UnderC);
        }
    }
    Ok(WalletOrder::AsIs)
}
