//! What the books did to one account: the entries of its balance log, and the trades that they are for. Material for an
//! explanation; the comparison never reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_pg::sql;
use eidos_types::{Address, Amount, Hash32};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::SourceError;
use super::column;
use crate::dimensions::balance::account::{TokenIndex, TokenList};
use crate::dimensions::balance::schema::{Schema, StatusCodes, TableId};

const ENTRIES: &str = "the balance log of an account";
const TRADES: &str = "the trades of an account";

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A deposit.
    Deposit,
    /// The debit of a withdrawal.
    Withdrawal,
    /// A withdrawal that was given back.
    Refund,
    /// A settled trade.
    Settlement,
    /// Something else that changes the settled balance.
    Other,
}

impl EntryKind {
    fn of(code: i16, codes: &StatusCodes) -> Option<Self> {
        let lists = [
            (&codes.ledger_deposit, Self::Deposit),
            (&codes.ledger_withdrawal, Self::Withdrawal),
            (&codes.ledger_refund, Self::Refund),
            (&codes.ledger_settlement, Self::Settlement),
            (&codes.ledger_other, Self::Other),
        ];
        lists
            .into_iter()
            .find(|(list, _)| list.contains(&code))
            .map(|(_, kind)| kind)
    }
}

/// An entry of the balance log that changed the settled balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: i64,
    /// What it is for.
    pub kind: EntryKind,
    /// Signed; or why it is not an amount.
    pub amount: Result<Amount, String>,
    /// The transaction that it names.
    pub tx: Option<Hash32>,
    /// The trade that it names.
    pub trade: Option<String>,
    /// When, epoch ms.
    pub at_ms: i64,
}

/// How far the books are with a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TradeStage {
    /// Not in the settled balance yet.
    Open,
    /// In the settled balance.
    Settled,
    /// Never will be.
    Undone,
}

/// A trade of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeRow {
    /// Its id.
    pub id: String,
    /// Its batch.
    pub batch: Option<String>,
    /// How far it is.
    pub stage: TradeStage,
    /// What it does to the account in this token; `None`: not an amount, or a market that is not readable.
    pub delta: Option<Amount>,
    /// The account's fee in this token.
    pub fee: Amount,
}

/// One account's books.
#[derive(Debug, Clone, Copy)]
pub struct AccountBooks<'a> {
    /// The tables.
    pub schema: &'a Schema,
    /// The tokens.
    pub tokens: &'a TokenList,
    /// Whose.
    pub wallet: Address,
    /// In which token.
    pub token: TokenIndex,
    /// True if it is the platform's own: its trades are everybody's, its deltas their fees.
    pub is_fees: bool,
    /// Most rows of one table.
    pub limit: i64,
}

/// Ends statements of this transaction that take longer.
///
/// # Errors
/// Those of the database.
pub async fn bound(conn: &mut PgConnection, longest: Duration) -> Result<(), SourceError> {
    sqlx::query("SELECT set_config('statement_timeout', $1, true)")
        .bind(longest.as_millis().max(1).to_string())
        .execute(conn)
        .await
        .map_err(SourceError::reading("the time limit of statements"))?;
    Ok(())
}

