//! Candles of one minute beside the trades of their minutes, in exact `NUMERIC` on the server.

use std::fmt;

use eidos_core::CoreError;
use eidos_pg::{Sql, sql};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::failed;
use super::trades::Reach;
use crate::profile::Schema;

/// What the trades of each minute add up to. Trades of the same millisecond have no order among them, so each of their
/// prices may be the first or the last of the minute.
const MINUTES: &str = "\
    minutes AS ( \
      SELECT market, open_ms, count(*) AS n, sum(amount) AS volume, sum(quote_amount) AS quote_volume, \
        max(price) AS high, min(price) AS low, \
        array_agg(price ORDER BY trade_id) FILTER (WHERE at = first_at) AS opens, \
        array_agg(price ORDER BY trade_id DESC) FILTER (WHERE at = last_at) AS closes, \
        bool_and(price >= 0 AND price < 1e18 AND amount >= 0 AND amount < 1e18 AND quote_amount >= 0 \
          AND quote_amount < 1e18) AND sum(amount) < 1e18 AND sum(quote_amount) < 1e18 AND count(*) <= 2147483647 AS usable \
      FROM (SELECT r.*, min(at) OVER minute AS first_at, max(at) OVER minute AS last_at FROM traded r \
        WINDOW minute AS (PARTITION BY market, open_ms)) AS placed \
      GROUP BY market, open_ms)";

/// `$1` markets, `$2` and `$3` the range, `$4` most rows. The first row has the counts, and no market.
const COMPARE: &str = "\
    WITH traded AS ( \
      SELECT t.{market_trades.market} AS market, t.{market_trades.timestamp} - mod(t.{market_trades.timestamp}, 60000) AS open_ms, \
        t.{market_trades.timestamp} AS at, t.{market_trades.trade_id} AS trade_id, t.{market_trades.price} AS price, \
        t.{market_trades.amount} AS amount, t.{market_trades.quote_amount} AS quote_amount \
      FROM {market_trades} t WHERE t.{market_trades.market} = ANY ($1::text[]) AND t.{market_trades.timestamp} >= $2 \
        AND t.{market_trades.timestamp} < $3), ";

