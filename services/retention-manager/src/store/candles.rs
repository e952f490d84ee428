//! The statements on candles. All arithmetic is exact `NUMERIC` on the server; times are `BIGINT` milliseconds, so no
//! session's time zone takes part.
//!
//! A window of the proving interval is judged as a whole. It is *proved* if the coarser candle exists and equals what
//! the finer ones add up to: volume, quote volume and number of trades of all of them; open, high, low and close of
//! those with trades (ruling 38: a candle without trades only carries a price along).

use std::fmt;
use std::time::Duration;

use eidos_core::fence::ExternalFence;
use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{Relation, TableShape};
use eidos_market::Interval;
use eidos_pg::{Sql, sql};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row};

/// What a table of candles must have: column, and the declarations it may have.
const COLUMNS: [(&str, &[&str]); 10] = [
    ("market", &["character varying", "text"]),
    ("interval", &["character varying", "text"]),
    ("open_time", &["bigint"]),
    ("open", &["numeric"]),
    ("high", &["numeric"]),
    ("low", &["numeric"]),
    ("close", &["numeric"]),
    ("volume", &["numeric"]),
    ("quote_volume", &["numeric"]),
    ("trade_count", &["integer", "bigint"]),
];

pub(super) const LIMIT_WAIT: &str = "SELECT set_config('lock_timeout', $1, true)";

/// Refuses a table that is none of candles, naming the column.
///
/// # Errors
/// [`DisposalError::Refused`].
pub(crate) fn check_columns(shape: &TableShape) -> Result<(), DisposalError> {
    for (name, allowed) in COLUMNS {
        let table = shape.relation.plain();
        let Some(column) = shape.column(name) else {
            return Err(DisposalError::refused(
                "candles",
                format!(
                    "{table} has no column {name}: it is no table of candles; correct data_retention.timescaledb"
                ),
            ));
        };
        if !allowed
            .iter()
            .any(|allowed| column.declaration.starts_with(allowed))
        {
            return Err(DisposalError::refused(
                "candles",
                format!(
                    "{table}.{name} is {}, not {}: candles could not be compared exactly",
                    column.declaration,
                    allowed.join(" or ")
                ),
            ));
        }
    }
    Ok(())
}

/// Finer candles and what proves them, as names for statements.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) table: Relation,
    pub(crate) interval: Interval,
    pub(crate) prover_table: Relation,
    pub(crate) prover: Interval,
}

/// A stretch of whole windows of one market.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch<'a> {
    pub(crate) market: &'a str,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// What was found about one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The coarser candle says the same.
    Proved,
    /// There is no coarser candle: its producer has not run, or is not there at all.
    NoCoarser,
    /// The coarser candle says something else: one of both was made from other trades.
    Disagrees,
    /// A finer candle holds NULL, NaN or a negative count.
    Unusable,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Proved => "proved",
            Self::NoCoarser => "there is no coarser candle",
            Self::Disagrees => "the coarser candle says something else",
            Self::Unusable => "a candle holds NULL, NaN or a negative count",
        })
    }
}

/// One window and its finer candles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    pub(crate) window_ms: i64,
    pub(crate) candles: u64,
    pub(crate) verdict: Verdict,
    /// How many of them were deleted.
    pub(crate) gone: u64,
}

/// What there is of one interval before a cutoff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) market: String,
    pub(crate) oldest_ms: i64,
    pub(crate) candles: u64,
}

