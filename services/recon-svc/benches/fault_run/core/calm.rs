//! What an undisturbed run finds.

use std::collections::BTreeSet;
use std::time::Duration;

use eidos_testkit::Command;
use sqlx::PgPool;

use crate::arena::{Arena, CALM, pool};

/// Lists the open breaks of a database, one line each.
const OPEN_BREAKS: &str = "
SELECT concat_ws(' ', dimension, wallet_address, token, kind, coalesce(diff_exact, trim_scale(diff_value)::text))
FROM eidos_jobs_breaks WHERE status = 'open' ORDER BY 1";

/// The breaks of one undisturbed full run in a database of its own.
pub(crate) async fn undisturbed_breaks(arena: &Arena) -> anyhow::Result<BTreeSet<String>> {
    let config = arena.config("calm", CALM, 0)?;
    let (status, child) = Command::new(env!("CARGO_BIN_EXE_recon-svc"))
        .args(["run", "reconciliation", "--full"])
        .env("EIDOS_CONFIG", config)
        .run(Duration::from_mins(2))
        .await;
    anyhow::ensure!(status.success(), "the undisturbed run failed: {}", child.stderr());
    open_breaks(&pool(&arena.postgres.url(CALM)).await?).await
}

/// The open breaks of a jobs database: wallet, token, kind and exact difference.
pub(crate) async fn open_breaks(pool: &PgPool) -> anyhow::Result<BTreeSet<String>> {
    let lines: Vec<String> = sqlx::query_scalar(OPEN_BREAKS).fetch_all(pool).await?;
    Ok(lines.into_iter().collect())
}
