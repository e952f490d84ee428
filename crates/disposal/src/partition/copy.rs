//! The export of a frozen partition.

use eidos_archive_store::ExportRequest;
use eidos_pg::{Sql, sql};
use eidos_telemetry::metric;
use eidos_types::ident::SqlIdent;

use super::{PartitionDisposal, checks};
use crate::DisposalError;
use crate::catalogue::{self, TableShape};
use crate::destination;
use crate::export::{LongRead, export_verified};
use crate::unit::{Change, Unit, UnitState};

impl PartitionDisposal<'_> {
    /// Written before the first byte is uploaded: whatever a crash leaves in the folder is known to be unproved.
    pub(super) async fn mark_exporting(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        destination::check(self.ctx, self.store()?).await?;
        // Somebody may have thawed it since an earlier run froze it.
        self.ensure_frozen(unit).await?;
        let act = unit.act("export", "begun; the export is proved by the verify that follows");
        self.moved_on(unit, UnitState::Exporting, &Change::default(), &act)
            .await
    }

    /// Copies the rows, reads the copy back, compares both with what the server sent, and writes that down. Until the
    /// commit of the last step the unit is `exporting`: a crash, a mismatch or a failure of any kind makes the next run
    /// discard the folder and begin again.
    pub(super) async fn export(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        let store = self.store()?;
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
        let request = ExportRequest {
            unit_id: unit.unit_id,
            source: unit.source.as_str().to_owned(),
            schema: unit.table.schema.clone(),
            table: unit.table.name.clone(),
            unit_name: unit.unit_name.clone(),
            columns: own.archive_columns()?,
            column_numbers: own.column_numbers_in(&parent)?,
            ordered_by: own.primary_key.clone(),
            snapshot_lsn,
            primary_key: own.primary_key.clone(),
            time_column: key_column(&parent).ok_or_else(|| super::checks::removed(unit))?,
            bounds_ms: (unit.lower_ms, unit.upper_ms),
            create_table: own.create_table_sql(&own.relation),
            format: unit.format.unwrap_or_default(),
            segment_rows: None,
            created_at: self.ctx.clock().now(),
            exporter: format!("{}/{}", self.ctx.job(), self.ctx.execution_id()),
        };
        let select = in_key_order(&own);
        let exported = export_verified(self.ctx, &mut read, store, &request, select.as_str()).await;
        read.close().await;
        let (evidence, _exported) = exported?;
        let (rows, bytes) = (evidence.rows.unsigned_abs(), evidence.stored_bytes.unsigned_abs());
        let mut act = unit.act("verify", "the export was read back and is equal to the rows");
        act.evidence = serde_json::json!({
            "manifest": evidence.manifest.key,
            "manifest_sha256": evidence.manifest.sha256,
            "content_digest": evidence.digest.to_string(),
        });
        let change = Change {
            evidence: Some(evidence),
            ..Change::default()
        };
        let verified = self.moved_on(unit, UnitState::Verified, &change, &act).await?;
        let table = unit.table.plain();
        metric::disposal_rows(
            self.ctx.job().as_str(),
            unit.source.as_str(),
            &table,
            "export",
            rows,
        );
        metric::archive_stored_bytes(unit.source.as_str(), &table, bytes);
        Ok(verified)
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