const COMPARED: &str = "\
    , stored AS ( \
      SELECT k.{klines.market} AS market, k.{klines.open_time} AS open_ms, k.{klines.open} AS open, k.{klines.high} AS high, \
        k.{klines.low} AS low, k.{klines.close} AS close, k.{klines.volume} AS volume, k.{klines.quote_volume} AS quote_volume, \
        k.{klines.trade_count}::bigint AS n \
      FROM {klines} k WHERE k.{klines.market} = ANY ($1::text[]) AND k.{klines.interval} = '1m' \
        AND k.{klines.open_time} >= $2 AND k.{klines.open_time} < $3 AND mod(k.{klines.open_time}, 60000) = 0), \
    compared AS MATERIALIZED ( \
      SELECT coalesce(m.market, k.market)::text AS market, coalesce(m.open_ms, k.open_ms) AS open_ms, \
        CASE WHEN NOT m.usable THEN 'unusable' WHEN k.market IS NULL THEN 'missing' \
          WHEN m.market IS NULL THEN CASE WHEN (k.volume, k.quote_volume, k.n) IS DISTINCT FROM (0::numeric, 0::numeric, 0::bigint) \
            THEN 'extra' WHEN NOT (k.open = k.close AND k.high = k.close AND k.low = k.close) THEN 'differs' END \
          WHEN k.open <> ALL (m.opens) OR k.close <> ALL (m.closes) OR (k.high, k.low, k.volume, k.quote_volume, k.n) \
            IS DISTINCT FROM (m.high, m.low, m.volume, m.quote_volume, m.n) THEN 'differs' END AS kind, \
        array_remove(ARRAY[CASE WHEN k.open <> ALL (m.opens) THEN 'open' END, CASE WHEN k.high <> m.high THEN 'high' END, \
          CASE WHEN k.low <> m.low THEN 'low' END, CASE WHEN k.close <> ALL (m.closes) THEN 'close' END, \
          CASE WHEN k.volume <> m.volume THEN 'volume' END, CASE WHEN k.quote_volume <> m.quote_volume THEN 'quote_volume' END, \
          CASE WHEN k.n <> m.n THEN 'trade_count' END], NULL) AS fields, \
        k.open AS was_open, k.high AS was_high, k.low AS was_low, k.close AS was_close, k.volume AS was_volume, \
        k.quote_volume AS was_quote_volume, k.n AS was_n, \
        CASE WHEN k.open = ANY (m.opens) THEN k.open ELSE m.opens[1] END AS open, m.high, m.low, \
        CASE WHEN k.close = ANY (m.closes) THEN k.close ELSE m.closes[1] END AS close, m.volume, m.quote_volume, m.n \
      FROM minutes m FULL JOIN stored k ON k.market = m.market AND k.open_ms = m.open_ms) \
    SELECT NULL::text AS market, count(*) AS open_ms, NULL::text AS kind, NULL::text[] AS fields, NULL::text AS was_open, \
      NULL::text AS was_high, NULL::text AS was_low, NULL::text AS was_close, NULL::text AS was_volume, \
      NULL::text AS was_quote_volume, count(*) FILTER (WHERE kind IS NOT NULL) AS was_n, NULL::text AS open, NULL::text AS high, \
      NULL::text AS low, NULL::text AS close, NULL::text AS volume, NULL::text AS quote_volume, \
      coalesce(sum(n), 0)::bigint AS n FROM compared \
    UNION ALL \
    (SELECT market, open_ms, kind, fields, was_open::text, was_high::text, was_low::text, was_close::text, was_volume::text, \
      was_quote_volume::text, was_n, coalesce(open, last_price)::text, coalesce(high, last_price)::text, \
      coalesce(low, last_price)::text, coalesce(close, last_price)::text, coalesce(volume, 0)::text, \
      coalesce(quote_volume, 0)::text, coalesce(n, 0) \
    FROM (SELECT c.*, CASE WHEN n IS NULL THEN (SELECT t.{market_trades.price} FROM {market_trades} t \
          WHERE t.{market_trades.market} = c.market AND t.{market_trades.timestamp} < c.open_ms \
            AND t.{market_trades.price} >= 0 AND t.{market_trades.price} < 1e18 \
          ORDER BY t.{market_trades.timestamp} DESC, t.{market_trades.trade_id} DESC LIMIT 1) END AS last_price \
        FROM compared c WHERE kind IS NOT NULL ORDER BY open_ms, market LIMIT $4) AS named)";

/// `$1` markets, `$2` minutes, `$3` whether there was a candle, `$4` to `$10` the candle that was read, `$11` to `$17` the one
/// that the trades make, `$18` minutes before this instant are left alone.
///
/// The trades are added up again in the statement that writes: it writes only if they still make the same candle, and if
/// the candle is still the one that was read.
const REPAIR: &str = "\
    WITH planned AS ( \
      SELECT * FROM unnest($1::text[], $2::bigint[], $3::bool[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], \
          $9::text[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], \
          $17::bigint[]) \
        AS p(market, open_ms, existed, was_open, was_high, was_low, was_close, was_volume, was_quote_volume, was_n, open, high, \
          low, close, volume, quote_volume, n)), \
    traded AS ( \
      SELECT p.market, p.open_ms, t.{market_trades.timestamp} AS at, t.{market_trades.trade_id} AS trade_id, \
        t.{market_trades.price} AS price, t.{market_trades.amount} AS amount, t.{market_trades.quote_amount} AS quote_amount \
      FROM planned p JOIN {market_trades} t ON t.{market_trades.market} = p.market \
        AND t.{market_trades.timestamp} >= p.open_ms AND t.{market_trades.timestamp} < p.open_ms + 60000), ";

