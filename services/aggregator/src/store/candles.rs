//! The fold of finer candles into coarser ones, in exact `NUMERIC` on the server; times are `BIGINT` milliseconds, so no
//! session's time zone takes part.
//!
//! Each window of each market is folded by a subquery of its own, which reads its source candles by the table's primary
//! key: a tick costs what its windows have, however long the table is. One statement judges the windows and writes those
//! that may be published; it returns what became of each.

use std::fmt;

use eidos_core::CoreError;
use eidos_market::Interval;
use eidos_pg::{Sql, sql};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, PgPool, Postgres, Row};

use super::failed;
use super::trades::Reach;
use crate::domain::{Level, Stretch};
use crate::profile::Schema;
use crate::settings::EmptyWindows;

/// `$11` markets, `$12` beginning of the first window, `$13` end of the last.
const FORWARD: &str = "\
    SELECT m.{markets.symbol}::text AS market, w.w, m.{markets.created_at} AS listed_ms, \
           m.{markets.status} AS status \
    FROM {markets} m CROSS JOIN generate_series($12::bigint, $13::bigint - 1, $3::bigint) AS w(w) \
    WHERE m.{markets.symbol} = ANY ($11::text[])";

/// `$11` markets, `$12` beginnings of their windows. A market that is not in the table of markets any more is not folded.
const LISTED: &str = "\
    SELECT l.market, l.w, m.{markets.created_at} AS listed_ms, m.{markets.status} AS status \
    FROM unnest($11::text[], $12::bigint[]) AS l(market, w) JOIN {markets} m ON m.{markets.symbol} = l.market";

