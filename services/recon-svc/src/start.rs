//! The start: connect, verify, refuse with the name and the fix.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use eidos_bus::Publisher;
use eidos_chain::{ChainError, ChainReader, ChainSettings};
use eidos_runtime::{HealthRegistry, JobEntry, JobError, Parts, ServiceDeps, Severity};
use eidos_settings::{SourceName, SuiteSettings};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::dimensions::balance::account::{Token, TokenList};
use crate::dimensions::balance::canary::Canary;
use crate::dimensions::balance::schema::{Home, Schema, check};
use crate::dimensions::balance::sources::books::{Books, wallet_order};
use crate::dimensions::balance::sources::prices::Prices;
use crate::dimensions::balance::sources::snapshot::Databases;
use crate::dimensions::balance::sources::{price_check, tokens};
use crate::explain::Explainer;
use crate::jobs::reconciliation::Reconciliation;
use crate::jobs::reconciliation::event_log::EventLog;
use crate::jobs::reconciliation::lag;
use crate::jobs::reconciliation::limits::StoredLimits;
use crate::jobs::reconciliation::pause_keys::PauseKeys;
use crate::jobs::reconciliation::provider::SecondProvider;
use crate::settings::{Dimension, ReconSettings, Unpriced};
use crate::workers::outbox;

/// How long the brokers may take to answer a health check, below the check's own limit of two seconds.
const BROKERS_ANSWER: Duration = Duration::from_millis(1500);

/// Builds the job and the workers of this service.
pub(crate) async fn build(deps: ServiceDeps<ReconSettings>) -> anyhow::Result<Parts> {
    let bus = Publisher::connect(&deps.settings.suite.kafka)?;
    let reconciliation = reconciliation(&deps, &bus).await?;
    deps.built
        .leave(Arc::new(Explainer::of(&reconciliation, deps.jobs_db.clone())));
    Ok(Parts {
        jobs: vec![JobEntry::new(reconciliation)],
        workers: outbox::workers(&deps, bus)?,
    })
}

async fn reconciliation(
    deps: &ServiceDeps<ReconSettings>,
    bus: &Publisher,
) -> anyhow::Result<Reconciliation> {
    let suite = &deps.settings.suite;
    let settings = &deps.settings.service;
    let schema = Schema::resolve(&settings.schema_profile).map_err(|problems| refusal(&problems))?;
    let trading = deps.source(SourceName::Trading).await?;
    let chain_db = deps.source(SourceName::Chain).await?;
    let admin = deps.source(SourceName::Admin).await?;
    verify_tables(
        &schema,
        &[
            (Home::Trading, &trading),
            (Home::Chain, &chain_db),
            (Home::Admin, &admin),
        ],
    )
    .await?;
    verify_snapshots(&trading).await?;
    let mut chain_settings = settings.chain.clone();
    let in_books = tokens::from_books(&admin, &schema, chain_settings.chain_id).await?;
    let table = schema.name(crate::dimensions::balance::schema::TableId::TokenConfigs);
    chain_settings.tokens = tokens::agree(&chain_settings.tokens, &in_books, table, chain_settings.chain_id)
        .map_err(|problems| refusal(&problems))?;
    let (chain, second) = connect(&chain_settings).await?;
    let indexer_lag_limit = lag::limit(&chain, settings.reconciliation.indexer_max_lag_blocks).await;
    let indexer_lag_limit = indexer_lag_limit.map_err(waited_for).context("chain")?;
    let limits = StoredLimits::recall(deps.jobs_db.read(), &chain).await?;
    let tokens = Arc::new(token_list(&chain_settings, &chain));
    let price_pool = match &settings.reconciliation.price_table {
        Some(table) => Some(deps.source(table.database).await?),
        None => None,
    };
    verify_prices(settings, &tokens, price_pool.as_ref(), deps.clock.now()).await?;
    let order = wallet_order(&schema, &trading).await?;
    let schema = Arc::new(schema);
    let chain = Arc::new(chain);
    watch(&deps.health, Arc::clone(&chain), bus.clone());
    let one_database = same_database(suite, SourceName::Trading, SourceName::Chain);
    let max_connections = trading.options().get_max_connections() as usize;
    Ok(Reconciliation {
        canaries: Canary::all(&settings.reconciliation.canaries, &tokens)
            .map_err(|problems| refusal(&problems))?,
        digest: digest(settings, &tokens)?,
        full_cron: deps.settings.options.reconciliation.full_cron.clone(),
        databases: Databases {
            trading,
            chain: (!one_database).then_some(chain_db),
            admin,
        },
        price_pool,
        books: Books::new(Arc::clone(&schema), Arc::clone(&tokens), order),
        schema,
        tokens,
        events: EventLog::new(
            Arc::clone(&chain),
            second,
            settings
                .reconciliation
                .dimensions
                .contains(&Dimension::Settlement),
        ),
        chain,
        limits,
        pause_keys: PauseKeys::new(&settings.reconciliation, &suite.redis)?,
        indexer_lag_limit,
        // The snapshot's own session, then two per shard.
        shard_parallelism: max_connections.saturating_sub(1) / 2,
        settings: Arc::new(settings.clone()),
    })
}

