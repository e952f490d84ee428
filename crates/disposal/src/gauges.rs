//! Gauges of what is being disposed of, as the databases say now, and counters that must exist before the first disposal.

use std::collections::BTreeMap;

use eidos_core::db::JobsDb;
use eidos_core::ident::SqlIdent;
use eidos_settings::SourceName;
use eidos_telemetry::metric;
use sqlx::PgPool;

use crate::DisposalError;
use crate::catalogue::Relation;
use crate::unit::{self, UnitState};

const QUARANTINE_BYTES: &str = "\
    SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'eidos_quarantine' AND c.relkind = 'r'";

/// `disposal_rows_total` and `archive_stored_bytes_total` at zero for what `job` may do to a table: a series that first
/// appears with its first rows shows no increase. The table may be named with its schema.
pub fn rows_from_zero(job: &str, source: SourceName, table: &SqlIdent) {
    let table = Relation::named(table).plain();
    for action in ["export", "quarantine", "drop", "delete"] {
        metric::disposal_rows(job, source.as_str(), &table, action, 0);
    }
    metric::archive_stored_bytes(source.as_str(), &table, 0);
}

/// The disk that partitions at rest take in one database.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn quarantine(source: SourceName, pool: &PgPool) -> Result<(), DisposalError> {
    let bytes: i64 = sqlx::query_scalar(QUARANTINE_BYTES)
        .fetch_one(pool)
        .await
        .map_err(DisposalError::sql("measure the quarantine"))?;
    metric::quarantine_bytes(source.as_str(), bytes.unsigned_abs());
    Ok(())
}

/// Open units per table and state of one source, zero included: a gauge that is not set keeps its old value. Tables may
/// be named with their schema; the label is the bare name.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn open_units<'t>(
    db: &JobsDb,
    source: SourceName,
    tables: impl IntoIterator<Item = &'t str>,
) -> Result<(), DisposalError> {
    let mut counts: BTreeMap<(String, UnitState), u64> = BTreeMap::new();
    for unit in unit::list_open(db.control(), source, None).await? {
        *counts.entry((unit.table.name, unit.state)).or_default() += 1;
    }
    for table in tables {
        let ident = table.parse::<SqlIdent>().ok();
        let name = ident.as_ref().map_or(table, SqlIdent::name);
        for state in UnitState::ALL.into_iter().filter(|state| !state.is_final()) {
            let count = counts.get(&(name.to_owned(), state)).copied().unwrap_or(0);
            metric::disposal_units_open(source.as_str(), name, state.as_str(), count);
        }
    }
    Ok(())
}
