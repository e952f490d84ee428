//! The start: connect, compare the profile with the catalogue, refuse with table, column and fix.

use std::sync::Mutex;

use anyhow::bail;
use eidos_runtime::{JobEntry, Parts, ServiceDeps, WorkerEntry};
use sqlx::PgPool;

use crate::jobs::kline_agg::KlineAgg;
use crate::jobs::stats_agg::StatsAgg;
use crate::profile::Schema;
use crate::settings::AggregatorSettings;
use crate::sources::keys::Keys;
use crate::store::activity::Activity;
use crate::store::candles::Candles;
use crate::store::catalogue;
use crate::store::proofs::Proofs;
use crate::store::statistics::Prices;
use crate::store::trades::Trades;
use crate::workers::statistics_keys::StatisticsKeys;

/// Builds the jobs of this service.
pub(crate) async fn build(deps: ServiceDeps<AggregatorSettings>) -> anyhow::Result<Parts> {
    let profile = &deps.settings.service.aggregation_profile;
    let options = &deps.settings.options;
    let market = named("aggregation_profile", profile.market())?;
    let trading = named("aggregation_profile", profile.trading())?;
    let levels = named("jobs.kline-agg", options.kline_agg.levels())?;
    let pool = deps.external(profile.market_source).await?;
    let mut problems = catalogue::check(&market, &pool).await?;
    if problems.is_empty() {
        problems = catalogue::check_writable(&market, &pool).await?;
    }
    let trading_pool = deps.source(profile.trading_source).await?;
    problems.extend(catalogue::check(&trading, &trading_pool).await?);
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    advise(&market, &pool).await?;
    let keys = &deps.settings.service.statistics_keys;
    let mut workers = Vec::new();
    if keys.enabled {
        workers.push(WorkerEntry::new(StatisticsKeys {
            refresh: keys.refresh,
            quote_currency: options.stats_agg.quote_currency.clone(),
            codes: profile.codes.clone(),
            jobs_db: deps.jobs_db.clone(),
            trading: trading_pool.clone(),
            activity: Activity::new(&trading),
            keys: Keys::new(keys, &deps.settings.suite.redis)?,
            clock: deps.clock.clone(),
            active: Mutex::default(),
        }));
    }
    let stats_agg = JobEntry::new(StatsAgg {
        options: options.stats_agg.clone(),
        codes: profile.codes.clone(),
        trading: trading_pool,
        market: pool.clone(),
        activity: Activity::new(&trading),
        prices: Prices::new(&market),
    });
    let kline_agg = JobEntry::new(KlineAgg {
        options: options.kline_agg.clone(),
        levels,
        active: profile.codes.market_active.clone(),
        candles: Candles::new(&market),
        trades: Trades::new(&market),
        proofs: Proofs::new(&market),
        schema: market,
        pool,
    });
    Ok(Parts {
        jobs: vec![kline_agg, stats_agg],
        workers,
    })
}

/// Says which indexes would help.
async fn advise(market: &Schema, pool: &PgPool) -> anyhow::Result<()> {
    if !catalogue::has_index_on(market, pool, "market_trades", "created_at").await? {
        tracing::warn!(
            "no index of the trades begins with created_at: late trades are not looked for; \
             docs/runbooks/kline-agg.md has the statement"
        );
    }
    if !catalogue::shows_reach(market, pool).await? {
        tracing::warn!(
            "no index of the trades begins with market, or none with timestamp: minutes without candles are not judged by \
             their trades, and candles of one minute are not proved; docs/runbooks/kline-agg.md has the statements"
        );
    }
    Ok(())
}

/// A checked part of the settings; they were checked before, so this says what a later change of them broke.
fn named<T>(section: &str, checked: Result<T, Vec<(String, String)>>) -> anyhow::Result<T> {
    checked.map_err(|problems| {
        let problems = problems
            .into_iter()
            .map(|(key, reason)| format!("{section}.{key}: {reason}"));
        anyhow::anyhow!(problems.collect::<Vec<_>>().join("\n"))
    })
}