impl Pair {
    /// `$1` market, `$2` interval, `$3` prover's interval, `$4` its width, `$5` its origin, `$6` from, `$7` to.
    fn judging(&self) -> Sql {
        sql!(
            "fine AS ( \
               SELECT open_time, open, high, low, close, volume, quote_volume, trade_count, \
                      open_time - mod(mod(open_time - $5::bigint, $4::bigint) + $4::bigint, $4::bigint) AS w \
               FROM {table} WHERE market = $1 AND \"interval\" = $2 AND open_time >= $6 AND open_time < $7), \
             windows AS ( \
               SELECT w, count(*) AS candles, sum(volume) AS volume, sum(quote_volume) AS quote_volume, \
                      sum(trade_count) AS trades, \
                      max(high) FILTER (WHERE trade_count > 0) AS high, \
                      min(low) FILTER (WHERE trade_count > 0) AS low, \
                      (array_agg(open ORDER BY open_time) FILTER (WHERE trade_count > 0))[1] AS open, \
                      (array_agg(close ORDER BY open_time DESC) FILTER (WHERE trade_count > 0))[1] AS close, \
                      bool_and(coalesce(volume <> 'NaN' AND quote_volume <> 'NaN' AND open <> 'NaN' \
                        AND high <> 'NaN' AND low <> 'NaN' AND close <> 'NaN' AND trade_count >= 0, false)) AS usable \
               FROM fine GROUP BY w), \
             verdicts AS ( \
               SELECT windows.w, windows.candles, CASE \
                 WHEN NOT windows.usable THEN 'unusable' \
                 WHEN p.open_time IS NULL THEN 'no_coarser' \
                 WHEN p.volume = windows.volume AND p.quote_volume = windows.quote_volume \
                  AND p.trade_count = windows.trades \
                  AND ((windows.trades = 0 AND windows.volume = 0) \
                       OR (p.open = windows.open AND p.high = windows.high \
                           AND p.low = windows.low AND p.close = windows.close)) THEN 'proved' \
                 ELSE 'disagrees' END AS verdict \
               FROM windows LEFT JOIN {prover} p \
                 ON p.market = $1 AND p.\"interval\" = $3 AND p.open_time = windows.w)";
            table = self.table, prover = self.prover_table
        )
    }

    /// What would happen to these windows. Changes nothing.
    pub(crate) async fn judge(
        &self,
        conn: &mut PgConnection,
        stretch: Stretch<'_>,
    ) -> Result<Vec<Judged>, DisposalError> {
        let query = sql!(
            "WITH {} SELECT w, candles, verdict, 0::bigint AS gone FROM verdicts ORDER BY w",
            self.judging()
        );
        self.judged(conn, &query, stretch).await
    }

    /// Deletes the finer candles of the proved windows of this stretch, in one fenced transaction.
    ///
    /// Finer candles and provers are locked first, so that nobody changes them between the judgement and the deletion;
    /// both are one statement, so that a candle that arrives meanwhile is either judged or not deleted.
    pub(crate) async fn delete_proved(
        &self,
        fence: &ExternalFence,
        stretch: Stretch<'_>,
        lock_timeout: Duration,
    ) -> Result<Vec<Judged>, DisposalError> {
        let mut step = fence.step().await?;
        let conn = step.conn();
        limit_wait(conn, lock_timeout).await?;
        for (table, interval, lock) in [
            (&self.table, self.interval, "UPDATE"),
            (&self.prover_table, self.prover, "SHARE"),
        ] {
            let locked = sql!(
                "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE market = $1 AND \"interval\" = $2 \
                 AND open_time >= $3 AND open_time < $4 ORDER BY open_time FOR {lock}) AS locked";
                table, lock
            );
            sqlx::query(locked)
                .bind(stretch.market)
                .bind(interval.to_string())
                .bind(stretch.from_ms)
                .bind(stretch.to_ms)
                .execute(&mut *conn)
                .await
                .map_err(DisposalError::sql("lock candles"))?;
        }
        let query = sql!(
            "WITH {judging}, gone AS ( \
               DELETE FROM {table} AS t USING verdicts v WHERE v.verdict = 'proved' AND t.market = $1 \
                 AND t.\"interval\" = $2 AND t.open_time >= v.w AND t.open_time < v.w + $4::bigint RETURNING v.w) \
             SELECT v.w, v.candles, v.verdict, (SELECT count(*) FROM gone WHERE gone.w = v.w) AS gone \
             FROM verdicts v ORDER BY v.w";
            judging = self.judging(), table = self.table
        );
        let judged = self.judged(conn, &query, stretch).await?;
        for window in &judged {
            let expected = if window.verdict == Verdict::Proved {
                window.candles
            } else {
                0
            };
            if window.gone != expected {
                // The step is dropped here and rolls back.
                return Err(DisposalError::refused(
                    "mismatch",
                    format!(
                        "{} {} {}: {} candles were judged in the window at {} and {} would be deleted; a trigger or \
                         rule interferes, nothing was deleted",
                        self.table.plain(),
                        stretch.market,
                        self.interval,
                        window.candles,
                        window.window_ms,
                        window.gone
                    ),
                ));
            }
        }
        step.commit().await?;
        Ok(judged)
    }