/// `$1` source interval, `$2` target interval, `$3` its width, `$4` the source's width, `$5` codes of active markets, `$6`
/// candles before this instant may be deleted, `$7` whether a window without trades has a candle, `$8` partial windows
/// that ended by this instant are published, `$9` and `$10` the range in which the table of trades is complete (empty: it
/// proves nothing, and is not read).
///
/// Prices come from candles with trades if there is one (ruling 38). A source window without a candle and without a trade
/// is quiet and not missing. A window without trades carries the price of the last trade before it; candles of quiet
/// minutes say which one that was when they were written, and a trade that was stored late may be newer. It is not, if a
/// candle with trades lies between: then the table of trades lacks some.
const JUDGED: &str = "\
    spans AS ( \
      SELECT wanted.*, w + CASE WHEN listed_ms > w AND listed_ms < w + $3::bigint \
        THEN (listed_ms - w + $4::bigint - 1) / $4::bigint * $4::bigint ELSE 0 END AS first_ms FROM wanted), \
    counted AS ( \
      SELECT s.market, s.w, s.listed_ms, s.status, f.found, f.usable, (s.w + $3::bigint - s.first_ms) / $4::bigint AS expected, \
        q.quiet, coalesce(f.volume, 0) AS volume, coalesce(f.quote_volume, 0) AS quote_volume, \
        coalesce(f.trades, 0) AS trades, f.open, f.high, f.low, f.close, \
        CASE WHEN coalesce(f.trades, 0) = 0 THEN ( \
          SELECT CASE WHEN l.prices IS NULL THEN l.flat WHEN l.flat IS NULL THEN l.prices[1] \
              WHEN l.flat = ANY (l.prices) THEN l.flat \
              WHEN EXISTS (SELECT FROM {klines} g WHERE g.{klines.market} = s.market AND g.{klines.interval} = $1 \
                AND g.{klines.open_time} > l.at AND g.{klines.open_time} < s.w AND g.{klines.trade_count} > 0) THEN l.flat \
              ELSE l.prices[1] END \
          FROM (SELECT t.at, \
              CASE WHEN t.at IS NOT NULL THEN nullif(ARRAY(SELECT p.{market_trades.price} FROM {market_trades} p \
                WHERE p.{market_trades.market} = s.market AND p.{market_trades.timestamp} = t.at \
                  AND p.{market_trades.price} >= 0 AND p.{market_trades.price} < 1e18 \
                ORDER BY p.{market_trades.trade_id} DESC), '{}'::numeric[]) END AS prices, \
              coalesce(f.flat, (SELECT k.{klines.close} FROM {klines} k WHERE k.{klines.market} = s.market \
                  AND k.{klines.interval} = $1 AND k.{klines.open_time} < s.w ORDER BY k.{klines.open_time} DESC LIMIT 1), \
                (SELECT k.{klines.close} FROM {klines} k WHERE k.{klines.market} = s.market \
                  AND k.{klines.interval} = $2 AND k.{klines.open_time} < s.w ORDER BY k.{klines.open_time} DESC LIMIT 1)) AS flat \
            FROM (SELECT (SELECT t.{market_trades.timestamp} FROM {market_trades} t \
              WHERE $9::bigint < $10::bigint AND t.{market_trades.market} = s.market AND t.{market_trades.timestamp} < s.w \
              ORDER BY t.{market_trades.timestamp} DESC LIMIT 1) AS at) AS t) AS l) END AS carried \
      FROM spans s CROSS JOIN LATERAL ( \
        SELECT count(*) AS found, sum(k.{klines.volume}) AS volume, sum(k.{klines.quote_volume}) AS quote_volume, \
          sum(k.{klines.trade_count}) AS trades, \
          (array_agg(k.{klines.open} ORDER BY k.{klines.open_time}) FILTER (WHERE k.{klines.trade_count} > 0))[1] AS open, \
          max(k.{klines.high}) FILTER (WHERE k.{klines.trade_count} > 0) AS high, \
          min(k.{klines.low}) FILTER (WHERE k.{klines.trade_count} > 0) AS low, \
          (array_agg(k.{klines.close} ORDER BY k.{klines.open_time} DESC) FILTER (WHERE k.{klines.trade_count} > 0))[1] \
            AS close, \
          (array_agg(k.{klines.close} ORDER BY k.{klines.open_time} DESC))[1] AS flat, \
          bool_and(coalesce(k.{klines.low} >= 0 AND k.{klines.low} <= k.{klines.open} \
            AND k.{klines.low} <= k.{klines.close} AND k.{klines.open} <= k.{klines.high} \
            AND k.{klines.close} <= k.{klines.high} AND k.{klines.high} < 1e18 \
            AND k.{klines.volume} >= 0 AND k.{klines.volume} < 1e18 \
            AND k.{klines.quote_volume} >= 0 AND k.{klines.quote_volume} < 1e18 \
            AND k.{klines.trade_count} >= 0 AND mod(k.{klines.open_time} - s.w, $4::bigint) = 0, false)) \
            AND sum(k.{klines.volume}) < 1e18 AND sum(k.{klines.quote_volume}) < 1e18 \
            AND sum(k.{klines.trade_count}) <= 2147483647 AS usable \
        FROM {klines} k WHERE k.{klines.market} = s.market AND k.{klines.interval} = $1 \
          AND k.{klines.open_time} >= s.w AND k.{klines.open_time} < s.w + $3::bigint) f \
      CROSS JOIN LATERAL ( \
        SELECT count(*) AS quiet FROM generate_series(s.first_ms, s.w + $3::bigint - 1, $4::bigint) AS m(m) \
        WHERE f.found < (s.w + $3::bigint - s.first_ms) / $4::bigint AND m.m >= $9::bigint AND m.m + $4::bigint <= $10::bigint \
          AND NOT EXISTS (SELECT FROM {klines} g WHERE g.{klines.market} = s.market AND g.{klines.interval} = $1 \
            AND g.{klines.open_time} >= s.w AND g.{klines.open_time} < s.w + $3::bigint AND g.{klines.open_time} = m.m) \
          AND NOT EXISTS (SELECT FROM {market_trades} t WHERE t.{market_trades.market} = s.market \
            AND t.{market_trades.timestamp} >= m.m AND t.{market_trades.timestamp} < m.m + $4::bigint)) q), \
    folded AS ( \
      SELECT market, w, listed_ms, status, found, usable, expected, quiet, volume, quote_volume, trades, \
        coalesce(open, carried) AS open, coalesce(high, carried) AS high, coalesce(low, carried) AS low, \
        coalesce(close, carried) AS close FROM counted), \
    judged AS ( \
      SELECT f.*, CASE \
          WHEN f.found > 0 AND NOT f.usable THEN 'unusable' \
          WHEN f.found > 0 AND f.found >= f.expected AND f.trades = 0 AND NOT $7 THEN 'empty' \
          WHEN f.found > 0 AND f.found >= f.expected THEN 'whole' \
          WHEN f.expected = 0 OR f.listed_ms >= f.w + $3::bigint OR (f.found = 0 AND f.status <> ALL ($5::bigint[])) \
            THEN 'none' \
          WHEN t.{klines.market} IS NOT NULL AND f.w < $6::bigint THEN 'purged' \
          WHEN f.found + f.quiet >= f.expected AND f.close IS NULL THEN 'none' \
          WHEN f.found + f.quiet >= f.expected AND f.close >= 0 AND f.close < 1e18 \
            THEN CASE WHEN f.trades = 0 AND NOT $7 THEN 'empty' ELSE 'whole' END \
          WHEN f.w < (SELECT min(o.{klines.open_time}) FROM {klines} o WHERE o.{klines.market} = f.market \
            AND o.{klines.interval} = $1) THEN 'purged' \
          WHEN f.found = 0 THEN 'missing' ELSE 'partial' END AS verdict, \
        t.{klines.market} IS NULL OR (t.{klines.open}, t.{klines.high}, t.{klines.low}, t.{klines.close}, \
          t.{klines.volume}, t.{klines.quote_volume}, t.{klines.trade_count}, t.{klines.close_time}) IS DISTINCT FROM \
          (f.open, f.high, f.low, f.close, f.volume, f.quote_volume, f.trades, f.w + $3::bigint - 1) AS differs \
      FROM folded f LEFT JOIN LATERAL (SELECT * FROM {klines} c WHERE c.{klines.market} = f.market \
        AND c.{klines.interval} = $2 AND c.{klines.open_time} = f.w LIMIT 1) t ON TRUE), \
    due AS (SELECT * FROM judged WHERE (verdict = 'whole' OR (verdict = 'partial' AND w + $3::bigint <= $8::bigint)) \
      AND differs)";