impl AccountBooks<'_> {
    /// The newest entries that changed the settled balance.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn entries(&self, conn: &mut PgConnection) -> Result<Vec<Entry>, SourceError> {
        let key = column::wallet_key(self.schema);
        let template = sql!(
            "SELECT {{id}}::bigint AS id, {{type}}::smallint AS type, {{amount}}::numeric AS amount, \
                    {{trade_id}}::text AS trade, {{tx_hash}}::text AS tx_hash, COALESCE({{created_at}}, 0)::bigint AS at_ms \
             FROM {{table}} WHERE {key} = ANY($1) AND {{token}} = $2 AND {{type}} = ANY($3) ORDER BY {{id}} DESC LIMIT $4"; key
        );
        let codes = &self.schema.codes;
        let types: Vec<i16> = [
            &codes.ledger_deposit,
            &codes.ledger_withdrawal,
            &codes.ledger_refund,
            &codes.ledger_settlement,
            &codes.ledger_other,
        ]
        .into_iter()
        .flatten()
        .copied()
        .collect();
        let rows = sqlx::query(self.schema.sql(TableId::BalanceLogs, template))
            .bind(column::spellings(self.wallet))
            .bind(self.tokens.symbol(self.token))
            .bind(types)
            .bind(self.limit)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(ENTRIES))?;
        let read = |row: &PgRow| -> Result<Option<Entry>, sqlx::Error> {
            let Some(kind) = EntryKind::of(row.try_get("type")?, codes) else {
                return Ok(None);
            };
            let tx: Option<String> = row.try_get("tx_hash")?;
            Ok(Some(Entry {
                id: row.try_get("id")?,
                kind,
                amount: column::amount(row, "amount")?,
                tx: tx.and_then(|text| text.to_ascii_lowercase().parse().ok()),
                trade: row.try_get("trade")?,
                at_ms: row.try_get("at_ms")?,
            }))
        };
        rows.iter()
            .filter_map(|row| read(row).transpose())
            .collect::<Result<_, _>>()
            .map_err(SourceError::reading(ENTRIES))
    }

    /// The newest trades with a batch.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn trades(&self, conn: &mut PgConnection) -> Result<Vec<TradeRow>, SourceError> {
        let sql = self.schema.sql(
            TableId::Trades,
            "SELECT {trade_id}::text AS id, {batch_id}::text AS batch, {market}::text AS market, \
                    {maker_wallet}::text AS maker, {taker_wallet}::text AS taker, {amount}::numeric AS amount, \
                    {quote_amount}::numeric AS quote_amount, {maker_fee}::numeric AS maker_fee, \
                    {taker_fee}::numeric AS taker_fee, {maker_side}::smallint AS maker_side, \
                    {settlement_status}::smallint AS status \
             FROM {table} WHERE {batch_id} IS NOT NULL \
               AND ($2 OR {maker_wallet} = ANY($1) OR {taker_wallet} = ANY($1)) ORDER BY {trade_id} DESC LIMIT $3",
        );
        let rows = sqlx::query(sql)
            .bind(column::spellings(self.wallet))
            .bind(self.is_fees)
            .bind(self.limit)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(TRADES))?;
        rows.iter()
            .map(|row| self.trade(row))
            .collect::<Result<_, _>>()
            .map_err(SourceError::reading(TRADES))
    }

    fn trade(&self, row: &PgRow) -> Result<TradeRow, sqlx::Error> {
        let status: i16 = row.try_get("status")?;
        let codes = &self.schema.codes;
        let stage = if codes.trade_settled.contains(&status) {
            TradeStage::Settled
        } else if codes.trade_open.contains(&status) {
            TradeStage::Open
        } else {
            TradeStage::Undone
        };
        let market: String = row.try_get("market")?;
        let symbols = self.schema.market_symbols(&market);
        let of = |symbol: &str| self.tokens.by_symbol(symbol) == Some(self.token);
        let (is_base, is_quote) = symbols.map_or((false, false), |(base, quote)| (of(base), of(quote)));
        let maker_buys = row.try_get::<i16, _>("maker_side")? == codes.side_buy;
        let money = |name: &str| Ok::<_, sqlx::Error>(column::amount(row, name)?.ok());
        let (base, quote) = (money("amount")?, money("quote_amount")?);
        let (maker_fee, taker_fee) = (money("maker_fee")?, money("taker_fee")?);
        let is_mine = |text: &str| text.to_ascii_lowercase() == self.wallet.to_string();
        let is_maker = is_mine(&row.try_get::<String, _>("maker")?);
        let fee = if is_maker { maker_fee } else { taker_fee };
        let delta = || {
            let quoted = quote?;
            Some(match (self.is_fees, is_maker == maker_buys) {
                (true, _) if is_quote => maker_fee?.checked_add(taker_fee?).ok()?,
                (false, true) if is_base => base?,
                (false, false) if is_base => base?.negated(),
                (false, true) if is_quote => quoted.checked_add(fee?).ok()?.negated(),
                (false, false) if is_quote => quoted.checked_sub(fee?).ok()?,
                _ => Amount::ZERO,
            })
        };
        Ok(TradeRow {
            id: row.try_get("id")?,
            batch: row.try_get("batch")?,
            stage,
            delta: delta(),
            fee: fee.filter(|_| is_quote && !self.is_fees).unwrap_or_default(),
        })
    }

    /// The blocks in which the chain service saw batches settled.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn batch_blocks(
        &self,
        conn: &mut PgConnection,
        batches: &[String],
    ) -> Result<BTreeMap<String, u64>, SourceError> {
        let sql = self.schema.sql(
            TableId::ChainBatches,
            "SELECT {batch_id}::text, {block_number}::bigint FROM {table} WHERE {batch_id} = ANY($1) AND {block_number} IS NOT NULL",
        );
        let rows: Vec<(String, i64)> = sqlx::query_as(sql)
            .bind(batches)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading("the chain service's batches"))?;
        let block = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok(rows
            .into_iter()
            .map(|(batch, number)| (batch, block(number)))
            .collect())
    }
}
