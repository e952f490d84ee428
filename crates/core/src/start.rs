//! Starting a run: everything the database must know, in one transaction.
//!
//! Call these while holding the job's lease. Claim, epoch, closing of the dead run, skipped rows and the
//! `running` row commit together: a crash leaves either nothing (the slot is still free) or a running row that
//! the next epoch closes and may retry. No slot vanishes in between.

use eidos_types::{Clock, ExecutionId, JobName, NodeId, Slot, SlotRange};
use serde_json::Value;
use sqlx::PgPool;

use crate::error::call;
use crate::execution::{self, OpenRequest, SkipRequest, Trigger};
use crate::fence::{Fence, MintRequest, Minted, Orphan, mint_in};
use crate::slot::{Claim, ClaimRequest, claim};
use crate::trigger::PendingTrigger;
use crate::{CoreError, sql};

/// A run that may begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its right to write.
    pub fence: Fence,
    /// Dead runs that were closed on the way.
    pub orphans: Vec<Orphan>,
}

/// What is common to all starts.
#[derive(Debug, Clone)]
pub struct Starter {
    /// The job.
    pub job: JobName,
    /// The new execution.
    pub execution: ExecutionId,
    /// The process.
    pub node: NodeId,
    /// The lease's token.
    pub token: u64,
}

/// The slots of a claimed range that will not run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missed {
    /// One `skipped` row each.
    pub slots: Vec<Slot>,
    /// Further ones, only counted.
    pub dropped: u64,
    /// Why.
    pub reason: String,
}

/// The outcome of [`scheduled`].
#[derive(Debug, Clone, PartialEq)]
pub enum Scheduled {
    /// The slot is ours and its row is `running`.
    Running {
        /// The run.
        run: Run,
        /// The claimed slots.
        range: SlotRange,
    },
    /// It is not; nothing was written. Never [`Claim::Won`].
    NotClaimed(Claim),
}

/// Claims `slot` and starts its run. `plan` is asked, once the range is known, for the parameters of the run and
/// for the missed slots.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`]: nothing was committed, or (only if the commit's answer was lost)
/// all of it; in that case the row is closed as orphaned by the next epoch.
pub async fn scheduled(
    control: &PgPool,
    starter: &Starter,
    slot: Slot,
    tolerance: std::time::Duration,
    clock: &dyn Clock,
    plan: impl FnOnce(&SlotRange) -> (Trigger, Option<Value>, Missed),
) -> Result<Scheduled, CoreError> {
    let mut tx = call("begin a scheduled start", control.begin()).await?;
    let request = ClaimRequest {
        job: starter.job.clone(),
        slot,
        node: starter.node,
        tolerance,
    };
    let range = match claim(&mut tx, &request).await? {
        Claim::Won { range } => range,
        lost => return Ok(Scheduled::NotClaimed(lost)),
    };
    let (trigger, params, missed) = plan(&range);
    let minted = mint_in(&mut tx, &starter.mint(clock)).await?;
    let skipped = SkipRequest {
        job: starter.job.clone(),
        slots: missed.slots,
        dropped: missed.dropped,
        reason: missed.reason,
        node: starter.node,
    };
    execution::skip(&mut tx, &skipped, clock).await?;
    let opening = OpenRequest {
        slot: Some(slot),
        trigger,
        params,
        ..starter.opening(&minted, clock)
    };
    execution::open(&mut tx, &opening).await?;
    call("commit a scheduled start", tx.commit()).await?;
    Ok(Scheduled::Running {
        run: Run::from(minted),
        range,
    })
}

/// Starts a pending manual run; `None` when it was started or withdrawn by somebody else (nothing is written).
///
/// # Errors
/// As [`scheduled`].
pub async fn triggered(
    control: &PgPool,
    pending: &PendingTrigger,
    node: NodeId,
    token: u64,
    clock: &dyn Clock,
) -> Result<Option<Run>, CoreError> {
    let starter = Starter {
        job: pending.job.clone(),
        execution: pending.execution,
        node,
        token,
    };
    let mut tx = call("begin a triggered start", control.begin()).await?;
    let moved = call(
        "start a trigger",
        sqlx::query(sql::START_TRIGGER)
            .bind(pending.execution.as_uuid())
            .bind(node.as_uuid())
            .execute(&mut *tx),
    )
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(None);
    }
    let minted = mint_in(&mut tx, &starter.mint(clock)).await?;
    call(
        "open a pending execution",
        sqlx::query(sql::OPEN_PENDING_EXECUTION)
            .bind(pending.execution.as_uuid())
            .bind(clock.now_ms())
            .bind(minted.fence.epoch().get())
            .bind(node.as_uuid())
            .execute(&mut *tx),
    )
    .await?;
    call("commit a triggered start", tx.commit()).await?;
    Ok(Some(Run::from(minted)))
}

/// A further attempt of work whose slot was claimed, or whose trigger was started, before.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What it works for.
    pub slot: Option<Slot>,
    /// What started the first attempt.
    pub trigger: Trigger,
    /// From 2.
    pub number: u32,
    /// Of a manual trigger.
    pub idempotency_key: Option<String>,
    /// The parameters of the first attempt.
    pub params: Option<Value>,
    /// As in the first attempt.
    pub dry_run: bool,
}

/// Starts a run without claiming anything: a retry, the second life of an orphan, or a run in a terminal.
///
/// # Errors
/// As [`scheduled`].
pub async fn attempt(
    control: &PgPool,
    starter: &Starter,
    attempt: &Attempt,
    clock: &dyn Clock,
) -> Result<Run, CoreError> {
    let mut tx = call("begin a further attempt", control.begin()).await?;
    let minted = mint_in(&mut tx, &starter.mint(clock)).await?;
    let opening = OpenRequest {
        slot: attempt.slot,
        trigger: attempt.trigger,
        attempt: attempt.number,
        idempotency_key: attempt.idempotency_key.clone(),
        dry_run: attempt.dry_run,
        params: attempt.params.clone(),
        ..starter.opening(&minted, clock)
    };
    execution::open(&mut tx, &opening).await?;
    call("commit a further attempt", tx.commit()).await?;
    Ok(Run::from(minted))
}

impl Starter {
    fn mint(&self, clock: &dyn Clock) -> MintRequest {
        MintRequest {
            job: self.job.clone(),
            floor: self.token,
            node: self.node,
            execution: self.execution,
            now_ms: clock.now_ms(),
        }
    }

    fn opening(&self, minted: &Minted, clock: &dyn Clock) -> OpenRequest {
        OpenRequest {
            job: self.job.clone(),
            execution: self.execution,
            epoch: minted.fence.epoch(),
            slot: None,
            trigger: Trigger::Schedule,
            attempt: 1,
            node: self.node,
            idempotency_key: None,
            dry_run: false,
            params: None,
            now_ms: clock.now_ms(),
        }
    }
}

impl From<Minted> for Run {
    fn from(minted: Minted) -> Self {
        Self {
            fence: minted.fence,
            orphans: minted.orphans,
        }
    }
}