const REPAIRED: &str = "\
    , proved AS ( \
      SELECT p.* FROM planned p LEFT JOIN minutes m ON m.market = p.market AND m.open_ms = p.open_ms \
      WHERE coalesce(m.usable, true) AND p.n = coalesce(m.n, 0) AND p.volume::numeric = coalesce(m.volume, 0) \
        AND p.quote_volume::numeric = coalesce(m.quote_volume, 0) \
        AND (m.n IS NULL OR (p.high::numeric = m.high AND p.low::numeric = m.low AND p.open::numeric = ANY (m.opens) \
          AND p.close::numeric = ANY (m.closes))) \
        AND p.open_ms >= $18 \
        AND p.open_ms > (SELECT t.{market_trades.timestamp} FROM {market_trades} t ORDER BY t.{market_trades.timestamp} LIMIT 1)), \
    updated AS ( \
      UPDATE {klines} AS k SET {klines.open} = p.open::numeric, {klines.high} = p.high::numeric, {klines.low} = p.low::numeric, \
        {klines.close} = p.close::numeric, {klines.volume} = p.volume::numeric, {klines.quote_volume} = p.quote_volume::numeric, \
        {klines.trade_count} = p.n \
      FROM proved p WHERE p.existed AND k.{klines.market} = p.market AND k.{klines.interval} = '1m' \
        AND k.{klines.open_time} = p.open_ms \
        AND (k.{klines.open}, k.{klines.high}, k.{klines.low}, k.{klines.close}, k.{klines.volume}, k.{klines.quote_volume}, \
          k.{klines.trade_count}::bigint) IS NOT DISTINCT FROM (p.was_open::numeric, p.was_high::numeric, p.was_low::numeric, \
          p.was_close::numeric, p.was_volume::numeric, p.was_quote_volume::numeric, p.was_n) \
      RETURNING k.{klines.market}::text AS market, k.{klines.open_time} AS open_ms), \
    inserted AS ( \
      INSERT INTO {klines} ({klines.market}, {klines.interval}, {klines.open_time}, {klines.open}, {klines.high}, \
          {klines.low}, {klines.close}, {klines.volume}, {klines.quote_volume}, {klines.trade_count}, {klines.close_time}) \
      SELECT p.market, '1m', p.open_ms, p.open::numeric, p.high::numeric, p.low::numeric, p.close::numeric, p.volume::numeric, \
        p.quote_volume::numeric, p.n, p.open_ms + 59999 FROM proved p WHERE NOT p.existed \
      ON CONFLICT ({klines.market}, {klines.interval}, {klines.open_time}) DO NOTHING \
      RETURNING {klines.market}::text AS market, {klines.open_time} AS open_ms) \
    SELECT market, open_ms FROM updated UNION ALL SELECT market, open_ms FROM inserted";

/// `$1` markets, `$2` minutes.
const CURRENT: &str = "\
    SELECT k.{klines.market}::text, k.{klines.open_time}, k.{klines.open}::text, k.{klines.high}::text, k.{klines.low}::text, \
      k.{klines.close}::text, k.{klines.volume}::text, k.{klines.quote_volume}::text, k.{klines.trade_count}::bigint \
    FROM unnest($1::text[], $2::bigint[]) AS w(market, open_ms) JOIN {klines} k ON k.{klines.market} = w.market \
      AND k.{klines.interval} = '1m' AND k.{klines.open_time} = w.open_ms";

/// How a minute's candle differs from its trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// There are trades and no candle.
    Missing,
    /// There is a candle with a volume and no trade.
    Extra,
    /// There are both, and they do not say the same; or there is no trade, and the candle has more than one price.
    Differs,
    /// A trade of the minute cannot be true, so nothing can be said about its candle.
    Unusable,
}

impl Difference {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Extra, Self::Differs, Self::Unusable];

    /// The word that is stored, and the label of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Differs => "differs",
            Self::Unusable => "unusable",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A candle as text, to the last digit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Price of the first trade.
    pub open: String,
    /// Highest price.
    pub high: String,
    /// Lowest price.
    pub low: String,
    /// Price of the last trade.
    pub close: String,
    /// Sum of the base amounts.
    pub volume: String,
    /// Sum of the quote amounts.
    pub quote_volume: String,
    /// Number of trades.
    pub trade_count: i64,
}

