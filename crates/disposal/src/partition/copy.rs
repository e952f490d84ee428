//! The export of a frozen partition.

use eidos_pg::{Sql, sql};
use eidos_types::ident::SqlIdent;

use super::{PartitionDisposal, checks};
use crate::DisposalError;
use crate::catalogue::{self, TableShape};
use crate::export::LongRead;
use crate::lifecycle::Exporting;
use crate::unit::Unit;

impl PartitionDisposal<'_> {
    pub(super) async fn mark_exporting(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        // A freeze of an earlier run may have been taken back by hand.
        self.ensure_frozen(unit).await?;
        self.lifecycle().mark_exporting(unit).await
    }

    /// Exports the rows of a frozen partition.
    pub(super) async fn export(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        let mut read = LongRead::open(self.pool(), self.settings).await?;
        let snapshot_lsn = read.wal_position().await?;
        // In the snapshot that is copied. A column added after it is found under the locks of the quarantine.
        let own = self.unchanged(read.conn(), unit).await?;
        let found = catalogue::find(read.conn(), unit.table_oid).await?;
        if !found.is_some_and(|found| found.frozen && found.parent.is_some()) {
            return Err(checks::refused(
                "freeze",
                unit,
                "was thawed or detached while it was to be exported",
            ));
        }
        let parent = self.parent(&mut read, unit).await?;
        let of = Exporting {
            own: &own,
            numbered_by: &parent,
            ordered_by: own.primary_key.clone(),
            time_column: key_column(&parent).ok_or_else(|| super::checks::removed(unit))?,
            segment_rows: None,
            select: in_key_order(&own),
            snapshot_lsn,
        };
        self.lifecycle().export(unit, read, of).await
    }

    async fn parent(&self, read: &mut LongRead, unit: &Unit) -> Result<TableShape, DisposalError> {
        let found = catalogue::find(read.conn(), unit.table_oid).await?;
        let parent = match found.and_then(|found| found.parent) {
            Some(parent) => catalogue::read_by_oid(read.conn(), parent).await?,
            None => None,
        };
        parent.ok_or_else(|| super::checks::removed(unit))
    }
}

fn key_column(parent: &TableShape) -> Option<String> {
    let layout = parent.partitioning.as_ref()?;
    Some(layout.key_column.clone())
}

/// All rows in the order of the primary key, so that readers of the export skip what they do not look for. There is
/// an index for it.
fn in_key_order(own: &TableShape) -> Sql {
    let key = own.primary_key.iter().map(SqlIdent::quoting);
    let order = if key.len() == 0 {
        Sql::default()
    } else {
        sql!(" ORDER BY {}", Sql::join(key, ", "))
    };
    sql!("SELECT {} FROM ONLY {}{order}", own.column_list(), own.relation; order)
}