/// Writes what is due. A candle that another writer made equal meanwhile is left alone.
const WRITTEN: &str = "\
    written AS ( \
      INSERT INTO {klines} AS t ({klines.market}, {klines.interval}, {klines.open_time}, {klines.open}, {klines.high}, \
          {klines.low}, {klines.close}, {klines.volume}, {klines.quote_volume}, {klines.trade_count}, {klines.close_time}) \
      SELECT market, $2, w, open, high, low, close, volume, quote_volume, trades, w + $3::bigint - 1 FROM due \
      ORDER BY market, w \
      ON CONFLICT ({klines.market}, {klines.interval}, {klines.open_time}) DO UPDATE SET \
        {klines.open} = EXCLUDED.{klines.open}, {klines.high} = EXCLUDED.{klines.high}, \
        {klines.low} = EXCLUDED.{klines.low}, {klines.close} = EXCLUDED.{klines.close}, \
        {klines.volume} = EXCLUDED.{klines.volume}, {klines.quote_volume} = EXCLUDED.{klines.quote_volume}, \
        {klines.trade_count} = EXCLUDED.{klines.trade_count}, {klines.close_time} = EXCLUDED.{klines.close_time} \
      WHERE (t.{klines.open}, t.{klines.high}, t.{klines.low}, t.{klines.close}, t.{klines.volume}, \
          t.{klines.quote_volume}, t.{klines.trade_count}, t.{klines.close_time}) IS DISTINCT FROM \
        (EXCLUDED.{klines.open}, EXCLUDED.{klines.high}, EXCLUDED.{klines.low}, EXCLUDED.{klines.close}, \
          EXCLUDED.{klines.volume}, EXCLUDED.{klines.quote_volume}, EXCLUDED.{klines.trade_count}, \
          EXCLUDED.{klines.close_time}) \
      RETURNING t.{klines.market}::text AS market, t.{klines.open_time} AS w)";

const MARKETS: &str = "SELECT {markets.symbol}::text FROM {markets} ORDER BY 1";

/// `$1` interval.
const OLDEST: &str = "\
    SELECT min(o.oldest) FROM {markets} m CROSS JOIN LATERAL (SELECT min(k.{klines.open_time}) AS oldest FROM {klines} k \
      WHERE k.{klines.market} = m.{markets.symbol} AND k.{klines.interval} = $1) o";

/// `$1` interval, `$2` an instant. The market's names are walked along the primary key.
const STRANGERS: &str = "\
    WITH RECURSIVE names AS ( \
      (SELECT {klines.market} AS market FROM {klines} ORDER BY 1 LIMIT 1) \
      UNION ALL \
      SELECT (SELECT k.{klines.market} FROM {klines} k WHERE k.{klines.market} > n.market ORDER BY 1 LIMIT 1) \
      FROM names n WHERE n.market IS NOT NULL) \
    SELECT n.market::text, EXISTS (SELECT FROM {klines} k WHERE k.{klines.market} = n.market \
        AND k.{klines.interval} = $1 AND k.{klines.open_time} > $2) AS is_ahead, \
      NOT EXISTS (SELECT FROM {markets} m WHERE m.{markets.symbol} = n.market) AS is_unknown \
    FROM names n WHERE n.market IS NOT NULL";

