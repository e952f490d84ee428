//! What happened in an hour or a day, from the trading service's tables. All sums are exact `NUMERIC`.

use eidos_core::CoreError;
use eidos_pg::Sql;
use eidos_types::Amount;
use sqlx::PgPool;

use super::failed;
use super::statistics::Figure;
use crate::profile::{Codes, Schema};

/// `$1` from, `$2` to, `$3` codes of trades that were rolled back, `$4` of cancelled orders, `$5` of credited deposits, `$6`
/// of confirmed withdrawals.
///
/// Each table is read once, into groups that are few; every figure is a sum of groups. A row whose numbers cannot be true is
/// not counted and is returned as refused.
const HOUR: &str = "\
    WITH trades AS ( \
      SELECT market, token, ok, count(*) AS trades, sum(amount) AS amount, sum(quote) AS quote, sum(fee) AS fee FROM ( \
        SELECT t.{trades.market}::text AS market, t.{trades.amount} AS amount, t.{trades.quote_amount} AS quote, \
          t.{trades.fee_token}::text AS token, t.{trades.maker_fee} + t.{trades.taker_fee} AS fee, \
          (t.{trades.amount} >= 0 AND t.{trades.amount} < 1e18 AND t.{trades.quote_amount} >= 0 \
            AND t.{trades.quote_amount} < 1e18 AND abs(t.{trades.maker_fee}) < 1e18 AND abs(t.{trades.taker_fee}) < 1e18) \
            IS TRUE AS ok \
        FROM {trades} t WHERE t.{trades.matched_at} >= $1 AND t.{trades.matched_at} < $2 \
          AND t.{trades.settlement_status} <> ALL ($3::bigint[])) AS one GROUP BY market, token, ok), \
    counted AS (SELECT * FROM trades WHERE ok), \
    placed AS ( \
      SELECT o.{orders.market}::text AS market, count(*) AS orders FROM {orders} o \
      WHERE o.{orders.created_at} >= $1 AND o.{orders.created_at} < $2 GROUP BY 1), \
    cancelled AS ( \
      SELECT o.{orders.market}::text AS market, count(*) AS orders FROM {orders} o \
      WHERE o.{orders.status} = ANY ($4::bigint[]) AND o.{orders.updated_at} >= $1 AND o.{orders.updated_at} < $2 \
      GROUP BY 1), \
    moved AS ( \
      SELECT metric, ok, count(*) AS transfers, sum(amount) AS amount FROM ( \
        SELECT 'deposit_volume:' || d.{deposits.token} AS metric, d.{deposits.amount} AS amount, \
          (d.{deposits.amount} >= 0 AND d.{deposits.amount} < 1e18) IS TRUE AS ok FROM {deposits} d \
        WHERE d.{deposits.status} = ANY ($5::bigint[]) AND d.{deposits.credited_at} >= $1 \
          AND d.{deposits.credited_at} < $2 \
        UNION ALL \
        SELECT 'withdraw_volume:' || w.{withdrawals.token}, w.{withdrawals.amount}, \
          (w.{withdrawals.amount} >= 0 AND w.{withdrawals.amount} < 1e18) IS TRUE FROM {withdrawals} w \
        WHERE w.{withdrawals.status} = ANY ($6::bigint[]) AND w.{withdrawals.confirmed_at} >= $1 \
          AND w.{withdrawals.confirmed_at} < $2) AS one GROUP BY metric, ok) \
    SELECT market, 'trade_volume' AS metric, sum(amount)::text AS value FROM counted GROUP BY market \
    UNION ALL SELECT market, 'quote_volume', sum(quote)::text FROM counted GROUP BY market \
    UNION ALL SELECT market, 'trade_count', sum(trades)::text FROM counted GROUP BY market \
    UNION ALL SELECT NULL, 'trade_count', coalesce(sum(trades), 0)::text FROM counted \
    UNION ALL SELECT market, 'fee_total:' || token, fee::text FROM counted \
    UNION ALL SELECT NULL, 'fee_total:' || token, sum(fee)::text FROM counted GROUP BY token \
    UNION ALL SELECT market, 'order_count', orders::text FROM placed \
    UNION ALL SELECT NULL, 'order_count', coalesce(sum(orders), 0)::text FROM placed \
    UNION ALL SELECT market, 'cancel_count', orders::text FROM cancelled \
    UNION ALL SELECT NULL, 'cancel_count', coalesce(sum(orders), 0)::text FROM cancelled \
    UNION ALL SELECT NULL, metric, amount::text FROM moved WHERE ok \
    UNION ALL SELECT NULL, 'refused', (coalesce((SELECT sum(trades) FROM trades WHERE NOT ok), 0) + \
      coalesce((SELECT sum(transfers) FROM moved WHERE NOT ok), 0))::text";

