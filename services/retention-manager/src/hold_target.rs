//! Whether a legal hold names something: a hold with a slip in it protects nothing, and nobody would notice.

use eidos_core::db;
use eidos_disposal::catalogue::{self, Named, Relation};
use eidos_runtime::ServiceDeps;
use eidos_server::ApiError;
use eidos_settings::SourceName;

use crate::cleanup::rules::Rules;
use crate::settings::RetentionSettings;

/// Checks holds before they are placed.
#[derive(Clone)]
pub(crate) struct HoldTarget {
    deps: ServiceDeps<RetentionSettings>,
    /// Tables that have a rule, and the source they are cleaned in.
    ruled: Vec<(SourceName, Relation)>,
}

impl HoldTarget {
    /// With the rules that are in force.
    pub(crate) fn new(deps: &ServiceDeps<RetentionSettings>) -> Self {
        // Neither the archive nor the quarantine matters for where a table is.
        let rules = Rules::of(&deps.settings.service.data_retention, false, 0);
        Self {
            deps: deps.clone(),
            ruled: rules
                .tables()
                .map(|(source, table)| (source, Relation::named(table)))
                .collect(),
        }
    }

    /// What the person who places the hold should know; the hold is placed all the same. A database that is not
    /// connected here, or is down, is no reason to leave a table unprotected.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for a hold that would protect nothing: no such table, a partition's name, another source
    /// than the one that the table's rule works on.
    pub(crate) async fn check(
        &self,
        source: SourceName,
        table: &Relation,
    ) -> Result<Option<String>, ApiError> {
        if let Some((cleaned, _)) = self.elsewhere(source, table) {
            return Err(ApiError::Invalid(format!(
                "{} is cleaned as a table of the source {cleaned}: a hold on {source} would not protect it; place it on \
                 {cleaned}",
                table.plain()
            )));
        }
        let unchecked = |why: String| {
            Some(format!(
                "whether {} exists in {source} was not checked: {why}. The hold is in force for a table of exactly this \
                 name",
                table.plain()
            ))
        };
        let Some(section) = self.deps.settings.suite.databases.get(&source) else {
            return Ok(unchecked(format!("databases.{source} is not set here")));
        };
        let name = &self.deps.settings.suite.service.name;
        // The primary: a replica may not have the table yet.
        let named = match db::connect_external(section, name, source).await {
            Ok(pool) => {
                let named = catalogue::named(&pool, table)
                    .await
                    .map_err(|error| error.to_string());
                pool.close().await;
                named
            }
            Err(error) => Err(error.to_string()),
        };
        match named {
            Ok(Some(Named::Table)) => Ok(self.out_of_place(source, table)),
            Ok(Some(Named::PartitionOf(parent))) => Err(ApiError::Invalid(format!(
                "{} is a partition: holds are on tables and a time; place it on {} with from_ms and to_ms",
                table.plain(),
                parent.plain()
            ))),
            Ok(None) => Err(ApiError::Invalid(format!(
                "there is no table {} in {source}; correct table or source",
                table.plain()
            ))),
            Err(error) => {
                tracing::warn!(table = %table, %source, error, "the table of a legal hold could not be looked up");
                Ok(unchecked("the database did not answer".to_owned()))
            }
        }
    }

    /// Several sources may be one database: a table without a rule here is looked after under the source its name tells,
    /// unless another service's settings say otherwise.
    fn out_of_place(&self, source: SourceName, table: &Relation) -> Option<String> {
        let home = catalogue::source_of(&table.name).filter(|home| *home != source)?;
        let is_ruled = self.ruled.iter().any(|(_, ruled)| ruled == table);
        (!is_ruled).then(|| {
            format!(
                "by its name {} belongs to {home}: a job that works on it there does not see this hold. Place one on {home} as \
                 well, unless archive_profile.source says {source}",
                table.plain()
            )
        })
    }

    /// The rule of a table of this name, if rules work on it in other sources only.
    fn elsewhere(&self, source: SourceName, table: &Relation) -> Option<&(SourceName, Relation)> {
        let mut ruled = self.ruled.iter().filter(|(_, ruled)| ruled == table);
        let first = ruled.next()?;
        (first.0 != source && ruled.all(|(other, _)| *other != source)).then_some(first)
    }
}
