//! Quarantine: out of the parent, into `eidos_quarantine`, where it rests until it is dropped.
//!
//! Plain DETACH needs ACCESS EXCLUSIVE on the parent, the default partition and the partition, in this order, because
//! every query locks the parent first. All of it, and the move to the other schema, is one short transaction that only
//! changes the catalogue. Where the parent is in use through every attempt and has no default partition, DETACH ..
//! CONCURRENTLY takes only a lock that readers and writers do not feel; it runs on a connection of its own outside of
//! any transaction, so a step on another connection holds the fence meanwhile.
//!
//! The concurrent form can end half way: the partition is then "pending detach", its rows are no longer seen through
//! the parent, and no other partition of it can be detached. Every run finalizes such leftovers first.
//!
//! A crash after any commit leaves a table that is attached, pending, detached or in quarantine; [`Place`] tells which,
//! and the next run goes on from there.

use std::time::Duration;

use eidos_core::state;
use eidos_pg::{Sql, sql};
use eidos_telemetry::metric;
use eidos_types::Slot;
use eidos_types::ident::SqlIdent;
use sqlx::{Connection, PgConnection};

use super::finalize::finalize_sql;
use super::locks::{Attempts, Patience, UNFELT, execute};
use super::{DAY_MS, PartitionDisposal, checks};
use crate::DisposalError;
use crate::catalogue::{self, QUARANTINE_SCHEMA, Relation, Whereabouts};
use crate::export::{LongRead, content_of, stored};
use crate::unit::{Change, Unit, UnitState};

/// Names in quarantine end with the unit's id, so that two tables of one name can rest side by side.
const NAME_KEPT: usize = 30;

/// How far the table is on its way.
enum Place {
    Attached { parent: u32 },
    Pending { parent: u32 },
    Detached(Relation),
    Resting(Relation),
}

