//! The drop: the one act that cannot be taken back.
//!
//! In this order, and any doubt ends it: no hold; the export is read in full, once more, because an object can rot in
//! the days of quarantine; `dropping` is written down; the table's foreign keys go, one by one; then, in one fenced
//! transaction: the server's clock and role; EXCLUSIVE on the resting table, so that nobody writes; where it is; the columns; every
//! row digested, on another connection, and compared with the export; the last readers waited for; once more no hold; DROP. So no
//! row can come between the proof and the act.
//!
//! Waiting is limited by `disposal.lock_timeout`, attempt by attempt. The DROP's own work is not: by then nobody waits
//! behind it.
//!
//! A crash before the commit leaves the table, after it no table, and the unit `dropping` in both cases: the next run
//! looks whether the table is there. A table that vanished while its unit was still `quarantined` was removed by
//! somebody else, which is said and not covered up.

use std::time::Duration;

use eidos_archive_store::ContentDigest;
use eidos_core::fence::ExternalStep;
use eidos_pg::sql;
use eidos_telemetry::metric;
use eidos_types::ident::SqlIdent;
use sqlx::PgConnection;

use super::fitness::{dependencies_of, may_be_dropped};
use super::locks::{Attempts, Patience, UNFELT, execute, try_lock};
use super::{PartitionDisposal, checks};
use crate::DisposalError;
use crate::catalogue::{self, QUARANTINE_SCHEMA, TableShape, Whereabouts};
use crate::export::{Content, LongRead, content_of, lift_transaction_timeout, signed, verified};
use crate::unit::{Change, Unit, UnitState};

/// How often a step that only holds locks shows the server that its process lives.
const SAY_A_WORD: Duration = Duration::from_secs(1);

const FOREIGN_KEYS: &str = "\
    SELECT conname::text FROM pg_constraint WHERE conrelid = $1::bigint::oid AND contype = 'f' ORDER BY 1";

