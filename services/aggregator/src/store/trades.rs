//! Public trades that were stored late.

use eidos_core::CoreError;
use eidos_market::Interval;
use eidos_pg::Sql;
use sqlx::PgPool;

use super::failed;
use crate::profile::Schema;

/// `$1` stored after, `$2` stored by, `$3` late by, `$4` width and `$5` origin of the windows.
const LATE: &str = "\
    SELECT DISTINCT t.{market_trades.market}::text, t.{market_trades.timestamp} - \
      mod(mod(t.{market_trades.timestamp} - $5::bigint, $4::bigint) + $4::bigint, $4::bigint) \
    FROM {market_trades} t WHERE t.{market_trades.created_at} > $1 AND t.{market_trades.created_at} <= $2 \
      AND t.{market_trades.created_at} - t.{market_trades.timestamp} >= $3::bigint";

/// The statement on late trades.
#[derive(Debug, Clone)]
pub struct LateTrades(Sql);

impl LateTrades {
    /// Renders it with the names of this installation.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self(schema.render(LATE))
    }

    /// The rendered statement, to be prepared in a test.
    #[must_use]
    pub fn statement(&self) -> (&'static str, Sql) {
        ("trades: late", self.0.clone())
    }

    /// Returns the windows (markets and beginnings) of trades that were stored in `(after_ms, by_ms]`, at least `late_ms`
    /// after they happened.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn windows(
        &self,
        pool: &PgPool,
        (after_ms, by_ms): (i64, i64),
        late_ms: i64,
        interval: Interval,
    ) -> Result<Vec<(String, i64)>, CoreError> {
        sqlx::query_as(&self.0)
            .bind(after_ms)
            .bind(by_ms)
            .bind(late_ms)
            .bind(interval.width_ms())
            .bind(interval.origin_ms())
            .fetch_all(pool)
            .await
            .map_err(failed("look for late trades"))
    }
}
