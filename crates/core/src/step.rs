//! [`Step`]: effects, checkpoint and progress in one fenced transaction.

use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};

use crate::db::JobsDb;
use crate::error::{begun, call};
use crate::fence::{Epoch, Fence};
use crate::{CoreError, sql};

/// A writable transaction of a run that was current when it opened, and stays so until it ends. Dropping it
/// rolls everything back; only [`Step::commit`] makes the effects durable, all of them together.
#[must_use = "a step that is not committed writes nothing"]
pub struct Step<'a> {
    tx: Transaction<'static, Postgres>,
    fence: &'a Fence,
    progress: Option<(u64, Option<u64>)>,
    /// In a trace, the step lasts from its fence check to its commit or rollback.
    _span: tracing::Span,
}

impl<'a> Step<'a> {
    pub(crate) async fn open(fence: &'a Fence, db: &JobsDb) -> Result<Self, CoreError> {
        let span = tracing::info_span!("step", job = %fence.job(), epoch = fence.epoch().get());
        let tx = open(fence, db.data(), sql::CHECK_FENCE).await?;
        Ok(Self {
            tx,
            fence,
            progress: None,
            _span: span,
        })
    }

    /// The connection, for the job's own statements. They run inside this step.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// The epoch the step writes under, for tables that say which run wrote a row.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.fence.epoch()
    }

    /// Stores `value` under `key`, replacing what was there.
    ///
    /// # Errors
    /// [`CoreError::Json`], [`CoreError::Sql`], [`CoreError::TimedOut`].
    pub async fn save_checkpoint<T: Serialize>(&mut self, key: &str, value: &T) -> Result<(), CoreError> {
        let value = serde_json::to_value(value).map_err(CoreError::json(format!("checkpoint '{key}'")))?;
        call(
            "save a checkpoint",
            sqlx::query(sql::SAVE_CHECKPOINT)
                .bind(self.fence.job().as_str())
                .bind(key)
                .bind(value)
                .bind(self.fence.epoch().get())
                .execute(&mut *self.tx),
        )
        .await?;
        Ok(())
    }

    /// Removes the checkpoint under `key`, if there is one. Returns whether there was.
    ///
    /// # Errors
    /// [`CoreError::Sql`], [`CoreError::TimedOut`].
    pub async fn delete_checkpoint(&mut self, key: &str) -> Result<bool, CoreError> {
        Ok(self.delete(sql::DELETE_CHECKPOINT, key).await? == 1)
    }

    /// Removes every checkpoint whose key starts with `prefix`. Returns how many there were.
    ///
    /// # Errors
    /// [`CoreError::Sql`], [`CoreError::TimedOut`].
    pub async fn delete_checkpoints(&mut self, prefix: &str) -> Result<u64, CoreError> {
        self.delete(sql::DELETE_CHECKPOINTS, prefix).await
    }

    async fn delete(&mut self, statement: &'static str, key: &str) -> Result<u64, CoreError> {
        let done = call(
            "delete a checkpoint",
            sqlx::query(statement)
                .bind(self.fence.job().as_str())
                .bind(key)
                .execute(&mut *self.tx),
        )
        .await?;
        Ok(done.rows_affected())
    }

    /// Notes how far the run is: `done` of `total` units. Written with the commit, so that the execution's row
    /// is locked only for that moment.
    ///
    /// # Errors
    /// None today; the signature leaves room for writing at once.
    #[expect(clippy::unused_async, reason = "the contract's signature")]
    pub async fn progress(&mut self, done: u64, total: Option<u64>) -> Result<(), CoreError> {
        self.progress = Some((done, total));
        Ok(())
    }

    /// Makes the effects durable.
    ///
    /// # Errors
    /// [`CoreError::Fenced`] when progress was noted and the execution is no longer running under this epoch
    /// (nothing is written); [`CoreError::Sql`]; [`CoreError::TimedOut`]: the outcome is unknown.
    pub async fn commit(mut self) -> Result<(), CoreError> {
        if let Some((done, total)) = self.progress {
            let written = call(
                "write a step's progress",
                sqlx::query(sql::STEP_PROGRESS)
                    .bind(self.fence.execution().as_uuid())
                    .bind(self.fence.epoch().get())
                    .bind(json!({ "done": done, "total": total }))
                    .execute(&mut *self.tx),
            )
            .await?;
            if written.rows_affected() == 0 {
                return Err(self.fence.refused());
            }
        }
        call("commit a step", self.tx.commit()).await
    }
}

/// The right of one run to write to another service's database, whose fence was raised to the run's epoch.
#[derive(Debug, Clone)]
pub struct ExternalFence {
    fence: Fence,
    pool: PgPool,
}

impl ExternalFence {
    pub(crate) const fn new(fence: Fence, pool: PgPool) -> Self {
        Self { fence, pool }
    }

