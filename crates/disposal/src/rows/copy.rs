//! The export of a month of rows, in the order in which they will be deleted.

use eidos_pg::sql;

use super::RowDisposal;
use super::predicate::{eligible_of, key_columns, key_list};
use crate::DisposalError;
use crate::catalogue::TableShape;
use crate::export::LongRead;
use crate::lifecycle::Exporting;
use crate::unit::Unit;

impl RowDisposal<'_> {
    /// Exports the rows of a month.
    pub(super) async fn export(&self, unit: &Unit, shape: &TableShape) -> Result<Unit, DisposalError> {
        let mut read = LongRead::open(self.external.pool(), self.settings).await?;
        let snapshot_lsn = read.wal_position().await?;
        let select = sql!(
            "SELECT {} FROM ONLY {} r WHERE {} ORDER BY {}",
            shape.column_list(),
            shape.relation,
            eligible_of(shape, self.rule, unit)?,
            key_list(shape, self.rule)
        );
        let of = Exporting {
            own: shape,
            numbered_by: shape,
            ordered_by: key_columns(shape, self.rule),
            time_column: self.rule.time_column.clone(),
            segment_rows: Some(self.rule.batch_rows),
            select,
            snapshot_lsn,
        };
        self.lifecycle().export(unit, read, of).await
    }
}
