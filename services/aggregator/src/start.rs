//! The start: connect, compare the profile with the catalogue, refuse with table, column and fix.

use anyhow::bail;
use eidos_runtime::{JobEntry, Parts, ServiceDeps};
use sqlx::PgPool;

use crate::jobs::kline_agg::KlineAgg;
use crate::profile::Schema;
use crate::settings::AggregatorSettings;
use crate::store::candles::Candles;
use crate::store::catalogue;
use crate::store::trades::LateTrades;

/// Builds the jobs of this service.
pub(crate) async fn build(deps: ServiceDeps<AggregatorSettings>) -> anyhow::Result<Parts> {
    let profile = &deps.settings.service.aggregation_profile;
    let options = &deps.settings.options;
    let market = named("aggregation_profile", profile.market())?;
    let levels = named("jobs.kline-agg", options.kline_agg.levels())?;
    let pool = deps.external(profile.market_source).await?;
    let mut problems = catalogue::check(&market, &pool).await?;
    if problems.is_empty() {
        problems = catalogue::check_writable(&market, &pool).await?;
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    advise(&market, &pool).await?;
    let jobs = vec![JobEntry::new(KlineAgg {
        options: options.kline_agg.clone(),
        levels,
        active: profile.codes.market_active.clone(),
        candles: Candles::new(&market),
        late_trades: LateTrades::new(&market),
        schema: market,
        pool,
    })];
    Ok(Parts {
        jobs,
        workers: Vec::new(),
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
