//! Freezing: from now on nobody writes to the partition, and everybody can read it, also through its parent.
//!
//! The triggers are row triggers, because statement triggers of a partition do not fire for statements on its parent;
//! TRUNCATE has only statement triggers. They fire always, also for replicated writes and for
//! `session_replication_role = replica`.
//!
//! CREATE TRIGGER takes SHARE ROW EXCLUSIVE: it waits until every transaction that has written to the partition has
//! ended, so what is read afterwards is all there is. Readers do not feel it. A writer that keeps its transaction open
//! makes the attempt time out; it is made again.
//!
//! A crash after the commit leaves the triggers and a unit in state `planned`: the next run finds the triggers.

use super::PartitionDisposal;
use super::checks;
use super::locks::{Attempts, Patience};
use crate::DisposalError;
use crate::catalogue::{self, FREEZE_FUNCTION, Relation};
use crate::unit::{Change, Unit, UnitState};
use eidos_pg::{Sql, sql};

const ROWS: &str = "eidos_jobs_freeze_rows";
const TRUNCATE: &str = "eidos_jobs_freeze_truncate";

impl PartitionDisposal<'_> {
    pub(super) async fn freeze(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        self.not_held(unit).await?;
        self.ensure_frozen(unit).await?;
        let act = unit.act("freeze", "its rows are older than the table's retention");
        self.lifecycle()
            .moved_on(unit, UnitState::Frozen, &Change::default(), &act)
            .await
    }

    /// Freezes the partition, unless it is frozen.
    pub(super) async fn ensure_frozen(&self, unit: &Unit) -> Result<(), DisposalError> {
        let mut attempts = Attempts::new(self.ctx, self.settings, format!("freeze {}", unit.unit_name));
        while let Err(failure) = self.try_freeze(unit).await {
            attempts.again_after(failure).await?;
        }
        Ok(())
    }

    async fn try_freeze(&self, unit: &Unit) -> Result<(), DisposalError> {
        let mut step = self.external.step().await?;
        let conn = step.conn();
        let found = catalogue::find(conn, unit.table_oid).await?;
        let found = found.ok_or_else(|| super::checks::removed(unit))?;
        let Some(parent) = found.parent else {
            return Err(checks::refused(
                "changed",
                unit,
                "was detached by somebody else before it was exported",
            ));
        };
        if found.frozen {
            return Ok(());
        }
        self.detachable(conn, unit, parent).await?;
        Patience::begin(self.settings)
            .run(conn, "freeze a partition", &freeze_sql(&found.relation))
            .await
            .map_err(without_function)?;
        step.commit().await?;
        Ok(())
    }
}

/// Both triggers. Leftovers of the same names that somebody disabled or changed are replaced.
fn freeze_sql(partition: &Relation) -> Sql {
    let function = sql!("public.{FREEZE_FUNCTION}()"; FREEZE_FUNCTION);
    sql!(
        "CREATE OR REPLACE TRIGGER {ROWS} BEFORE INSERT OR UPDATE OR DELETE ON {partition} \
             FOR EACH ROW EXECUTE FUNCTION {function}; \
         CREATE OR REPLACE TRIGGER {TRUNCATE} BEFORE TRUNCATE ON {partition} \
             FOR EACH STATEMENT EXECUTE FUNCTION {function}; \
         ALTER TABLE {partition} ENABLE ALWAYS TRIGGER {ROWS}; \
         ALTER TABLE {partition} ENABLE ALWAYS TRIGGER {TRUNCATE}";
        ROWS, partition, function, TRUNCATE
    )
}

/// The triggers' removal: the partition can be written to again.
pub(super) fn thaw_sql(partition: &Relation) -> Sql {
    sql!(
        "DROP TRIGGER IF EXISTS {ROWS} ON {partition}; DROP TRIGGER IF EXISTS {TRUNCATE} ON {partition}";
        ROWS, partition, TRUNCATE
    )
}

fn without_function(error: DisposalError) -> DisposalError {
    match error.sqlstate().as_deref() {
        Some("42883") => DisposalError::refused(
            "setup",
            format!(
                "this database has no function public.{FREEZE_FUNCTION}(); have its owner run eidosctl prepare --disposal (migrations/foreign/freeze.sql)"
            ),
        ),
        _ => error,
    }
}
