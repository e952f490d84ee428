//! Pending detaches: what an interrupted `DETACH .. CONCURRENTLY` leaves. Until it is finalized, nothing else of the
//! parent can be detached.

use eidos_pg::{Sql, sql};
use sqlx::PgConnection;

use super::PartitionDisposal;
use crate::DisposalError;
use crate::catalogue::{self, Partition, TableShape};

impl PartitionDisposal<'_> {
    /// Finalizes every pending detach of a table, whoever left it. Returns the partitions that are detached now.
    ///
    /// # Errors
    /// [`DisposalError::Busy`] while somebody still reads the partition; those of any statement.
    pub async fn finalize_pending(&self, shape: &TableShape) -> Result<Vec<Partition>, DisposalError> {
        let layout = shape.partitioning.iter().flat_map(|layout| &layout.partitions);
        let mut finalized = Vec::new();
        for partition in layout.filter(|partition| partition.pending_detach) {
            self.finalize(shape.oid, partition.oid).await?;
            tracing::warn!(partition = %partition.relation, "finalized a detach that was interrupted");
            finalized.push(partition.clone());
        }
        Ok(finalized)
    }
}

/// `None`: somebody was faster.
pub(super) async fn finalize_sql(
    conn: &mut PgConnection,
    parent: u32,
    partition: u32,
) -> Result<Option<Sql>, DisposalError> {
    let Some(shape) = catalogue::read_by_oid(conn, parent).await? else {
        return Ok(None);
    };
    let mut layout = shape.partitioning.iter().flat_map(|layout| &layout.partitions);
    let pending = layout.find(|found| found.oid == partition && found.pending_detach);
    Ok(pending.map(|pending| {
        sql!(
            "ALTER TABLE {} DETACH PARTITION {} FINALIZE",
            shape.relation,
            pending.relation
        )
    }))
}