impl PartitionDisposal<'_> {
    pub(super) async fn drop_proved(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        let Some(found) = self.whereabouts(unit).await? else {
            return match unit.state {
                UnitState::Dropping => self.dropped(unit).await,
                _ => Err(super::checks::removed(unit)),
            };
        };
        resting_place(unit, &found)?;
        self.not_held(unit).await?;
        self.export_still_stands(unit).await?;
        let unit = self.mark_dropping(unit).await?;
        if let Err(failure) = self.drop_table(&unit).await {
            self.take_back(&unit, &failure).await;
            return Err(failure);
        }
        self.dropped(&unit).await
    }

    /// Every object of the export is read, decoded and digested.
    async fn export_still_stands(&self, unit: &Unit) -> Result<(), DisposalError> {
        let demanded = unit.archived || self.policy.archive.is_some();
        if !demanded {
            return Ok(());
        }
        let manifest = unit.manifest().ok_or_else(|| checks::no_evidence(unit))?;
        if unit.rot.is_some() {
            return Err(checks::no_evidence(unit));
        }
        let expected = expected(unit)?;
        verified(
            self.ctx,
            self.lifecycle().store()?,
            manifest,
            &unit.unit_name,
            expected,
        )
        .await?;
        Ok(())
    }

    async fn mark_dropping(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        if unit.state == UnitState::Dropping {
            return Ok(unit.clone());
        }
        let act = unit.act("drop", "begun; its export was read in full just now");
        self.lifecycle()
            .moved_on(unit, UnitState::Dropping, &Change::default(), &act)
            .await
    }

    /// The rows are digested once, under the lock that keeps every writer out; whatever has to be waited for afterwards
    /// is waited for under that same lock, so that the digest stays true.
    async fn drop_table(&self, unit: &Unit) -> Result<(), DisposalError> {
        self.unlink(unit).await?;
        let (mut step, own) = self.begin_drop(unit).await?;
        let found = self.while_held(&mut step, self.content_now(unit, &own)).await?;
        same_rows(unit, found)?;
        self.wait_for_readers(&mut step, unit, &own).await?;
        self.not_held(unit).await?;
        // Nobody else has or waits for a lock of this table: its own work, such as 400 defaults, may take its time.
        let work = self.settings.statement_timeout.as_millis().max(1);
        let limit = sql!("SET LOCAL statement_timeout = {work}"; work);
        execute(step.conn(), "limit a statement", limit).await?;
        let drop = sql!("DROP TABLE {}", own.relation);
        execute(step.conn(), "drop a table in quarantine", drop)
            .await
            .map_err(|error| depended_on(unit, error))?;
        step.commit().await?;
        Ok(())
    }

    /// Removes the table's own foreign keys, each in a moment of its own: DROP TABLE would hold the tables they reference,
    /// which are in use, for as long as it works. A table that is attached again gets them from its parent.
    async fn unlink(&self, unit: &Unit) -> Result<(), DisposalError> {
        let keys: Vec<String> = sqlx::query_scalar(FOREIGN_KEYS)
            .bind(i64::from(unit.table_oid))
            .fetch_all(&mut *self.reader().await?)
            .await
            .map_err(DisposalError::sql(
                "read the foreign keys of a table in quarantine",
            ))?;
        for key in keys {
            let doing = format!("remove foreign key {key} of {}", unit.unit_name);
            let mut attempts = Attempts::new(self.ctx, self.settings, doing);
            while let Err(failure) = self.try_unlink(unit, &key).await {
                attempts.again_after(failure).await?;
            }
        }
        Ok(())
    }

    async fn try_unlink(&self, unit: &Unit, key: &str) -> Result<(), DisposalError> {
        let mut step = self.external.step().await?;
        let found = self.at_rest(step.conn(), unit).await?;
        let drop = sql!(
            "ALTER TABLE {} DROP CONSTRAINT {}",
            found.relation,
            SqlIdent::quoting(key)
        );
        Patience::begin(self.settings)
            .run(
                step.conn(),
                "remove a foreign key of a table in quarantine",
                &drop,
            )
            .await?;
        step.commit().await?;
        Ok(())
    }

    /// From here on nobody writes to the table or alters it; a session of our own can still read it.
    async fn begin_drop(&self, unit: &Unit) -> Result<(ExternalStep, TableShape), DisposalError> {
        let mut attempts = Attempts::new(self.ctx, self.settings, format!("drop {}", unit.unit_name));
        loop {
            match self.try_begin_drop(unit).await {
                Ok(begun) => return Ok(begun),
                Err(failure) => attempts.again_after(failure).await?,
            }
        }
    }

    async fn try_begin_drop(&self, unit: &Unit) -> Result<(ExternalStep, TableShape), DisposalError> {
        let mut step = self.external.step().await?;
        let conn = step.conn();
        lift_transaction_timeout(conn, self.settings).await?;
        checks::server_is_ready(conn, self.ctx, self.settings).await?;
        let found = self.at_rest(conn, unit).await?;
        let lock = sql!("LOCK TABLE ONLY {} IN EXCLUSIVE MODE", found.relation);
        Patience::begin(self.settings)
            .run(conn, "lock a table in quarantine", &lock)
            .await?;
        // Who held it while we waited may have attached it again or taken it out.
        self.at_rest(conn, unit).await?;
        let own = self.unchanged(conn, unit).await?;
        let shared = dependencies_of(conn, unit.table_oid).await?;
        may_be_dropped(&unit.unit_name, &unit.table, &own.relation, &shared)?;
        Ok((step, own))
    }

    /// Waits for the last readers. An attempt that times out goes back to a savepoint and keeps the lock that no writer
    /// passes: nothing can have changed, and nothing is digested again.
    async fn wait_for_readers(
        &self,
        step: &mut ExternalStep,
        unit: &Unit,
        own: &TableShape,
    ) -> Result<(), DisposalError> {
        let mut attempts = Attempts::new(self.ctx, self.settings, format!("drop {}", unit.unit_name));
        let lock = sql!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", own.relation);
        let patience = self.settings.lock_timeout;
        while let Err(failure) = try_lock(step.conn(), patience, &lock).await {
            self.while_held(step, attempts.again_after(failure)).await?;
        }
        Ok(())
    }

    /// The table as it rests, if it is where we put it.
    async fn at_rest(&self, conn: &mut PgConnection, unit: &Unit) -> Result<Whereabouts, DisposalError> {
        let found = catalogue::find(conn, unit.table_oid).await?;
        let found = found.ok_or_else(|| super::checks::removed(unit))?;
        resting_place(unit, &found)?;
        Ok(found)
    }

    /// Everything the table holds, or at least how many rows.
    async fn content_now(&self, unit: &Unit, own: &TableShape) -> Result<Content, DisposalError> {
        let (select, columns) = if unit.archived {
            (
                sql!("SELECT {} FROM ONLY {}", own.column_list(), own.relation),
                own.columns.len(),
            )
        } else {
            (sql!("SELECT 1 FROM ONLY {}", own.relation), 1)
        };
        let mut read = LongRead::open(self.pool(), self.settings).await?;
        let content = content_of(self.ctx, &mut read, select.as_str(), columns).await?;
        read.close().await;
        Ok(content)
    }

    /// Works while a step holds its locks and its share of the fence. The server ends a transaction whose process is
    /// silent, as it should, so ours says a word now and then.
    async fn while_held<T>(
        &self,
        step: &mut ExternalStep,
        work: impl Future<Output = Result<T, DisposalError>>,
    ) -> Result<T, DisposalError> {
        let awake = sql!("SET LOCAL statement_timeout = {}", UNFELT.as_millis());
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(SAY_A_WORD) => {
                    execute(step.conn(), "keep a step awake", awake.clone()).await?;
                }
            }
        }
    }

    /// After a failure that certainly left the table: the announcement is taken back, so that a table that vanishes
    /// later is not mistaken for our own work. Where the outcome is unknown the unit stays `dropping`.
    async fn take_back(&self, unit: &Unit, failure: &DisposalError) {
        // Of a step, only its commit can fail without telling whether it happened; that is an error of the core.
        if matches!(failure, DisposalError::Core(_) | DisposalError::Job(_)) {
            return;
        }
        let act = unit.act("drop", format!("taken back: {failure}"));
        let moved = self
            .lifecycle()
            .moved_on(unit, UnitState::Quarantined, &Change::default(), &act)
            .await;
        if let Err(error) = moved {
            tracing::warn!(unit = %unit.unit_id, %error, "the unit stays `dropping`; its table is there");
        }
    }

    async fn dropped(&self, unit: &Unit) -> Result<Unit, DisposalError> {
        let reason = format!(
            "its quarantine ended at {} (epoch ms)",
            unit.drop_after_ms.unwrap_or_default()
        );
        let mut act = unit.act("drop", reason);
        act.evidence = serde_json::json!({
            "manifest": unit.manifest_key,
            "manifest_sha256": unit.manifest_sha256,
            "content_digest": unit.content_digest,
            "table_oid": unit.table_oid,
        });
        let dropped = self
            .lifecycle()
            .moved_on(unit, UnitState::Dropped, &Change::default(), &act)
            .await?;
        let rows = unit.row_count.unwrap_or_default().unsigned_abs();
        let (job, source) = (self.ctx.job().as_str(), unit.source.as_str());
        metric::disposal_rows(job, source, &unit.table.plain(), "drop", rows);
        Ok(dropped)
    }
}

