//! The deletion: segment by segment against the export's digests, or batch by batch where no export is demanded.

use std::time::Instant;

use eidos_archive_store::{ContentDigest, CopyDigester, Segment};
use eidos_core::fence::ExternalStep;
use eidos_pg::{Sql, sql};
use eidos_telemetry::metric;
use eidos_types::ident::SqlIdent;
use futures::TryStreamExt;

use super::predicate::{eligible_of, fit_for_deletion, key_columns, key_list, key_literals, key_parameters};
use super::tally::Tally;
use super::{RowDisposal, RowOutcome, unchanged};
use crate::DisposalError;
use crate::catalogue::{self, Relation, TableShape};
use crate::export::{stored, verified};
use crate::pace::{Observation, Pace, Watch};
use crate::unit::Unit;

/// How often rows that somebody else has locked are asked for in one run.
const LOCK_TRIES: u32 = 5;

/// What became of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deleted {
    /// Its rows were there, equal to the export, and are gone.
    Rows(u64),
    /// None of its rows was there: an earlier run deleted them.
    Before,
    /// Its rows are not those of the export; nothing was deleted.
    Changed,
}

/// What became of one batch.
enum Batch {
    /// So many rows are gone, up to the one with this key.
    Deleted { count: u64, last: Option<Vec<String>> },
    /// Other rows were deleted than were picked, and it was rolled back: one that we waited for has changed since the
    /// statement began, which the next attempt sees; or something swallows deletions, which none does.
    Uneven { picked: i64, gone: i64 },
}

