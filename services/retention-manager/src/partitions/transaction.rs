//! One partition in one transaction: created, filled, attached, looked at, committed.
//!
//! Whoever waits for us waits no longer than `disposal.lock_timeout`: from the moment the first lock that traffic can
//! feel is asked for, every statement gets what is left of that time, for waiting as well as for working, and a
//! transaction that does not make it is rolled back and tried again with less to do.
//!
//! Without a default partition ATTACH takes SHARE UPDATE EXCLUSIVE on the parent, which no reader or writer feels.
//! With one it takes ACCESS EXCLUSIVE on that partition, to look for rows it should not hold any more; then the parent
//! is locked as well, and first. Otherwise a statement that was planned before, and waits for the default partition,
//! would go on without the new one: it would miss the rows that moved there, or fail to insert.

use std::time::{Duration, Instant};

use eidos_core::fence::ExternalStep;
use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::Relation;
use eidos_disposal::new_partition::NewPartition;
use sqlx::PgConnection;

use super::name::{self, Place};
use super::parent::{DefaultPartition, Parent};
use crate::domain::tiling::Piece;
use crate::store::drain;

/// What one transaction made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) relation: Relation,
    pub(super) rows_moved: u64,
    /// How long traffic could feel us.
    pub(super) held: Duration,
}

/// One transaction under way.
pub(super) struct Transaction<'a> {
    pub(super) parent: &'a Parent,
    pub(super) piece: Piece,
    /// Whether rows of the default partition move.
    pub(super) drain: bool,
    /// The longest anybody may wait for us.
    pub(super) patience: Duration,
}

impl Transaction<'_> {
    /// Does all of it, or nothing.
    pub(super) async fn run(&self, mut step: ExternalStep) -> Result<Made, DisposalError> {
        let conn = step.conn();
        drain::limit(conn, "lock_timeout", self.patience).await?;
        let place = name::place(conn, self.parent, &self.piece).await?;
        let relation = self.build(conn, &place).await?;
        let asked = Instant::now();
        let rows_moved = match &self.parent.default {
            Some(default) => self.through_default(conn, default, &relation, asked).await?,
            None => 0,
        };
        self.attach(conn, &relation, asked).await?;
        self.partition(&relation).finish(conn).await?;
        step.commit().await?;
        Ok(Made {
            relation,
            rows_moved,
            held: asked.elapsed(),
        })
    }

    /// The new table beside its siblings-to-be: nobody sees it yet.
    async fn build(&self, conn: &mut PgConnection, place: &Place) -> Result<Relation, DisposalError> {
        let relation = match place {
            Place::Free(relation) => {
                self.partition(relation).create_table(conn).await?;
                relation
            }
            Place::Leftover(relation) => {
                // Locked before it is looked at again: it was empty a moment ago.
                drain::lock(conn, "lock a table that was left behind", relation).await?;
                name::place(conn, self.parent, &self.piece).await?;
                self.partition(relation).uncheck(conn).await?;
                relation
            }
        };
        self.partition(relation).prepare(conn).await?;
        Ok(relation.clone())
    }

    fn partition<'r>(&'r self, relation: &'r Relation) -> NewPartition<'r> {
        NewPartition {
            parent: &self.parent.relation,
            parent_oid: self.parent.oid,
            key: &self.parent.key,
            relation,
            bounds_ms: (self.piece.span.lower_ms, self.piece.span.upper_ms),
        }
    }

    /// Parent first, as every query does; then the rows.
    async fn through_default(
        &self,
        conn: &mut PgConnection,
        default: &DefaultPartition,
        relation: &Relation,
        asked: Instant,
    ) -> Result<u64, DisposalError> {
        for table in [&self.parent.relation, &default.relation] {
            self.within(conn, asked).await?;
            drain::lock(conn, "lock a partitioned table", table).await?;
        }
        if !self.drain {
            return Ok(0);
        }
        self.within(conn, asked).await?;
        let (deleted, inserted) =
            drain::drain(conn, self.parent, &default.relation, relation, self.piece.span).await?;
        if deleted != inserted {
            return Err(DisposalError::refused(
                "layout",
                format!(
                    "{deleted} rows left {} and {inserted} arrived in {relation}: nothing was moved",
                    default.relation
                ),
            ));
        }
        Ok(inserted.unsigned_abs())
    }

    async fn attach(
        &self,
        conn: &mut PgConnection,
        relation: &Relation,
        asked: Instant,
    ) -> Result<(), DisposalError> {
        for (doing, statement) in self.partition(relation).attach_sql() {
            self.within(conn, asked).await?;
            drain::execute(conn, doing, statement).await?;
        }
        Ok(())
    }

    /// Gives the next statement what is left of our time, for locks and for work.
    async fn within(&self, conn: &mut PgConnection, asked: Instant) -> Result<(), DisposalError> {
        let left = self.patience.saturating_sub(asked.elapsed());
        // Waiting may take half of it, or nothing would be left to work in.
        drain::limit(conn, "lock_timeout", (self.patience / 2).min(left)).await?;
        drain::limit(conn, "statement_timeout", left).await
    }
}