/// Only what we put into quarantine ourselves, under the name we gave it, is dropped.
fn resting_place(unit: &Unit, found: &Whereabouts) -> Result<(), DisposalError> {
    let name = found.relation.plain();
    let written = unit.quarantine_table.as_deref();
    let put_there = written.is_some_and(|written| found.relation.is_written(written));
    if put_there && found.parent.is_none() && found.relation.schema == QUARANTINE_SCHEMA {
        return Ok(());
    }
    Err(checks::refused(
        "moved",
        unit,
        &format!(
            "rested as {} and is {name} now, {}: it was taken out of quarantine and is not dropped",
            unit.quarantine_table.as_deref().unwrap_or("nothing"),
            if found.parent.is_some() {
                "attached again"
            } else {
                "on its own"
            }
        ),
    ))
}

/// The rows about to go are the rows that were exported, or at least as many as were counted.
fn same_rows(unit: &Unit, found: Content) -> Result<(), DisposalError> {
    let same = if unit.archived {
        found == expected(unit)?
    } else {
        Some(signed(found.rows)) == unit.row_count
    };
    if same {
        return Ok(());
    }
    Err(checks::refused(
        "mismatch",
        unit,
        &format!(
            "holds {} rows with digest {} in quarantine, and {} rows with digest {} were recorded: somebody wrote to it \
             in spite of the freeze. It stays; look at both before anything else",
            found.rows,
            found.digest,
            unit.row_count.unwrap_or_default(),
            unit.content_digest.as_deref().unwrap_or("(not archived)")
        ),
    ))
}

/// What the export of an archived unit must hold.
fn expected(unit: &Unit) -> Result<Content, DisposalError> {
    let digest: Option<ContentDigest> = unit.content_digest.as_deref().and_then(|text| text.parse().ok());
    match (unit.row_count, digest) {
        (Some(rows), Some(digest)) => Ok(Content {
            rows: rows.unsigned_abs(),
            digest,
        }),
        _ => Err(checks::no_evidence(unit)),
    }
}

fn depended_on(unit: &Unit, error: DisposalError) -> DisposalError {
    match error.sqlstate().as_deref() {
        Some("2BP01") => checks::refused("referenced", unit, &format!("cannot be dropped: {error}")),
        _ => error,
    }
}
