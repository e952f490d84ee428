//! The named peer of the moves: the statement of the reference by itself, without fence, conditions, holds or audit, from
//! one connection to a table of the same shape.

use std::time::Instant;

use anyhow::ensure;
use sqlx::{AssertSqlSafe, PgPool};

use crate::stage::{MONTH_MS, NEXT_MONTH_MS, Stage, fill_trades};

const BATCH_ROWS: i64 = 1_000;
/// Keys are picked and locked in order of completion, rows deleted by their place, and what was deleted inserted.
const MOVE: &str = "\
    WITH picked AS (SELECT s.ctid, COALESCE(s.settled_at, s.updated_at) AS completed, s.id FROM eidos_trading_trades s \
        WHERE (COALESCE(s.settled_at, s.updated_at), s.id) > ($1, $2) AND s.settlement_status IN (3, 5) \
        ORDER BY COALESCE(s.settled_at, s.updated_at), s.id LIMIT $3 FOR UPDATE SKIP LOCKED), \
    gone AS (DELETE FROM eidos_trading_trades s USING picked WHERE s.ctid = picked.ctid RETURNING s.*, picked.completed), \
    stored AS (INSERT INTO bare_archive SELECT gone.*, 0 FROM gone RETURNING 1) \
    SELECT (SELECT count(*) FROM stored), max(completed), (max(ARRAY[completed, id]))[2] FROM picked";

/// Rows per second of the bare statement over all of the table.
pub(crate) async fn measure(stage: &Stage, rows: u64) -> anyhow::Result<f64> {
    let name = format!("move_{rows}_bare");
    let exchange = stage.exchange(&name).await?;
    fill_trades(&exchange, rows).await?;
    archive(&exchange).await?;
    let mut conn = exchange.acquire().await?;
    let began = Instant::now();
    let (mut completed, mut id, mut moved) = (0_i64, 0_i64, 0_i64);
    loop {
        let (stored, last_completed, last_id): (i64, Option<i64>, Option<i64>) = sqlx::query_as(MOVE)
            .bind(completed)
            .bind(id)
            .bind(BATCH_ROWS)
            .fetch_one(&mut *conn)
            .await?;
        moved += stored;
        match last_completed.zip(last_id) {
            Some(last) => (completed, id) = last,
            None => break,
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    ensure!(
        moved == i64::try_from(rows)?,
        "the bare statement moved {moved} of {rows} rows"
    );
    drop(conn);
    exchange.close().await;
    stage.postgres.drop_database(&name).await?;
    let rows_per_s = rows as f64 / seconds;
    println!("  {:<24} {rows_per_s:>9.0} rows/s", "the bare statement");
    Ok(rows_per_s)
}

/// The archive as the archiver makes it.
async fn archive(exchange: &PgPool) -> anyhow::Result<()> {
    let create = format!(
        "CREATE TABLE bare_archive (LIKE eidos_trading_trades, archive_completed_at bigint NOT NULL, archived_at bigint NOT NULL, \
             PRIMARY KEY (archive_completed_at, id)) PARTITION BY RANGE (archive_completed_at); \
         CREATE INDEX ON bare_archive (trade_id); \
         CREATE TABLE bare_archive_2024_01 PARTITION OF bare_archive FOR VALUES FROM ({MONTH_MS}) TO ({NEXT_MONTH_MS})"
    );
    sqlx::raw_sql(AssertSqlSafe(create)).execute(exchange).await?;
    Ok(())
}