impl RowDisposal<'_> {
    /// Deletes what is left of a unit's rows and settles the unit. What was deleted is on record, however this ends.
    pub(super) async fn delete(&self, unit: &Unit, shape: &TableShape) -> Result<RowOutcome, DisposalError> {
        let mut tally = Tally::default();
        let deletion = async {
            if unit.archived {
                self.delete_proved(unit, shape, &mut tally).await
            } else {
                self.delete_counted(unit, shape, &mut tally).await.map(|()| None)
            }
        };
        match deletion.await {
            Ok(left) => {
                let deleted = tally.deleted;
                let unit = self.settled(unit, tally, left.clone()).await?;
                Ok(RowOutcome { unit, deleted, left })
            }
            Err(error) => {
                self.note_interrupted(unit, &mut tally, &error).await;
                Err(error)
            }
        }
    }

    /// Gives why some rows stay, if any do.
    async fn delete_proved(
        &self,
        unit: &Unit,
        shape: &TableShape,
        tally: &mut Tally,
    ) -> Result<Option<String>, DisposalError> {
        let segments = self.proved_segments(unit).await?;
        let mut pace = Pace::new(&self.settings.pace, self.rule.batch_rows, self.rule.sleep);
        let mut watch = Watch::default();
        let mut changed = Vec::new();
        for segment in &segments {
            self.ctx.check_cancelled()?;
            self.not_held(unit).await?;
            let began = Instant::now();
            match self.delete_segment(unit, shape, segment).await? {
                Deleted::Rows(rows) => self.report_progress(unit, tally, rows).await?,
                Deleted::Before => {}
                Deleted::Changed => changed.push(segment),
            }
            self.rest(&mut pace, &mut watch, &shape.relation, began).await?;
        }
        // The unit is settled, and its export kept, also when every segment changed: one that an earlier run deleted looks
        // changed as well once another row has come into its range, and then the export is the only copy.
        Ok(changed.first().map(|first| {
            format!(
                "{} of {} segments changed since the export and stay, the first from {:?} to {:?}",
                changed.len(),
                segments.len(),
                first.first,
                first.last
            )
        }))
    }

    /// The segments of the unit's export, which is read in full once more before anything is deleted on its word.
    async fn proved_segments(&self, unit: &Unit) -> Result<Vec<Segment>, DisposalError> {
        let no_evidence = || {
            DisposalError::refused(
                "evidence",
                format!("{} has no proved export; its rows stay", unit.unit_name),
            )
        };
        let manifest = unit.manifest().ok_or_else(no_evidence)?;
        let digest: ContentDigest = unit
            .content_digest
            .as_deref()
            .and_then(|text| text.parse().ok())
            .ok_or_else(no_evidence)?;
        let store = self.lifecycle().store()?;
        let whole = stored(self.ctx, store.manifest(&manifest).await)?;
        let expected = crate::export::Content {
            rows: whole.rows,
            digest,
        };
        verified(self.ctx, store, manifest, &unit.unit_name, expected).await?;
        Ok(whole.segments)
    }

    /// One fenced transaction: delete the rows of the segment, hash what was deleted, compare, commit or roll back.
    async fn delete_segment(
        &self,
        unit: &Unit,
        shape: &TableShape,
        segment: &Segment,
    ) -> Result<Deleted, DisposalError> {
        let key = key_list(shape, self.rule);
        let statement = sql!(
            "COPY (DELETE FROM ONLY {} r WHERE ({key}) >= ({}) AND ({key}) <= ({}) AND {} RETURNING {}) \
             TO STDOUT (FORMAT binary)",
            shape.relation,
            key_literals(shape, self.rule, &segment.first)?,
            key_literals(shape, self.rule, &segment.last)?,
            eligible_of(shape, self.rule, unit)?,
            shape.column_list();
            key
        );
        for _try in 0..LOCK_TRIES {
            let mut step = self.limited(self.external.step_alone().await?).await?;
            let deleted = match digested(&mut step, &statement, shape.columns.len()).await {
                Ok(deleted) => deleted,
                Err(error) if is_locked(&error) => continue,
                Err(error) => return Err(error),
            };
            return Ok(match deleted {
                (0, _) => Deleted::Before,
                (rows, digest) if rows == segment.rows && digest == segment.digest => {
                    still_fits(&mut step, unit).await?;
                    // Placed while we waited for locks: it is in force as soon as it was answered.
                    self.not_held(unit).await?;
                    step.commit().await?;
                    self.count(unit, rows);
                    Deleted::Rows(rows)
                }
                _ => Deleted::Changed, // the step is dropped: rolled back
            });
        }
        Err(locked(unit))
    }

    async fn delete_counted(
        &self,
        unit: &Unit,
        shape: &TableShape,
        tally: &mut Tally,
    ) -> Result<(), DisposalError> {
        let mut pace = Pace::new(&self.settings.pace, self.rule.batch_rows, self.rule.sleep);
        let mut watch = Watch::default();
        let mut rows = self.rule.batch_rows;
        // First what nobody holds; then what is left, waiting for each lock a moment.
        for wait in [false, true] {
            let mut after: Option<Vec<String>> = None;
            let mut tries = 0;
            loop {
                self.ctx.check_cancelled()?;
                self.not_held(unit).await?;
                let began = Instant::now();
                match self.delete_batch(unit, shape, after.as_deref(), rows, wait).await {
                    Ok(Batch::Deleted { count: 0, .. }) => break,
                    Ok(Batch::Deleted { count, last }) => {
                        self.report_progress(unit, tally, count).await?;
                        after = last;
                    }
                    Ok(Batch::Uneven { .. }) if tries < LOCK_TRIES => tries += 1,
                    Ok(Batch::Uneven { picked, gone }) => {
                        return Err(swallowed(&shape.relation, picked, gone));
                    }
                    Err(error) if is_locked(&error) && tries < LOCK_TRIES => tries += 1,
                    Err(error) if is_locked(&error) => return Err(locked(unit)),
                    Err(error) => return Err(error),
                }
                rows = self.rest(&mut pace, &mut watch, &shape.relation, began).await?;
            }
        }
        Ok(())
    }

    /// One fenced transaction: pick, delete, compare the counts.
    async fn delete_batch(
        &self,
        unit: &Unit,
        shape: &TableShape,
        after: Option<&[String]>,
        rows: u32,
        wait: bool,
    ) -> Result<Batch, DisposalError> {
        let key = key_list(shape, self.rule);
        let eligible = eligible_of(shape, self.rule, unit)?;
        let further = match after {
            Some(_key) => sql!("AND ({key}) > ({})", key_parameters(shape, self.rule)?; key),
            None => Sql::default(),
        };
        let columns = key_columns(shape, self.rule).into_iter().map(SqlIdent::quoting);
        let as_text = Sql::join(columns.map(|column| sql!("r.{column}::text"; column)), ", ");
        let statement = sql!(
            "WITH picked AS (SELECT r.ctid, row_number() OVER () AS n, ARRAY[{as_text}] AS key FROM \
               (SELECT r.ctid, {key} FROM ONLY {table} r WHERE {eligible} {further} ORDER BY {key} LIMIT {rows} \
                FOR UPDATE{skip}) r), \
             gone AS (DELETE FROM ONLY {table} r USING picked WHERE r.ctid = picked.ctid AND {eligible} RETURNING 1) \
             SELECT (SELECT count(*) FROM picked), (SELECT count(*) FROM gone), \
                    (SELECT key FROM picked ORDER BY n DESC LIMIT 1)";
            key, eligible, further, rows, as_text, table = shape.relation,
            skip = if wait { "" } else { " SKIP LOCKED" }
        );
        let mut step = self.limited(self.external.step().await?).await?;
        // Planned for these very values, as if they stood in it.
        let query = sqlx::query_as(statement).persistent(false);
        let query = after
            .unwrap_or_default()
            .iter()
            .fold(query, sqlx::query::QueryAs::bind);
        let (picked, gone, last): (i64, i64, Option<Vec<String>>) = query
            .fetch_one(step.conn())
            .await
            .map_err(DisposalError::sql("delete a batch of rows"))?;
        if picked != gone {
            return Ok(Batch::Uneven { picked, gone }); // the step is dropped: rolled back
        }
        let count = gone.unsigned_abs();
        if count > 0 {
            still_fits(&mut step, unit).await?;
            self.not_held(unit).await?;
            step.commit().await?;
            self.count(unit, count);
        }
        Ok(Batch::Deleted { count, last })
    }

    /// Lets a fenced transaction wait for rows no longer than everybody else may wait for us.
    async fn limited(&self, mut step: ExternalStep) -> Result<ExternalStep, DisposalError> {
        let limit = sql!(
            "SET LOCAL lock_timeout = {}",
            self.settings.lock_timeout.as_millis().max(1)
        );
        sqlx::query(limit)
            .execute(step.conn())
            .await
            .map_err(DisposalError::sql("limit the wait for locks"))?;
        Ok(step)
    }

    /// The pause after a batch; returns the size of the next one.
    async fn rest(
        &self,
        pace: &mut Pace,
        watch: &mut Watch,
        table: &Relation,
        began: Instant,
    ) -> Result<u32, DisposalError> {
        let seen = if pace.is_adaptive() {
            watch.after(began.elapsed(), self.external.pool(), table).await?
        } else {
            Observation::default()
        };
        let next = pace.next(&seen);
        if !next.pause.is_zero() {
            self.ctx.unless_cancelled(tokio::time::sleep(next.pause)).await?;
        }
        Ok(next.rows)
    }

    fn count(&self, unit: &Unit, rows: u64) {
        let job = self.ctx.job().as_str();
        metric::disposal_rows(job, unit.source.as_str(), &unit.table.plain(), "delete", rows);
    }
}