/// With the decimals that the contracts have.
fn token_list(settings: &ChainSettings, chain: &ChainReader) -> TokenList {
    let tokens = settings.tokens.iter().map(|token| Token {
        symbol: token.symbol.clone(),
        address: token.address,
        decimals: chain.decimals(&token.address).unwrap_or(token.decimals),
    });
    TokenList::new(tokens.collect())
}

/// The node, and the one that controls it.
async fn connect(settings: &ChainSettings) -> anyhow::Result<(ChainReader, Option<SecondProvider>)> {
    let chain = ChainReader::connect(settings).await;
    let chain = chain.map_err(waited_for).context("chain")?;
    let second = SecondProvider::connect(settings).await;
    Ok((chain, second.context("chain.second_rpc_url")?))
}

/// A node that does not answer at start is waited for like a database.
fn waited_for(error: ChainError) -> anyhow::Error {
    match error {
        ChainError::Transport { .. } | ChainError::Syncing { .. } => JobError::retry(error).into(),
        _ => error.into(),
    }
}

/// The node and Kafka, asked with every look at the dependencies. Soft: while one of them is away, a replica still answers
/// what it knows, and restarting it or taking its traffic away would not help.
fn watch(health: &HealthRegistry, chain: Arc<ChainReader>, bus: Publisher) {
    health.register("chain_node", Severity::Soft, move || {
        let chain = Arc::clone(&chain);
        async move { Ok(chain.head().await.map(drop)?) }
    });
    if bus.is_on() {
        health.register("kafka", Severity::Soft, move || {
            let bus = bus.clone();
            async move { Ok(bus.check(BROKERS_ANSWER).await?) }
        });
    }
}

/// Refuses prices of tokens that do not exist, and tokens of the registry or the books without any price.
async fn verify_prices(
    settings: &ReconSettings,
    tokens: &TokenList,
    pool: Option<&PgPool>,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let rules = &settings.reconciliation;
    let symbols: Vec<&str> = tokens.iter().map(|(_, token)| token.symbol.as_str()).collect();
    let prices = Prices::load(&rules.prices, rules.price_table.as_ref().zip(pool), now).await?;
    let mut problems = price_check::names(&symbols, &rules.prices);
    let missing = price_check::missing(&symbols, |symbol| prices.of(symbol).is_some());
    if rules.unpriced == Unpriced::Accept {
        for token in missing {
            tracing::warn!("{token}: each shortfall of it is critical, each surplus a warning");
        }
    } else {
        let other_case = prices
            .symbols()
            .filter(|name| !rules.prices.contains_key(*name))
            .filter_map(|name| {
                let symbol = price_check::in_other_case(&symbols, name)?;
                Some(format!(
                    "price_table has rows for {name}, and the token is written {symbol}"
                ))
            });
        problems.extend(other_case);
        problems.extend(
            missing
                .into_iter()
                .map(|sentence| format!("{sentence}; {}", price_check::PRICE_FIX)),
        );
    }
    if problems.is_empty() {
        Ok(())
    } else {
        let problems: Vec<String> = problems
            .into_iter()
            .map(|problem| format!("reconciliation.prices: {problem}"))
            .collect();
        Err(refusal(&problems))
    }
}

async fn verify_tables(schema: &Schema, homes: &[(Home, &PgPool)]) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for (home, pool) in homes {
        problems.extend(check::check(schema, *home, pool).await?);
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(refusal(&problems))
    }
}

/// Shards read in one exported snapshot, which a hot standby cannot export; three sessions are the least.
async fn verify_snapshots(trading: &PgPool) -> anyhow::Result<()> {
    if check::is_standby(trading).await? {
        bail!(
            "databases.trading points at a hot standby, which cannot export a snapshot; leave replica_url out for \
             recon-svc, or point it at a primary or a logical replica"
        );
    }
    let connections = trading.options().get_max_connections();
    if connections < 3 {
        bail!("databases.trading.max_connections = {connections}: reconciliation needs at least 3");
    }
    Ok(())
}

fn refusal(problems: &[String]) -> anyhow::Error {
    anyhow::anyhow!("{}", problems.join("\n"))
}

fn same_database(suite: &SuiteSettings, one: SourceName, other: SourceName) -> bool {
    let url = |name| {
        suite
            .databases
            .get(&name)
            .map(|section| section.url.expose_secret())
    };
    url(one) == url(other)
}

/// The form of what a run stores to be resumed. A run that another version began in another form starts again.
const RUN_FORMAT: u32 = 2;

/// What a resumed run must share with the one that began: its stored form, tables, tokens, contracts, thresholds, shards.
fn digest(settings: &ReconSettings, tokens: &TokenList) -> anyhow::Result<String> {
    let rules = &settings.reconciliation;
    let what = serde_json::to_vec(&(
        RUN_FORMAT,
        &settings.schema_profile,
        tokens,
        (
            settings.chain.chain_id,
            settings.chain.vault,
            settings.chain.settlement,
            settings.chain.profile,
        ),
        (
            rules.ignore_below_usdc,
            rules.critical_above_usdc,
            rules.shard_count,
        ),
    ))?;
    Ok(hex::encode(Sha256::digest(what)))
}
