//! [`PartitionIdentity`]: what a plan says about a partition, so that anything else is noticed.

use eidos_archive_store::ArchiveFormat;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PartitionPolicy;
use crate::DisposalError;
use crate::catalogue::{Partition, Relation, TableShape};

/// Identifies the work on one partition. It is the `identity` of a plan's item and part of the plan's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionIdentity {
    /// The partitioned table.
    pub table: Relation,
    /// Its oid.
    pub table_oid: u32,
    /// The partition.
    pub partition: Relation,
    /// Its oid: another table of the same name is another table.
    pub partition_oid: u32,
    /// First key inside, epoch ms.
    pub lower_ms: i64,
    /// First key after it, epoch ms.
    pub upper_ms: i64,
    /// [`TableShape::columns_fingerprint`] of the partitioned table.
    pub columns_fingerprint: String,
    /// The format of the export; `None`: dropped without one.
    pub archive: Option<ArchiveFormat>,
    /// Days in quarantine.
    pub quarantine_days: u32,
}

impl PartitionIdentity {
    /// Of a partition as the catalogue has it now.
    ///
    /// # Errors
    /// [`DisposalError::Refused`] for a partition without a lower or upper bound: nobody knows when it is over.
    pub fn of(
        shape: &TableShape,
        partition: &Partition,
        policy: &PartitionPolicy,
    ) -> Result<Self, DisposalError> {
        let Some((lower_ms, upper_ms)) = partition.bounds.finite() else {
            return Err(DisposalError::refused(
                "bounds",
                format!(
                    "{} covers {}: a partition without a lower and an upper bound is not disposed of; split it",
                    partition.relation.plain(),
                    partition.bounds
                ),
            ));
        };
        Ok(Self {
            table: shape.relation.clone(),
            table_oid: shape.oid,
            partition: partition.relation.clone(),
            partition_oid: partition.oid,
            lower_ms,
            upper_ms,
            columns_fingerprint: shape.columns_fingerprint(),
            archive: policy.archive,
            quarantine_days: policy.quarantine_days,
        })
    }

    /// For a plan's item.
    ///
    /// # Errors
    /// Never in practice; serialization has no other way to say so.
    pub fn to_value(&self) -> Result<Value, DisposalError> {
        serde_json::to_value(self).map_err(|error| unreadable(&error))
    }

    /// From a plan's item.
    ///
    /// # Errors
    /// [`DisposalError::Refused`] when the item is of another kind or version.
    pub fn from_value(value: &Value) -> Result<Self, DisposalError> {
        serde_json::from_value(value.clone()).map_err(|error| unreadable(&error))
    }
}

fn unreadable(error: &serde_json::Error) -> DisposalError {
    DisposalError::refused(
        "plan",
        format!("an item of the plan does not identify a partition ({error}); make a new plan"),
    )
}