/// A minute whose candle is not what its trades make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differing {
    /// The market.
    pub market: String,
    /// The minute, epoch ms.
    pub open_ms: i64,
    /// How it differs.
    pub kind: Difference,
    /// The columns that differ, if there are both.
    pub fields: Vec<String>,
    /// The stored candle; `None`: there is none.
    pub stored: Option<Minute>,
    /// What the trades make; without trades, a flat candle at the last price before. `None`: they make none.
    pub traded: Option<Minute>,
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Minutes with a candle or a trade.
    pub minutes: u64,
    /// Their trades.
    pub trades: u64,
    /// Minutes that differ.
    pub differing: u64,
    /// The first of them.
    pub named: Vec<Differing>,
}

/// The statements of the proof-read.
#[derive(Debug, Clone)]
pub struct Proofs {
    compare: Sql,
    repair: Sql,
    current: Sql,
}

impl Proofs {
    /// Renders the statements with the names of this installation.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let minutes = Sql::constant(MINUTES);
        let (begin, end) = (schema.render(COMPARE), schema.render(COMPARED));
        let compare = sql!("{begin}{minutes}{end}"; begin, minutes, end);
        let (begin, end) = (schema.render(REPAIR), schema.render(REPAIRED));
        Self {
            compare,
            repair: sql!("{begin}{minutes}{end}"; begin, minutes, end),
            current: schema.render(CURRENT),
        }
    }

    /// The rendered statements by name, to be prepared in a test.
    #[must_use]
    pub fn statements(&self) -> Vec<(&'static str, Sql)> {
        vec![
            ("proofs: compare", self.compare.clone()),
            ("proofs: repair", self.repair.clone()),
            ("proofs: current", self.current.clone()),
        ]
    }

    /// Compares the minutes of a range, whole minutes, with their trades. At most `limit` of those that differ are returned.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn compare(
        &self,
        pool: &PgPool,
        markets: &[String],
        range: Reach,
        limit: i64,
    ) -> Result<Compared, CoreError> {
        let rows = sqlx::query(&self.compare)
            .bind(markets)
            .bind(range.from_ms)
            .bind(range.until_ms)
            .bind(limit)
            .fetch_all(pool)
            .await
            .map_err(failed("compare candles with trades"))?;
        let mut found = Compared::default();
        for row in &rows {
            read(row, &mut found).map_err(failed("decode a compared minute"))?;
        }
        Ok(found)
    }

    /// Writes the candles of these minutes as their trades make them, where both candle and trades are still as they were
    /// read. `before_ms`: minutes before it are left alone. The connection is one of a fenced step. Returns which were written.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn repair(
        &self,
        conn: &mut PgConnection,
        minutes: &[Differing],
        before_ms: i64,
    ) -> Result<Vec<(String, i64)>, CoreError> {
        let pairs: Vec<(&Differing, &Minute)> = minutes
            .iter()
            .filter_map(|minute| Some((minute, minute.traded.as_ref()?)))
            .collect();
        let was = |value: fn(&Minute) -> &String| -> Vec<Option<String>> {
            let stored = pairs.iter().map(|(minute, _)| minute.stored.as_ref());
            stored.map(|stored| stored.map(value).cloned()).collect()
        };
        let new = |value: fn(&Minute) -> &String| -> Vec<String> {
            pairs.iter().map(|(_, traded)| value(traded).clone()).collect()
        };
        let mut query = sqlx::query_as(&self.repair)
            .bind(
                pairs
                    .iter()
                    .map(|(minute, _)| minute.market.clone())
                    .collect::<Vec<_>>(),
            )
            .bind(pairs.iter().map(|(minute, _)| minute.open_ms).collect::<Vec<_>>())
            .bind(
                pairs
                    .iter()
                    .map(|(minute, _)| minute.stored.is_some())
                    .collect::<Vec<_>>(),
            );
        for value in FIELDS {
            query = query.bind(was(value));
        }
        let counts = pairs
            .iter()
            .map(|(minute, _)| minute.stored.as_ref().map(|stored| stored.trade_count));
        query = query.bind(counts.collect::<Vec<_>>());
        for value in FIELDS {
            query = query.bind(new(value));
        }
        query
            .bind(
                pairs
                    .iter()
                    .map(|(_, traded)| traded.trade_count)
                    .collect::<Vec<_>>(),
            )
            .bind(before_ms)
            .fetch_all(conn)
            .await
            .map_err(failed("repair candles of one minute"))
    }

    /// Returns the stored candles of these minutes.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn current(
        &self,
        pool: &PgPool,
        (markets, minutes): (&[String], &[i64]),
    ) -> Result<Vec<(String, i64, Minute)>, CoreError> {
        type Stored = (String, i64, String, String, String, String, String, String, i64);
        let rows: Vec<Stored> = sqlx::query_as(&self.current)
            .bind(markets)
            .bind(minutes)
            .fetch_all(pool)
            .await
            .map_err(failed("read candles of one minute"))?;
        let candle =
            |(market, open_ms, open, high, low, close, volume, quote_volume, trade_count): Stored| {
                let minute = Minute {
                    open,
                    high,
                    low,
                    close,
                    volume,
                    quote_volume,
                    trade_count,
                };
                (market, open_ms, minute)
            };
        Ok(rows.into_iter().map(candle).collect())
    }
}