/// Whether the table is still what was planned and exported, asked where the answer cannot change before the commit: the
/// step has deleted from it, and its lock keeps out whoever would add a column, a trigger or a foreign key.
async fn still_fits(step: &mut ExternalStep, unit: &Unit) -> Result<(), DisposalError> {
    let shape = catalogue::read_by_oid(step.conn(), unit.table_oid).await?;
    let shape = shape.ok_or_else(|| {
        let table = unit.table.plain();
        DisposalError::refused("removed", format!("{table} (oid {}) is gone", unit.table_oid))
    })?;
    fit_for_deletion(&shape)?;
    unchanged(unit, &shape)
}

/// Runs a `COPY (DELETE … RETURNING …)` and hashes what comes back.
async fn digested(
    step: &mut ExternalStep,
    statement: &Sql,
    columns: usize,
) -> Result<(u64, ContentDigest), DisposalError> {
    let mut digester = CopyDigester::new(columns);
    let doing = "delete a segment of rows";
    let mut rows = step
        .conn()
        .copy_out_raw(statement.as_str())
        .await
        .map_err(DisposalError::sql(doing))?;
    while let Some(chunk) = rows.try_next().await.map_err(DisposalError::sql(doing))? {
        digester.feed(&chunk).map_err(refused_copy)?;
    }
    digester.finish().map_err(refused_copy)
}

fn refused_copy(problem: impl std::fmt::Display) -> DisposalError {
    DisposalError::refused(
        "copy",
        format!("the server's COPY stream cannot be read: {problem}"),
    )
}

fn swallowed(table: &Relation, picked: i64, gone: i64) -> DisposalError {
    DisposalError::refused(
        "mismatch",
        format!(
            "a batch of {} picked {picked} rows and deleted {gone}, {LOCK_TRIES} times in a row; it was rolled back. A rule \
             or trigger swallows deletions",
            table.plain()
        ),
    )
}

/// Rows that somebody else holds.
fn is_locked(error: &DisposalError) -> bool {
    matches!(error.sqlstate().as_deref(), Some("55P03" | "40P01"))
}

fn locked(unit: &Unit) -> DisposalError {
    DisposalError::Busy {
        what: format!(
            "rows of {} stayed locked through {LOCK_TRIES} tries; the next run goes on with them",
            unit.unit_name
        ),
    }
}
