//! Gauges of what is on its way, read from what is true after a run.

use std::collections::BTreeMap;

use eidos_disposal::DisposalError;
use eidos_disposal::unit::{self, UnitState};
use eidos_runtime::JobContext;
use eidos_telemetry::metric;

use super::recover::sources_of;
use crate::jobs::data_cleanup::DataCleanup;

const QUARANTINE_BYTES: &str = "\
    SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'eidos_quarantine' AND c.relkind = 'r'";

/// Sets them. A database that does not answer has been reported by its tables already.
pub(super) async fn publish(job: &DataCleanup, ctx: &JobContext) {
    for source in sources_of(job) {
        let Ok(pool) = job.pool(source) else { continue };
        match sqlx::query_scalar::<_, i64>(QUARANTINE_BYTES)
            .fetch_one(pool)
            .await
        {
            Ok(bytes) => metric::quarantine_bytes(source.as_str(), bytes.unsigned_abs()),
            Err(error) => tracing::warn!(%source, %error, "could not measure the quarantine"),
        }
    }
    if let Err(error) = units(job, ctx).await {
        tracing::warn!(%error, "could not count the open units");
    }
}

/// Per table with a rule and state, zero included: a gauge that is not set keeps its old value.
async fn units(job: &DataCleanup, ctx: &JobContext) -> Result<(), DisposalError> {
    for source in sources_of(job) {
        let mut counts: BTreeMap<(String, UnitState), u64> = BTreeMap::new();
        for unit in unit::list_open(ctx.jobs_db().control(), source, None).await? {
            *counts.entry((unit.table.name.clone(), unit.state)).or_default() += 1;
        }
        let partitioned = job
            .rules
            .partitioned
            .iter()
            .map(|rule| (rule.source, rule.table.as_str()));
        let plain = job
            .rules
            .plain
            .iter()
            .map(|rule| (rule.source, rule.table.as_str()));
        for (_, table) in partitioned.chain(plain).filter(|(of, _)| *of == source) {
            let name = table.rsplit('.').next().unwrap_or(table);
            for state in UnitState::ALL.into_iter().filter(|state| !state.is_final()) {
                let count = counts.get(&(name.to_owned(), state)).copied().unwrap_or(0);
                metric::disposal_units_open(source.as_str(), name, state.as_str(), count);
            }
        }
    }
    Ok(())
}
