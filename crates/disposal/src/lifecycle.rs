//! [`Lifecycle`]: what every unit goes through, whether it is a partition or the rows of a month.
//!
//! ```text
//! create → mark the export → export, read back, record → (the strategy takes the rows away) → final
//!              └── give up: the state, the cause, and nothing left in the object store
//! ```
//! How rows are kept from changing and how they are taken away differs: that is the two strategies' own
//! ([`crate::partition`], [`crate::rows`]).

use eidos_archive_store::{ArchiveStore, ExportRequest, TableFolder, UnitFolder};
use eidos_core::fence::ExternalFence;
use eidos_pg::{Relation, Sql};
use eidos_plan::hold::{self, Hold};
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use eidos_telemetry::metric;
use eidos_types::ExecutionId;
use serde_json::json;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use uuid::Uuid;

use crate::catalogue::TableShape;
use crate::export::{LongRead, export_verified, stored};
use crate::unit::{self, Change, NewUnit, Unit, UnitState};
use crate::{DisposalError, destination, source_connection};

/// A run's means, as both strategies have them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifecycle<'a> {
    /// The run.
    pub(crate) ctx: &'a JobContext,
    /// Its right to write to the table's database.
    pub(crate) external: &'a ExternalFence,
    /// Where exports go; `None`: tables that are archived are refused.
    pub(crate) store: Option<&'a ArchiveStore>,
}

/// What an export is made of, as far as the strategies differ.
#[derive(Debug)]
pub(crate) struct Exporting<'a> {
    /// The table whose rows leave.
    pub(crate) own: &'a TableShape,
    /// The table whose columns number those of the export: the parent of a partition.
    pub(crate) numbered_by: &'a TableShape,
    /// The columns that order the rows.
    pub(crate) ordered_by: Vec<String>,
    /// A row's age.
    pub(crate) time_column: String,
    /// Rows per segment; `None`: one segment.
    pub(crate) segment_rows: Option<u32>,
    /// The rows, in their order.
    pub(crate) select: Sql,
    /// Where in the write-ahead log the snapshot is.
    pub(crate) snapshot_lsn: Option<String>,
}

/// What lies below a table's folder in the object store.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Folders of units that were given up: the unit, how many objects were removed, and what of them remains.
    pub(crate) removed: Vec<(Uuid, u64, Option<String>)>,
    /// All others.
    pub(crate) others: Vec<UnitFolder>,
}

impl<'a> Lifecycle<'a> {
    /// A connection to the table's database, outside of steps.
    pub(crate) async fn reader(&self) -> Result<PoolConnection<Postgres>, DisposalError> {
        source_connection(self.external.pool()).await
    }

