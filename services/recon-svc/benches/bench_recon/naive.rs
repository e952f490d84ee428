//! The usual way: one `SELECT` and one `eth_call` for each account, on a sample, extrapolated.

use std::time::Instant;

use eidos_chain::{ChainReader, Rung};
use serde_json::{Value, json};

use crate::rungs;
use crate::stage::Stage;

const SAMPLE: usize = 2_000;

pub(crate) async fn measure(stage: &Stage, accounts: u64) -> anyhow::Result<Value> {
    let mut settings = rungs::settings(stage);
    settings.bulk.rungs = vec![Rung::Single];
    // Nothing to check a plain call against but another one.
    settings.bulk.sample = 1;
    let reader = ChainReader::connect(&settings).await?;
    let block = reader.finalized().await?;
    let tokens = stage.plan.tokens();
    let begun = Instant::now();
    for account in stage.plan.accounts().take(SAMPLE) {
        let Some(token) = tokens.get(account.token) else {
            continue;
        };
        let found: Option<String> = sqlx::query_scalar(
            "SELECT (settled_available + settled_frozen)::text FROM eidos_trading_balances WHERE wallet = $1 AND token = $2",
        )
        .bind(account.wallet.to_string())
        .bind(token.symbol)
        .fetch_optional(&stage.exchange)
        .await?;
        anyhow::ensure!(found.is_some(), "{} has no balance in the books", account.wallet);
        reader
            .vault_totals(&block, &[(account.wallet, token.address)])
            .await?;
    }
    let sample_s = begun.elapsed().as_secs_f64();
    let extrapolated_s = sample_s / SAMPLE as f64 * accounts as f64;
    println!(
        "naive, one SELECT and one eth_call per account: {SAMPLE} in {sample_s:.2} s; EXTRAPOLATED to {accounts}: \
         {extrapolated_s:.0} s"
    );
    Ok(json!({ "sample": SAMPLE, "sample_s": sample_s, "pairs": accounts, "extrapolated_s": extrapolated_s }))
}
