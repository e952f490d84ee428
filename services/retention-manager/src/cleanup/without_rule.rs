//! Tables nobody decided about (ruling 37): reported in every run, in the plan and as a metric, never forgotten.

use std::collections::{BTreeMap, BTreeSet};

use eidos_disposal::catalogue::{self, Relation, source_of};
use eidos_disposal::{DisposalError, source_connection};
use eidos_settings::SourceName;
use eidos_telemetry::metric;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::rules::Rules;
use crate::sources::Sources;
use crate::store::tables;

/// A table without a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Whose table it is by its name; of other tables, the database it was found in.
    pub source: SourceName,
    /// `schema.table`.
    pub table: String,
    /// Disk it takes with its partitions and indexes; 0 where that cannot be told.
    pub bytes: i64,
}

/// What was found, and what could not be looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) forgotten: Vec<Forgotten>,
    pub(super) problems: Vec<String>,
}

/// Looks into every connected database once. A database that does not answer is a problem of its
/// own; the others are looked at all the same.
pub(super) async fn look(
    sources: &Sources,
    same_database: &BTreeMap<SourceName, SourceName>,
    rules: &Rules,
) -> Found {
    let database_of = |source: SourceName| same_database.get(&source).copied().unwrap_or(source);
    let mut seen = BTreeSet::new();
    let mut found = Found::default();
    for (source, pool) in sources.iter() {
        let database = database_of(source);
        if !seen.insert(database) {
            continue;
        }
        match undecided(pool, rules).await {
            Ok(tables) => found
                .forgotten
                .extend(tables.into_iter().map(|(relation, bytes)| {
                    let named = source_of(&relation.name).filter(|named| database_of(*named) == database);
                    Forgotten {
                        source: named.unwrap_or(source),
                        table: relation.plain(),
                        bytes,
                    }
                })),
            Err(error) => {
                tracing::warn!(%source, %error, "could not look for tables without a retention rule");
                found.problems.push(format!(
                    "{source}: could not look for tables without a rule: {error}"
                ));
            }
        }
    }
    found
        .forgotten
        .sort_by(|left, right| (left.source, &left.table).cmp(&(right.source, &right.table)));
    for table in &found.forgotten {
        tracing::warn!(
            source = %table.source, table = table.table, bytes = table.bytes,
            "no retention rule: add one to data_retention, or the table to data_retention.keep_forever"
        );
    }
    found
}

async fn undecided(pool: &PgPool, rules: &Rules) -> Result<Vec<(Relation, i64)>, DisposalError> {
    let mut conn = source_connection(pool).await?;
    let all = catalogue::list_tables(&mut conn).await?;
    let in_public = |name: &str| {
        all.iter()
            .any(|table| table.schema == "public" && table.name == name)
    };
    let mut sized = Vec::new();
    for relation in &all {
        // A rule without a schema means the table of `public` where there is one, and no namesake elsewhere.
        let by_bare_name = relation.schema == "public" || !in_public(&relation.name);
        if rules.decides_about(&relation.schema, &relation.name, by_bare_name) {
            continue;
        }
        let bytes = tables::size(&mut conn, relation).await?;
        sized.push((relation.clone(), bytes));
    }
    Ok(sized)
}

/// Sets the gauges, of databases where nothing was found too.
pub(super) fn publish(sources: &Sources, forgotten: &[Forgotten]) {
    for (source, _pool) in sources.iter() {
        let count = forgotten.iter().filter(|table| table.source == source).count();
        metric::retention_tables_without_rule(source.as_str(), u64::try_from(count).unwrap_or(u64::MAX));
    }
}
