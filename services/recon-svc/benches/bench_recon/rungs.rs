//! Every rung of the ladder by itself, on the same accounts.

use std::time::Instant;

use eidos_chain::{BlockRef, ChainReader, ChainSettings, Rung, TokenSettings};
use eidos_types::Address;
use serde_json::{Value, json};

use crate::stage::Stage;

pub(crate) async fn measure(stage: &Stage) -> anyhow::Result<Value> {
    let mut rows = Vec::new();
    println!("rungs of the ladder ({} pairs at most)", stage.accounts);
    for rung in Rung::ALL {
        rows.push(one(stage, rung).await?);
    }
    Ok(Value::Array(rows))
}

/// The slow rungs read fewer accounts; the rate is what is compared.
const fn pairs_for(rung: Rung) -> usize {
    match rung {
        Rung::Single => 2_000,
        Rung::Batch => 20_000,
        _ => 100_000,
    }
}

async fn one(stage: &Stage, rung: Rung) -> anyhow::Result<Value> {
    let mut settings = settings(stage);
    settings.bulk.rungs = vec![rung];
    let (reader, block) = match connect(&settings).await {
        Ok(connected) => connected,
        Err(error) => return Ok(unavailable(rung, &error)),
    };
    let pairs = pairs(stage, pairs_for(rung));
    let begun = Instant::now();
    if let Err(error) = reader.vault_totals(&block, &pairs).await {
        return Ok(unavailable(rung, &error.into()));
    }
    let wall_s = begun.elapsed().as_secs_f64();
    let requests: u64 = reader
        .ladder_report()
        .rungs
        .iter()
        .map(|report| report.requests)
        .sum();
    let rate = pairs.len() as f64 / wall_s;
    println!(
        "  {:<16} {:>7} pairs {wall_s:>8.3} s {rate:>9.0} pairs/s {requests:>6} requests",
        rung.name(),
        pairs.len()
    );
    Ok(
        json!({ "rung": rung.name(), "pairs": pairs.len(), "wall_s": wall_s, "pairs_per_s": rate, "requests": requests }),
    )
}

fn unavailable(rung: Rung, error: &anyhow::Error) -> Value {
    println!("  {:<16} not offered by this node: {error:#}", rung.name());
    json!({ "rung": rung.name(), "unavailable": format!("{error:#}") })
}

async fn connect(settings: &ChainSettings) -> anyhow::Result<(ChainReader, BlockRef)> {
    let reader = ChainReader::connect(settings).await?;
    let block = reader.finalized().await?;
    Ok((reader, block))
}

pub(crate) fn settings(stage: &Stage) -> ChainSettings {
    let addresses = &stage.bulk.addresses;
    let mut settings = ChainSettings::new(stage.bulk.anvil.url(), addresses.chain_id, addresses.vault);
    // See full_run.rs.
    settings.state_proof = false;
    settings.settlement = Some(addresses.settlement);
    settings.fee_recipient = Some(addresses.fee_recipient);
    settings.tokens = stage
        .plan
        .tokens()
        .iter()
        .map(|token| TokenSettings {
            symbol: token.symbol.to_owned(),
            address: token.address,
            decimals: token.decimals,
        })
        .collect();
    settings
}

fn pairs(stage: &Stage, count: usize) -> Vec<(Address, Address)> {
    let tokens = stage.plan.tokens();
    stage
        .plan
        .accounts()
        .take(count)
        .filter_map(|account| Some((account.wallet, tokens.get(account.token)?.address)))
        .collect()
}
