//! The open movements of the books, as lines that roll them to the cut (the rules are in
//! [`crate::dimensions::balance::in_flight`]). What the chain did is asked from the chain, not from the books' copy of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use eidos_chain::{BlockRef, ChainReader};
use eidos_types::{Address, Hash32};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::column::{bad_row, exact_amount, token, wallet};
use super::snapshot::BooksSnapshot;
use super::{SourceError, batch_id};
use crate::dimensions::balance::account::{AccountKey, TokenList};
use crate::dimensions::balance::in_flight::{
    BatchAtCut, DepositState, Leg, Line, Mined, SettledTrade, SettlementState, WithdrawalState, deposit_line,
    trade_lines, withdrawal_line,
};
use crate::dimensions::balance::merge::LinesByAccount;
use crate::dimensions::balance::schema::{Schema, TableId};

/// What the loader needs to know.
#[derive(Debug, Clone, Copy)]
pub struct InFlight<'a> {
    /// The tables.
    pub schema: &'a Schema,
    /// The run's tokens.
    pub tokens: &'a TokenList,
    /// The chain.
    pub chain: &'a ChainReader,
    /// Its id.
    pub chain_id: u64,
    /// The node's newest block when the cut was pinned.
    pub head: u64,
    /// Who gets the fees.
    pub fee_recipient: Option<Address>,
    /// How long an uncredited deposit is a delay and no fault, in milliseconds.
    pub max_age_ms: i64,
    /// The most lines held.
    pub max_lines: usize,
}