/// `$1` from, `$2` to, `$3` codes of trades that were rolled back. Wallets are made distinct by hashing: to sort millions of
/// addresses takes several times as long.
const USERS: &str = "\
    SELECT (SELECT count(wallet) FROM ( \
        SELECT t.{trades.maker_wallet} AS wallet FROM {trades} t WHERE t.{trades.matched_at} >= $1 \
          AND t.{trades.matched_at} < $2 AND t.{trades.settlement_status} <> ALL ($3::bigint[]) \
        UNION SELECT t.{trades.taker_wallet} FROM {trades} t WHERE t.{trades.matched_at} >= $1 \
          AND t.{trades.matched_at} < $2 AND t.{trades.settlement_status} <> ALL ($3::bigint[]) \
        UNION SELECT o.{orders.wallet} FROM {orders} o WHERE o.{orders.created_at} >= $1 \
          AND o.{orders.created_at} < $2) AS active), \
      (SELECT count(DISTINCT b.{balances.wallet}) FROM {balances} b WHERE b.{balances.created_at} >= $1 \
         AND b.{balances.created_at} < $2 AND NOT EXISTS (SELECT FROM {balances} e \
           WHERE e.{balances.wallet} = b.{balances.wallet} AND e.{balances.created_at} < $1))";

/// `$1` codes of open orders.
const OPEN: &str = "SELECT count(*) FROM {orders} o WHERE o.{orders.status} = ANY ($1::bigint[])";

/// The statements on the trading service's tables.
#[derive(Debug, Clone)]
pub struct Activity {
    hour: Sql,
    users: Sql,
    open: Sql,
}

/// What happened in an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hour {
    /// Figures per market and of all markets.
    pub figures: Vec<Figure>,
    /// Rows that were not counted, because their numbers cannot be true.
    pub refused: u64,
}

impl Activity {
    /// Renders the statements with the names of this installation.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self {
            hour: schema.render(HOUR),
            users: schema.render(USERS),
            open: schema.render(OPEN),
        }
    }

    /// The rendered statements by name, to be prepared in a test.
    #[must_use]
    pub fn statements(&self) -> Vec<(&'static str, Sql)> {
        vec![
            ("activity: hour", self.hour.clone()),
            ("activity: users", self.users.clone()),
            ("activity: open orders", self.open.clone()),
        ]
    }

    /// Returns the figures of `[from_ms, to_ms)`.
    ///
    /// # Errors
    /// Those of the database; a sum that does not fit `DECIMAL(36,18)`.
    pub async fn hour(
        &self,
        pool: &PgPool,
        codes: &Codes,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<Hour, CoreError> {
        let rows: Vec<(Option<String>, String, String)> = sqlx::query_as(&self.hour)
            .bind(from_ms)
            .bind(to_ms)
            .bind(&codes.trade_rolled_back[..])
            .bind(&codes.order_cancelled[..])
            .bind(&codes.deposit_credited[..])
            .bind(&codes.withdrawal_confirmed[..])
            .fetch_all(pool)
            .await
            .map_err(failed("add up an hour"))?;
        let mut hour = Hour::default();
        for (market, metric, value) in rows {
            if metric == "refused" {
                hour.refused = value.parse().unwrap_or(u64::MAX);
                continue;
            }
            let value: Amount = value
                .parse()
                .map_err(|error: eidos_types::AmountError| sqlx::Error::Decode(Box::new(error)))
                .map_err(failed("read a sum of an hour"))?;
            hour.figures.push(Figure {
                market,
                metric,
                value,
            });
        }
        Ok(hour)
    }

    /// Returns how many wallets traded or placed an order in `[from_ms, to_ms)`, and how many have their first balance in it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn users(
        &self,
        pool: &PgPool,
        codes: &Codes,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<(i64, i64), CoreError> {
        sqlx::query_as(&self.users)
            .bind(from_ms)
            .bind(to_ms)
            .bind(&codes.trade_rolled_back[..])
            .fetch_one(pool)
            .await
            .map_err(failed("count users"))
    }

    /// Returns how many orders are open.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn open_orders(&self, pool: &PgPool, codes: &Codes) -> Result<i64, CoreError> {
        sqlx::query_scalar(&self.open)
            .bind(&codes.order_open[..])
            .fetch_one(pool)
            .await
            .map_err(failed("count open orders"))
    }
}