    async fn judged(
        &self,
        conn: &mut PgConnection,
        query: &Sql,
        stretch: Stretch<'_>,
    ) -> Result<Vec<Judged>, DisposalError> {
        let rows = sqlx::query(query)
            .bind(stretch.market)
            .bind(self.interval.to_string())
            .bind(self.prover.to_string())
            .bind(self.prover.width_ms())
            .bind(self.prover.origin_ms())
            .bind(stretch.from_ms)
            .bind(stretch.to_ms)
            .fetch_all(conn)
            .await
            .map_err(DisposalError::sql("compare candles"))?;
        rows.iter().map(judged).collect()
    }

    /// The markets with candles of this interval that opened before `cutoff_ms`. One index probe per market.
    pub(crate) async fn expired(
        &self,
        conn: &mut PgConnection,
        cutoff_ms: i64,
    ) -> Result<Vec<Expired>, DisposalError> {
        let query = sql!(
            "WITH RECURSIVE markets AS ( \
               (SELECT market FROM {table} ORDER BY market LIMIT 1) \
               UNION ALL \
               SELECT (SELECT k.market FROM {table} k WHERE k.market > m.market ORDER BY k.market LIMIT 1) \
               FROM markets m WHERE m.market IS NOT NULL) \
             SELECT m.market::text AS market, e.oldest, e.candles FROM markets m \
             CROSS JOIN LATERAL (SELECT min(open_time) AS oldest, count(*) AS candles FROM {table} k \
               WHERE k.market = m.market AND k.\"interval\" = $1 AND k.open_time < $2) e \
             WHERE e.oldest IS NOT NULL ORDER BY 1";
            table = self.table
        );
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(query)
            .bind(self.interval.to_string())
            .bind(cutoff_ms)
            .fetch_all(conn)
            .await
            .map_err(DisposalError::sql("look for expired candles"))?;
        Ok(rows
            .into_iter()
            .map(|(market, oldest_ms, candles)| Expired {
                market,
                oldest_ms,
                candles: u64::try_from(candles).unwrap_or_default(),
            })
            .collect())
    }

    /// The next finer candle from `from_ms` on and before `cutoff_ms`.
    pub(crate) async fn next(
        &self,
        executor: impl PgExecutor<'_>,
        market: &str,
        from_ms: i64,
        cutoff_ms: i64,
    ) -> Result<Option<i64>, DisposalError> {
        let query = sql!(
            "SELECT min(open_time) FROM {} WHERE market = $1 AND \"interval\" = $2 AND open_time >= $3 \
             AND open_time < $4",
            self.table
        );
        sqlx::query_scalar(query)
            .bind(market)
            .bind(self.interval.to_string())
            .bind(from_ms)
            .bind(cutoff_ms)
            .fetch_one(executor)
            .await
            .map_err(DisposalError::sql("look for the next candles"))
    }
}

/// For the rest of this transaction: nobody waits longer for us than this, nor we for them.
pub(crate) async fn limit_wait(conn: &mut PgConnection, lock_timeout: Duration) -> Result<(), DisposalError> {
    sqlx::query(LIMIT_WAIT)
        .bind(format!("{}ms", lock_timeout.as_millis()))
        .execute(conn)
        .await
        .map_err(DisposalError::sql("limit the wait for candles"))?;
    Ok(())
}

fn judged(row: &PgRow) -> Result<Judged, DisposalError> {
    let decode = |error| DisposalError::sql("decode a comparison of candles")(error);
    let verdict: String = row.try_get("verdict").map_err(decode)?;
    let count = |name| -> Result<u64, DisposalError> {
        Ok(u64::try_from(row.try_get::<i64, _>(name).map_err(decode)?).unwrap_or_default())
    };
    Ok(Judged {
        window_ms: row.try_get("w").map_err(decode)?,
        candles: count("candles")?,
        gone: count("gone")?,
        verdict: match verdict.as_str() {
            "proved" => Verdict::Proved,
            "no_coarser" => Verdict::NoCoarser,
            "disagrees" => Verdict::Disagrees,
            _ => Verdict::Unusable,
        },
    })
}