/// What was found about a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every source candle is there.
    Whole,
    /// Every source candle is there, none has trades, and such windows have no candle by setting.
    Empty,
    /// Fewer source candles than expected.
    Partial,
    /// No source candle, although the market trades.
    Missing,
    /// A source candle cannot be true: NaN, below zero, high below low, or off the grid.
    Unusable,
    /// Its source was deleted; it keeps the candle it has.
    Purged,
    /// Nothing is expected: the market was listed later, or does not trade.
    None,
}

impl Verdict {
    /// As reports and metrics have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Empty => "empty",
            Self::Partial => "partial",
            Self::Missing => "missing",
            Self::Unusable => "unusable",
            Self::Purged => "purged",
            Self::None => "none",
        }
    }

    /// Checks whether it keeps a window from being published as whole.
    #[must_use]
    pub const fn is_incomplete(self) -> bool {
        matches!(self, Self::Partial | Self::Missing | Self::Unusable)
    }

    fn from_stored(text: &str) -> Option<Self> {
        let all = [
            Self::Whole,
            Self::Empty,
            Self::Partial,
            Self::Missing,
            Self::Unusable,
            Self::Purged,
            Self::None,
        ];
        all.into_iter().find(|verdict| verdict.as_str() == text)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One window of one market, after it was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The market.
    pub market: String,
    /// Its beginning, epoch ms.
    pub open_ms: i64,
    /// Source candles.
    pub found: u32,
    /// Source candles of a whole window.
    pub expected: u32,
    /// Source windows without a candle that had no trade.
    pub quiet: u32,
    /// What was found.
    pub verdict: Verdict,
    /// Whether its candle was inserted or changed; in a dry run, whether it would be.
    pub written: bool,
}

impl Judged {
    /// Checks whether the window cannot be published as whole.
    #[must_use]
    pub const fn is_incomplete(&self) -> bool {
        self.verdict.is_incomplete()
    }
}

/// Which windows.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All windows of a stretch.
    Forward(&'a Stretch<'a>),
    /// These windows: markets and beginnings, pair by pair.
    Listed(&'a [String], &'a [i64]),
}

/// How windows are judged, for one run.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Codes of markets that trade.
    pub active: Vec<i64>,
    /// Source candles before this instant may be deleted already, epoch ms.
    pub purged_before_ms: i64,
    /// What becomes of windows without trades.
    pub empty_windows: EmptyWindows,
    /// Partial windows that ended by this instant are published, epoch ms; `None`: never.
    pub publish_partial_before_ms: Option<i64>,
    /// Where the table of trades is complete; `None`: it proves nothing.
    pub trades: Option<Reach>,
}

/// The statements on the table of candles.
#[derive(Debug, Clone)]
pub struct Candles {
    write: [Sql; 2],
    judge: [Sql; 2],
    markets: Sql,
    oldest: Sql,
    strangers: Sql,
}

