//! The fence: a node that was paused, partitioned or replaced cannot write.
//!
//! Every run mints an [`Epoch`] in PostgreSQL, above every earlier one. Every write goes through a [`Step`], a
//! transaction that begins by taking a *share* lock on the job's row under the condition that the row still has
//! our epoch:
//!
//! ```text
//! run A (epoch 7)                                run B
//! BEGIN READ WRITE                               UPDATE eidos_jobs_state SET epoch = 8 ..
//! SELECT .. WHERE epoch = 7 FOR SHARE   ok         waits: A holds the share lock
//! effects, checkpoint, progress                    .
//! COMMIT                                           continues, closes A's running row
//! BEGIN READ WRITE
//! SELECT .. WHERE epoch = 7 FOR SHARE   no row → CoreError::Fenced
//! ```
//!
//! So there is no moment between the check and the commit in which B can start. Should A freeze inside its
//! transaction, the server ends it after `idle_in_transaction_session_timeout`, A's effects roll back and B goes
//! on. Steps of one run do not hinder each other: share locks are compatible.
//!
//! A database of another service carries the same small table, `eidos_jobs_fence` ([`crate::sql::EXTERNAL_FENCE_DDL`]).
//! There the first step of the new epoch raises the fence; [`Fence::raise_in`] does it at once.

use eidos_types::{ExecutionId, JobName, NodeId, Slot};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool};

use crate::db::JobsDb;
use crate::error::{begun, call, column};
use crate::execution::Trigger;
use crate::{CoreError, observe, sql};

pub use crate::epoch::Epoch;
pub use crate::step::{ExternalFence, ExternalStep, Step};

/// The right of one run to write, as long as no newer run exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    job: JobName,
    epoch: Epoch,
    execution: ExecutionId,
}

/// A run that was closed because its node had stopped: what is needed to run it again.
#[derive(Debug, Clone, PartialEq)]
pub struct Orphan {
    /// The closed execution.
    pub execution: ExecutionId,
    /// What it worked for.
    pub slot: Option<Slot>,
    /// Its attempt, from 1. A crash counts (ruling 8).
    pub attempt: u32,
    /// What had started it.
    pub trigger: Trigger,
    /// Its parameters.
    pub params: Option<Value>,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// Of a manual trigger.
    pub idempotency_key: Option<String>,
}

/// What minting an epoch gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Minted {
    /// The right to write.
    pub fence: Fence,
    /// Runs of lower epochs that were still `running` and are now `failed`/`orphaned`.
    pub orphans: Vec<Orphan>,
}

/// Who asks for an epoch.
#[derive(Debug, Clone)]
pub struct MintRequest {
    /// The job.
    pub job: JobName,
    /// The lease's token: the epoch will not be lower.
    pub floor: u64,
    /// The process.
    pub node: NodeId,
    /// The execution the epoch is for.
    pub execution: ExecutionId,
    /// When dead runs are recorded as finished.
    pub now_ms: i64,
}

/// Mints the epoch of a new run and closes the runs it replaces. Must be called inside a transaction, so that
/// both happen or neither ([`mint`] does this alone, [`crate::start`] together with claim and execution row).
///
/// # Errors
/// [`CoreError::Sql`] (a lock timeout while a step of the old run is open is retryable), [`CoreError::TimedOut`].
pub async fn mint_in(conn: &mut PgConnection, request: &MintRequest) -> Result<Minted, CoreError> {
    let epoch: i64 = call(
        "mint an epoch",
        sqlx::query_scalar(sql::MINT_EPOCH)
            .bind(request.job.as_str())
            .bind(Epoch::from_token(request.floor).get())
            .bind(request.node.as_uuid())
            .bind(request.execution.as_uuid())
            .fetch_one(&mut *conn),
    )
    .await?;
    let rows = call(
        "close orphaned executions",
        sqlx::query(sql::CLOSE_ORPHANS)
            .bind(request.job.as_str())
            .bind(epoch)
            .bind(request.now_ms)
            .fetch_all(conn),
    )
    .await?;
    let orphans = rows.iter().map(orphan).collect::<Result<Vec<_>, _>>()?;
    if !orphans.is_empty() {
        observe::orphans_closed(&request.job, orphans.len().try_into().unwrap_or(u64::MAX));
        tracing::warn!(job = %request.job, epoch, closed = orphans.len(), "closed executions of a stopped node");
    }
    Ok(Minted {
        fence: Fence {
            job: request.job.clone(),
            epoch: Epoch::from_stored(epoch),
            execution: request.execution,
        },
        orphans,
    })
}

