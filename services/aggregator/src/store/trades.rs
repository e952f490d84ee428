//! Public trades: where their table is complete, and those that were stored late.

use eidos_core::CoreError;
use eidos_market::Interval;
use eidos_pg::Sql;
use sqlx::PgPool;

use super::failed;
use crate::profile::Schema;

/// `$1` stored after, `$2` stored by, `$3` late by, `$4` width and `$5` origin of the windows. The last column: when the
/// market traded next, by its trades and by its candles of one minute; NULL: not yet.
const LATE: &str = "\
    SELECT l.market::text, l.w, least( \
        (SELECT n.{market_trades.timestamp} FROM {market_trades} n WHERE n.{market_trades.market} = l.market \
          AND n.{market_trades.timestamp} > l.last_ms ORDER BY n.{market_trades.timestamp} LIMIT 1), \
        (SELECT k.{klines.open_time} FROM {klines} k WHERE k.{klines.market} = l.market AND k.{klines.interval} = '1m' \
          AND k.{klines.open_time} > l.last_ms AND k.{klines.trade_count} > 0 ORDER BY k.{klines.open_time} LIMIT 1)) \
    FROM (SELECT t.{market_trades.market} AS market, t.{market_trades.timestamp} - \
        mod(mod(t.{market_trades.timestamp} - $5::bigint, $4::bigint) + $4::bigint, $4::bigint) AS w, \
        max(t.{market_trades.timestamp}) AS last_ms \
      FROM {market_trades} t WHERE t.{market_trades.created_at} > $1 AND t.{market_trades.created_at} <= $2 \
        AND t.{market_trades.created_at} - t.{market_trades.timestamp} >= $3::bigint GROUP BY 1, 2) AS l";

/// `$1` an instant; a trade that claims to be later proves nothing.
const REACH: &str = "\
    SELECT (SELECT t.{market_trades.timestamp} FROM {market_trades} t ORDER BY t.{market_trades.timestamp} LIMIT 1), \
           (SELECT t.{market_trades.timestamp} FROM {market_trades} t WHERE t.{market_trades.timestamp} <= $1 \
             ORDER BY t.{market_trades.timestamp} DESC LIMIT 1)";

/// `$1` markets, `$2` instants: when each market traded next, as in `LATE`.
const NEXT: &str = "\
    SELECT l.market, l.at, least( \
        (SELECT n.{market_trades.timestamp} FROM {market_trades} n WHERE n.{market_trades.market} = l.market \
          AND n.{market_trades.timestamp} >= l.at ORDER BY n.{market_trades.timestamp} LIMIT 1), \
        (SELECT k.{klines.open_time} FROM {klines} k WHERE k.{klines.market} = l.market AND k.{klines.interval} = '1m' \
          AND k.{klines.open_time} >= l.at AND k.{klines.trade_count} > 0 ORDER BY k.{klines.open_time} LIMIT 1)) \
    FROM unnest($1::text[], $2::bigint[]) AS l(market, at)";

/// The statements on public trades.
#[derive(Debug, Clone)]
pub struct Trades {
    late: Sql,
    reach: Sql,
    next: Sql,
}

/// The range of time in which the table has every trade: the oldest may have been deleted, and the newest not stored yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Its beginning, epoch ms.
    pub from_ms: i64,
    /// Its end, epoch ms.
    pub until_ms: i64,
}

/// A window of trades that were stored late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateWindow {
    /// The market.
    pub market: String,
    /// The window's beginning, epoch ms.
    pub open_ms: i64,
    /// When the market traded next after the last of them, epoch ms; `None`: not yet.
    pub next_ms: Option<i64>,
}

impl Trades {
    /// Renders the statements with the names of this installation.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self {
            late: schema.render(LATE),
            reach: schema.render(REACH),
            next: schema.render(NEXT),
        }
    }

    /// The rendered statements by name, to be prepared in a test.
    #[must_use]
    pub fn statements(&self) -> Vec<(&'static str, Sql)> {
        vec![
            ("trades: late", self.late.clone()),
            ("trades: reach", self.reach.clone()),
            ("trades: next", self.next.clone()),
        ]
    }

    /// Returns the windows of trades that were stored in `(after_ms, by_ms]`, at least `late_ms` after they happened.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn late(
        &self,
        pool: &PgPool,
        (after_ms, by_ms): (i64, i64),
        late_ms: i64,
        interval: Interval,
    ) -> Result<Vec<LateWindow>, CoreError> {
        let rows: Vec<(String, i64, Option<i64>)> = sqlx::query_as(&self.late)
            .bind(after_ms)
            .bind(by_ms)
            .bind(late_ms)
            .bind(interval.width_ms())
            .bind(interval.origin_ms())
            .fetch_all(pool)
            .await
            .map_err(failed("look for late trades"))?;
        let window = |(market, open_ms, next_ms)| LateWindow {
            market,
            open_ms,
            next_ms,
        };
        Ok(rows.into_iter().map(window).collect())
    }

    /// Returns where the table is complete, as the table itself shows it: after its oldest trade, of which others of the
    /// same time may be deleted, up to the newest that happened by `now_ms`. `None`: it has none.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn reach(&self, pool: &PgPool, now_ms: i64) -> Result<Option<Reach>, CoreError> {
        let (oldest, newest): (Option<i64>, Option<i64>) = sqlx::query_as(&self.reach)
            .bind(now_ms)
            .fetch_one(pool)
            .await
            .map_err(failed("ask how far the trades reach"))?;
        Ok(oldest.zip(newest).map(|(oldest_ms, until_ms)| Reach {
            from_ms: oldest_ms + 1,
            until_ms,
        }))
    }

    /// Returns for each market and instant when the market traded next; `None`: not yet.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn next(
        &self,
        pool: &PgPool,
        (markets, instants): (&[String], &[i64]),
    ) -> Result<Vec<LateWindow>, CoreError> {
        let rows: Vec<(String, i64, Option<i64>)> = sqlx::query_as(&self.next)
            .bind(markets)
            .bind(instants)
            .fetch_all(pool)
            .await
            .map_err(failed("ask when markets traded next"))?;
        let window = |(market, open_ms, next_ms)| LateWindow {
            market,
            open_ms,
            next_ms,
        };
        Ok(rows.into_iter().map(window).collect())
    }
}
