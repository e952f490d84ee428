//! [`Creation`]: from a stretch of time without a partition to one or more partitions, in transactions that are tried
//! until they fit in.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use eidos_core::fence::ExternalFence;
use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::Relation;
use eidos_runtime::JobContext;
use eidos_types::TimeRange;

use super::error::Remedy;
use super::parent::Parent;
use super::transaction::{Made, Transaction};
use crate::domain::tiling::Piece;
use crate::store::astray;

/// Less than this is not worth a partition of its own.
const FEWEST_ROWS: u64 = 50;

/// How gently the work is done.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest anybody may wait for one of our transactions.
    pub patience: Duration,
    /// Transactions that are tried for one partition while others hold its locks.
    pub attempts: usize,
    /// The first pause between two attempts; doubles, with jitter.
    pub pause: Duration,
    /// The longest pause between two attempts.
    pub max_pause: Duration,
    /// Most rows moved out of a default partition in one transaction.
    pub drain_max_rows: u64,
}

/// A partition that was created.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its name.
    pub relation: Relation,
    /// What it covers.
    pub span: TimeRange,
    /// Rows that came from the default partition.
    pub rows_moved: u64,
    /// How long others could feel the transaction.
    pub held: Duration,
    /// Transactions it took.
    pub attempts: usize,
}

/// How far a piece came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is covered.
    Done,
    /// The rows this run may move are used up; this part is left to the next one.
    Capped(TimeRange),
}

/// Creates partitions of one table.
pub struct Creation<'a> {
    /// The run.
    pub ctx: &'a JobContext,
    /// Its right to write to the table's database.
    pub external: &'a ExternalFence,
    /// The table.
    pub parent: &'a Parent,
    /// How gently.
    pub limits: Limits,
    /// Why rows may not be moved, if they may not.
    pub obstacle: Option<String>,
}

impl Creation<'_> {
    /// Covers `piece`: by one partition, or by several where the default partition holds more rows of it than one
    /// transaction may move. Adds each partition to `created` as soon as it is committed, and takes the rows it moved
    /// from `rows_left`.
    ///
    /// # Errors
    /// [`DisposalError`]; what `created` names is durable nevertheless.
    pub async fn create(
        &self,
        piece: Piece,
        rows_left: &mut u64,
        created: &mut Vec<Created>,
    ) -> Result<Outcome, DisposalError> {
        let mut rest = Some(piece.span);
        let mut most = self.limits.drain_max_rows.max(1);
        let mut attempts = 0;
        let mut pauses = self.pauses();
        while let Some(span) = rest {
            self.ctx.check_cancelled()?;
            let Some((part, rows)) = self.next_part(span, most, *rows_left).await? else {
                return Ok(Outcome::Capped(span));
            };
            attempts += 1;
            match self.transaction(Piece { span: part, ..piece }, rows > 0).await {
                Ok(made) => {
                    *rows_left = rows_left.saturating_sub(made.rows_moved);
                    created.push(done(made, part, attempts));
                    rest = TimeRange::new(part.upper_ms, span.upper_ms);
                    (attempts, pauses) = (0, self.pauses());
                }
                Err(error) => match Remedy::of(&error) {
                    Remedy::None => return Err(error),
                    Remedy::Less if rows > 0 && most > FEWEST_ROWS => {
                        most = (most.min(rows) / 2).max(FEWEST_ROWS);
                    }
                    Remedy::Again | Remedy::Less => {
                        let Some(pause) = pauses.next() else {
                            return Err(self.busy(attempts, &error));
                        };
                        tracing::debug!(table = %self.parent.relation, %error, attempts, "locked by others, again");
                        self.ctx.unless_cancelled(tokio::time::sleep(pause)).await?;
                    }
                },
            }
        }
        Ok(Outcome::Done)
    }

    /// As much of the beginning of `span` as one transaction may do, and the rows that move with it. `None` if rows
    /// would have to move and none may.
    async fn next_part(
        &self,
        span: TimeRange,
        most: u64,
        rows_left: u64,
    ) -> Result<Option<(TimeRange, u64)>, DisposalError> {
        let most = most.min(rows_left);
        let Some(default) = &self.parent.default else {
            return Ok(Some((span, 0)));
        };
        let failed = || DisposalError::sql("read the default partition");
        let mut conn = self.external.pool().acquire().await.map_err(failed())?;
        let rows = astray::rows_in(&mut conn, self.parent, default, span, most).await?;
        if rows == 0 {
            return Ok(Some((span, 0)));
        }
        if let Some(obstacle) = &self.obstacle {
            return Err(DisposalError::refused(
                "layout",
                format!(
                    "rows of {span} sit in {} and may not be moved: {obstacle}; move them by hand \
                 (docs/runbooks/partition-manage.md)",
                    default.relation
                ),
            ));
        }
        if rows <= most {
            return Ok(Some((span, rows)));
        }
        if most == 0 {
            return Ok(None);
        }
        if let Some(part) = astray::prefix(&mut conn, self.parent, default, span, most).await? {
            return Ok(Some((part, most)));
        }
        // They share one instant: they go together or not at all.
        let instant = TimeRange {
            upper_ms: span.lower_ms + 1,
            ..span
        };
        let allowed = self.limits.drain_max_rows;
        let rows = astray::rows_in(&mut conn, self.parent, default, instant, allowed).await?;
        if rows > allowed {
            return Err(DisposalError::refused(
                "layout",
                format!(
                    "more than {allowed} rows in {} share the first instant of {span}, so no transaction can take them: \
                 raise jobs.partition-manage.drain_max_rows for one run",
                    default.relation
                ),
            ));
        }
        Ok((rows <= rows_left).then_some((instant, rows)))
    }

    async fn transaction(&self, piece: Piece, drain: bool) -> Result<Made, DisposalError> {
        let step = self.external.step().await?;
        let transaction = Transaction {
            parent: self.parent,
            piece,
            drain,
            patience: self.limits.patience,
        };
        transaction.run(step).await
    }

    fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(self.limits.pause)
            .with_max_delay(self.limits.max_pause)
            .with_max_times(self.limits.attempts.saturating_sub(1))
            .build()
    }

    fn busy(&self, attempts: usize, cause: &DisposalError) -> DisposalError {
        let what = format!(
            "{} could not be changed within {:?} in {attempts} attempts ({cause}): a long transaction holds it, or its \
             default partition takes longer to check; the next run tries again (docs/runbooks/partition-manage.md)",
            self.parent.relation, self.limits.patience
        );
        DisposalError::Busy { what }
    }
}

fn done(made: Made, span: TimeRange, attempts: usize) -> Created {
    tracing::info!(
        partition = %made.relation,
        %span,
        rows_moved = made.rows_moved,
        held_ms = u64::try_from(made.held.as_millis()).unwrap_or(u64::MAX),
        attempts,
        "created a partition"
    );
    Created {
        relation: made.relation,
        span,
        rows_moved: made.rows_moved,
        held: made.held,
        attempts,
    }
}