impl InFlight<'_> {
    /// Every line of every account at this cut.
    pub async fn load(
        &self,
        snapshot: &mut BooksSnapshot,
        cut: &BlockRef,
    ) -> Result<LinesByAccount, SourceError> {
        let mut lines = LinesByAccount::new();
        self.withdrawals(snapshot, cut, &mut lines).await?;
        self.deposits(snapshot, cut, &mut lines).await?;
        self.batches(snapshot, cut, &mut lines).await?;
        Ok(lines)
    }

    async fn withdrawals(
        &self,
        snapshot: &mut BooksSnapshot,
        cut: &BlockRef,
        lines: &mut LinesByAccount,
    ) -> Result<(), SourceError> {
        let what = "open withdrawals";
        let name = self.schema.name(TableId::Withdrawals);
        let ahead = self.chain_withdrawals(snapshot.chain(), cut).await?;
        let ids: Vec<&str> = ahead.keys().map(String::as_str).collect();
        let sql = self.schema.sql(
            TableId::Withdrawals,
            "SELECT {withdraw_id}::text AS id, {wallet}::text AS wallet, {token}::text AS token, \
                    {amount}::numeric AS amount, {status}::smallint AS status, {tx_hash}::text AS tx_hash \
             FROM {table} WHERE {status} = ANY($1) OR ({status} = ANY($2) AND {withdraw_id} = ANY($3))",
        );
        let codes = &self.schema.codes;
        let rows = sqlx::query(sql)
            .bind(&codes.withdrawal_debited)
            .bind(&codes.withdrawal_confirmed)
            .bind(&ids)
            .fetch_all(snapshot.trading())
            .await
            .map_err(SourceError::reading(what))?;
        self.check_count(lines, rows.len())?;
        let indexer = snapshot.indexer.number;
        let hashes: Vec<Option<Hash32>> = rows
            .iter()
            .map(|row| transaction_of(row, &ahead))
            .collect::<Result<_, _>>()
            .map_err(SourceError::reading(what))?;
        let mined = self.mined(hashes.iter().flatten().copied()).await?;
        for (row, hash) in rows.iter().zip(hashes) {
            let text = |column: &'static str| {
                row.try_get::<String, _>(column)
                    .map_err(SourceError::reading(what))
            };
            let id = text("id")?;
            let status: i16 = row.try_get("status").map_err(SourceError::reading(what))?;
            let state = if codes.withdrawal_confirmed.contains(&status) {
                WithdrawalState::Confirmed
            } else {
                WithdrawalState::Debited
            };
            let key = AccountKey {
                wallet: wallet(&text("wallet")?, name)?,
                token: token(&text("token")?, self.tokens, name, &id)?,
            };
            let mined = hash
                .and_then(|hash| mined.get(&hash).copied())
                .unwrap_or(Mined::No);
            let amount = exact_amount(row, "amount", name, &id)?;
            let named = ahead.get(&id).and_then(|tx| tx.block).unwrap_or(indexer);
            let line = withdrawal_line(&id, amount, state, mined, cut.number, named);
            add(lines, key, line);
        }
        Ok(())
    }

    /// The chain service's transactions that are open or mined after the cut, by withdrawal.
    async fn chain_withdrawals(
        &self,
        conn: &mut PgConnection,
        cut: &BlockRef,
    ) -> Result<BTreeMap<String, ChainWithdrawal>, SourceError> {
        let what = "withdrawal transactions after the cut";
        let sql = self.schema.sql(
            TableId::ChainWithdrawals,
            "SELECT {withdraw_id}::text AS id, {tx_hash}::text AS tx_hash, \
                    {block_number}::bigint AS block FROM {table} \
             WHERE {chain_id}::bigint = $1 AND ({block_number} IS NULL OR {block_number} = 0 OR {block_number} > $2)",
        );
        let rows = sqlx::query(sql)
            .bind(signed(self.chain_id))
            .bind(signed(cut.number))
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading(what))?;
        rows.iter()
            .map(|row| {
                let block: Option<i64> = row.try_get("block")?;
                let transaction = ChainWithdrawal {
                    tx_hash: row.try_get("tx_hash")?,
                    block: block
                        .and_then(|block| u64::try_from(block).ok())
                        .filter(|block| *block > 0),
                };
                Ok((row.try_get("id")?, transaction))
            })
            .collect::<Result<_, _>>()
            .map_err(SourceError::reading(what))
    }

    async fn deposits(
        &self,
        snapshot: &mut BooksSnapshot,
        cut: &BlockRef,
        lines: &mut LinesByAccount,
    ) -> Result<(), SourceError> {
        let what = "open deposits";
        let name = self.schema.name(TableId::Deposits);
        let taken_ms = snapshot.taken_at.timestamp_millis();
        let sql = self.schema.sql(
            TableId::Deposits,
            "SELECT {deposit_id}::text AS id, {wallet}::text AS wallet, {token}::text AS token, \
                    {amount}::numeric AS amount, {status}::smallint AS status, {tx_hash}::text AS tx_hash, \
                    {block_num}::bigint AS block, COALESCE({detected_at}, 0)::bigint AS detected_at \
             FROM {table} WHERE ({status} = ANY($1) AND {block_num} > $2) OR ({status} = ANY($3) AND {block_num} <= $2)",
        );
        let codes = &self.schema.codes;
        let rows = sqlx::query(sql)
            .bind(&codes.deposit_credited)
            .bind(signed(cut.number))
            .bind(&codes.deposit_waiting)
            .fetch_all(snapshot.trading())
            .await
            .map_err(SourceError::reading(what))?;
        self.check_count(lines, rows.len())?;
        let hash = |row: &PgRow| {
            row.try_get::<Option<String>, _>("tx_hash")
                .ok()
                .flatten()?
                .parse()
                .ok()
        };
        let mined = self.mined(rows.iter().filter_map(hash)).await?;
        for row in &rows {
            let text = |column: &'static str| {
                row.try_get::<String, _>(column)
                    .map_err(SourceError::reading(what))
            };
            let number =
                |column: &'static str| row.try_get::<i64, _>(column).map_err(SourceError::reading(what));
            let id = text("id")?;
            let status: i16 = row.try_get("status").map_err(SourceError::reading(what))?;
            let state = if codes.deposit_credited.contains(&status) {
                DepositState::Credited
            } else {
                DepositState::Waiting {
                    age_ms: taken_ms.saturating_sub(number("detected_at")?),
                }
            };
            let key = AccountKey {
                wallet: wallet(&text("wallet")?, name)?,
                token: token(&text("token")?, self.tokens, name, &id)?,
            };
            let mined = hash(row)
                .and_then(|hash| mined.get(&hash).copied())
                .unwrap_or(Mined::No);
            let block = u64::try_from(number("block")?).unwrap_or_default();
            let amount = exact_amount(row, "amount", name, &id)?;
            let line = deposit_line(&id, amount, state, block, mined, cut.number, self.max_age_ms);
            add(lines, key, line);
        }
        Ok(())
    }

    async fn batches(
        &self,
        snapshot: &mut BooksSnapshot,
        cut: &BlockRef,
        lines: &mut LinesByAccount,
    ) -> Result<(), SourceError> {
        let indexer = snapshot.indexer.number;
        let mut candidates = self.batches_after(snapshot.chain(), cut).await?;
        for id in self.open_batches(snapshot.trading()).await? {
            candidates.entry(id).or_insert(indexer);
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let (ids, named): (Vec<String>, Vec<u64>) = candidates.into_iter().unzip();
        let on_chain: Vec<Hash32> = ids.iter().map(|id| batch_id::on_chain(id)).collect();
        let settled = self.chain.batches_settled(cut, &on_chain).await?;
        let at_cut = settled.into_iter().zip(named).map(|(settled, named)| {
            if settled {
                BatchAtCut::Settled
            } else if self.head < named {
                BatchAtCut::Unseen
            } else {
                BatchAtCut::NotSettled
            }
        });
        let at_cut: HashMap<&str, BatchAtCut> = ids.iter().map(String::as_str).zip(at_cut).collect();
        let rows = self.trades(snapshot.trading(), &ids).await?;
        self.check_count(lines, rows.len().saturating_mul(5))?;
        for row in &rows {
            self.trade(row, &at_cut, lines)?;
        }
        Ok(())
    }

    /// The batches that the books saw settled after the cut, with the block they name.
    async fn batches_after(
        &self,
        conn: &mut PgConnection,
        cut: &BlockRef,
    ) -> Result<BTreeMap<String, u64>, SourceError> {
        let sql = self.schema.sql(
            TableId::ChainBatches,
            "SELECT {batch_id}::text, {block_number}::bigint FROM {table} \
             WHERE {chain_id}::bigint = $1 AND {block_number} > $2",
        );
        let rows: Vec<(String, i64)> = sqlx::query_as(sql)
            .bind(signed(self.chain_id))
            .bind(signed(cut.number))
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading("batches after the cut"))?;
        let named = |block: i64| u64::try_from(block).unwrap_or_default();
        Ok(rows.into_iter().map(|(id, block)| (id, named(block))).collect())
    }

    async fn open_batches(&self, conn: &mut PgConnection) -> Result<Vec<String>, SourceError> {
        let sql = self.schema.sql(
            TableId::SettlementBatches,
            "SELECT {batch_id}::text FROM {table} WHERE {status} = ANY($1)",
        );
        sqlx::query_scalar(sql)
            .bind(&self.schema.codes.batch_open)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading("open batches"))
    }

    async fn trades(&self, conn: &mut PgConnection, batches: &[String]) -> Result<Vec<PgRow>, SourceError> {
        let sql = self.schema.sql(
            TableId::Trades,
            "SELECT {trade_id}::text AS id, {market}::text AS market, {maker_wallet}::text AS maker, \
                    {taker_wallet}::text AS taker, {amount}::numeric AS amount, \
                    {quote_amount}::numeric AS quote_amount, {maker_fee}::numeric AS maker_fee, \
                    {taker_fee}::numeric AS taker_fee, {maker_side}::smallint AS maker_side, \
                    {settlement_status}::smallint AS status, {batch_id}::text AS batch_id \
             FROM {table} WHERE {batch_id} = ANY($1)",
        );
        sqlx::query(sql)
            .bind(batches)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading("trades of open batches"))
    }

    fn trade(
        &self,
        row: &PgRow,
        at_cut: &HashMap<&str, BatchAtCut>,
        lines: &mut LinesByAccount,
    ) -> Result<(), SourceError> {
        let what = "trades of open batches";
        let name = self.schema.name(TableId::Trades);
        let text = |column: &'static str| {
            row.try_get::<String, _>(column)
                .map_err(SourceError::reading(what))
        };
        let small = |column: &'static str| row.try_get::<i16, _>(column).map_err(SourceError::reading(what));
        let id = text("id")?;
        let market = text("market")?;
        let Some((base, quote)) = self.schema.market_symbols(&market) else {
            return Err(bad_row(
                name,
                &id,
                &format!("market '{market}' is not BASE-QUOTE"),
            ));
        };
        let (base, quote) = (
            token(base, self.tokens, name, &id)?,
            token(quote, self.tokens, name, &id)?,
        );
        let money = |column| exact_amount(row, column, name, &id);
        let (maker, taker) = (wallet(&text("maker")?, name)?, wallet(&text("taker")?, name)?);
        let maker_buys = small("maker_side")? == self.schema.codes.side_buy;
        let (maker_fee, taker_fee) = (money("maker_fee")?, money("taker_fee")?);
        let trade = SettledTrade {
            reference: id.clone(),
            buyer: if maker_buys { maker } else { taker },
            seller: if maker_buys { taker } else { maker },
            base_amount: money("amount")?,
            quote_amount: money("quote_amount")?,
            buyer_fee: if maker_buys { maker_fee } else { taker_fee },
            seller_fee: if maker_buys { taker_fee } else { maker_fee },
            state: self.settlement_state(small("status")?),
        };
        let batch = at_cut
            .get(text("batch_id")?.as_str())
            .copied()
            .unwrap_or(BatchAtCut::NotSettled);
        let deltas = trade_lines(&trade, batch, self.fee_recipient.unwrap_or(Address::ZERO))
            .map_err(|overflow| bad_row(name, &id, &overflow.to_string()))?;
        for delta in deltas {
            let token = if delta.leg == Leg::Base { base } else { quote };
            add(
                lines,
                AccountKey {
                    wallet: delta.wallet,
                    token,
                },
                Some(delta.line),
            );
        }
        Ok(())
    }

    fn settlement_state(&self, status: i16) -> SettlementState {
        let codes = &self.schema.codes;
        if codes.trade_settled.contains(&status) {
            SettlementState::Settled
        } else if codes.trade_open.contains(&status) {
            SettlementState::Open
        } else {
            SettlementState::Undone
        }
    }

    /// Where transactions are; a reverted one moved nothing, one without receipt is unknown above the node's head.
    async fn mined(
        &self,
        hashes: impl Iterator<Item = Hash32>,
    ) -> Result<HashMap<Hash32, Mined>, SourceError> {
        let hashes: Vec<Hash32> = hashes.collect::<HashSet<_>>().into_iter().collect();
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.chain.receipts(&hashes).await?;
        let head = found.head;
        let mined = found.receipts.into_iter().map(|receipt| match receipt {
            Some(receipt) if receipt.success => Mined::At(receipt.block_number),
            Some(_reverted) => Mined::No,
            None => Mined::Unseen { head },
        });
        Ok(hashes.into_iter().zip(mined).collect())
    }

    fn check_count(&self, lines: &LinesByAccount, more: usize) -> Result<(), SourceError> {
        let count = lines.len().saturating_add(more);
        if count > self.max_lines {
            return Err(SourceError::TooManyInFlight {
                count,
                limit: self.max_lines,
            });
        }
        Ok(())
    }
}

/// A withdrawal's transaction as the chain service has it.
#[derive(Debug)]
struct ChainWithdrawal {
    tx_hash: Option<String>,
    /// `None`: the chain service names no block.
    block: Option<u64>,
}

fn transaction_of(
    row: &PgRow,
    ahead: &BTreeMap<String, ChainWithdrawal>,
) -> Result<Option<Hash32>, sqlx::Error> {
    let own: Option<String> = row.try_get("tx_hash")?;
    let id: String = row.try_get("id")?;
    let parse = |text: &String| text.parse::<Hash32>().ok();
    Ok(own
        .as_ref()
        .and_then(parse)
        .or_else(|| ahead.get(&id)?.tx_hash.as_ref().and_then(parse)))
}

fn add(lines: &mut LinesByAccount, key: AccountKey, line: Option<Line>) {
    if let Some(line) = line {
        lines.entry(key).or_default().push(line);
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
