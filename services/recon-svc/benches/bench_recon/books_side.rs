//! The database side and the comparison by themselves: the books streamed, merged and judged against a chain side that
//! is in memory already.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use eidos_settings::Input;
use eidos_testkit::{cpu_seconds, ended_children_cpu_seconds};
use eidos_types::BaseUnits;
use recon_svc::ReconSettings;
use recon_svc::dimensions::balance::account::{Token, TokenList};
use recon_svc::dimensions::balance::merge::{LinesByAccount, merge_page};
use recon_svc::dimensions::balance::schema::Schema;
use recon_svc::dimensions::balance::shard::shards;
use recon_svc::dimensions::balance::sources::books::{BalanceTable, Books, wallet_order};
use recon_svc::dimensions::balance::sources::snapshot::{BooksSnapshot, Databases};
use recon_svc::dimensions::balance::verdict::{Reading, Verdict, judge};
use serde_json::{Value, json};

use crate::stage::Stage;

const PAGE: usize = 50_000;

pub(crate) async fn measure(stage: &Stage) -> anyhow::Result<Value> {
    let postmaster = stage.postgres.pid().await.context("PostgreSQL is not running")?;
    let (database_before, own_before) = (
        ended_children_cpu_seconds(postmaster).context("the server ended")?,
        cpu_seconds(std::process::id()).context("this process ended")?,
    );
    let begun = Instant::now();
    let matched = compare(stage).await?;
    let wall_s = begun.elapsed().as_secs_f64();
    ensure!(matched == stage.accounts, "{matched} of {} agree", stage.accounts);
    // Sessions count once they are closed; closing the pool waits for that on our side, the server follows at once.
    let service_s = cpu_seconds(std::process::id()).context("this process ended")? - own_before;
    let database_s = database_seconds(postmaster, database_before).await?;
    let total_s = service_s + database_s;
    println!(
        "database side and comparison, {matched} pairs: {total_s:.2} CPU-s (database {database_s:.2}, merge and \
         judgement {service_s:.2}), {wall_s:.2} s wall"
    );
    Ok(json!({
        "pairs": matched, "cpu_s": total_s, "database_cpu_s": database_s, "service_cpu_s": service_s, "wall_s": wall_s,
    }))
}

/// Waits until the closed session's time has been added to its parent's.
async fn database_seconds(postmaster: u32, before: f64) -> anyhow::Result<f64> {
    for _ in 0..100 {
        let spent = ended_children_cpu_seconds(postmaster).context("the server ended")? - before;
        if spent > 0.1 {
            return Ok(spent);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    anyhow::bail!("the session behind the books has not ended")
}

async fn compare(stage: &Stage) -> anyhow::Result<u64> {
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(4)
        .connect_with((*stage.exchange.connect_options()).clone())
        .await?;
    let settings = eidos_settings::load::<ReconSettings>(&Input {
        file: Some(&stage.config),
        env: Vec::new(),
    })?;
    let schema = Schema::resolve(&settings.service.schema_profile)
        .map_err(|problems| anyhow::anyhow!(problems.join("; ")))?;
    let schema = Arc::new(schema);
    let tokens: Vec<Token> = stage
        .plan
        .tokens()
        .iter()
        .map(|token| Token {
            symbol: token.symbol.to_owned(),
            address: token.address,
            decimals: token.decimals,
        })
        .collect();
    let tokens = Arc::new(TokenList::new(tokens));
    let databases = Databases {
        trading: pool.clone(),
        chain: None,
        admin: pool.clone(),
    };
    let snapshot = BooksSnapshot::open(&databases, &schema, stage.bulk.addresses.chain_id).await?;
    let order = wallet_order(&schema, &pool).await?;
    let books = Books::new(schema, Arc::clone(&tokens), order);
    let whole = shards(1).into_iter().next().context("no shard")?;
    let mut stream = books.stream(snapshot.ticket(), BalanceTable::Balances, whole, None);
    let mut chain = stage.plan.accounts();
    let (mut after, mut matched) = (None, 0_u64);
    while !stream.feed.is_empty() {
        let upto = stream
            .feed
            .fill(PAGE)
            .await?
            .unwrap_or(eidos_types::Address::new([0xff; 20]));
        let rows = stream.feed.take_upto(&upto);
        let accounts = merge_page(after, rows, Vec::new(), Vec::new(), &LinesByAccount::new(), upto)?;
        after = Some(upto);
        for account in accounts {
            let on_chain = chain
                .next()
                .context("the books have more accounts than the chain")?;
            ensure!(on_chain.wallet == account.key.wallet, "the sides are not in step");
            let decimals = tokens
                .get(account.key.token)
                .context("an unknown token")?
                .decimals;
            let reading = Reading {
                books: account.books,
                lines: account.lines,
                chain: BaseUnits::from(u128::from(on_chain.units)),
                seen_on_chain: true,
            };
            matched += u64::from(matches!(judge(&reading, decimals), Verdict::Matched));
        }
    }
    drop(stream);
    drop(snapshot);
    pool.close().await;
    Ok(matched)
}