impl Candles {
    /// Renders the statements with the names of this installation.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let wanted = [schema.render(FORWARD), schema.render(LISTED)];
        let judged = schema.render(JUDGED);
        let written = schema.render(WRITTEN);
        Self {
            write: wanted.clone().map(|wanted| {
                sql!(
                    "WITH wanted AS ({wanted}), {judged}, {written} \
                     SELECT j.market, j.w, j.found, j.expected, j.quiet, j.verdict, written.w IS NOT NULL AS written FROM judged j \
                     LEFT JOIN written ON written.market = j.market AND written.w = j.w WHERE j.verdict <> 'none'";
                    wanted, judged = judged, written = written
                )
            }),
            judge: wanted.map(|wanted| {
                sql!(
                    "WITH wanted AS ({wanted}), {judged} \
                     SELECT j.market, j.w, j.found, j.expected, j.quiet, j.verdict, due.w IS NOT NULL AS written FROM judged j \
                     LEFT JOIN due ON due.market = j.market AND due.w = j.w WHERE j.verdict <> 'none'";
                    wanted, judged = judged
                )
            }),
            markets: schema.render(MARKETS),
            oldest: schema.render(OLDEST),
            strangers: schema.render(STRANGERS),
        }
    }

    /// The rendered statements by name, to be prepared in a test.
    #[must_use]
    pub fn statements(&self) -> Vec<(&'static str, Sql)> {
        let [forward, listed] = self.write.clone();
        let [judge_forward, judge_listed] = self.judge.clone();
        vec![
            ("candles: write forward", forward),
            ("candles: write listed", listed),
            ("candles: judge forward", judge_forward),
            ("candles: judge listed", judge_listed),
            ("candles: markets", self.markets.clone()),
            ("candles: oldest", self.oldest.clone()),
            ("candles: strangers", self.strangers.clone()),
        ]
    }

    /// Judges windows and writes the candles that are due. The connection is one of a fenced step.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn write(
        &self,
        conn: &mut PgConnection,
        level: &Level,
        wanted: Wanted<'_>,
        rules: &Rules,
    ) -> Result<Vec<Judged>, CoreError> {
        run(conn, &self.write, level, wanted, rules, "build candles").await
    }

    /// Judges windows and says which candles would be written. Changes nothing.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn judge(
        &self,
        conn: &mut PgConnection,
        level: &Level,
        wanted: Wanted<'_>,
        rules: &Rules,
    ) -> Result<Vec<Judged>, CoreError> {
        run(
            conn,
            &self.judge,
            level,
            wanted,
            rules,
            "judge windows of candles",
        )
        .await
    }

    /// Returns the symbols of all markets.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn markets(&self, pool: &PgPool) -> Result<Vec<String>, CoreError> {
        sqlx::query_scalar(&self.markets)
            .fetch_all(pool)
            .await
            .map_err(failed("read the markets"))
    }

    /// Returns the beginning of the oldest candle of an interval, epoch ms.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn oldest(&self, pool: &PgPool, interval: Interval) -> Result<Option<i64>, CoreError> {
        sqlx::query_scalar(&self.oldest)
            .bind(interval.to_string())
            .fetch_one(pool)
            .await
            .map_err(failed("look for the oldest candle"))
    }

    /// Returns the markets whose candles are not folded: those that are not in the table of markets, and those with candles
    /// that begin after `now_ms`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn strangers(
        &self,
        pool: &PgPool,
        source: Interval,
        now_ms: i64,
    ) -> Result<Strangers, CoreError> {
        let rows: Vec<(String, bool, bool)> = sqlx::query_as(&self.strangers)
            .bind(source.to_string())
            .bind(now_ms)
            .fetch_all(pool)
            .await
            .map_err(failed("look for candles of unknown markets"))?;
        let mut found = Strangers::default();
        for (market, is_ahead, is_unknown) in rows {
            if is_ahead {
                found.ahead.push(market.clone());
            }
            if is_unknown {
                found.unknown.push(market);
            }
        }
        Ok(found)
    }
}

/// Markets with candles that are not folded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strangers {
    /// They are not in the table of markets.
    pub unknown: Vec<String>,
    /// They have source candles that begin after the slot.
    pub ahead: Vec<String>,
}

async fn run(
    conn: &mut PgConnection,
    [forward, listed]: &[Sql; 2],
    level: &Level,
    wanted: Wanted<'_>,
    rules: &Rules,
    doing: &'static str,
) -> Result<Vec<Judged>, CoreError> {
    let query = match wanted {
        Wanted::Forward(stretch) => common(forward, level, rules)
            .bind(stretch.markets)
            .bind(stretch.from_ms)
            .bind(stretch.to_ms),
        Wanted::Listed(markets, opens) => common(listed, level, rules).bind(markets).bind(opens),
    };
    let rows = query.fetch_all(conn).await.map_err(failed(doing))?;
    rows.iter().map(judged).collect()
}

fn common<'q>(statement: &'q Sql, level: &Level, rules: &'q Rules) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(level.source.to_string())
        .bind(level.interval.to_string())
        .bind(level.interval.width_ms())
        .bind(level.source.width_ms())
        .bind(&rules.active[..])
        .bind(rules.purged_before_ms)
        .bind(rules.empty_windows == EmptyWindows::Emit)
        .bind(rules.publish_partial_before_ms.unwrap_or(i64::MIN))
        .bind(rules.trades.map_or(0, |reach| reach.from_ms))
        .bind(rules.trades.map_or(0, |reach| reach.until_ms))
}

fn judged(row: &PgRow) -> Result<Judged, CoreError> {
    let decode = || failed("decode a judged window");
    let count = |name| -> Result<u32, CoreError> {
        Ok(u32::try_from(row.try_get::<i64, _>(name).map_err(decode())?).unwrap_or(u32::MAX))
    };
    let verdict: String = row.try_get("verdict").map_err(decode())?;
    Ok(Judged {
        market: row.try_get("market").map_err(decode())?,
        open_ms: row.try_get("w").map_err(decode())?,
        found: count("found")?,
        expected: count("expected")?,
        quiet: count("quiet")?,
        verdict: Verdict::from_stored(&verdict).unwrap_or(Verdict::Unusable),
        written: row.try_get("written").map_err(decode())?,
    })
}