/// The prices and sums of a candle, in the order of the statements.
const FIELDS: [fn(&Minute) -> &String; 6] = [
    |minute| &minute.open,
    |minute| &minute.high,
    |minute| &minute.low,
    |minute| &minute.close,
    |minute| &minute.volume,
    |minute| &minute.quote_volume,
];

fn read(row: &PgRow, found: &mut Compared) -> Result<(), sqlx::Error> {
    let count = |name: &str| -> Result<u64, sqlx::Error> {
        Ok(u64::try_from(row.try_get::<i64, _>(name)?).unwrap_or_default())
    };
    let Some(market) = row.try_get("market")? else {
        (found.minutes, found.differing, found.trades) = (count("open_ms")?, count("was_n")?, count("n")?);
        return Ok(());
    };
    let kind: String = row.try_get("kind")?;
    let kind = Difference::from_stored(&kind).unwrap_or(Difference::Unusable);
    let text = |name: &str| row.try_get::<Option<String>, _>(name);
    let minute = |[open, high, low, close, volume, quote_volume]: [&str; 6],
                  trades: &str|
     -> Result<Option<Minute>, sqlx::Error> {
        let values = (
            text(open)?,
            text(high)?,
            text(low)?,
            text(close)?,
            text(volume)?,
            text(quote_volume)?,
        );
        let (Some(open), Some(high), Some(low), Some(close), Some(volume), Some(quote_volume)) = values
        else {
            return Ok(None);
        };
        let trade_count: Option<i64> = row.try_get(trades)?;
        Ok(Some(Minute {
            open,
            high,
            low,
            close,
            volume,
            quote_volume,
            trade_count: trade_count.unwrap_or_default(),
        }))
    };
    let stored = minute(
        [
            "was_open",
            "was_high",
            "was_low",
            "was_close",
            "was_volume",
            "was_quote_volume",
        ],
        "was_n",
    )?;
    let traded = minute(["open", "high", "low", "close", "volume", "quote_volume"], "n")?;
    found.named.push(Differing {
        market,
        open_ms: row.try_get("open_ms")?,
        kind,
        fields: row
            .try_get::<Option<Vec<String>>, _>("fields")?
            .unwrap_or_default(),
        stored,
        traded: traded.filter(|_| kind != Difference::Unusable),
    });
    Ok(())
}