    /// Opens a writable transaction, unless this run was replaced. One round trip cheaper than
    /// [`Fence::external_step`], which raises the fence each time.
    ///
    /// # Errors
    /// [`CoreError::Fenced`] when a newer epoch exists; [`CoreError::Sql`], [`CoreError::TimedOut`].
    pub async fn step(&self) -> Result<ExternalStep, CoreError> {
        ExternalStep::open(&self.fence, &self.pool).await
    }

    /// As [`Self::step`], on a connection that is closed afterwards instead of going back to the pool. For statements
    /// whose answer may be left unread, such as a COPY: sqlx 0.9 does not count the end of a COPY that fails early or
    /// is dropped, and the connection's next user would get the previous answer.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub async fn step_alone(&self) -> Result<ExternalStep, CoreError> {
        ExternalStep::open_alone(&self.fence, &self.pool).await
    }

    /// The database; its sessions are read-only outside of steps.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The run's right to write.
    #[must_use]
    pub const fn fence(&self) -> &Fence {
        &self.fence
    }
}

/// A writable transaction on another service's database, fenced by the table it carries for us.
#[must_use = "a step that is not committed writes nothing"]
pub struct ExternalStep(Session);

enum Session {
    Pooled(Transaction<'static, Postgres>),
    /// In a transaction; dropping it closes the socket, and the server rolls back.
    Alone(PgConnection),
}

impl ExternalStep {
    pub(crate) async fn open(fence: &Fence, pool: &PgPool) -> Result<Self, CoreError> {
        let tx = open(fence, pool, sql::CHECK_EXTERNAL_FENCE).await?;
        Ok(Self(Session::Pooled(tx)))
    }

    async fn open_alone(fence: &Fence, pool: &PgPool) -> Result<Self, CoreError> {
        let mut conn = call("get a connection for a step", pool.acquire())
            .await?
            .detach();
        let begin = sqlx::raw_sql(sql::BEGIN_READ_WRITE).execute(&mut conn);
        begun(call("begin a step", begin).await)?;
        check(fence, &mut conn, sql::CHECK_EXTERNAL_FENCE).await?;
        Ok(Self(Session::Alone(conn)))
    }

    /// The connection, for the job's own statements.
    pub fn conn(&mut self) -> &mut PgConnection {
        match &mut self.0 {
            Session::Pooled(tx) => tx,
            Session::Alone(conn) => conn,
        }
    }

    /// Makes the effects durable.
    ///
    /// # Errors
    /// [`CoreError::Sql`]; [`CoreError::TimedOut`]: the outcome is unknown.
    pub async fn commit(self) -> Result<(), CoreError> {
        match self.0 {
            Session::Pooled(tx) => call("commit an external step", tx.commit()).await,
            Session::Alone(mut conn) => {
                call(
                    "commit an external step",
                    sqlx::query(sql::COMMIT).execute(&mut conn),
                )
                .await?;
                // It is committed; how the connection ends does not matter any more.
                let _closed = conn.close().await;
                Ok(())
            }
        }
    }

    /// Takes the effects back, and returns when the server has let go of the step's locks.
    ///
    /// A dropped step is rolled back too, but some time later: PostgreSQL reports an error before it releases locks, so
    /// whoever tries the same rows again at once may find them locked by the step that has just failed.
    ///
    /// # Errors
    /// [`CoreError::Sql`], [`CoreError::TimedOut`]: the connection is gone, and with it the step.
    pub async fn rollback(self) -> Result<(), CoreError> {
        match self.0 {
            Session::Pooled(tx) => call("roll back an external step", tx.rollback()).await,
            Session::Alone(mut conn) => {
                call(
                    "roll back an external step",
                    sqlx::query(sql::ROLLBACK).execute(&mut conn),
                )
                .await?;
                let _closed = conn.close().await;
                Ok(())
            }
        }
    }
}

async fn open(
    fence: &Fence,
    pool: &PgPool,
    check: &'static str,
) -> Result<Transaction<'static, Postgres>, CoreError> {
    let mut tx = begun(call("begin a step", pool.begin_with(sql::BEGIN_READ_WRITE)).await)?;
    self::check(fence, &mut tx, check).await?;
    Ok(tx)
}

/// Takes the share lock on the job's row, if it still has our epoch.
async fn check(fence: &Fence, conn: &mut PgConnection, statement: &'static str) -> Result<(), CoreError> {
    let current: Option<i64> = call(
        "check the fence",
        sqlx::query_scalar(statement)
            .bind(fence.job().as_str())
            .bind(fence.epoch().get())
            .fetch_optional(conn),
    )
    .await?;
    match current {
        Some(_) => Ok(()),
        None => Err(fence.refused()),
    }
}
