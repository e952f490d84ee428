//! [`PartitionManage`]: what the job works with.

use std::collections::BTreeMap;

use eidos_core::ident::SqlIdent;
use eidos_disposal::settings::DisposalSettings;
use eidos_settings::SourceName;

use crate::settings::PartitionManageOptions;
use crate::sources::Sources;

/// The job.
pub struct PartitionManage {
    /// The databases.
    pub sources: Sources,
    /// What is managed, in the order it is worked on.
    pub tables: Vec<ManagedTable>,
    /// Its settings.
    pub options: PartitionManageOptions,
    /// What it shares with the other jobs.
    pub disposal: DisposalSettings,
    /// Sources that are one database: each with the source it is looked at through.
    pub same_database: BTreeMap<SourceName, SourceName>,
}

/// One partitioned table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedTable {
    /// Its database.
    pub source: SourceName,
    /// Its name.
    pub table: SqlIdent,
    /// How long its partitions are kept; `None`: for ever.
    pub retention_months: Option<u32>,
}