/// [`mint_in`] in a transaction of its own.
///
/// # Errors
/// As [`mint_in`].
pub async fn mint(control: &PgPool, request: &MintRequest) -> Result<Minted, CoreError> {
    let mut tx = call("begin minting an epoch", control.begin()).await?;
    let minted = mint_in(&mut tx, request).await?;
    call("commit an epoch", tx.commit()).await?;
    Ok(minted)
}

fn orphan(row: &PgRow) -> Result<Orphan, CoreError> {
    Ok(Orphan {
        execution: ExecutionId::from_uuid(column(row, "execution_id")?),
        slot: column::<Option<i64>>(row, "slot_ms")?.and_then(Slot::from_ms),
        attempt: column::<i32>(row, "attempt")?.try_into().unwrap_or(1),
        trigger: Trigger::from_stored(column(row, "trigger")?)?,
        params: column(row, "params")?,
        dry_run: column(row, "dry_run")?,
        idempotency_key: column(row, "idempotency_key")?,
    })
}

impl Fence {
    /// A fence whose epoch was minted elsewhere, such as by the parent of a worker process.
    #[must_use]
    pub const fn from_parts(job: JobName, epoch: Epoch, execution: ExecutionId) -> Self {
        Self {
            job,
            epoch,
            execution,
        }
    }

    /// The job.
    #[must_use]
    pub const fn job(&self) -> &JobName {
        &self.job
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The execution the epoch was minted for.
    #[must_use]
    pub const fn execution(&self) -> ExecutionId {
        self.execution
    }

    /// Opens a writable transaction on the jobs database, unless this run was replaced.
    ///
    /// # Errors
    /// [`CoreError::Fenced`] when a newer epoch exists; [`CoreError::Sql`], [`CoreError::TimedOut`].
    pub async fn step(&self, db: &JobsDb) -> Result<Step<'_>, CoreError> {
        Step::open(self, db).await
    }

    /// Opens a writable transaction on another service's database that carries `eidos_jobs_fence`, raising the
    /// fence there to our epoch first. The pool is one of [`crate::db::connect_external`]: a session without its limits
    /// begins nothing.
    ///
    /// # Errors
    /// As [`Fence::step`].
    pub async fn external_step(&self, pool: &PgPool) -> Result<ExternalStep, CoreError> {
        self.raised_in(pool).await?.step().await
    }

    /// Raises the fence of another service's database to our epoch, once, for a run with many steps there.
    ///
    /// # Errors
    /// [`CoreError::Sql`], [`CoreError::TimedOut`].
    pub async fn raised_in(&self, pool: &PgPool) -> Result<ExternalFence, CoreError> {
        self.raise_in(pool).await?;
        Ok(ExternalFence::new(self.clone(), pool.clone()))
    }

    /// Raises the fence of another service's database to our epoch, so that older runs are refused there from
    /// now on and not only from our first step. Waits for their open steps.
    ///
    /// # Errors
    /// [`CoreError::Sql`], [`CoreError::TimedOut`].
    pub async fn raise_in(&self, pool: &PgPool) -> Result<(), CoreError> {
        let begin = pool.begin_with(sql::BEGIN_READ_WRITE);
        let mut tx = begun(call("begin raising an external fence", begin).await)?;
        call(
            "raise an external fence",
            sqlx::query(sql::RAISE_EXTERNAL_FENCE)
                .bind(self.job.as_str())
                .bind(self.epoch.get())
                .execute(&mut *tx),
        )
        .await?;
        call("commit an external fence", tx.commit()).await
    }

    /// The error of a refused write, counted.
    pub(crate) fn refused(&self) -> CoreError {
        observe::fenced_write(&self.job);
        tracing::warn!(job = %self.job, epoch = self.epoch.get(), execution = %self.execution, "write refused: replaced");
        CoreError::Fenced {
            job: self.job.clone(),
            epoch: self.epoch,
        }
    }
}
