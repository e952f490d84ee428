//! The export of a month of rows, in the order in which they will be deleted.

use eidos_archive_store::ExportRequest;
use eidos_pg::sql;
use eidos_telemetry::metric;
use serde_json::json;

use super::RowDisposal;
use super::predicate::{eligible_of, key_columns, key_list};
use crate::DisposalError;
use crate::catalogue::TableShape;
use crate::destination;
use crate::export::{LongRead, export_verified};
use crate::unit::{self, Change, Unit, UnitState};

impl RowDisposal<'_> {
    /// Written before the first byte is uploaded: whatever a crash leaves in the folder is known to be unproved.
    pub(super) async fn mark_exporting(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        destination::check(self.ctx, self.store()?).await?;
        let act = unit.act("export", "begun; the export is proved by the verify that follows");
        unit::move_on_recorded(self.ctx, unit, UnitState::Exporting, &Change::default(), &act).await
    }

    /// Copies the rows, reads the copy back, compares both with what the server sent, and writes that down.
    pub(super) async fn export(&self, unit: &Unit, shape: &TableShape) -> Result<Unit, DisposalError> {
        let store = self.store()?;
        let mut read = LongRead::open(self.external.pool(), self.settings).await?;
        let snapshot_lsn = read.wal_position().await?;
        let request = ExportRequest {
            unit_id: unit.unit_id,
            source: unit.source.as_str().to_owned(),
            schema: unit.table.schema.clone(),
            table: unit.table.name.clone(),
            unit_name: unit.unit_name.clone(),
            columns: shape.archive_columns()?,
            column_numbers: shape.column_numbers_in(shape)?,
            ordered_by: key_columns(shape, self.rule),
            snapshot_lsn,
            primary_key: shape.primary_key.clone(),
            time_column: self.rule.time_column.clone(),
            bounds_ms: (unit.lower_ms, unit.upper_ms),
            create_table: shape.create_table_sql(&shape.relation),
            format: unit.format.unwrap_or_default(),
            segment_rows: Some(self.rule.batch_rows),
            created_at: self.ctx.clock().now(),
            exporter: format!("{}/{}", self.ctx.job(), self.ctx.execution_id()),
        };
        let select = sql!(
            "SELECT {} FROM ONLY {} r WHERE {} ORDER BY {}",
            shape.column_list(),
            shape.relation,
            eligible_of(shape, self.rule, unit)?,
            key_list(shape, self.rule)
        );
        let (evidence, _exported) =
            export_verified(self.ctx, &mut read, store, &request, select.as_str()).await?;
        read.close().await;
        let (rows, bytes) = (evidence.rows.unsigned_abs(), evidence.stored_bytes.unsigned_abs());
        let mut act = unit.act("verify", "the export was read back and is equal to the rows");
        act.evidence = json!({
            "manifest": evidence.manifest.key,
            "manifest_sha256": evidence.manifest.sha256,
            "content_digest": evidence.digest.to_string(),
        });
        let change = Change {
            row_count: Some(evidence.rows),
            evidence: Some(evidence),
            ..Change::default()
        };
        let verified = unit::move_on_recorded(self.ctx, unit, UnitState::Verified, &change, &act).await?;
        let (job, table) = (self.ctx.job().as_str(), unit.table.plain());
        metric::disposal_rows(job, unit.source.as_str(), &table, "export", rows);
        metric::archive_stored_bytes(unit.source.as_str(), &table, bytes);
        Ok(verified)
    }
}