    pub(crate) fn store(&self) -> Result<&'a ArchiveStore, DisposalError> {
        self.store.ok_or_else(|| {
            DisposalError::refused(
                "store",
                "no object store is configured for a table that is archived; set archive_store.url or \
                 jobs.data-cleanup.archive_storage",
            )
        })
    }

    /// Counts a refusal, and says it in the log.
    pub(crate) fn counted<T>(
        &self,
        table: &str,
        outcome: Result<T, DisposalError>,
    ) -> Result<T, DisposalError> {
        if let Err(error) = &outcome {
            self.count_refusal(table, error);
        }
        outcome
    }

    /// Counts an error that is a refusal.
    pub(crate) fn count_refusal(&self, table: &str, error: &DisposalError) {
        if let Some(reason) = error.refusal() {
            metric::disposal_refused(self.ctx.job().as_str(), table, reason);
            tracing::warn!(table, reason, %error, "nothing more was removed");
        }
    }

    /// A `UUIDv7` of the run's clock, like every identity of the suite.
    pub(crate) fn new_id(&self) -> Uuid {
        ExecutionId::new(self.ctx.clock().as_ref()).as_uuid()
    }

    /// Makes a unit's row. A store that nobody accepted is refused before anything is begun.
    pub(crate) async fn begin(&self, new: &NewUnit) -> Result<Unit, DisposalError> {
        if let Some(store) = self.store.filter(|_store| new.archive.is_some()) {
            destination::check(self.ctx, store).await?;
        }
        self.create(new).await
    }

    /// Makes a unit's row.
    pub(crate) async fn create(&self, new: &NewUnit) -> Result<Unit, DisposalError> {
        let mut step = self.ctx.step().await?;
        let unit = unit::create(&mut step, self.ctx, new).await?;
        step.commit().await?;
        Ok(unit)
    }

    /// Writes a unit's next state and the audit row that goes with it.
    pub(crate) async fn moved_on(
        &self,
        unit: &Unit,
        to: UnitState,
        change: &Change,
        act: &eidos_plan::audit::Act,
    ) -> Result<Unit, DisposalError> {
        let moved = unit::move_on_recorded(self.ctx, unit, to, change, act).await?;
        tracing::info!(
            unit = %unit.unit_id, table = %unit.table.plain(), object = unit.unit_name, from = %unit.state,
            state = %to, rows = moved.row_count, "a unit moved on"
        );
        Ok(moved)
    }

    /// Written before the first byte is uploaded: whatever a crash leaves in the folder is known to be unproved.
    pub(crate) async fn mark_exporting(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        destination::check(self.ctx, self.store()?).await?;
        let act = unit.act("export", "begun; the export is proved by the verify that follows");
        self.moved_on(unit, UnitState::Exporting, &Change::default(), &act)
            .await
    }

    /// Copies the rows, reads the copy back, compares both with what the server sent, and writes that down. Until the
    /// commit of the last step the unit is `exporting`: a crash, a mismatch or a failure of any kind makes the next run
    /// discard the folder and begin again.
    pub(crate) async fn export(
        &self,
        unit: &Unit,
        mut read: LongRead,
        of: Exporting<'_>,
    ) -> Result<Unit, DisposalError> {
        let request = ExportRequest {
            unit_id: unit.unit_id,
            source: unit.source.as_str().to_owned(),
            schema: unit.table.schema.clone(),
            table: unit.table.name.clone(),
            unit_name: unit.unit_name.clone(),
            columns: of.own.archive_columns()?,
            column_numbers: of.own.column_numbers_in(of.numbered_by)?,
            ordered_by: of.ordered_by,
            snapshot_lsn: of.snapshot_lsn,
            primary_key: of.own.primary_key.clone(),
            time_column: of.time_column,
            bounds_ms: (unit.lower_ms, unit.upper_ms),
            create_table: of.own.create_table_sql(&of.own.relation),
            format: unit.format.unwrap_or_default(),
            segment_rows: of.segment_rows,
            created_at: self.ctx.clock().now(),
            exporter: format!("{}/{}", self.ctx.job(), self.ctx.execution_id()),
        };
        let select = of.select.as_str();
        let exported = export_verified(self.ctx, &mut read, self.store()?, &request, select).await;
        read.close().await;
        let (evidence, _exported) = exported?;
        let (rows, bytes) = (evidence.rows.unsigned_abs(), evidence.stored_bytes.unsigned_abs());
        let mut act = unit.act("verify", "the export was read back and is equal to the rows");
        act.evidence = json!({
            "manifest": evidence.manifest.key,
            "manifest_sha256": evidence.manifest.sha256,
            "content_digest": evidence.digest.to_string(),
        });
        let change = Change {
            evidence: Some(evidence),
            ..Change::default()
        };
        let verified = self.moved_on(unit, UnitState::Verified, &change, &act).await?;
        let (job, source, table) = (self.ctx.job().as_str(), unit.source.as_str(), unit.table.plain());
        metric::disposal_rows(job, source, &table, "export", rows);
        metric::archive_stored_bytes(source, &table, bytes);
        Ok(verified)
    }

    /// The first hold on one of these tables that covers a part of the unit. A hold beats every rule (ruling 37). Asked
    /// before work is begun, and again as the last thing before rows leave their table or the table goes: what lies between
    /// takes as long as reading an export.
    pub(crate) async fn held(
        &self,
        unit: &Unit,
        tables: &[&Relation],
    ) -> Result<Option<Hold>, DisposalError> {
        let control = self.ctx.jobs_db().control();
        let window = (unit.lower_ms, unit.upper_ms);
        for table in tables {
            let holds = hold::active(control, unit.source, table, window).await?;
            if let Some(hold) = holds.into_iter().next() {
                return Ok(Some(hold));
            }
        }
        Ok(None)
    }

    /// Closes a unit of which nothing was taken away, and removes what it left in the object store. `act`: `abandon`,
    /// `release`.
    pub(crate) async fn give_up(
        &self,
        unit: &Unit,
        act: &'static str,
        reason: &str,
        failed_as: Option<String>,
    ) -> Result<Unit, DisposalError> {
        let change = Change {
            reason: Some(reason.to_owned()),
            failed_as,
            ..Change::default()
        };
        let closed = self
            .moved_on(unit, UnitState::Abandoned, &change, &unit.act(act, reason))
            .await?;
        self.discard(&closed).await?;
        Ok(closed)
    }

    /// Removes what a unit left in the object store, and returns what to say of what remains there. A crash before it
    /// leaves a folder that recovery sweeps.
    pub(crate) async fn discard(&self, unit: &Unit) -> Result<Option<String>, DisposalError> {
        let Some(store) = self.store.filter(|_store| unit.archived) else {
            return Ok(None);
        };
        let table = TableFolder::new(unit.source.as_str(), &unit.table.schema, &unit.table.name)?;
        let folder = UnitFolder::new(table, &unit.unit_name, unit.unit_id)?;
        let removed = stored(self.ctx, store.discard(&folder).await)?;
        if removed == 0 {
            return Ok(None);
        }
        let remains = store.versions().await.after_removal();
        tracing::info!(
            unit = %unit.unit_id,
            objects = removed,
            remains = remains.as_deref().unwrap_or("nothing"),
            "discarded the export of an abandoned unit"
        );
        Ok(remains)
    }

    /// Removes, again and again, what appears in the folders of units that were given up: the node that filled one may
    /// still be uploading.
    pub(crate) async fn sweep(&self, source: SourceName, table: &Relation) -> Result<Swept, DisposalError> {
        let mut swept = Swept::default();
        let Some(store) = self.store else { return Ok(swept) };
        let below = TableFolder::new(source.as_str(), &table.schema, &table.name)?;
        let folders = stored(self.ctx, store.folders(&below).await)?;
        if folders.is_empty() {
            return Ok(swept);
        }
        let abandoned = unit::abandoned_of(self.ctx.jobs_db().control(), source, table).await?;
        for folder in folders {
            let unit_id = folder.unit_id();
            if abandoned.iter().any(|unit| unit.unit_id == unit_id) {
                let objects = stored(self.ctx, store.discard(&folder).await)?;
                let remains = store.versions().await.after_removal();
                swept.removed.push((unit_id, objects, remains));
            } else {
                swept.others.push(folder);
            }
        }
        Ok(swept)
    }
}