impl PartitionDisposal<'_> {
    pub(super) async fn quarantine(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        self.not_held(unit).await?;
        self.evidence_stands(unit).await?;
        let count = self.count_unarchived(unit).await?;
        let from = self.whereabouts(unit).await?.map(|found| found.relation.schema);
        let resting = self.bring_to_rest(unit).await?;
        self.validate_bounds(&resting).await?;
        let days = i64::from(self.policy.quarantine_days);
        let rests_from_ms = self.newest_slot().await?.ms();
        let change = Change {
            row_count: count,
            quarantine_table: Some(resting.plain()),
            drop_after_ms: Some(rests_from_ms.saturating_add(days.saturating_mul(DAY_MS))),
            ..Change::default()
        };
        let mut act = unit.act(
            "quarantine",
            format!("rests for {days} days before it is dropped"),
        );
        act.evidence = serde_json::json!({
            "table": resting.plain(),
            "drop_after_ms": change.drop_after_ms,
            "schema": from.filter(|schema| schema != QUARANTINE_SCHEMA),
        });
        let moved = self
            .lifecycle()
            .moved_on(unit, UnitState::Quarantined, &change, &act)
            .await?;
        let rows = moved.row_count.unwrap_or_default().unsigned_abs();
        let (job, source) = (self.ctx.job().as_str(), unit.source.as_str());
        metric::disposal_rows(job, source, &unit.table.plain(), "quarantine", rows);
        Ok(moved)
    }

    /// The slot of this run, or a later one that the schedule has come to already: a run that is made up for a slot of
    /// last month must not find its quarantine over.
    async fn newest_slot(&self) -> Result<Slot, DisposalError> {
        let known = state::get(self.ctx.jobs_db().control(), self.ctx.job()).await?;
        let reached = known.and_then(|known| known.last_slot);
        Ok(reached.map_or(self.ctx.slot(), |reached| reached.max(self.ctx.slot())))
    }

    /// The manifest is there and is the one that was recorded, the last full reading found nothing wrong, and the freeze
    /// has held since. One that did not hold makes the export worthless: it is given up, the rows are all still here.
    async fn evidence_stands(&self, unit: &Unit) -> Result<(), DisposalError> {
        if !unit.archived {
            return Ok(());
        }
        let manifest = unit.manifest().ok_or_else(|| checks::no_evidence(unit))?;
        if unit.rot.is_some() || unit.checked_at_ms.is_none() {
            return Err(checks::no_evidence(unit));
        }
        stored(self.ctx, self.lifecycle().store()?.manifest(&manifest).await)?;
        let Some(found) = self.whereabouts(unit).await? else {
            return Err(super::checks::removed(unit));
        };
        if found.parent.is_some() && !found.pending_detach && !found.frozen {
            let reason = "its freeze trigger was removed after the export";
            self.lifecycle().give_up(unit, "abandon", reason, None).await?;
            return Err(checks::refused(
                "freeze",
                unit,
                "was thawed by somebody after it was exported: the export was discarded, the next run begins again",
            ));
        }
        Ok(())
    }

    /// What goes without a copy is at least counted, while it is frozen.
    async fn count_unarchived(&self, unit: &Unit) -> Result<Option<i64>, DisposalError> {
        if unit.archived || unit.row_count.is_some() {
            return Ok(None);
        }
        if let Some(Whereabouts {
            parent: Some(_),
            pending_detach: false,
            ..
        }) = self.whereabouts(unit).await?
        {
            self.ensure_frozen(unit).await?;
        }
        let mut read = LongRead::open(self.pool(), self.settings).await?;
        let found = catalogue::find(read.conn(), unit.table_oid).await?;
        let found = found.ok_or_else(|| super::checks::removed(unit))?;
        let select = sql!("SELECT 1 FROM ONLY {}", found.relation);
        let content = content_of(self.ctx, &mut read, select.as_str(), 1).await?;
        read.close().await;
        Ok(Some(crate::export::signed(content.rows)))
    }

    /// Does whatever is left to do until the table is in quarantine.
    async fn bring_to_rest(&self, unit: &Unit) -> Result<Relation, DisposalError> {
        loop {
            self.ctx.check_cancelled()?;
            match self.place(unit).await? {
                Place::Attached { parent } => self.detach(unit, parent).await?,
                Place::Pending { parent } => self.finalize(parent, unit.table_oid).await?,
                Place::Detached(relation) => self.shelve(unit, &relation).await?,
                Place::Resting(relation) => return Ok(relation),
            }
        }
    }

    async fn place(&self, unit: &Unit) -> Result<Place, DisposalError> {
        let found = self.whereabouts(unit).await?;
        let found = found.ok_or_else(|| super::checks::removed(unit))?;
        Ok(match found.parent {
            Some(parent) if found.pending_detach => Place::Pending { parent },
            Some(parent) => Place::Attached { parent },
            None if found.relation.schema == QUARANTINE_SCHEMA => Place::Resting(found.relation),
            None => Place::Detached(found.relation),
        })
    }

    async fn detach(&self, unit: &Unit, parent: u32) -> Result<(), DisposalError> {
        let mut attempts = Attempts::new(self.ctx, self.settings, format!("detach {}", unit.unit_name));
        loop {
            let Err(failure) = self.try_detach(unit, parent).await else {
                return Ok(());
            };
            match attempts.again_after(failure).await {
                Ok(()) => {}
                Err(busy @ DisposalError::Busy { .. }) => {
                    return self.detach_concurrently(unit, parent, busy).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn try_detach(&self, unit: &Unit, parent: u32) -> Result<(), DisposalError> {
        let mut step = self.external.step().await?;
        let conn = step.conn();
        checks::server_is_ready(conn, self.ctx, self.settings).await?;
        let (shape, partition) = self.detachable(conn, unit, parent).await?;
        self.not_held(unit).await?;
        let default = shape
            .partitioning
            .as_ref()
            .and_then(|layout| layout.default.as_ref());
        let in_order = std::iter::once(&shape.relation)
            .chain(default.map(|default| &default.relation))
            .chain([&partition.relation]);
        let patience = Patience::begin(self.settings);
        for table in in_order {
            let lock = sql!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE"; table);
            patience.run(conn, "lock a partitioned table", &lock).await?;
        }
        // Nothing can change any more.
        let (shape, partition) = patience.within(self.detachable(conn, unit, parent)).await?;
        if unit.archived && !partition.frozen {
            return Err(checks::refused(
                "freeze",
                unit,
                "was thawed just now; the next run looks into it",
            ));
        }
        self.keep_sequences(conn, unit, patience).await?;
        let detach = sql!(
            "ALTER TABLE {} DETACH PARTITION {}",
            shape.relation,
            partition.relation
        );
        patience.run(conn, "detach a partition", &detach).await?;
        let key = shape.partitioning.map(|layout| layout.key_column);
        let shelve = shelve_sql(unit, &partition.relation, key.as_deref());
        patience
            .run(conn, "move a partition to quarantine", &shelve)
            .await?;
        step.commit().await?;
        Ok(())
    }

    /// Refused where a default partition exists: the server does not offer it then.
    async fn detach_concurrently(
        &self,
        unit: &Unit,
        parent: u32,
        busy: DisposalError,
    ) -> Result<(), DisposalError> {
        let mut pooled = self.reader().await?;
        let (shape, partition) = self.detachable(&mut pooled, unit, parent).await?;
        self.not_held(unit).await?;
        let layout = shape.partitioning.as_ref();
        if layout.is_none_or(|layout| layout.default.is_some()) || (unit.archived && !partition.frozen) {
            return Err(busy);
        }
        tracing::info!(
            partition = unit.unit_name,
            "in use through every attempt: detaching concurrently"
        );
        let mut conn = pooled.detach();
        let limit = self.settings.lock_timeout.as_millis();
        // If this process stands still from here on, the server ends this session long before it ends the guard: a run
        // that took over in between is not overtaken by our DETACH.
        let prepare = sql!(
            "SET default_transaction_read_only = off; SET lock_timeout = {limit}; SET statement_timeout = {}; \
             SET idle_session_timeout = {}",
            UNFELT.as_millis(), STANDSTILL.as_millis();
            limit
        );
        execute(&mut conn, "prepare a concurrent detach", prepare).await?;
        // Touches nothing but the fence: the server waits for everybody who has a lock on the parent.
        let guard = self.external.step().await?;
        let detach = sql!(
            "ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY",
            shape.relation,
            partition.relation
        );
        let detached = execute(&mut conn, "detach a partition concurrently", detach).await;
        let _closed = conn.close().await;
        guard.commit().await?;
        match detached {
            Ok(()) => Ok(()),
            // Half way is a place too; the caller looks where the table is.
            Err(DisposalError::Sql { source, .. })
                if crate::error::in_the_way(&source) && self.is_pending(unit).await? =>
            {
                Ok(())
            }
            Err(DisposalError::Sql { source, .. }) if crate::error::in_the_way(&source) => Err(busy),
            Err(failure) => Err(failure),
        }
    }

    /// A sequence that the partition owns would move to quarantine with it, and be dropped with it. It may number the rows of
    /// the whole table, whether a default says so or not: it stays.
    async fn keep_sequences(
        &self,
        conn: &mut PgConnection,
        unit: &Unit,
        patience: Patience,
    ) -> Result<(), DisposalError> {
        for statement in catalogue::keep_sequences(conn, unit.table_oid, &unit.table).await? {
            patience
                .run(conn, "keep a sequence that a partition owns", &statement)
                .await?;
            tracing::info!(partition = unit.unit_name, %statement, "a sequence stays");
        }
        Ok(())
    }

    async fn is_pending(&self, unit: &Unit) -> Result<bool, DisposalError> {
        Ok(matches!(self.place(unit).await?, Place::Pending { .. }))
    }

    /// Finalizes one pending detach: waits, bounded, until nobody sees the partition any more.
    pub(super) async fn finalize(&self, parent: u32, partition: u32) -> Result<(), DisposalError> {
        let mut attempts = Attempts::new(self.ctx, self.settings, "finalize a pending detach".to_owned());
        while let Err(failure) = self.try_finalize(parent, partition).await {
            attempts.again_after(failure).await?;
        }
        Ok(())
    }

    async fn try_finalize(&self, parent: u32, partition: u32) -> Result<(), DisposalError> {
        let mut step = self.external.step().await?;
        let conn = step.conn();
        if let Some(statement) = finalize_sql(conn, parent, partition).await? {
            Patience::begin(self.settings)
                .run(conn, "finalize a pending detach", &statement)
                .await?;
            step.commit().await?;
        }
        Ok(())
    }

    /// Moves a table that is detached already.
    async fn shelve(&self, unit: &Unit, relation: &Relation) -> Result<(), DisposalError> {
        let mut attempts = Attempts::new(
            self.ctx,
            self.settings,
            format!("move {} to quarantine", unit.unit_name),
        );
        while let Err(failure) = self.try_shelve(unit, relation).await {
            attempts.again_after(failure).await?;
        }
        Ok(())
    }

    async fn try_shelve(&self, unit: &Unit, relation: &Relation) -> Result<(), DisposalError> {
        let mut step = self.external.step().await?;
        let conn = step.conn();
        checks::server_is_ready(conn, self.ctx, self.settings).await?;
        let own = self.unchanged(conn, unit).await?;
        if let Some(key) = own.referenced_by.first() {
            return Err(checks::referenced(unit, key));
        }
        let patience = Patience::begin(self.settings);
        self.keep_sequences(conn, unit, patience).await?;
        let shelve = shelve_sql(unit, relation, None);
        patience
            .run(conn, "move a partition to quarantine", &shelve)
            .await?;
        step.commit().await?;
        Ok(())
    }

    /// Reads the table once more, so that attaching it again would not have to. Nobody else uses it; if it takes too
    /// long it is left undone, and only an undo would notice.
    pub(super) async fn validate_bounds(&self, resting: &Relation) -> Result<(), DisposalError> {
        let mut step = self.external.step().await?;
        let limit = sql!("SET LOCAL statement_timeout = {}", VALIDATE_LIMIT.as_millis());
        execute(step.conn(), "limit a statement", limit).await?;
        let validate = sql!(
            "ALTER TABLE {resting} VALIDATE CONSTRAINT {BOUNDS_CHECK}";
            resting, BOUNDS_CHECK
        );
        match execute(
            step.conn(),
            "validate the bounds of a table in quarantine",
            validate,
        )
        .await
        {
            Ok(()) => step.commit().await?,
            Err(error) => tracing::info!(%error, "attaching it again would read the table"),
        }
        Ok(())
    }
}

/// How long the session of a concurrent detach may be idle; well below `databases.<source>.idle_in_transaction_timeout`,
/// which ends its guard.
const STANDSTILL: Duration = Duration::from_secs(2);
pub(super) const BOUNDS_CHECK: &str = "eidos_disposal_bounds";
const VALIDATE_LIMIT: Duration = Duration::from_secs(20);

/// The name, the bounds as a check (without reading the rows), the schema. A table that was detached concurrently has
/// such a check from the server; one that was in quarantine before, and was attached again by hand, has ours.
fn shelve_sql(unit: &Unit, relation: &Relation, key: Option<&str>) -> Sql {
    let mut name = relation.name.clone();
    while name.len() > NAME_KEPT {
        name.pop();
    }
    let rested = Relation::new(&relation.schema, format!("{name}_{}", unit.unit_id.simple()));
    let check = key.map_or_else(Sql::default, |key| {
        let key = SqlIdent::quoting(key);
        sql!(
            "ALTER TABLE {rested} DROP CONSTRAINT IF EXISTS {BOUNDS_CHECK}; \
             ALTER TABLE {rested} ADD CONSTRAINT {BOUNDS_CHECK} \
             CHECK ({key} IS NOT NULL AND {key} >= {} AND {key} < {}) NOT VALID; ",
            unit.lower_ms, unit.upper_ms;
            rested, BOUNDS_CHECK, key
        )
    });
    sql!(
        "ALTER TABLE {relation} RENAME TO {}; {check}ALTER TABLE {rested} SET SCHEMA {}",
        SqlIdent::quoting(&rested.name), SqlIdent::quoting(QUARANTINE_SCHEMA);
        relation, check, rested
    )
}
